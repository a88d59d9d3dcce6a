"""The image sets: scikit-learn's digits, a generated one, the benchmarks, and any folder of class folders.

A named set lies under ``$PGJR_DATA`` in its official layout or as ``<set>/<split>/<class>/*``; the order of
its images is the order of their sorted paths. Nothing here imports torch.
"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pgjr_lib.data import pieces
from pgjr_lib.data import readers as official
from pgjr_lib.data.decoding import decode, resized
from pgjr_lib.errors import PGJRError
from pgjr_lib.storage import read_json, write_json

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})


@dataclass(frozen=True)
class SetInfo:
    """What is known of a named set: classes, image side, splits, official coding and layouts, where to get it."""

    classes: int
    side: int | None
    splits: tuple[str, ...]
    lossless: bool  # the official images are raw pixels, so any lossy file is a re-encoding
    source: str
    class_names: tuple[str, ...] = ()  # checked where the set is read from class folders
    official: tuple[str, ...] = ()  # folders of its official layouts, below the data root
    counts: tuple[int, ...] = ()  # official images, split by split


BOTH = ("train", "test")
CIFAR = "www.cs.toronto.edu/~kriz/cifar.html"
IMAGENET = ("imagenet/train", "imagenet/val")
SETS = {
    "digits": SetInfo(10, 8, ("all",), True, "it comes with scikit-learn", counts=(1797,)),
    "pieces": SetInfo(6, 32, ("all",), True, "it is generated", pieces.CLASS_NAMES, counts=(pieces.COUNT,)),
    "pieces-permuted": SetInfo(6, 32, ("all",), True, "it is generated", pieces.CLASS_NAMES, counts=(pieces.COUNT,)),
    "cifar10": SetInfo(
        10, 32, BOTH, True, f"unpack cifar-10-python.tar.gz of {CIFAR} there",
        official.CIFAR10, ("cifar-10-batches-py", "cifar-10-batches-bin"), (50_000, 10_000),
    ),
    "cifar20": SetInfo(
        20, 32, BOTH, True, f"unpack cifar-100-python.tar.gz of {CIFAR} there: it is CIFAR-100 by superclass",
        tuple(official.CIFAR20), ("cifar-100-python", "cifar-100-binary", "cifar100"), (50_000, 10_000),
    ),
    "stl10": SetInfo(
        10, 96, BOTH, True, "unpack stl10_binary.tar.gz of https://cs.stanford.edu/~acoates/stl10/ there",
        official.STL10, ("stl10_binary",), (5_000, 8_000),
    ),
    "imagenet-10": SetInfo(
        10, None, BOTH, False, "10 class folders of ImageNet (https://image-net.org)",
        official.IMAGENET10, IMAGENET, (13_000, 500),
    ),
    "imagenet-dogs": SetInfo(
        15, None, BOTH, False, "15 class folders of ImageNet (https://image-net.org)",
        official.IMAGENET_DOGS, IMAGENET, (19_500, 750),
    ),
    "tiny-imagenet": SetInfo(
        200, 64, BOTH, False, "unpack http://cs231n.stanford.edu/tiny-imagenet-200.zip there",
        official=("tiny-imagenet-200",), counts=(100_000, 10_000),
    ),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with their labels and what must stand beside every number made from them.

    Attributes:
        name, split: as asked for; ``digits`` and ``folder:`` have the one split ``all``.
        images: (N, 3, H, W) uint8.
        labels: (N,) int64, an index into ``class_names``.
        class_names: sorted names of all classes.
        paths: where each image came from, relative to the data root.
        checksum: SHA-256 of the stored files (and of ``limit``).
        note: "re-encoded" where lossy copies stand in for the originals, and how many images were left out.
    """

    name: str
    split: str
    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    paths: tuple[str, ...]
    checksum: str
    note: str = ""


def load(name, split="test", *, root=None, limit=None, size=None, skip_corrupt=False) -> ImageSet:
    """Load a set into memory.

    Args:
        name: one of ``SETS``, ``folder:/path`` (one folder a class) or ``images:/path`` (any folder, no labels).
        split: ``train``, ``test`` or ``all`` (train, then test).
        root: the data root, by default ``$PGJR_DATA``.
        limit: keep a fixed random subset of this many images (seed 0, order kept).
        size: resize the shorter side to this many pixels and crop the centre; by default images stay as they
            are, which needs them to be squares of one size.
        skip_corrupt: leave out images that cannot be read, and say how many in ``note``.

    Raises:
        PGJRError: unknown set or split, data missing, no images, a corrupt image, fewer than two classes.
    """
    if limit is not None and limit < 1:
        raise PGJRError(f"limit is {limit}, but at least one image is needed: give a positive number or none.")
    if size is not None and size < 1:
        raise PGJRError(f"size is {size}, but images need at least one pixel: give a positive number or none.")
    source = _locate(name, split, root)
    digest = checksum(name, split, root=root, limit=limit)
    if source.files:
        return _load_files(source, digest, limit, size, skip_corrupt)
    images, labels, class_names = source.arrays()
    keep = _subset(len(images), limit)
    images = images[keep]
    if size is not None and images.shape[-1] != size:
        images = np.stack([resized(image, size) for image in images])
    paths = tuple(f"{name}/{source.split}/{i:05d}" for i in keep)
    return ImageSet(name, source.split, images, labels[keep], class_names, paths, digest)


def available(name, split="test", root=None) -> bool:
    """Whether ``load`` would find this set's data."""
    try:
        _locate(name, split, root)
    except PGJRError:
        return False
    return True


def checksum(name, split="test", root=None, limit=None) -> str:
    """SHA-256 of a set's stored files; cheap when asked again (cached by names, sizes and times)."""
    source = _locate(name, split, root)
    digest = _cached_digest(source) if source.paths() else _array_digest(source)
    if limit is None or limit >= source.count():
        return digest
    return hashlib.sha256(f"{digest}|limit={limit}".encode()).hexdigest()


@dataclass(frozen=True)
class _Source:
    """Where a set lies: ``files`` [(class, path)], or ``archives`` (or nothing) that ``reader`` reads."""

    name: str
    split: str
    base: Path
    files: tuple = ()
    archives: tuple = ()
    reader: object = None

    def paths(self):
        return [path for _, path in self.files] or list(self.archives)

    def count(self):
        return len(self.files) or len(self.arrays()[0])

    def arrays(self):
        return self.reader(self.archives)


def _locate(name, split, root):
    """Find a set's data, or say where it was looked for and how to get it."""
    if split not in ("train", "test", "all"):
        raise PGJRError(f"{name} has no split {split!r}: use train, test or all.")
    if name in MADE:
        return _Source(name, "all", Path("."), reader=MADE[name])
    kind, _, place = name.partition(":")
    if kind in ("folder", "images"):
        if not place:
            raise PGJRError(f"{name} names no folder: write {name}/path/to/images.")
        base = Path(os.path.expanduser(place))  # Path's own would stop at ~name where there is no such user
        if not base.is_dir():
            raise PGJRError(f"{base} is not a folder: give the path of a folder that holds images.")
        files = _class_files(base, name) if kind == "folder" else tuple(("", path) for path in list_images(base)[0])
        return _Source(name, "all", base, files=files)
    if name not in SETS:
        raise PGJRError(f"{name!r} is no known data set: use one of {', '.join(SETS)}, or folder:/path to your images.")
    info = SETS[name]
    if split not in {*info.splits, "all"}:
        raise PGJRError(f"{name} has no split {split!r}: use one of {', '.join([*info.splits, 'all'])}.")
    root = root or os.environ.get("PGJR_DATA")
    if not root:
        raise PGJRError(
            f"No data root is set, so {name} was not found: set PGJR_DATA to the folder that holds"
            f" {name}/{split}/<class>/* (to get it: {info.source})."
        )
    root, splits = Path(os.path.expanduser(root)), info.splits if split == "all" else (split,)
    if all((root / name / part).is_dir() for part in splits):
        files = [item for part in splits for item in _class_files(root / name / part, f"{name} ({part})")]
        if info.class_names and (wrong := {c for c, _ in files} ^ set(info.class_names)):
            raise PGJRError(
                f"{root / name} is not {name}: class folder {min(wrong)} is missing or does not belong there."
            )
        return _Source(name, split, root, files=tuple(files))
    if (found := official.archives(name, root, splits)) is not None:
        return _Source(name, split, root, archives=found[0], reader=found[1])
    listed = [official.folders(name, root, part) for part in splits]
    if all(listed):
        return _Source(name, split, root, files=tuple(item for part in listed for item in part))
    looked = " and ".join(str(root / name / part) for part in splits)
    looked += f" and {', '.join(str(root / folder) for folder in info.official)}" if info.official else ""
    raise PGJRError(f"{name} ({split}) was not found: looked for {looked}; to get it: {info.source}.")


def list_images(base) -> tuple[list[Path], list[Path]]:
    """Everything below the folder ``base``, hidden files aside: (images by sorted path, files that are none).

    Raises:
        PGJRError: a folder that may not be read, or no image at all.
    """

    def refused(error):
        raise PGJRError(f"{error.filename} cannot be read ({error.strerror}): change its permissions or move it away.")

    found, visited = [], set()
    for folder, folders, names in os.walk(base, onerror=refused, followlinks=True):
        place = os.stat(folder)
        if (place.st_dev, place.st_ino) in visited:  # a link to a folder that was here already
            folders.clear()
            continue
        visited.add((place.st_dev, place.st_ino))
        folders[:] = sorted(entry for entry in folders if not entry.startswith("."))
        found += [Path(folder, n) for n in names if not n.startswith(".")]
    images = sorted(path for path in found if path.suffix.lower() in SUFFIXES and path.is_file() and _is_text(path))
    if not images:
        raise PGJRError(f"{base} holds no images: put {', '.join(sorted(SUFFIXES))} files into it.")
    return images, sorted(set(found) - set(images))


def _is_text(path) -> bool:
    """Whether a path is UTF-8, as tables and pages are; a name from an old archive may not be."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _class_files(base, what):
    """All images under ``base`` as (class, path), by sorted path; the class is the first folder level."""
    pairs = [(path.relative_to(base).parts, path) for path in list_images(base)[0]]
    if loose := [path for parts, path in pairs if len(parts) == 1]:
        raise PGJRError(f"{loose[0]} lies in no class folder: move it into a folder named after its class.")
    if len({parts[0] for parts, _ in pairs}) < 2:
        raise PGJRError(
            f"{what} has the one class {pairs[0][0][0]!r} in {base}: at least two class folders are needed."
        )
    return tuple((parts[0], path) for parts, path in pairs)


def _load_files(source, digest, limit, size, skip_corrupt):
    class_names = tuple(sorted({label for label, _ in source.files}))
    chosen = [source.files[i] for i in _subset(len(source.files), limit)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        decoded = list(pool.map(lambda item: decode(item[1], size), chosen))
    corrupt = [(path, image) for (_, path), (image, _) in zip(chosen, decoded, strict=True) if isinstance(image, str)]
    if corrupt and not skip_corrupt:
        raise PGJRError(
            f"{corrupt[0][0]} cannot be read ({corrupt[0][1]}): repair or remove it, or leave such images out"
            " (skip_corrupt=True, or --skip-corrupt of `pgjr extract`)."
        )
    good = [
        (label, path, image, lossy)
        for (label, path), (image, lossy) in zip(chosen, decoded, strict=True)
        if not isinstance(image, str)
    ]
    if not good:
        raise PGJRError(f"None of the {len(corrupt)} images of {source.name} can be read: check {source.base}.")
    for _, path, image, _ in good:
        if image.shape != good[0][2].shape or image.shape[1] != image.shape[2]:
            raise PGJRError(
                f"{path} is {image.shape[2]}x{image.shape[1]}, not a square of one size: resize the images,"
                " or have it done (size of datasets.load, image_size of a run)."
            )
    official = SETS.get(source.name)
    lossy = {kind for *_, kind in good if kind} - ({"jpeg"} if official and not official.lossless else set())
    notes = ["re-encoded"] * bool(official and lossy)
    notes += [f"{len(corrupt)} corrupt image{'s' * (len(corrupt) > 1)} left out"] * bool(corrupt)
    index = {label: i for i, label in enumerate(class_names)}
    return ImageSet(
        source.name, source.split, np.stack([image for _, _, image, _ in good]),
        np.array([index[label] for label, *_ in good], dtype=np.int64), class_names,
        tuple(path.relative_to(source.base).as_posix() for _, path, *_ in good), digest, ", ".join(notes),
    )  # fmt: skip


def _subset(count, limit):
    """Indices of the fixed random subset: seed 0, sorted."""
    if limit is None or limit >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, limit, replace=False))


def _digits(_):
    from sklearn.datasets import load_digits

    data = load_digits()
    grey = np.rint(data.images * (255 / 16)).astype(np.uint8)
    return np.repeat(grey[:, None], 3, axis=1), data.target.astype(np.int64), tuple("0123456789")


MADE = {  # sets that need no files
    "digits": _digits,
    "pieces": lambda _: pieces.generate(),
    "pieces-permuted": lambda _: pieces.generate(permuted=True),
}


def _array_digest(source):
    images, labels, _ = source.arrays()
    return hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()


def _cached_digest(source):
    names = [(path, path.relative_to(source.base).as_posix()) for path in source.paths()]
    lines = "\n".join(f"{name}|{_stamp(path)}" for path, name in names)
    signature = hashlib.sha256(f"{source.base.resolve()}\n{lines}".encode()).hexdigest()
    try:
        cache = read_json(_cache_file())
    except (OSError, PGJRError):  # absent, damaged or out of reach: it is only a cache
        cache = {}
    if isinstance(cache.get(signature), str):
        return cache[signature]
    total, whole = hashlib.sha256(), True
    for path, name in names:
        try:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError:
            if not source.files:  # an archive, without which there is no set
                raise
            content, whole = "unreadable", False  # it counts as a corrupt image
        total.update(f"{name}|{content}\n".encode())
    try:
        if whole:  # permissions may come back without a trace in sizes and times
            write_json(_cache_file(), {**cache, signature: total.hexdigest()})
    except (OSError, ValueError):  # a read-only place costs time, not correctness
        pass
    return total.hexdigest()


def _stamp(path):
    try:
        stat = path.stat()
    except OSError:
        return "unreadable"
    return f"{stat.st_size}|{stat.st_mtime_ns}"


def _cache_file():
    """Below ``$PGJR_CACHE``, else the checkout that the current folder lies in, else the user's own cache."""
    here = Path.cwd()
    checkout = next((at for at in (here, *here.parents) if (at / "experiments.yaml").is_file()), None)
    users = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "pgjr"
    return Path(os.environ.get("PGJR_CACHE") or (checkout / "build/cache" if checkout else users)) / "checksums.json"
