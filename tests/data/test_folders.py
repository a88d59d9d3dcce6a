"""Folders of images: which files count, their order, and the sets that are published as image files."""

import os

import numpy as np
import pytest
from PIL import Image

from pgjr_lib import data
from pgjr_lib.data.sets import CIFAR20, IMAGENET10, SUPERCLASS_OF
from pgjr_lib.errors import PGJRError


@pytest.fixture
def jpeg(picture):
    return lambda path: picture(path, (64, 64), format="JPEG")


def test_folder_takes_the_first_level_as_class_and_sorts_paths(folder):
    loaded = data.load(f"folder:{folder}")
    assert loaded.paths == ("cat/b.png", "cat/deep/a.png", "dog/x.png", "dog/y.jpg")
    assert loaded.labels.tolist() == [0, 0, 1, 1] and loaded.class_names == ("cat", "dog")
    assert loaded.note == ""


def test_images_and_other_files_are_listed_apart_and_hidden_ones_not_at_all(folder, picture):
    (folder / "notes.txt").write_text("no image")
    (folder / "cat" / "gone.png").symlink_to(folder / "nowhere.png")
    picture(folder / ".hidden.png")
    picture(folder / ".git" / "a.png")
    images, others = data.list_images(folder)
    assert [path.name for path in images] == ["b.png", "a.png", "x.png", "y.jpg"]
    assert [path.name for path in others] == ["gone.png", "notes.txt"]


def test_folder_without_images_or_with_one_class_or_loose_images(tmp_path, picture):
    with pytest.raises(PGJRError, match="holds no images"):
        data.load(f"folder:{tmp_path}")
    picture(tmp_path / "one" / "a.png")
    with pytest.raises(PGJRError, match="one class, 'one'.*at least two"):
        data.load(f"folder:{tmp_path}")
    picture(tmp_path / "two" / "a.png")
    picture(tmp_path / "loose.png")
    with pytest.raises(PGJRError, match=r"loose\.png lies in no class folder"):
        data.load(f"folder:{tmp_path}")
    with pytest.raises(PGJRError, match="is not a folder"):
        data.load("folder:/nowhere/at/all")
    with pytest.raises(PGJRError, match="images: names no folder"):
        data.load("images:")


def test_a_tilde_folder_of_no_user_is_taken_as_it_is(folder, tmp_path, monkeypatch):
    folder.rename(tmp_path / "~no-such-user")
    monkeypatch.chdir(tmp_path)
    assert len(data.load("folder:~no-such-user").labels) == 4
    with pytest.raises(PGJRError, match="~nobody-at-all is not a folder"):
        data.load("folder:~nobody-at-all")
    assert not data.available("cifar10", "test", "~nobody-at-all")


@pytest.mark.parametrize("backwards", [False, True])
def test_folders_are_walked_in_one_order_whatever_the_file_system(backwards, tmp_path, picture, monkeypatch):
    picture(tmp_path / "images" / "z" / "0.png")
    (tmp_path / "images" / "a").symlink_to("z")  # the one visited first gives the images their names
    walk = os.walk

    def other(*args, **options):
        for folder, folders, names in walk(*args, **options):
            folders.sort(reverse=backwards)
            yield folder, folders, names

    monkeypatch.setattr(os, "walk", other)
    assert data.load(f"images:{tmp_path / 'images'}").paths == ("a/0.png",)


def test_cifar100_in_fine_folders_becomes_the_twenty_superclasses(tmp_path):
    for i, fine in enumerate(SUPERCLASS_OF):
        path = tmp_path / "cifar100" / "test" / fine / "0.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(np.full((32, 32, 3), i, dtype=np.uint8)).save(path)
    loaded = data.load("cifar20", root=tmp_path)
    assert loaded.class_names == CIFAR20 and np.bincount(loaded.labels).tolist() == [5] * 20
    label_of = dict(zip(loaded.images[:, 0, 0, 0].tolist(), loaded.labels.tolist(), strict=True))
    tulip = list(SUPERCLASS_OF).index("tulip")
    assert loaded.class_names[label_of[tulip]] == "flowers"
    (tmp_path / "cifar100" / "test" / "unicorn").mkdir()
    with pytest.raises(PGJRError, match="unicorn is no class of CIFAR-100"):
        data.load("cifar20", root=tmp_path)


def test_imagenets_subsets_are_taken_from_imagenets_folders(tmp_path, jpeg):
    for name in (*IMAGENET10, "n09999999"):
        jpeg(tmp_path / "imagenet" / "train" / name / f"{name}_1.JPEG")
    loaded = data.load("imagenet-10", "train", root=tmp_path)
    assert loaded.class_names == IMAGENET10 and len(loaded.labels) == 10 and loaded.note == ""
    with pytest.raises(PGJRError, match="lacks the class folder n02086646 of imagenet-dogs"):
        data.load("imagenet-dogs", "train", root=tmp_path)
    first = tmp_path / "imagenet" / "train" / IMAGENET10[0]
    (first / f"{first.name}_1.JPEG").rename(first / "1.jpg")
    assert len(data.load("imagenet-10", "train", root=tmp_path).labels) == 10
    (first / "1.jpg").unlink()
    with pytest.raises(PGJRError, match=f"{first.name} holds no JPEG images"):
        data.load("imagenet-10", "train", root=tmp_path)
    with pytest.raises(PGJRError, match=r"imagenet-10 \(test\) was not found: looked for .*imagenet/val"):
        data.load("imagenet-10", root=tmp_path)


def test_tiny_imagenet_as_published(tmp_path, jpeg):
    base = tmp_path / "tiny-imagenet-200"
    for i, name in enumerate(("n01", "n02")):
        jpeg(base / "train" / name / "images" / f"{name}_0.JPEG")
        jpeg(base / "val" / "images" / f"val_{i}.JPEG")
    with pytest.raises(PGJRError, match=r"lacks val_annotations\.txt"):
        data.load("tiny-imagenet", root=tmp_path)
    (base / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn02\t0\t0\t9\t9\nval_1.JPEG\tn01\t0\t0\t9\t9\n")
    assert data.load("tiny-imagenet", "train", root=tmp_path).class_names == ("n01", "n02")
    held_out = data.load("tiny-imagenet", root=tmp_path)
    assert held_out.paths == ("tiny-imagenet-200/val/images/val_1.JPEG", "tiny-imagenet-200/val/images/val_0.JPEG")
    assert held_out.labels.tolist() == [0, 1]


def test_tiny_imagenets_list_is_not_trusted(tmp_path, jpeg):
    base = tmp_path / "tiny-imagenet-200" / "val"
    jpeg(base / "images" / "val_0.jpeg")
    jpeg(tmp_path.parent / "secret.JPEG")
    (base / "val_annotations.txt").write_text("val_0.jpeg\tn02\t0\t0\t9\t9\n\nval_1.JPEG\tn01\t0\t0\t9\t9\n \n")
    with pytest.raises(PGJRError, match=r"val_1\.JPEG cannot be read \(FileNotFoundError"):
        data.load("tiny-imagenet", root=tmp_path)  # blank lines do not count; a listed file that is missing is corrupt
    loaded = data.load("tiny-imagenet", root=tmp_path, skip_corrupt=True)
    assert loaded.labels.tolist() == [1] and loaded.note == "1 corrupt image left out"
    for line in ("val_0.JPEG", "../../../../secret.JPEG\tn01\t0", "..\tn01", f"{tmp_path.parent}/secret.JPEG\tn01"):
        (base / "val_annotations.txt").write_text(f"{line}\n")
        assert not data.available("tiny-imagenet", "test", tmp_path)
        with pytest.raises(PGJRError, match=r"val_annotations\.txt has the line .* a file name and a class"):
            data.load("tiny-imagenet", root=tmp_path)
