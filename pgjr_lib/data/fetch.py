"""Fetch the image sets whose archives can be had without an account, and lay out those parts of ImageNet that are used.

An archive comes from its official address, or from ``$PGJR_MIRROR/<file>`` where that is set. A stopped download goes on
where it stopped if the server can do that. Nothing is unpacked before the whole archive has its published checksum. Only
the files that :mod:`pgjr_lib.data.readers` reads are unpacked, into a folder that takes its name when it is whole.
"""

import hashlib
import lzma
import os
import shutil
import socket
import struct
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from pgjr_lib.data.loading import available
from pgjr_lib.data.readers import BUILT_IN
from pgjr_lib.data.sets import SETS
from pgjr_lib.errors import PGJRError
from pgjr_lib.progress import progress
from pgjr_lib.storage import exclusive, naming, read_json

BLOCK = 1 << 20  # bytes read at a time
ATTEMPTS = 5  # at one address, before the next is tried
PAUSE_SECONDS = 1.0  # before a second attempt; it doubles with every further one
TIMEOUT_SECONDS = 30.0  # without a byte from the server


@dataclass(frozen=True)
class Archive:
    """A published archive of a set.

    Attributes:
        address: where it is published.
        md5: the published checksum, 32 hexadecimal digits.
        size: its bytes.
        unpacked: the bytes of what is unpacked.
        layout: the folder that it unpacks to.
        wanted: the files, or folders with everything below, that are unpacked, relative to ``layout``. The 100,000 images of
            STL-10 without labels stay packed.
    """

    address: str
    md5: str
    size: int
    unpacked: int
    layout: str
    wanted: tuple[str, ...]

    @property
    def file(self) -> str:
        """Name of the archive."""
        return PurePosixPath(urlsplit(self.address).path).name


_TABLE = Path(__file__).with_name("archives.json")  # facts of others, so they are data
ARCHIVES = {name: Archive(**{**facts, "wanted": tuple(facts["wanted"])}) for name, facts in read_json(_TABLE).items()}
ALIASES = {"cifar100": "cifar20"}  # CIFAR-100, which the protocol scores by its superclasses
IMAGENET = tuple(name for name, info in SETS.items() if "imagenet/train" in info.layouts)  # sets of classes of ImageNet


def fetch(name: str, root: Path, imagenet: Path | None = None) -> Path:
    """Bring a set to the data root; a set that is there already is left alone.

    Args:
        name: a key of ``SETS``, or ``cifar100``.
        root: the data root.
        imagenet: ImageNet on this machine, for its subsets: a folder of class folders, a folder with ``train/`` and
            ``val/`` of them, or the official archive of the training images.

    Returns:
        The folder that holds the set.

    Raises:
        PGJRError: an unknown set, one that cannot be fetched, no address that answers, a wrong checksum, an archive with
            members outside its folder, or too little space.
    """
    name = ALIASES.get(name, name)
    if name in IMAGENET:
        from pgjr_lib.data.imagenet import lay_out

        return lay_out(name, root, imagenet)
    archive = _archive(name)
    folder = root / archive.layout
    packed, unpacked = root / archive.file, root / f".{archive.file}.unpacked"
    if available(name, "all", root) and not unpacked.exists():
        return folder if folder.is_dir() else root / name
    with exclusive(root / f".{archive.file}.lock", archive.file):
        if available(name, "all", root):  # the process that had the lock brought it, or one was killed as it ended
            unpacked.unlink(missing_ok=True)
            return folder if folder.is_dir() else root / name
        if unpacked.exists():
            os.replace(unpacked, packed)
        free = _refuse_full(root, archive)
        print(f"{archive.file}: {archive.size / 1e6:,.0f} MB, and {free / 1e9:,.1f} GB are free in {root}", file=sys.stderr)
        _download(archive, packed)
        _unpack(archive, packed, folder, unpacked)
        unpacked.unlink()
    return folder


@dataclass(frozen=True)
class Available:
    """What there is to know of a set before it is fetched: whether it is here, its download in bytes, and its licence.

    ``size`` is None where nothing can be downloaded.
    """

    name: str
    here: bool
    size: int | None
    licence: str


def overview(root: Path | None) -> list[Available]:
    """List the sets that need files, each with whether the data root has all of it."""
    rows = []
    for name, info in SETS.items():
        if name in BUILT_IN:
            continue
        here = root is not None and available(name, "train" if name in IMAGENET else "all", root)
        rows.append(Available(name, here, ARCHIVES[name].size if name in ARCHIVES else None, info.licence))
    return rows


def _archive(name: str) -> Archive:
    if name in ARCHIVES:
        return ARCHIVES[name]
    if name in SETS:
        raise PGJRError(f"{name} needs no fetching: {SETS[name].download}.")
    hint = f"; for a prior write `pgjr fetch --prior {name}`" if "/" in name else ""
    raise PGJRError(f"{name!r} is no known data set: fetch one of {', '.join([*ARCHIVES, *IMAGENET])}{hint}.")


def _refuse_full(root: Path, archive: Archive) -> int:
    """Refuse to start what would not fit; the part that is here already counts. Returns the free bytes."""
    here = sum(path.stat().st_size for path in (root / archive.file, _partial(root / archive.file)) if path.is_file())
    needed, free = archive.size - here + archive.unpacked, shutil.disk_usage(root).free
    if needed > free:
        raise PGJRError(
            f"{archive.file} needs {needed / 1e9:.1f} GB on the disk of {root}, and {free / 1e9:.1f} GB are free:"
            " make room, or set PGJR_DATA to another disk."
        )
    return free


# ---- downloading ----


def _partial(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _download(archive: Archive, target: Path) -> None:
    """Download an archive to ``target``, which is whole and checked once it has that name."""
    if target.is_file() and _md5(target) == archive.md5:
        return
    mirror = os.environ.get("PGJR_MIRROR", "").rstrip("/")
    addresses = [f"{mirror}/{archive.file}"] if mirror else []
    reasons = []
    for address in [*addresses, archive.address]:
        try:
            _download_from(address, archive, _partial(target))
        except _Unreachable as error:
            if address != archive.address and urlsplit(address).netloc != urlsplit(archive.address).netloc:
                _partial(target).unlink(missing_ok=True)  # what a mirror sent may be no part of the official file
            reasons.append(f"{urlsplit(address).netloc}: {error}")
            continue
        os.replace(_partial(target), target)
        return
    raise PGJRError(
        f"{archive.file} could not be fetched ({'; '.join(reasons)}): check the network and run the command again, which"
        f" goes on where it stopped, set PGJR_MIRROR to a server that has the file, or lay it into {target.parent}."
    )


class _Unreachable(Exception):
    """An address gave no whole file."""


def _download_from(address: str, archive: Archive, partial: Path) -> None:
    """Append to ``partial`` until it is whole, in several attempts, and check it."""
    reason = "no answer"
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
        try:
            _append(address, archive, partial)
        except (URLError, HTTPException, ConnectionError, TimeoutError) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
            refused = isinstance(error, HTTPError) and 400 <= error.code < 500 and error.code != 429
            if refused or isinstance(getattr(error, "reason", None), socket.gaierror):
                break  # asking again would give the same answer, or find no network either
            continue
        if partial.stat().st_size >= archive.size:
            if _md5(partial) == archive.md5:
                return
            partial.unlink()
            raise _Unreachable(f"the file has another checksum than the published {archive.md5}, and was deleted")
        reason = f"the connection ended after {partial.stat().st_size:,} of {archive.size:,} bytes"
    raise _Unreachable(reason)


def _append(address: str, archive: Archive, partial: Path) -> None:
    """Ask for what is missing of ``partial`` and append it; a server without ranges sends everything again."""
    have = partial.stat().st_size if partial.is_file() else 0
    if have >= archive.size:
        return
    request = Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    with urlopen(request, timeout=TIMEOUT_SECONDS) as response:
        resumed = response.status == 206
        length = response.headers.get("Content-Length")
        if length is not None and int(length) + (have if resumed else 0) != archive.size:
            raise _Unreachable(f"the server has a file of another size than {archive.size:,} bytes")
        with (
            open(partial, "ab" if resumed else "wb") as stream,
            progress(None, archive.file, "B", archive.size, scale=True) as bar,
        ):
            bar.update(have if resumed else 0)
            total = have if resumed else 0
            while total < archive.size and (block := _read(response)):
                with naming(partial):
                    stream.write(block)
                total += len(block)
                bar.update(len(block))


def _read(response) -> bytes:
    """Read a block; whatever breaks the connection is one kind of error, so that a full disk stays another."""
    try:
        return response.read(BLOCK)
    except OSError as error:
        raise ConnectionError(str(error)) from error


def _md5(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "md5").hexdigest()


# ---- unpacking ----


def _unpack(archive: Archive, packed: Path, folder: Path, unpacked: Path) -> None:
    """Unpack the wanted files into ``folder``, which appears when all of them are written.

    The archive is renamed to ``unpacked`` before that, so that it is not taken for one of the user's own after a kill.
    """
    work, left = folder.with_name(f".{folder.name}.unpacking"), archive.unpacked
    shutil.rmtree(work, ignore_errors=True)
    try:
        with _members(packed) as members:
            for name, read in members:
                if (inside := _wanted(name, archive, packed)) is not None:
                    target = work / inside
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with read() as source, naming(target), open(target, "wb") as stream:
                        while block := source.read(BLOCK):
                            left -= len(block)
                            if left < 0:
                                raise PGJRError(
                                    f"{packed} unpacks to more than {archive.unpacked / 1e6:,.0f} MB, as the official file"
                                    " does not: delete it and fetch it again."
                                )
                            stream.write(block)
        if missing := [name for name in archive.wanted if not (work / name).exists()]:
            raise PGJRError(f"{packed} lacks {archive.layout}/{missing[0]}: delete it and fetch {archive.file} again.")
        shutil.rmtree(folder, ignore_errors=True)  # what somebody unpacked in part
        os.replace(packed, unpacked)
        os.replace(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


# what the standard library raises on a damaged or hostile archive: unknown codings, encryption, cut streams
DAMAGES = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, ValueError,
           LookupError, struct.error)  # fmt: skip


@contextmanager
def _members(packed: Path) -> Iterator:
    """Yield pairs (name, function that opens the file) of the regular files in an archive."""
    try:
        if packed.suffix == ".zip":
            with zipfile.ZipFile(packed) as archive:
                files = [info for info in archive.infolist() if not info.is_dir()]
                yield ((info.filename, lambda info=info: archive.open(info)) for info in files)
        else:
            with tarfile.open(packed) as archive:
                yield ((m.name, lambda m=m: archive.extractfile(m)) for m in archive if m.isfile())
    except (*DAMAGES, OSError) as error:
        if isinstance(error, PGJRError) or (isinstance(error, OSError) and error.errno is not None):  # such as a full disk
            raise
        raise PGJRError(f"{packed} cannot be unpacked ({error}): delete it and fetch it again.") from None


def _wanted(name: str, archive: Archive, packed: Path) -> str | None:
    """Return a member's path inside the layout's folder, or None where it is not wanted.

    Raises:
        PGJRError: the name leads out of the archive's folder.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise PGJRError(f"{packed} has a member {name!r} that leads out of its folder, so nothing was unpacked: delete it.")
    if path.parts[:1] != (archive.layout,):
        return None
    inside = PurePosixPath(*path.parts[1:])
    return str(inside) if any(inside.is_relative_to(part) for part in archive.wanted) else None
