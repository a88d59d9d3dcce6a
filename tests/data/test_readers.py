"""The benchmarks' official layouts, written here at small size byte for byte as they are published."""

import hashlib
import pickle

import numpy as np
import pytest
from PIL import Image

from pgjr_lib.data import loading as datasets
from pgjr_lib.data import readers as official
from pgjr_lib.errors import PGJRError


@pytest.fixture(autouse=True)
def _no_data_root(monkeypatch, tmp_path):
    monkeypatch.delenv("PGJR_DATA", raising=False)
    monkeypatch.setenv("PGJR_CACHE", str(tmp_path / "cache"))


def jpeg(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "JPEG")


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """CIFAR-10 and CIFAR-100 in both official layouts, three or 10,000 images a file, the pickles' MD5 admitted."""
    rng = np.random.default_rng(0)
    pixels, labels, fine = rng.integers(0, 256, (3, 3072), dtype=np.uint8), [3, 1, 2], [30, 7, 99]
    many = rng.integers(0, 256, (10_000, 3072), dtype=np.uint8)
    coarse = rng.integers(0, 20, 10_000, dtype=np.uint8)
    for folder, name, batch in (
        ("cifar-10-batches-py", "test_batch", {b"data": pixels, b"labels": labels}),
        ("cifar-100-python", "test", {b"data": pixels, b"coarse_labels": labels, b"fine_labels": fine}),
    ):
        (tmp_path / "py" / folder).mkdir(parents=True)
        data = pickle.dumps(batch, protocol=2)
        (tmp_path / "py" / folder / name).write_bytes(data)
        monkeypatch.setitem(official.MD5, name, hashlib.md5(data).hexdigest())
    for folder, name, heads in (
        ("cifar-10-batches-bin", "test_batch.bin", coarse[:, None] % 10),
        ("cifar-100-binary", "test.bin", np.stack([coarse, coarse * 5], 1)),
    ):
        (tmp_path / "bin" / folder).mkdir(parents=True)
        (tmp_path / "bin" / folder / name).write_bytes(np.concatenate([heads, many], 1).astype(np.uint8).tobytes())
    return tmp_path, pixels.reshape(3, 3, 32, 32), many.reshape(-1, 3, 32, 32), coarse


def test_cifar_pickles(cifar):
    root, pixels, *_ = cifar
    ten, twenty = datasets.load("cifar10", root=root / "py"), datasets.load("cifar20", root=root / "py")
    for data in (ten, twenty):
        assert (data.images == pixels).all() and data.labels.tolist() == [3, 1, 2] and data.note == ""
    assert ten.class_names[3] == "cat" and twenty.class_names[3] == "food_containers"
    with pytest.raises(PGJRError, match="data_batch_1 is missing"):
        datasets.load("cifar10", "train", root=root / "py")


def test_cifar_binaries(cifar):
    root, _, many, coarse = cifar
    ten, twenty = datasets.load("cifar10", root=root / "bin"), datasets.load("cifar20", root=root / "bin")
    assert (ten.images == many).all() and (ten.labels == coarse % 10).all()
    assert (twenty.images == many).all() and (twenty.labels == coarse).all()
    assert len(twenty.class_names) == 20 and datasets.load("cifar20", root=root / "bin", limit=9).labels.shape == (9,)


def test_damaged_cifar_files_are_refused(cifar):
    root, *_ = cifar
    path = root / "bin/cifar-100-binary/test.bin"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(PGJRError, match=r"test\.bin is truncated"):
        datasets.load("cifar20", root=root / "bin")
    path = root / "bin/cifar-10-batches-bin/test_batch.bin"
    path.write_bytes(b"\x0a" + path.read_bytes()[1:])
    with pytest.raises(PGJRError, match=r"test_batch\.bin holds labels of no class"):
        datasets.load("cifar10", root=root / "bin")
    path = root / "py/cifar-10-batches-py/test_batch"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(PGJRError, match="not the official file"):
        datasets.load("cifar10", root=root / "py")


def test_a_cifar_pickle_cannot_run_code(cifar, monkeypatch):
    class Evil:
        def __reduce__(self):
            return (open, ("/nowhere/owned", "w"))

    root, *_ = cifar
    batch = pickle.dumps({b"data": Evil()}, protocol=2)
    (root / "py/cifar-10-batches-py/test_batch").write_bytes(batch)
    monkeypatch.setitem(official.MD5, "test_batch", hashlib.md5(batch).hexdigest())
    with pytest.raises(PGJRError, match="names .*open, which no official one does"):
        datasets.load("cifar10", root=root / "py")


def test_the_superclass_map_is_a_partition_of_cifar100():
    assert len(official.CIFAR20) == 20 and len(official.SUPERCLASS) == 100
    assert all(len(names.split()) == 5 for names in official.CIFAR20.values())
    # the labels of the archive count superclasses alphabetically, and so does every folder layout
    assert sorted(official.CIFAR20) == list(official.CIFAR20)
    known = {"maple_tree": "trees", "bus": "vehicles_1", "tank": "vehicles_2", "baby": "people", "whale":
             "aquatic_mammals", "mushroom": "fruit_and_vegetables", "porcupine": "medium_mammals"}  # fmt: skip
    assert {fine: official.SUPERCLASS[fine] for fine in known} == known


def test_cifar100_in_fine_folders_becomes_the_twenty_superclasses(tmp_path):
    for i, fine in enumerate(official.SUPERCLASS):
        path = tmp_path / "cifar100" / "test" / fine / "0.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(np.full((32, 32, 3), i, dtype=np.uint8)).save(path)
    data = datasets.load("cifar20", root=tmp_path)
    assert data.class_names == tuple(official.CIFAR20) and np.bincount(data.labels).tolist() == [5] * 20
    of = dict(zip(data.images[:, 0, 0, 0].tolist(), data.labels.tolist(), strict=True))
    fine = list(official.SUPERCLASS).index("tulip")
    assert data.class_names[of[fine]] == "flowers"
    (tmp_path / "cifar100" / "test" / "unicorn").mkdir()
    with pytest.raises(PGJRError, match="unicorn is no class of CIFAR-100"):
        datasets.load("cifar20", root=tmp_path)


def test_stl10_binaries_are_read_column_by_column(tmp_path):
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 96, 96), dtype=np.uint8)
    (folder / "test_X.bin").write_bytes(images.transpose(0, 1, 3, 2).tobytes())
    (folder / "test_y.bin").write_bytes(bytes([1, 8]))
    data = datasets.load("stl10", root=tmp_path)
    assert (data.images == images).all() and [data.class_names[i] for i in data.labels] == ["airplane", "monkey"]
    for wrong in (0, 11):
        (folder / "test_y.bin").write_bytes(bytes([1, wrong]))
        with pytest.raises(PGJRError, match=r"test_y\.bin holds labels of no class"):
            datasets.load("stl10", root=tmp_path)
    (folder / "test_X.bin").write_bytes(b"short")
    with pytest.raises(PGJRError, match=r"test_X\.bin is truncated"):
        datasets.load("stl10", root=tmp_path)


def test_imagenets_subsets_are_taken_from_imagenets_folders(tmp_path):
    for i, name in enumerate((*official.IMAGENET10, "n09999999")):
        jpeg(tmp_path / "imagenet" / "train" / name / f"{name}_1.JPEG", i)
    data = datasets.load("imagenet-10", "train", root=tmp_path)
    assert data.class_names == official.IMAGENET10 and len(data.labels) == 10 and data.note == ""
    with pytest.raises(PGJRError, match="lacks the class folder n02086646 of imagenet-dogs"):
        datasets.load("imagenet-dogs", "train", root=tmp_path)
    first = tmp_path / "imagenet" / "train" / official.IMAGENET10[0]
    (first / f"{first.name}_1.JPEG").rename(first / "1.jpg")
    assert len(datasets.load("imagenet-10", "train", root=tmp_path).labels) == 10
    (first / "1.jpg").unlink()
    with pytest.raises(PGJRError, match=f"{first.name} holds no JPEG images"):
        datasets.load("imagenet-10", "train", root=tmp_path)
    with pytest.raises(PGJRError, match=r"imagenet-10 \(test\) was not found: looked for .*imagenet/val"):
        datasets.load("imagenet-10", root=tmp_path)


def test_tiny_imagenet_as_published(tmp_path):
    base = tmp_path / "tiny-imagenet-200"
    for i, name in enumerate(("n01", "n02")):
        jpeg(base / "train" / name / "images" / f"{name}_0.JPEG", i)
        jpeg(base / "val" / "images" / f"val_{i}.JPEG", 5 + i)
    with pytest.raises(PGJRError, match=r"lacks val_annotations\.txt"):
        datasets.load("tiny-imagenet", root=tmp_path)
    (base / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn02\t0\t0\t9\t9\nval_1.JPEG\tn01\t0\t0\t9\t9\n")
    assert datasets.load("tiny-imagenet", "train", root=tmp_path).class_names == ("n01", "n02")
    held_out = datasets.load("tiny-imagenet", root=tmp_path)
    assert held_out.paths == ("tiny-imagenet-200/val/images/val_1.JPEG", "tiny-imagenet-200/val/images/val_0.JPEG")
    assert held_out.labels.tolist() == [0, 1]


def test_tiny_imagenets_list_is_not_trusted(tmp_path):
    base = tmp_path / "tiny-imagenet-200" / "val"
    jpeg(base / "images" / "val_0.jpeg", 0)
    jpeg(tmp_path.parent / "secret.JPEG", 1)
    (base / "val_annotations.txt").write_text("val_0.jpeg\tn02\t0\t0\t9\t9\n\nval_1.JPEG\tn01\t0\t0\t9\t9\n \n")
    with pytest.raises(PGJRError, match=r"val_1\.JPEG cannot be read \(FileNotFoundError"):
        datasets.load("tiny-imagenet", root=tmp_path)  # blank lines are none; a listed file that is missing is corrupt
    data = datasets.load("tiny-imagenet", root=tmp_path, skip_corrupt=True)
    assert data.labels.tolist() == [1] and data.note == "1 corrupt image left out"
    for line in ("val_0.JPEG", "../../../../secret.JPEG\tn01\t0", "..\tn01", f"{tmp_path.parent}/secret.JPEG\tn01"):
        (base / "val_annotations.txt").write_text(f"{line}\n")
        assert not datasets.available("tiny-imagenet", "test", tmp_path)
        with pytest.raises(PGJRError, match=r"val_annotations\.txt has the line .* for a file name and a class"):
            datasets.load("tiny-imagenet", root=tmp_path)


def test_class_lists_have_the_sizes_of_their_sets():
    for name, info in datasets.SETS.items():
        if info.class_names:
            assert len(set(info.class_names)) == info.classes and sorted(info.class_names) == list(info.class_names), name
