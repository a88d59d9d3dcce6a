"""Sort photographs into a folder for each cluster, so that a stop at any moment loses nothing and can be undone.

A manifest is written and synced to the disk before the first file is touched. It lists every file with its place
before and after. :func:`carry_out` and :func:`undo` may be stopped anywhere and started again: each looks at what is
there. No existing file is ever overwritten. Imports no torch.
"""

import errno
import json
import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from pgjr_lib.errors import PGJRError
from pgjr_lib.storage import atomic_write, file_sha256

Mode = Literal["copy", "link", "move"]
MODES = get_args(Mode)
FORMAT = "pgjr-sort-1"
PATTERN = "pgjr-sort-*.json"
PARTIAL = ".pgjr-partial"  # ends the name of a copy that is not whole
LONGEST = 60  # characters of a folder's name
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # names that Windows keeps for itself

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Item(BaseModel):
    """One file: its path below the source, its path below the target, its bytes and their SHA-256."""

    model_config = ConfigDict(extra="forbid", strict=True)
    source: str
    target: str
    size: int = Field(ge=0)
    digest: Digest


class Manifest(BaseModel):
    """A plan of sorting, and how far it is.

    Attributes:
        format: ``FORMAT``.
        mode: ``copy``, ``link`` (symbolic links) or ``move``.
        source, target: the folder of the photographs and the folder of the sorted ones, absolute.
        made: the target's folders that did not exist before, outermost first, absolute.
        finished: whether every file lies where it should.
        files: what happens to each file.
    """

    model_config = ConfigDict(extra="forbid", strict=True)
    format: str = Field(pattern=f"^{FORMAT}$")
    mode: Mode
    source: str
    target: str
    made: list[str]
    finished: bool = False
    files: list[Item]


@dataclass
class Report:
    """What was done: how many files, and sentences on those that were left alone."""

    done: int
    left: list[str]


def plan(folder: Path, files: list[str], digests: list[str], places: list[str], target: Path, mode: Mode) -> Path:
    """Write the manifest of a sorting. Nothing else is touched.

    Args:
        folder: the photographs.
        files: their paths below ``folder``.
        digests: SHA-256 of each.
        places: for each the name of the folder below ``target`` that it goes to.
        target: the folder to sort into; it is made if needed.
        mode: ``copy``, ``link`` or ``move``.

    Returns:
        The manifest's path, in ``target``.

    Raises:
        PGJRError: the target is a file, lies among the photographs, or holds a sorting that was stopped.
    """
    source, target = Path(os.path.realpath(folder)), Path(os.path.realpath(target))
    if target.exists() and not target.is_dir():
        raise PGJRError(f"{target} is a file: choose a folder to sort into.")
    if not _is_text(target):
        raise PGJRError(f"The path {ascii(str(target))} is not UTF-8, as a manifest needs: choose another folder.")
    if mode != "move" and target.is_relative_to(source):
        raise PGJRError(f"{target} lies among the photographs, and the next run would find each one twice: choose another folder.")
    if stopped := unfinished(target):
        raise PGJRError(f"{stopped} is a sorting that was stopped: `pgjr undo {stopped}` puts its files back first.")
    new_folders = [str(path) for path in [target, *target.parents] if not path.exists()][::-1]
    taken = _Names(target)
    items, names = [], {}
    for file, digest, place in zip(files, digests, places, strict=True):
        name = names.setdefault(place, folder_name(place))
        goal = taken.free(name, PurePosixPath(file).name)
        items.append(Item(source=file, target=goal, size=(folder / file).stat().st_size, digest=digest))
    new_folders += [str(target / name) for name in sorted(set(names.values())) if not (target / name).exists()]
    manifest = Manifest(format=FORMAT, mode=mode, source=str(source), target=str(target), made=new_folders, files=items)
    target.mkdir(parents=True, exist_ok=True)
    numbers = [int(n) for path in target.glob(PATTERN) if (n := path.stem.rpartition("-")[2]).isdigit()]
    path = target / PATTERN.replace("*", f"{max(numbers, default=0) + 1:03d}")
    _save(manifest, path)
    return path


def unfinished(target: Path) -> Path | None:
    """Return the manifest of a sorting into ``target`` that was stopped, None where there is none."""
    for path in sorted(target.glob(PATTERN)):
        if not read_manifest(path).finished:
            return path
    return None


def carry_out(path: Path) -> Report:
    """Do what a manifest says; after a stop, do the rest.

    Raises:
        PGJRError: the manifest cannot be read. OSError: a full disk, or no permission; the same call goes on later.
    """
    manifest = read_manifest(path)
    report = Report(0, [])
    for item in manifest.files:
        source, target = Path(manifest.source, item.source), Path(manifest.target, item.target)
        target.parent.mkdir(parents=True, exist_ok=True)
        _partial(target).unlink(missing_ok=True)
        problem = _DO[manifest.mode](source, target, item)
        report.done += problem is None
        report.left += [problem] if problem else []
    _save(manifest.model_copy(update={"finished": True}), path)
    return report


def undo(path: Path) -> Report:
    """Put everything back as it was before a sorting, and remove its manifest.

    Copies that were changed since stay where they are. A file whose old place is taken stays, too. Then the manifest
    stays, so that the command can be given again.

    Raises:
        PGJRError: the manifest cannot be read. OSError: as :func:`carry_out`.
    """
    manifest = read_manifest(path)
    report = Report(0, [])
    for item in manifest.files:
        source, target = Path(manifest.source, item.source), Path(manifest.target, item.target)
        _partial(target).unlink(missing_ok=True)
        problem = _UNDO[manifest.mode](source, target, item)
        report.done += problem is None
        report.left += [problem] if problem else []
    for leftover in path.parent.glob(f".{path.name}.*"):  # of a kill while the manifest itself was written
        leftover.unlink()
    if not report.left:
        path.unlink()
    for folder in reversed(manifest.made):
        try:
            os.rmdir(folder)
        except OSError:  # it holds something else, or never came to be
            pass
    return report


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest.

    Raises:
        PGJRError: it is missing or is none, or a path in it leads out of its folders.
    """
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise PGJRError(f"{path} does not exist: give the manifest in the folder that was sorted into.") from None
    except IsADirectoryError:
        raise PGJRError(f"{path} is a folder: give the manifest {PATTERN} in it.") from None
    except ValidationError as error:
        raise PGJRError(f"{path} is no manifest of a sorting ({error.errors()[0]['msg']}): nothing was done.") from None
    for item in manifest.files:
        for text in (item.source, item.target):
            parts = PurePosixPath(text).parts
            if not parts or not _is_text(Path(text)) or text.startswith("/") or ".." in parts or "\0" in text:
                raise PGJRError(f"{path} names {ascii(text)}, which leads out of its folder: nothing was done.")
    target = Path(manifest.target)
    if foreign := [text for text in manifest.made if not (Path(text).is_relative_to(target) or target.is_relative_to(text))]:
        raise PGJRError(f"{path} names the folder {ascii(foreign[0])}, which has nothing to do with {target}: nothing was done.")
    return manifest


def folder_name(text: str) -> str:
    """Return a name for a folder that every file system takes, from any text."""
    text = "".join(" " if c in '/\\:*?"<>|' or unicodedata.category(c).startswith("C") else c for c in text)
    text = " ".join(unicodedata.normalize("NFC", text).split())[:LONGEST].strip(" .")
    return f"{text}_" if not text or _RESERVED.fullmatch(text) else text


class _Names:
    """Names in the target's folders, each given once; names that differ in case or in Unicode's forms are one."""

    def __init__(self, target: Path):
        self.target, self.taken = target, {}

    def free(self, folder: str, name: str) -> str:
        place = self.target / folder
        if folder not in self.taken:
            self.taken[folder] = {self._form(entry) for entry in os.listdir(place)} if place.is_dir() else set()
        stem, suffix = os.path.splitext(name)
        number, free = 1, name
        while self._form(free) in self.taken[folder]:
            number += 1
            free = f"{stem} ({number}){suffix}"
        self.taken[folder].add(self._form(free))
        return f"{folder}/{free}"

    @staticmethod
    def _form(name: str) -> str:
        return unicodedata.normalize("NFC", name).casefold()


# ---- one file: each function returns None, or a sentence on why the file was left alone ----


def _copy(source: Path, target: Path, item: Item) -> str | None:
    if os.path.lexists(target) and not _is_reserved(target):
        return None if _is(target, item) else f"{target} is there already, so {source} was not copied."
    if not source.is_file():
        return f"{source} is gone, so it was not copied."
    _copy_whole(source, target)
    return None


def _link(source: Path, target: Path, item: Item) -> str | None:
    if os.path.lexists(target):
        return None if _links_to(target, source) else f"{target} is there already, so no link was made."
    os.symlink(os.path.relpath(source, target.parent), target)  # relative, so that both folders may move together
    return None


def _move(source: Path, target: Path, item: Item) -> str | None:
    if not os.path.lexists(source):
        return None if os.path.lexists(target) else f"{source} is gone, so it was not moved."
    if source.is_symlink():
        return f"{source} is a link, which may lead nowhere from another folder, so it was not moved."
    if os.path.lexists(target) and not _is_reserved(target) and not _is(target, item):
        return f"{target} is there already, so {source} was not moved."
    _relocate(source, target)
    return None


def _uncopy(source: Path, target: Path, item: Item) -> str | None:
    if not os.path.lexists(target):
        return None
    if not _is(target, item) and not _is_reserved(target):
        return f"{target} was changed since it was copied, so it stays."
    target.unlink()
    return None


def _unlink(source: Path, target: Path, item: Item) -> str | None:
    if not os.path.lexists(target):
        return None
    if not _links_to(target, source):
        return f"{target} is no longer the link that was made, so it stays."
    target.unlink()
    return None


def _unmove(source: Path, target: Path, item: Item) -> str | None:
    if not os.path.lexists(target):
        return None if os.path.lexists(source) else f"{target} is gone, so it could not be put back."
    if os.path.lexists(source) and not _is_reserved(source):
        if _is_reserved(target) or (_is(source, item) and _is(target, item)):  # stopped before, or between copy and removal
            target.unlink()
            return None
        return f"{source} is there again, so {target} stays."
    source.parent.mkdir(parents=True, exist_ok=True)
    _relocate(target, source)
    return None


_DO = {"copy": _copy, "link": _link, "move": _move}
_UNDO = {"copy": _uncopy, "link": _unlink, "move": _unmove}


def _relocate(source: Path, target: Path) -> None:
    """Move a file to a name that is free, or reserved by an earlier try.

    The name is reserved by an empty file, which the file then replaces in one step. So nothing else can be overwritten,
    and the file is at every moment in one of the two places. Across file systems it is copied whole, then removed.
    """
    if not os.path.lexists(target):
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    if _is_reserved(target):
        try:
            os.replace(source, target)
            return
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        _copy_whole(source, target)
    os.unlink(source)


def _copy_whole(source: Path, target: Path) -> None:
    """Copy a file with its times, under another name until it is whole and on the disk."""
    partial = _partial(target)
    shutil.copy2(source, partial)
    _sync(partial, os.O_RDONLY)
    try:
        if _is_reserved(target):
            os.replace(partial, target)
        else:
            os.link(partial, target)  # fails where the name is taken
            partial.unlink()
    except OSError as error:
        if isinstance(error, FileExistsError) or error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
            partial.unlink(missing_ok=True)
            raise
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))  # a file system without hard links
        os.replace(partial, target)


def _is_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _partial(target: Path) -> Path:
    return target.with_name(f".{target.name[:80]}{PARTIAL}")


def _is_reserved(path: Path) -> bool:
    """Say whether a path is an empty file, as reserves a name; a photograph is never empty."""
    return path.is_file() and not path.is_symlink() and path.stat().st_size == 0


def _is(path: Path, item: Item) -> bool:
    """Say whether a path is a file with the content that the manifest lists."""
    return path.is_file() and path.stat().st_size == item.size and file_sha256(path) == item.digest


def _links_to(path: Path, source: Path) -> bool:
    return path.is_symlink() and os.path.normpath(os.path.join(path.parent, os.readlink(path))) == os.path.normpath(source)


def _save(manifest: Manifest, path: Path) -> None:
    """Write a manifest, with its entry in the folder, to the disk."""
    atomic_write(path, json.dumps(manifest.model_dump(), indent=1, ensure_ascii=False) + "\n")
    if hasattr(os, "O_DIRECTORY"):  # where folders can be synced
        _sync(path.parent, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def report_left(left: Iterable[str], most: int = 10) -> None:
    """Print on stderr which files were left alone."""
    left = list(left)
    for sentence in left[:most]:
        print(sentence, file=sys.stderr)
    if len(left) > most:
        print(f"... and {len(left) - most} more.", file=sys.stderr)
