"""Image sets: layouts, order, splits, subsets, and one clear sentence for each kind of bad input."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pgjr_lib.data import loading as datasets
from pgjr_lib.data import readers as official
from pgjr_lib.data.decoding import decode
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


def test_a_long_strip_is_cropped_before_it_is_resized(tmp_path, monkeypatch):
    sizes, real = [], Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda image, *a, **k: sizes.append(a[0]) or real(image, *a, **k))
    picture(tmp_path / "strip.png", (16000, 1))
    pixels, _ = decode(tmp_path / "strip.png", 224)
    assert pixels.shape == (3, 224, 224) and sizes == [(224, 224)]


def test_a_square_is_resized_as_a_whole(tmp_path):
    picture(tmp_path / "square.png", (50, 50))
    whole = Image.open(tmp_path / "square.png").resize((32, 32), Image.Resampling.BICUBIC)
    assert (decode(tmp_path / "square.png", 32)[0] == np.asarray(whole).transpose(2, 0, 1)).all()


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([0, 0x80FF, 0xFFFF], "<u2", [0, 128, 255]),
        ([0, 0x80FF, 0xFFFF], ">u2", [0, 128, 255]),
        ([-9, 0x80FF, 0x1FFFF], "<i4", [0, 128, 255]),
        ([0, 0.5, 1], "<f4", [0, 128, 255]),
        ([-9, 99.6, 300], "<f4", [0, 100, 255]),
        ([float("nan"), 0, 1], "<f4", [0, 0, 255]),
    ],
)
def test_deep_greys_are_scaled_to_bytes(values, dtype, expected, tmp_path):
    mode = {"<u2": "I;16", ">u2": "I;16B", "<i4": "I", "<f4": "F"}[dtype]
    Image.frombytes(mode, (3, 1), np.array([values], dtype).tobytes()).save(tmp_path / "a.tif")
    assert Image.open(tmp_path / "a.tif").mode == mode
    assert decode(tmp_path / "a.tif", None)[0][:, 0].tolist() == [expected] * 3


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "RGB"])
def test_transparency_is_put_on_white(mode, tmp_path):
    colours = {"RGBA": ((0, 0, 0, 0), (0, 0, 0, 255)), "LA": ((0, 0), (0, 255)), "RGB": ((9, 9, 9), (0, 0, 0))}
    image = Image.new(mode, (2, 1))
    if mode == "P":
        image.putpalette([0, 0, 0, 9, 9, 9])
    for x, colour in enumerate(colours.get(mode, (1, 0))):
        image.putpixel((x, 0), colour)
    image.save(tmp_path / "a.png", **{"RGB": {"transparency": (9, 9, 9)}, "P": {"transparency": 1},
                                      "L": {"transparency": 1}}.get(mode, {}))  # fmt: skip
    assert decode(tmp_path / "a.png", None)[0][:, 0].tolist() == [[255, 0]] * 3


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
    with pytest.raises(PGJRError, match=r"bad\.png cannot be read \([^<>]*\): .*skip_corrupt=True, or --skip-corrupt"):
        datasets.load(f"folder:{folder}")
    data = datasets.load(f"folder:{folder}", skip_corrupt=True)
    assert len(data.labels) == 4 and data.note == "2 corrupt images left out"


def test_an_unreadable_file_counts_as_corrupt_until_it_can_be_read(folder, monkeypatch):
    name, real = f"folder:{folder}", Path.read_bytes
    whole = datasets.checksum(name)
    (folder / "../cache/checksums.json").unlink()

    def read(path):  # permissions do not stop root, who runs tests in containers
        if path.name == "x.png":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    with pytest.raises(PGJRError, match=r"x\.png cannot be read \(PermissionError: .*Permission denied"):
        datasets.load(name)
    data = datasets.load(name, skip_corrupt=True)
    assert len(data.labels) == 3 and data.note == "1 corrupt image left out" and data.checksum != whole
    monkeypatch.undo()
    monkeypatch.setenv("PGJR_CACHE", str(folder / "../cache"))
    assert datasets.load(name).checksum == whole


def test_a_tilde_folder_of_no_user_is_taken_as_it_is(folder, tmp_path, monkeypatch):
    folder.rename(tmp_path / "~no-such-user")
    monkeypatch.chdir(tmp_path)
    assert len(datasets.load("folder:~no-such-user").labels) == 4
    with pytest.raises(PGJRError, match="~nobody-at-all is not a folder"):
        datasets.load("folder:~nobody-at-all")
    assert not datasets.available("cifar10", "test", "~nobody-at-all")


@pytest.mark.parametrize("content", ["[]", '{"a": NaN}', "5", "nonsense", None])
def test_the_checksum_does_without_a_bad_cache(content, folder, tmp_path, monkeypatch):
    first, bad = datasets.checksum(f"folder:{folder}"), tmp_path / "bad"
    if content is None:
        bad.write_text("a file where the folder should be")
    else:
        bad.mkdir()
        (bad / "checksums.json").write_text(content)
    monkeypatch.setenv("PGJR_CACHE", str(bad))
    assert datasets.checksum(f"folder:{folder}") == first


def test_the_cache_lies_in_the_checkout_or_with_the_user(tmp_path, monkeypatch):
    (tmp_path / "clone/notebooks").mkdir(parents=True)
    (tmp_path / "clone/experiments.yaml").touch()
    assert datasets._cache_file() == tmp_path / "cache/checksums.json"
    monkeypatch.delenv("PGJR_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "clone/notebooks")
    assert datasets._cache_file() == tmp_path / "clone/build/cache/checksums.json"
    monkeypatch.chdir(tmp_path)
    assert datasets._cache_file() == tmp_path / "home/.cache/pgjr/checksums.json"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert datasets._cache_file() == tmp_path / "xdg/pgjr/checksums.json"


@pytest.mark.parametrize("backwards", [False, True])
def test_folders_are_walked_in_one_order_whatever_the_file_system(backwards, tmp_path, monkeypatch):
    picture(tmp_path / "images" / "z" / "0.png")
    (tmp_path / "images" / "a").symlink_to("z")  # the one visited first gives the images their names
    walk = os.walk

    def other(*args, **options):
        for folder, folders, names in walk(*args, **options):
            folders.sort(reverse=backwards)
            yield folder, folders, names

    monkeypatch.setattr(os, "walk", other)
    assert datasets.load(f"images:{tmp_path / 'images'}").paths == ("a/0.png",)


def test_importing_datasets_does_not_import_torch():
    import subprocess
    import sys

    code = "import sys, pgjr_lib.data.loading; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
