"""Lay out the classes of ImageNet that a set uses, from a copy of ImageNet that the user has."""

import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pgjr_lib.data.loading import available
from pgjr_lib.data.sets import SETS
from pgjr_lib.errors import PGJRError
from pgjr_lib.progress import progress

SPLIT_FOLDERS = {"train": "train", "test": "val"}  # our split -> ImageNet's
TRAIN_ARCHIVE = "ILSVRC2012_img_train.tar"


def lay_out(name: str, root: Path, imagenet: Path | None) -> Path:
    """Copy the class folders that a set uses to ``<root>/<set>/<split>/<class>``; nothing else of ImageNet is touched.

    Args:
        name: a set of classes of ImageNet.
        root: the data root.
        imagenet: a folder with ``train/`` and ``val/`` of class folders, a folder of class folders, or the official
            archive of the training images, which holds one archive a class.

    Returns:
        The folder of the set.

    Raises:
        PGJRError: no copy of ImageNet is given, it lacks a class, or it is none.
    """
    folder, classes = root / name, SETS[name].class_names
    if imagenet is None:
        if available(name, "train", root):
            return folder if folder.is_dir() else root / "imagenet"
        raise PGJRError(
            f"{name} is {len(classes)} classes of ImageNet, which cannot be fetched without an account:\n"
            f"register at https://image-net.org/download, and download {TRAIN_ARCHIVE};\n"
            f"then `pgjr fetch {name} --imagenet path/to/{TRAIN_ARCHIVE}` copies these classes to {folder}."
        )
    if imagenet.is_file():
        _copy(folder / "train", classes, _from_archive(imagenet, classes), imagenet)
    elif (imagenet / "train").is_dir():
        for split, theirs in SPLIT_FOLDERS.items():
            if (imagenet / theirs).is_dir():
                _copy(folder / split, classes, _from_folder(imagenet / theirs, classes), imagenet / theirs)
    elif imagenet.is_dir():
        _copy(folder / "train", classes, _from_folder(imagenet, classes), imagenet)
    else:
        raise PGJRError(f"{imagenet} does not exist: give ImageNet's folder or {TRAIN_ARCHIVE}.")
    return folder


def _copy(target: Path, classes: tuple[str, ...], files: Iterator, origin: Path) -> None:
    """Write the (class, name, stream) of ``files`` below ``target``, which appears when all classes are there."""
    if target.is_dir():  # it appears whole
        return
    work = target.with_name(f".{target.name}.copying")
    shutil.rmtree(work, ignore_errors=True)
    found = set()
    try:
        for label, name, source in progress(files, f"copying {target.parent.name}, {target.name}", "image"):
            found.add(label)
            (work / label).mkdir(parents=True, exist_ok=True)
            with source, open(work / label / PurePosixPath(name).name, "wb") as stream:
                shutil.copyfileobj(source, stream)
        if missing := [label for label in classes if label not in found]:
            raise PGJRError(f"{origin} has no images of class {missing[0]}: give a whole copy of ImageNet.")
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _from_folder(folder: Path, classes: tuple[str, ...]) -> Iterator:
    for label in classes:
        if not (folder / label).is_dir():
            raise PGJRError(f"{folder} has no class folder {label}: give a whole copy of ImageNet.")
        for path in sorted((folder / label).iterdir()):
            if path.is_file():
                yield label, path.name, open(path, "rb")


def _from_archive(path: Path, classes: tuple[str, ...]) -> Iterator:
    """Read ImageNet's training archive, an archive of one archive a class."""
    try:
        with tarfile.open(path) as outer:
            for member in outer:
                label = PurePosixPath(member.name).stem
                if label not in classes or not member.isfile():
                    continue
                with tarfile.open(fileobj=outer.extractfile(member)) as inner:
                    for image in inner:
                        if image.isfile():
                            yield label, image.name, inner.extractfile(image)
    except tarfile.TarError as error:
        raise PGJRError(f"{path} is no archive of ImageNet ({error}): give {TRAIN_ARCHIVE} or a folder.") from None
