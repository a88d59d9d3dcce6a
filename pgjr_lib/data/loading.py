"""Load image sets into memory and compute their checksums.

A named set lies below ``$PGJR_DATA`` in its official layout or as ``<set>/<split>/<class>/*``. Its images are ordered
by sorted path, or as in the official archive. Finding a set and computing its checksum import no torch.
"""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pgjr_lib.data.decoding import decode, resize
from pgjr_lib.data.folders import list_class_folders, list_images, list_published
from pgjr_lib.data.readers import BUILT_IN, find_archive
from pgjr_lib.data.sets import SETS, SPLITS, Split
from pgjr_lib.errors import PGJRError
from pgjr_lib.storage import cache_folder, file_sha256, read_sealed, write_sealed


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images and labels, with what must stand beside every number computed from them.

    Attributes:
        name: name of the set as it was requested.
        split: ``train``, ``test`` or ``all``; always ``all`` for folders and for sets without a train/test split.
        images: (N, 3, H, W) uint8.
        labels: (N,) int64, indices into ``class_names``.
        class_names: sorted names of all classes.
        paths: origin of each image, relative to the data root or the folder.
        checksum: SHA-256 of the stored files, of ``limit`` and of ``fold``.
        note: "re-encoded" where lossy copies replace the originals, and the number of images left out, in words.
        corrupt: number of images left out because they cannot be read.
    """

    name: str
    split: Split
    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    paths: tuple[str, ...]
    checksum: str
    note: str = ""
    corrupt: int = 0


def load(name, split: Split = "test", *, root=None, limit=None, fold=None, size=None, skip_corrupt=False) -> ImageSet:
    """Load a set into memory.

    Args:
        name: a key of ``SETS``, ``folder:/path`` (one folder per class) or ``images:/path`` (any folder, no labels).
        split: ``train``, ``test`` or ``all`` (train, then test).
        root: the data root; ``$PGJR_DATA`` by default.
        limit: number of images to keep, a fixed random subset (seed 0) in the original order; None keeps all.
        fold: which of the disjoint random subsets of ``limit`` images, from 0; None keeps the subset of ``limit`` alone.
        size: side in pixels to which the centre square of each image is scaled; None keeps images as they are, which
            requires squares of one size.
        skip_corrupt: leave out images that cannot be read, and give their number in ``corrupt``.

    Raises:
        PGJRError: ``limit`` or ``size`` below 1, a fold that does not exist, an unknown set or split, missing data,
            files that are not the official ones, no images, an image that cannot be read, images that are not squares
            of one size, or fewer than two class folders.
    """
    if limit is not None and limit < 1:
        raise PGJRError(f"limit is {limit}, but at least one image is needed: give a positive number or none.")
    if size is not None and size < 1:
        raise PGJRError(f"size is {size}, but images need at least one pixel: give a positive number or none.")
    source = _locate(name, split, root)
    digest = checksum_of_part(_whole(source), source.count(), limit, fold)
    if source.files:
        return _load_files(source, digest, _subset(len(source.files), limit, fold), size, skip_corrupt)
    images, labels = source.read()
    rows = _subset(len(images), limit, fold)
    images = images[rows]
    if size is not None and images.shape[-1] != size:
        images = np.stack([resize(image, size) for image in images])
    paths = tuple(f"{name}/{source.split}/{i:05d}" for i in rows)
    return ImageSet(name, source.split, images, labels[rows], SETS[name].class_names, paths, digest)


def available(name, split: Split = "test", root=None) -> bool:
    """Say whether :func:`load` would find the files of this set, without reading them."""
    try:
        _locate(name, split, root)
    except PGJRError:
        return False
    return True


def checksum(name, split: Split = "test", root=None, limit=None, fold=None) -> str:
    """Compute the SHA-256 of a set's stored files, or of its arrays if it needs no files.

    Repeated calls are cheap: digests are cached by the names, sizes and modification times of the files.

    Args:
        name, split, root: as for :func:`load`.
        limit, fold: as for :func:`load`; a limit alone changes the result only if it is below the number of images.

    Raises:
        PGJRError: an unknown set or split, or missing data.
    """
    return checksum_of_part(*whole_checksum(name, split, root), limit, fold)


def whole_checksum(name, split: Split = "test", root=None) -> tuple[str, int]:
    """Return the SHA-256 of a whole set, as :func:`checksum` without limit and fold, and the number of its images."""
    source = _locate(name, split, root)
    return _whole(source), source.count()


def checksum_of_part(digest: str, count: int, limit: int | None, fold: int | None) -> str:
    """Return the checksum of a part, as :func:`checksum`, from the digest and the number of images of the whole set."""
    if fold is not None:
        return hashlib.sha256(f"{digest}|limit={limit}|fold={fold}".encode()).hexdigest()
    if limit is None or limit >= count:
        return digest
    return hashlib.sha256(f"{digest}|limit={limit}".encode()).hexdigest()


@dataclass(frozen=True)
class _Source:
    """Where a set's data lies: image files, or archives (none for a built-in set) and a function that reads them."""

    name: str
    split: Split
    base: Path = Path(".")  # paths in checksums and in ImageSet are relative to it
    files: tuple[tuple[str, Path], ...] = ()  # (class, path)
    archives: tuple[Path, ...] = ()
    read: Callable[[], tuple[np.ndarray, np.ndarray]] | None = None  # images, labels

    def paths(self):
        return [path for _, path in self.files] or list(self.archives)

    def count(self):
        if self.files:
            return len(self.files)
        return SETS[self.name].count(self.split)


def _locate(name, split, root):
    if split not in SPLITS:
        raise PGJRError(f"{name} has no split {split!r}: use one of {', '.join(SPLITS)}.")
    if name in BUILT_IN:
        return _Source(name, "all", read=BUILT_IN[name])
    kind, _, place = name.partition(":")
    if kind in ("folder", "images"):
        return _locate_folder(name, kind, place)
    if name not in SETS:
        raise PGJRError(f"{name!r} is no known data set: use one of {', '.join(SETS)}, or folder:/path to your images.")
    return _locate_named(name, split, root or os.environ.get("PGJR_DATA"))


def _locate_folder(name, kind, place):
    if not place:
        raise PGJRError(f"{name} names no folder: write {name}/path/to/images.")
    base = Path(os.path.expanduser(place))  # Path.expanduser fails on ~name where no user has that name
    if not base.is_dir():
        raise PGJRError(f"{base} is not a folder: give the path of a folder that holds images.")
    files = list_class_folders(base, name) if kind == "folder" else [("", path) for path in list_images(base)[0]]
    return _Source(name, "all", base, files=tuple(files))


def _locate_named(name, split, root):
    info = SETS[name]
    if split not in {*info.splits, "all"}:
        raise PGJRError(f"{name} has no split {split!r}: use one of {', '.join([*info.splits, 'all'])}.")
    if not root:
        raise PGJRError(
            f"No data root is set, so {name} was not found: set PGJR_DATA to the folder that holds"
            f" {name}/{split}/<class>/* (to get it: {info.download})."
        )
    root, splits = Path(os.path.expanduser(root)), info.splits if split == "all" else (split,)
    if all((root / name / part).is_dir() for part in splits):
        files = [item for part in splits for item in list_class_folders(root / name / part, f"{name} ({part})")]
        if info.class_names and (wrong := {label for label, _ in files} ^ set(info.class_names)):
            raise PGJRError(
                f"{root / name} is not {name}: class folder {min(wrong)} is missing or does not belong there."
            )
        return _Source(name, split, root, files=tuple(files))
    if (archive := find_archive(name, root, splits)) is not None:
        paths, read = archive
        return _Source(name, split, root, archives=tuple(paths), read=read)
    lists = [list_published(name, root, part) for part in splits]
    if all(lists):
        return _Source(name, split, root, files=tuple(item for part in lists for item in part))
    places = " and ".join(str(root / name / part) for part in splits)
    places += f" and {', '.join(str(root / layout) for layout in info.layouts)}" if info.layouts else ""
    raise PGJRError(f"{name} ({split}) was not found: looked for {places}; to get it: {info.download}.")


def _load_files(source, digest, rows, size, skip_corrupt):
    class_names = tuple(sorted({label for label, _ in source.files}))
    files = [source.files[i] for i in rows]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(lambda item: decode(item[1], size), files))
    decoded = [(label, path, result) for (label, path), result in zip(files, results, strict=True)]
    corrupt = [(path, result.error) for _, path, result in decoded if result.pixels is None]
    if corrupt and not skip_corrupt:
        path, error = corrupt[0]
        raise PGJRError(
            f"{path} cannot be read ({error}): repair or remove it, or leave such images out"
            " (skip_corrupt=True, or --skip-corrupt of `pgjr extract`)."
        )
    good = [item for item in decoded if item[2].pixels is not None]
    if not good:
        raise PGJRError(f"None of the {len(corrupt)} images of {source.name} can be read: check {source.base}.")
    _check_squares(good)
    index = {label: i for i, label in enumerate(class_names)}
    return ImageSet(
        source.name, source.split, np.stack([result.pixels for *_, result in good]),
        np.array([index[label] for label, *_ in good], dtype=np.int64), class_names,
        tuple(path.relative_to(source.base).as_posix() for _, path, _ in good), digest,
        _note(source.name, {result.lossy for *_, result in good}, len(corrupt)), len(corrupt),
    )  # fmt: skip


def _check_squares(good):
    expected = good[0][2].pixels.shape
    for _, path, result in good:
        _, height, width = result.pixels.shape
        if result.pixels.shape != expected or height != width:
            raise PGJRError(
                f"{path} is {width}x{height}, not a square of one size: resize the images, or let them be resized"
                " (size of data.load, image_size of a run)."
            )


def _note(name, lossy, corrupt):
    """Describe how loaded files differ from the official set: lossy codings, and the number of corrupt images."""
    info = SETS.get(name)
    expected = {""} if info and info.lossless else {"", "jpeg"}  # the other sets are published as JPEG files
    notes = ["re-encoded"] if info and lossy - expected else []
    if corrupt:
        notes.append(f"{corrupt} corrupt image{'s' * (corrupt > 1)} left out")
    return ", ".join(notes)


def _subset(count, limit, fold):
    """Choose the fixed random subset: sorted indices, seed 0."""
    if fold is not None:
        folds = count // limit if limit else 0
        if not 0 <= fold < folds:
            raise PGJRError(f"fold is {fold}, but {count} images make {folds} folds of {limit}: give a smaller one, from 0.")
        return np.sort(np.random.default_rng(0).permutation(count)[fold * limit : (fold + 1) * limit])
    if limit is None or limit >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, limit, replace=False))


def _whole(source):
    return _files_digest(source) if source.paths() else _arrays_digest(source)


def _arrays_digest(source):
    images, labels = source.read()
    return hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()


def _files_digest(source):
    names = [(path, path.relative_to(source.base).as_posix()) for path in source.paths()]
    stamps = "\n".join(f"{name}|{_stamp(path)}" for path, name in names)
    signature = hashlib.sha256(f"{source.base.resolve()}\n{stamps}".encode()).hexdigest()
    try:
        cache = read_sealed(cache_folder() / "checksums.json")
    except (OSError, PGJRError):  # an absent or damaged cache only costs time
        cache = {}
    if isinstance(cache.get(signature), str):
        return cache[signature]
    total, complete = hashlib.sha256(), True
    for path, name in names:
        try:
            content = file_sha256(path)
        except OSError as error:
            if source.archives:
                raise PGJRError(f"{path} cannot be read ({error.strerror}): change its permissions.") from None
            content, complete = "unreadable", False  # load treats it as a corrupt image
        total.update(f"{name}|{content}\n".encode())
    try:
        if complete:  # a file may become readable again without a change of its size and time
            write_sealed(cache_folder() / "checksums.json", {**cache, signature: total.hexdigest()})
    except (OSError, ValueError):  # a read-only cache only costs time
        pass
    return total.hexdigest()


def _stamp(path):
    try:
        status = path.stat()
    except OSError:
        return "unreadable"
    return f"{status.st_size}|{status.st_mtime_ns}"
