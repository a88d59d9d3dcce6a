"""Loading: order, splits, subsets, checksums, and one clear sentence for each kind of bad input."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pgjr_lib import data
from pgjr_lib.data import loading
from pgjr_lib.data.sets import CIFAR10, STL10
from pgjr_lib.errors import PGJRError


def test_digits_are_the_scans_scaled_to_bytes():
    digits = data.load("digits")
    assert digits.images.shape == (1797, 3, 8, 8) and digits.images.dtype == np.uint8
    assert digits.images.min() == 0 and digits.images.max() == 255
    assert digits.split == "all" and digits.class_names == tuple("0123456789") and digits.labels.dtype == np.int64
    assert (digits.images[:, 0] == digits.images[:, 1]).all()
    assert len(set(digits.paths)) == 1797


@pytest.mark.parametrize(
    ("name", "whole", "part"),
    [
        ("digits", "979238cd166dcd11466902172be284ed55e8021431af5596c67420b299263ac7",
         "c5bda1fab19b940f86a8be07bddd910d7ef61fe0bb2ef068df8fe43b1b26f3c5"),
        ("pieces", "77c2ea581789cef1df76489713d00c7b6e47f9d80b770c5e268b1cb9103a563a",
         "3e7361e3f8c0af94bb614c007df890246f7a5212ebda7ab375f4f427457f731e"),
        ("pieces-hard", "26faabb548e063ef34dfbcc4535c46f169f182284b45accc610a33b2e24ea9b7",
         "ea00c1d07ec8c09e2609977fea3b8dca3ad846145209913a3d412c1695f61d70"),
    ],
)  # fmt: skip
def test_checksums_are_the_ones_that_published_runs_are_keyed_by(name, whole, part):
    assert (data.checksum(name), data.checksum(name, limit=500)) == (whole, part)


def test_named_set_in_folders_and_all_splits(tmp_path, picture):
    for split in ("train", "test"):
        for c in ("a", "b"):
            picture(tmp_path / "tiny-imagenet" / split / c / "0.png")
    assert data.load("tiny-imagenet", "all", root=tmp_path).paths[0] == "tiny-imagenet/train/a/0.png"
    assert len(data.load("tiny-imagenet", "all", root=tmp_path).labels) == 4
    assert data.available("tiny-imagenet", "test", tmp_path)
    assert not data.available("cifar20", "test", tmp_path)


def test_lossy_copies_of_a_lossless_set_are_noted(tmp_path, picture):
    for c in CIFAR10:
        picture(tmp_path / "cifar10" / "test" / c / "0.webp", lossless=True)
    for c in STL10:
        picture(tmp_path / "stl10" / "test" / c / "0.webp", quality=80)
    for c in ("a", "b"):
        picture(tmp_path / "tiny-imagenet" / "test" / c / "0.jpg")
        picture(tmp_path / "tiny-imagenet" / "train" / c / "0.webp", quality=80)
    assert data.load("cifar10", root=tmp_path).note == ""
    assert data.load("stl10", root=tmp_path).note == "re-encoded"
    assert data.load("tiny-imagenet", root=tmp_path).note == ""
    assert data.load("tiny-imagenet", "train", root=tmp_path).note == "re-encoded"


def test_a_named_set_of_other_classes_is_refused(tmp_path, picture):
    for c in STL10[1:]:
        picture(tmp_path / "stl10" / "test" / c / "0.png")
    with pytest.raises(PGJRError, match="is not stl10: class folder airplane"):
        data.load("stl10", root=tmp_path)


def test_limit_is_a_fixed_sorted_subset():
    whole, part = data.load("digits"), data.load("digits", limit=50)
    again = data.load("digits", limit=50)
    rows = [int(path.rsplit("/")[-1]) for path in part.paths]
    assert rows == sorted(rows) and len(rows) == 50
    assert (part.images == whole.images[rows]).all() and (part.labels == whole.labels[rows]).all()
    assert part.checksum == again.checksum == data.checksum("digits", limit=50) != whole.checksum
    assert data.load("digits", limit=5000).checksum == whole.checksum
    with pytest.raises(PGJRError, match="limit is 0"):
        data.load("digits", limit=0)


def test_size_resizes_the_shorter_side_and_crops_the_centre(tmp_path, picture):
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, 10:30] = 255  # the middle square is white
    (tmp_path / "a").mkdir()
    Image.fromarray(pixels).save(tmp_path / "a" / "wide.png")
    picture(tmp_path / "b" / "square.png", (30, 30))
    loaded = data.load(f"folder:{tmp_path}", size=16)
    assert loaded.images.shape == (2, 3, 16, 16) and loaded.images[0, :, :, 2:-2].min() > 250
    assert data.load("digits", limit=2, size=16).images.shape == (2, 3, 16, 16)
    with pytest.raises(PGJRError, match=r"wide\.png is 40x20, not a square"):
        data.load(f"folder:{tmp_path}")
    with pytest.raises(PGJRError, match="size is 0"):
        data.load(f"folder:{tmp_path}", size=0)


def test_checksum_follows_content_and_is_cached(folder, picture, monkeypatch):
    name = f"folder:{folder}"
    first = data.checksum(name)
    monkeypatch.setattr(loading, "file_sha256", lambda path: pytest.fail(f"{path} was read again"))
    monkeypatch.setattr(loading.hashlib, "sha256", _counting(calls := []))
    assert data.checksum(name) == first
    assert len(calls) == 2  # only the signature, and the seal of what is cached
    monkeypatch.undo()
    picture(folder / "dog/x.png", value=7)
    assert data.checksum(name) != first


def _counting(calls, real=loading.hashlib.sha256):
    def count(*args):
        calls.append(args)
        return real(*args)

    return count


def test_missing_root_says_where_and_how(tmp_path, monkeypatch):
    with pytest.raises(PGJRError, match="set PGJR_DATA .*cifar10/test.*to get it: `pgjr fetch cifar10`"):
        data.load("cifar10")
    monkeypatch.setenv("PGJR_DATA", str(tmp_path))
    with pytest.raises(PGJRError, match=f"looked for {tmp_path}/cifar10/test and .*cifar-10-batches-py"):
        data.load("cifar10")
    with pytest.raises(PGJRError, match="no known data set"):
        data.load("cifar11")
    with pytest.raises(PGJRError, match="no split 'valid'"):
        data.load("cifar10", "valid")


def test_corrupt_image_is_named_refused_or_left_out(folder):
    (folder / "cat" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnot one")
    whole = (folder / "dog" / "x.png").read_bytes()
    (folder / "dog" / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PGJRError, match=r"bad\.png cannot be read \([^<>]*\): .*skip_corrupt=True, or --skip-corrupt"):
        data.load(f"folder:{folder}")
    loaded = data.load(f"folder:{folder}", skip_corrupt=True)
    assert len(loaded.labels) == 4 and loaded.note == "2 corrupt images left out"


def test_a_folder_of_corrupt_images_only_is_refused(folder):
    for path in data.list_images(folder)[0]:
        path.write_bytes(b"damaged")
    with pytest.raises(PGJRError, match="None of the 4 images of folder:.* can be read"):
        data.load(f"folder:{folder}", skip_corrupt=True)


def test_an_unreadable_file_counts_as_corrupt_until_it_can_be_read(folder, monkeypatch):
    name, digest_of = f"folder:{folder}", loading.file_sha256
    whole = data.checksum(name)
    (folder / "../cache/checksums.json").unlink()

    # permissions do not stop root, who runs tests in containers
    def refuse(read):
        def patched(path):
            if path.name == "x.png":
                raise PermissionError(13, "Permission denied", str(path))
            return read(path)

        return patched

    monkeypatch.setattr(Path, "read_bytes", refuse(Path.read_bytes))
    monkeypatch.setattr(loading, "file_sha256", refuse(digest_of))
    with pytest.raises(PGJRError, match=r"x\.png cannot be read \(PermissionError: .*Permission denied"):
        data.load(name)
    loaded = data.load(name, skip_corrupt=True)
    assert len(loaded.labels) == 3 and loaded.note == "1 corrupt image left out" and loaded.checksum != whole
    monkeypatch.undo()
    monkeypatch.setenv("PGJR_CACHE", str(folder / "../cache"))
    assert data.load(name).checksum == whole


@pytest.mark.parametrize("content", ["[]", '{"a": NaN}', "5", "nonsense", None])
def test_the_checksum_does_without_a_bad_cache(content, folder, tmp_path, monkeypatch):
    first, bad = data.checksum(f"folder:{folder}"), tmp_path / "bad"
    if content is None:
        bad.write_text("a file where the folder should be")
    else:
        bad.mkdir()
        (bad / "checksums.json").write_text(content)
    monkeypatch.setenv("PGJR_CACHE", str(bad))
    assert data.checksum(f"folder:{folder}") == first
