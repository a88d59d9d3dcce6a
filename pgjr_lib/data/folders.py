"""List image files: any folder, folders of class folders, and the sets that are published as image files."""

import os
import re
from importlib.util import find_spec
from pathlib import Path

from pgjr_lib.data.sets import SETS, SUPERCLASS_OF
from pgjr_lib.errors import PGJRError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})

HEIF_SUFFIXES = frozenset({".heic", ".heif"})  # read where pillow-heif is installed
RAW_SUFFIXES = frozenset(  # cameras' own formats, which are not read
    {".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef",
     ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"}
)  # fmt: skip


def readable_suffixes() -> frozenset[str]:
    """Return the suffixes of image files that can be read on this machine, in lower case."""
    return SUFFIXES | HEIF_SUFFIXES if find_spec("pillow_heif") else SUFFIXES


def list_images(base) -> tuple[list[Path], list[Path]]:
    """List all files below the folder ``base``, except hidden ones.

    Links are followed; a folder that several links lead to is listed once.

    Returns:
        (images by sorted path, all other files by sorted path).

    Raises:
        PGJRError: a folder cannot be read, the path of ``base`` is not UTF-8, or there is no image at all.
    """

    def refuse(error):
        raise PGJRError(f"{error.filename} cannot be read ({error.strerror}): change its permissions or move it away.")

    if not _is_text(base):
        raise PGJRError(f"The path {ascii(str(base))} is not UTF-8, as tables and pages need: rename the folder.")
    files, visited = [], set()
    for folder, subfolders, names in os.walk(base, onerror=refuse, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in visited:  # a link led back here
            subfolders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        # sorted, because the first of several links to a folder gives its images their paths
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        files += [Path(folder, name) for name in names if not name.startswith(".")]
    suffixes = readable_suffixes()
    images = sorted(path for path in files if path.suffix.lower() in suffixes and path.is_file() and _is_text(path))
    if not images:
        raise PGJRError(f"{base} holds no images: put {', '.join(sorted(suffixes))} files into it.")
    return images, sorted(set(files) - set(images))


def list_class_folders(base: Path, description: str) -> list[tuple[str, Path]]:
    """List all images below ``base`` as (class, path) by sorted path; a class is a folder directly in ``base``.

    Raises:
        PGJRError: no images, an image outside the class folders, or fewer than two classes; the sentence names the
            set by ``description``.
    """
    pairs = [(path.relative_to(base).parts, path) for path in list_images(base)[0]]
    if loose := [path for parts, path in pairs if len(parts) == 1]:
        raise PGJRError(f"{loose[0]} lies in no class folder: move it into a folder named after its class.")
    if len({parts[0] for parts, _ in pairs}) < 2:
        raise PGJRError(
            f"{description} has only one class, {pairs[0][0][0]!r}, in {base}: provide at least two class folders."
        )
    return [(parts[0], path) for parts, path in pairs]


def list_published(name: str, root: Path, split: str) -> list[tuple[str, Path]] | None:
    """List a split of ImageNet's subsets, Tiny-ImageNet or CIFAR-100's fine class folders as (class, path).

    Returns:
        The images in a fixed order, or None where ``root`` has no folder of such a layout.

    Raises:
        PGJRError: the folder is there but is incomplete or is not what the set's name says.
    """
    if name in ("imagenet-10", "imagenet-dogs"):
        return _list_imagenet(name, root / dict(zip(SETS[name].splits, SETS[name].layouts, strict=True))[split])
    if name == "cifar20":
        return _list_cifar100(root / "cifar100" / split)
    if name == "tiny-imagenet":
        return _list_tiny_imagenet(root / "tiny-imagenet-200", split)
    return None


def _list_imagenet(name, base):
    class_names = SETS[name].class_names
    if not base.is_dir():
        return None
    if missing := [c for c in class_names if not (base / c).is_dir()]:
        raise PGJRError(f"{base} lacks the class folder {missing[0]} of {name}: unpack ImageNet there.")
    images = {c: _list_jpegs(base / c, "*") for c in class_names}
    if empty := [c for c in class_names if not images[c]]:
        raise PGJRError(f"{base / empty[0]} holds no JPEG images, and {name} needs them: unpack ImageNet there.")
    return [(c, path) for c in class_names for path in images[c]]


def _list_cifar100(base):
    if not base.is_dir():
        return None
    if unknown := [f.name for f in sorted(base.iterdir()) if f.is_dir() and f.name not in SUPERCLASS_OF]:
        raise PGJRError(
            f"{base / unknown[0]} is no class of CIFAR-100: give every folder the name of a fine class, such as"
            " aquarium_fish."
        )
    return [(SUPERCLASS_OF[path.parent.name], path) for path in sorted(base.glob("*/*")) if path.is_file()]


def _list_tiny_imagenet(base, split):
    if not base.is_dir():
        return None
    if split == "train":
        return [(path.parents[1].name, path) for path in _list_jpegs(base / "train", "*/images/*")]
    annotations = base / "val" / "val_annotations.txt"
    try:
        lines = [line for line in annotations.read_text(errors="replace").splitlines() if line.strip()]
    except FileNotFoundError:
        raise PGJRError(f"{base / 'val'} lacks val_annotations.txt: unpack tiny-imagenet-200.zip again.") from None
    # a plain file name, so that no line leads out of the folder; then a class and a box
    rows = [re.match(r"([^/\\\0\t]+\.jpe?g)\t([^\t]+)", line, re.IGNORECASE) for line in lines]
    if None in rows:
        wrong = lines[rows.index(None)]
        raise PGJRError(f"{annotations} has the line {wrong!r} instead of a file name and a class: unpack it again.")
    return sorted((row[2], base / "val" / "images" / row[1]) for row in rows)


def _list_jpegs(base, pattern):
    return sorted(path for path in base.glob(pattern) if path.suffix.lower() in (".jpeg", ".jpg"))


def _is_text(path) -> bool:
    """Say whether a path can be written as UTF-8, as tables and pages need; a name from an old archive may not."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True
