"""Read the sets that are not image files: the archives of CIFAR and STL-10, and the sets that need no files.

torchvision reads CIFAR's Python version and STL-10, but only files with the published MD5: CIFAR's are pickles, which
can run code when they are opened. All readers give images (N, 3, H, W) uint8 and labels (N,) int64. torch is imported
when a file is read, not before.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from pgjr_lib.data import pieces
from pgjr_lib.data.sets import CIFAR20, SETS, SUPERCLASS_OF
from pgjr_lib.errors import PGJRError

# layout -> split -> files; files in one tuple are read together
_CIFAR10_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
_FILES = {
    "cifar-10-batches-py": {"train": [(batch,) for batch in _CIFAR10_BATCHES], "test": [("test_batch",)]},
    "cifar-10-batches-bin": {"train": [(f"{batch}.bin",) for batch in _CIFAR10_BATCHES], "test": [("test_batch.bin",)]},
    "cifar-100-python": {"train": [("train",)], "test": [("test",)]},
    "cifar-100-binary": {"train": [("train.bin",)], "test": [("test.bin",)]},
    "stl10_binary": {"train": [("train_X.bin", "train_y.bin")], "test": [("test_X.bin", "test_y.bin")]},
}
# CIFAR-100 numbers its fine classes in alphabetical order
_SUPERCLASS_INDEX = np.array([CIFAR20.index(SUPERCLASS_OF[fine]) for fine in sorted(SUPERCLASS_OF)])


def find_archive(name: str, root: Path, splits) -> tuple[list[Path], Callable] | None:
    """Find the official files of a set below ``root``.

    Returns:
        (files of ``splits``, a function without arguments that reads them into images and labels), or None where there
        is no folder of an official layout.

    Raises:
        PGJRError: the folder lacks a file. The function raises it for a file that is not the official one.
    """
    for layout in SETS[name].layouts:
        if layout in _FILES and (root / layout).is_dir():
            parts = [[root / layout / file for file in part] for split in splits for part in _FILES[layout][split]]
            paths = [path for part in parts for path in part]
            if missing := [path for path in paths if not path.is_file()]:
                raise PGJRError(f"{missing[0]} is missing: unpack the whole archive of {name} there.")
            return paths, partial(_read_all, _READERS[layout], parts)
    return None


def _read_all(read, parts):
    images, labels = zip(*(read(*part) for part in parts), strict=True)
    return np.ascontiguousarray(np.concatenate(images)), np.concatenate(labels)


def _open_official(dataset: str, paths):
    """Give the files at ``paths`` to torchvision's ``dataset`` after checking their MD5."""
    from torchvision import datasets
    from torchvision.datasets.utils import check_integrity

    official = getattr(datasets, dataset)
    md5 = dict(official.train_list + official.test_list)
    for path in paths:
        if not check_integrity(path, md5[path.name]):
            raise PGJRError(f"{path} is not the official file (its MD5 differs): unpack {official.filename} again.")

    class Part(official):
        # torchvision requires every file it lists, so the list holds these alone; the training list is the default
        train_list = [[path.name, md5[path.name]] for path in paths]
        test_list = []

        def _load_meta(self):
            """Skip the archive's class names, which ``SETS`` holds."""

    return Part(paths[0].parent.parent)


def _read_cifar10(path):
    batch = _open_official("CIFAR10", [path])
    return batch.data.transpose(0, 3, 1, 2), _check_labels(batch.targets, SETS["cifar10"].classes, path)


def _read_cifar20(path):
    batch = _open_official("CIFAR100", [path])
    fine = _check_labels(batch.targets, len(_SUPERCLASS_INDEX), path)
    return batch.data.transpose(0, 3, 1, 2), _SUPERCLASS_INDEX[fine]


def _read_stl10(pixels, labels):
    part = _open_official("STL10", [pixels, labels])
    return part.data, _check_labels(part.labels, SETS["stl10"].classes, labels)


def _read_cifar_binary(path, *, label_bytes, classes):
    """Read CIFAR's binary version: a record is its label bytes, of which the first counts, and 3,072 pixel bytes."""
    records, length = 50_000 if path.name == "train.bin" else 10_000, label_bytes + 3072
    if path.stat().st_size != records * length:
        raise PGJRError(f"{path} is truncated or not the official file: unpack the archive again.")
    rows = np.fromfile(path, dtype=np.uint8).reshape(records, length)
    return rows[:, label_bytes:].reshape(-1, 3, 32, 32), _check_labels(rows[:, 0], classes, path)


def _check_labels(labels, classes, path):
    labels = np.asarray(labels, dtype=np.int64)
    if ((labels < 0) | (labels >= classes)).any():
        raise PGJRError(f"{path} holds labels of no class, so it is not the official file: unpack the archive again.")
    return labels


_READERS = {
    "cifar-10-batches-py": _read_cifar10,
    "cifar-10-batches-bin": partial(_read_cifar_binary, label_bytes=1, classes=SETS["cifar10"].classes),
    "cifar-100-python": _read_cifar20,
    "cifar-100-binary": partial(_read_cifar_binary, label_bytes=2, classes=SETS["cifar20"].classes),
    "stl10_binary": _read_stl10,
}


def _read_digits():
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    return np.repeat(grey[:, None], 3, axis=1), digits.target.astype(np.int64)


BUILT_IN = {  # sets that need no files: name -> function that gives images and labels
    "digits": _read_digits,
    "pieces": lambda: pieces.generate()[:2],
    "pieces-hard": lambda: pieces.generate(difficulty=pieces.HARD)[:2],
}
