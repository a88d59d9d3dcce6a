"""The official layouts of the benchmarks and the class lists that go with their names.

Nothing here is unpickled but files whose MD5 is the official one, and those by an unpickler that knows arrays only.
"""

import hashlib
import io
import pickle
import re
from pathlib import Path

import numpy as np

from pgjr_lib.errors import PGJRError

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
STL10 = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
IMAGENET10 = ("n02056570", "n02085936", "n02128757", "n02690373", "n02692877", "n03095699", "n04254680", "n04285008",
              "n04467665", "n07747607")  # fmt: skip
IMAGENET_DOGS = ("n02085936", "n02086646", "n02088238", "n02091467", "n02097130", "n02099601", "n02101388",
                 "n02101556", "n02102177", "n02105056", "n02105412", "n02105855", "n02107142", "n02110958",
                 "n02112137")  # fmt: skip
CIFAR20 = {  # CIFAR-100's superclasses in the order of their labels, with their fine classes (Krizhevsky, 2009)
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}
SUPERCLASS = {fine: coarse for coarse, names in CIFAR20.items() for fine in names.split()}
MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7cb0f",
    "test_batch": "40351d587109b95175f43aff81a1287e",
    "train": "16019d7e3df5f24257cddd939b257f8d",  # CIFAR-100
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
}
_TEN = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}
_TWO = {"train": ["train"], "test": ["test"]}


def archives(name: str, root: Path, splits):
    """The official files of a set below ``root`` and what reads them, or None where there is no such folder.

    Returns:
        (paths, reader) where ``reader(paths)`` gives images (N, 3, H, W) uint8, labels (N,) int64, class names.

    Raises:
        PGJRError: the folder is there and a file of it is not.
    """
    for folder, stems, suffixes, reader in _LAYOUTS.get(name, ()):
        if (root / folder).is_dir():
            paths = tuple(root / folder / f"{stem}{end}" for part in splits for stem in stems[part] for end in suffixes)
            if missing := [path for path in paths if not path.is_file()]:
                raise PGJRError(f"{missing[0]} is missing: unpack the whole of {name}'s archive there.")
            return paths, reader
    return None


def folders(name: str, root: Path, split: str):
    """[(class, image path)] of ImageNet's subsets and Tiny-ImageNet as they are published, or None."""
    if name in ("imagenet-10", "imagenet-dogs"):
        base = root / "imagenet" / {"train": "train", "test": "val"}[split]
        wanted = IMAGENET10 if name == "imagenet-10" else IMAGENET_DOGS
        if not base.is_dir():
            return None
        if missing := [c for c in wanted if not (base / c).is_dir()]:
            raise PGJRError(f"{base} lacks the class folder {missing[0]} of {name}: unpack ImageNet there.")
        listed = {c: _jpegs(base / c, "*") for c in wanted}
        if empty := [c for c in wanted if not listed[c]]:
            raise PGJRError(f"{base / empty[0]} holds no JPEG images, and {name} needs them: unpack ImageNet there.")
        return [(c, path) for c in wanted for path in listed[c]]
    if name == "cifar20" and (base := root / "cifar100" / split).is_dir():
        if unknown := [f.name for f in sorted(base.iterdir()) if f.is_dir() and f.name not in SUPERCLASS]:
            raise PGJRError(f"{base / unknown[0]} is no class of CIFAR-100: its folders are named like aquarium_fish.")
        return [(SUPERCLASS[path.parent.name], path) for path in sorted(base.glob("*/*")) if path.is_file()]
    base = root / "tiny-imagenet-200"
    if name != "tiny-imagenet" or not base.is_dir():
        return None
    if split == "train":
        return [(path.parents[1].name, path) for path in _jpegs(base / "train", "*/images/*")]
    listing = base / "val" / "val_annotations.txt"
    try:
        lines = [line for line in listing.read_text(errors="replace").splitlines() if line.strip()]
    except FileNotFoundError:
        raise PGJRError(f"{base / 'val'} lacks val_annotations.txt: unpack tiny-imagenet-200.zip again.") from None
    # a plain file name, a class and a box: no line leads out of the folder
    rows = [re.match(r"([^/\\\0\t]+\.jpe?g)\t([^\t]+)", line, re.IGNORECASE) for line in lines]
    if None in rows:
        wrong = lines[rows.index(None)]
        raise PGJRError(f"{listing} has the line {wrong!r} for a file name and a class: unpack the archive again.")
    return sorted((row[2], base / "val" / "images" / row[1]) for row in rows)


def _jpegs(base, pattern):
    return sorted(path for path in base.glob(pattern) if path.suffix.lower() in (".jpeg", ".jpg"))


def _in_range(labels, path, class_names):
    """Labels as int64, where each is an index into ``class_names``."""
    labels = np.asarray(labels, dtype=np.int64)
    if ((labels < 0) | (labels >= len(class_names))).any():
        raise PGJRError(f"{path} holds labels of no class and is no official file: unpack the archive again.")
    return labels


def _cifar_binaries(label_bytes, class_names, records):
    """A reader of CIFAR's binary version: label bytes (the first is used), then 3,072 pixel bytes a record."""

    def read(paths):
        parts, labels = [], []
        for path in paths:
            if path.stat().st_size != records.get(path.stem, 10_000) * (label_bytes + 3072):
                raise PGJRError(f"{path} is truncated or no official file: unpack the archive again.")
            parts.append(np.fromfile(path, dtype=np.uint8).reshape(-1, label_bytes + 3072))
            labels.append(_in_range(parts[-1][:, 0], path, class_names))
        rows = np.concatenate(parts)
        return rows[:, label_bytes:].reshape(-1, 3, 32, 32), np.concatenate(labels), class_names

    return read


def _cifar_pickles(label_key, class_names):
    """A reader of CIFAR's Python version: pickles with the official MD5 only, by a restricted unpickler."""

    def read(paths):
        images, labels = [], []
        for path in paths:
            data = path.read_bytes()
            if hashlib.md5(data, usedforsecurity=False).hexdigest() != MD5[path.name]:
                raise PGJRError(f"{path} is not the official file (MD5 differs): unpack the archive again.")
            batch = _ArraysOnly(io.BytesIO(data), encoding="bytes").load()
            images.append(batch[b"data"])
            labels.append(_in_range(batch[label_key], path, class_names))
        pixels = np.concatenate(images).astype(np.uint8, copy=False).reshape(-1, 3, 32, 32)
        return pixels, np.concatenate(labels), class_names

    return read


def _stl_binaries(paths):
    """STL-10's files: 96x96 pixels column by column, labels from 1 to 10."""
    images, labels = [], []
    for pixels, classes in zip(paths[::2], paths[1::2], strict=True):
        count = classes.stat().st_size
        if pixels.stat().st_size != count * 3 * 96 * 96:
            raise PGJRError(f"{pixels} is truncated or no official file: unpack stl10_binary.tar.gz again.")
        images.append(np.fromfile(pixels, dtype=np.uint8).reshape(count, 3, 96, 96).transpose(0, 1, 3, 2))
        labels.append(_in_range(np.fromfile(classes, dtype=np.uint8).astype(np.int64) - 1, classes, STL10))
    return np.ascontiguousarray(np.concatenate(images)), np.concatenate(labels), STL10


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that knows numpy arrays and plain containers, and no other name."""

    def find_class(self, module, name):
        if module in {"numpy.core.multiarray", "numpy._core.multiarray"} and name == "_reconstruct":
            return np._core.multiarray._reconstruct
        if module == "numpy" and name in {"ndarray", "dtype"}:
            return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes in protocol 2
            return super().find_class(module, name)
        raise PGJRError(f"A CIFAR file names {module}.{name}, which no official one does: unpack the archive again.")


_LAYOUTS = {  # set: (folder, stems a split, endings, reader)
    "cifar10": (
        ("cifar-10-batches-py", _TEN, ("",), _cifar_pickles(b"labels", CIFAR10)),
        ("cifar-10-batches-bin", _TEN, (".bin",), _cifar_binaries(1, CIFAR10, {})),
    ),
    "cifar20": (
        ("cifar-100-python", _TWO, ("",), _cifar_pickles(b"coarse_labels", tuple(CIFAR20))),
        ("cifar-100-binary", _TWO, (".bin",), _cifar_binaries(2, tuple(CIFAR20), {"train": 50_000})),
    ),
    "stl10": (("stl10_binary", _TWO, ("_X.bin", "_y.bin"), _stl_binaries),),
}
