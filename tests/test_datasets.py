"""Image sets: layouts, order, splits, subsets, and one clear sentence for each kind of bad input."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from pgjr_lib import datasets, official
from pgjr_lib.errors import PGJRError


@pytest.fixture(autouse=True)
def _no_data_root(monkeypatch, tmp_path):
    monkeypatch.delenv("PGJR_DATA", raising=False)
    monkeypatch.setenv("PGJR_CACHE", str(tmp_path / "cache"))


def picture(path, size=(8, 8), value=None, **save):
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = int(hashlib.sha256(str(path).encode()).hexdigest()[:8], 16)
    shape = (size[1], size[0], 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape) if value is None else np.full(shape, value)
    Image.fromarray(pixels.astype(np.uint8)).save(path, **save)


@pytest.fixture
def folder(tmp_path):
    for name in ("cat/b.png", "cat/deep/a.png", "dog/x.png", "dog/y.jpg"):
        picture(tmp_path / "images" / name)
    return tmp_path / "images"


def test_digits_are_the_scans_scaled_to_bytes():
    data = datasets.load("digits")
    assert data.images.shape == (1797, 3, 8, 8) and data.images.dtype == np.uint8
    assert data.images.min() == 0 and data.images.max() == 255
    assert data.split == "all" and data.class_names == tuple("0123456789") and data.labels.dtype == np.int64
    assert (data.images[:, 0] == data.images[:, 1]).all()
    assert len(set(data.paths)) == 1797


def test_folder_takes_the_first_level_as_class_and_sorts_paths(folder):
    data = datasets.load(f"folder:{folder}")
    assert data.paths == ("cat/b.png", "cat/deep/a.png", "dog/x.png", "dog/y.jpg")
    assert data.labels.tolist() == [0, 0, 1, 1] and data.class_names == ("cat", "dog")
    assert data.note == ""


def test_named_set_in_folders_and_all_splits(tmp_path):
    for split in ("train", "test"):
        for c in ("a", "b"):
            picture(tmp_path / "tiny-imagenet" / split / c / "0.png")
    assert datasets.load("tiny-imagenet", "all", root=tmp_path).paths[0] == "tiny-imagenet/train/a/0.png"
    assert len(datasets.load("tiny-imagenet", "all", root=tmp_path).labels) == 4
    assert datasets.available("tiny-imagenet", "test", tmp_path) and not datasets.available(
        "cifar20", "test", tmp_path
    )


def test_lossy_copies_of_a_lossless_set_are_noted(tmp_path):
    for c in official.CIFAR10:
        picture(tmp_path / "cifar10" / "test" / c / "0.webp", lossless=True)
    for c in official.STL10:
        picture(tmp_path / "stl10" / "test" / c / "0.webp", quality=80)
    for c in ("a", "b"):
        picture(tmp_path / "tiny-imagenet" / "test" / c / "0.jpg")
    assert datasets.load("cifar10", root=tmp_path).note == ""
    assert datasets.load("stl10", root=tmp_path).note == "re-encoded"
    assert datasets.load("tiny-imagenet", root=tmp_path).note == ""


def test_a_named_set_of_other_classes_is_refused(tmp_path):
    for c in official.STL10[1:]:
        picture(tmp_path / "stl10" / "test" / c / "0.png")
    with pytest.raises(PGJRError, match="is not stl10: class folder airplane"):
        datasets.load("stl10", root=tmp_path)


def test_limit_is_a_fixed_sorted_subset():
    whole, part = datasets.load("digits"), datasets.load("digits", limit=50)
    again = datasets.load("digits", limit=50)
    rows = [int(path.rsplit("/")[-1]) for path in part.paths]
    assert rows == sorted(rows) and len(rows) == 50
    assert (part.images == whole.images[rows]).all() and (part.labels == whole.labels[rows]).all()
    assert part.checksum == again.checksum == datasets.checksum("digits", limit=50) != whole.checksum
    assert datasets.load("digits", limit=5000).checksum == whole.checksum
    with pytest.raises(PGJRError, match="limit is 0"):
        datasets.load("digits", limit=0)


def test_size_resizes_the_shorter_side_and_crops_the_centre(tmp_path):
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, 10:30] = 255  # the middle square is white
    (tmp_path / "a").mkdir()
    Image.fromarray(pixels).save(tmp_path / "a" / "wide.png")
    picture(tmp_path / "b" / "square.png", (30, 30))
    data = datasets.load(f"folder:{tmp_path}", size=16)
    assert data.images.shape == (2, 3, 16, 16) and data.images[0, :, :, 2:-2].min() > 250
    with pytest.raises(PGJRError, match=r"wide\.png is 40x20, not a square"):
        datasets.load(f"folder:{tmp_path}")


def test_checksum_follows_content_and_is_cached(folder, monkeypatch):
    name = f"folder:{folder}"
    first = datasets.checksum(name)
    monkeypatch.setattr(datasets.hashlib, "sha256", _counting(calls := []))
    assert datasets.checksum(name) == first
    assert len(calls) == 1  # the signature only: no image is read again
    monkeypatch.undo()
    picture(folder / "dog/x.png", value=7)
    assert datasets.checksum(name) != first


def _counting(calls, real=hashlib.sha256):
    def count(*args):
        calls.append(args)
        return real(*args)

    return count


def test_missing_root_says_where_and_how(tmp_path, monkeypatch):
    with pytest.raises(PGJRError, match="set PGJR_DATA .*cifar10/test.*to get it: unpack"):
        datasets.load("cifar10")
    monkeypatch.setenv("PGJR_DATA", str(tmp_path))
    with pytest.raises(PGJRError, match=f"looked for {tmp_path}/cifar10/test and .*cifar-10-batches-py"):
        datasets.load("cifar10")
    with pytest.raises(PGJRError, match="no known data set"):
        datasets.load("cifar11")
    with pytest.raises(PGJRError, match="no split 'valid'"):
        datasets.load("cifar10", "valid")


def test_folder_without_images_or_with_one_class_or_loose_images(tmp_path):
    with pytest.raises(PGJRError, match="holds no images"):
        datasets.load(f"folder:{tmp_path}")
    picture(tmp_path / "one" / "a.png")
    with pytest.raises(PGJRError, match="one class 'one'.*at least two"):
        datasets.load(f"folder:{tmp_path}")
    picture(tmp_path / "two" / "a.png")
    picture(tmp_path / "loose.png")
    with pytest.raises(PGJRError, match=r"loose\.png lies in no class folder"):
        datasets.load(f"folder:{tmp_path}")
    with pytest.raises(PGJRError, match="is not a folder"):
        datasets.load("folder:/nowhere/at/all")


def test_corrupt_image_is_named_refused_or_left_out(folder):
    (folder / "cat" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnot one")
    whole = (folder / "dog" / "x.png").read_bytes()
    (folder / "dog" / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PGJRError, match=r"bad\.png cannot be read .*--skip-corrupt"):
        datasets.load(f"folder:{folder}")
    data = datasets.load(f"folder:{folder}", skip_corrupt=True)
    assert len(data.labels) == 4 and data.note == "2 corrupt images left out"


def test_importing_datasets_does_not_import_torch():
    import subprocess
    import sys

    code = "import sys, pgjr_lib.datasets; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
