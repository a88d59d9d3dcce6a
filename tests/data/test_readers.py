"""The official archives, written here at small size in their published formats."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets

from pgjr_lib import data
from pgjr_lib.data.sets import CIFAR20
from pgjr_lib.errors import PGJRError


def python2_pickle(pixels, **labels):
    """Pickle (N, 3072) uint8 and lists of labels as the published files do, which Python 2 and an old NumPy wrote."""

    def text(word):
        return b"U" + bytes([len(word)]) + word.encode()

    dtype = (
        b"cnumpy\ndtype\n" + text("u1") + b"K\0K\1\x87R(K\3" + text("|") + b"NNN" + 2 * b"J\xff\xff\xff\xff" + b"K\0tb"
    )
    shape = b"".join(b"J" + n.to_bytes(4, "little") for n in pixels.shape) + b"\x86"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85" + text("b") + b"\x87R(K\1" + shape + dtype
    array += b"\x89T" + pixels.nbytes.to_bytes(4, "little") + pixels.tobytes() + b"tb"
    lists = b"".join(
        text(key) + b"](" + b"".join(b"K" + bytes([n]) for n in values) + b"es" for key, values in labels.items()
    )
    return b"\x80\x02}" + text("data") + array + b"s" + lists + b"."


@pytest.fixture
def admit(monkeypatch):
    """Put the MD5 of files at ``paths`` in place of the published ones, in torchvision's list of a set's split."""

    def replace(dataset, listed, *paths):
        entries = [[path.name, hashlib.md5(path.read_bytes()).hexdigest()] for path in paths]
        others = [entry for entry in getattr(dataset, listed) if entry[0] not in dict(entries)]
        monkeypatch.setattr(dataset, listed, entries + others)

    return replace


@pytest.fixture
def cifar(tmp_path, admit):
    """CIFAR-10 and CIFAR-100 in both official layouts, three or 10,000 images a file, with no other file beside it."""
    rng = np.random.default_rng(0)
    pixels, labels, fine = rng.integers(0, 256, (3, 3072), dtype=np.uint8), [3, 1, 2], [30, 7, 99]
    many = rng.integers(0, 256, (10_000, 3072), dtype=np.uint8)
    coarse = rng.integers(0, 20, 10_000, dtype=np.uint8)
    for dataset, folder, name, batch in (
        ("CIFAR10", "cifar-10-batches-py", "test_batch", {"labels": labels}),
        ("CIFAR100", "cifar-100-python", "test", {"coarse_labels": labels, "fine_labels": fine}),
    ):
        path = tmp_path / "py" / folder / name
        path.parent.mkdir(parents=True)
        path.write_bytes(python2_pickle(pixels, **batch))
        admit(getattr(torchvision.datasets, dataset), "test_list", path)
    for folder, name, heads in (
        ("cifar-10-batches-bin", "test_batch.bin", coarse[:, None] % 10),
        ("cifar-100-binary", "test.bin", np.stack([coarse, coarse * 5], 1)),
    ):
        (tmp_path / "bin" / folder).mkdir(parents=True)
        (tmp_path / "bin" / folder / name).write_bytes(np.concatenate([heads, many], 1).astype(np.uint8).tobytes())
    return tmp_path, pixels.reshape(3, 3, 32, 32), many.reshape(-1, 3, 32, 32), coarse


def test_cifar_pickles(cifar):
    root, pixels, *_ = cifar
    ten, twenty = data.load("cifar10", root=root / "py"), data.load("cifar20", root=root / "py")
    for loaded in (ten, twenty):
        assert (loaded.images == pixels).all() and loaded.images.flags.c_contiguous and loaded.note == ""
        assert loaded.images.dtype == np.uint8 and loaded.labels.dtype == np.int64
    assert ten.labels.tolist() == [3, 1, 2] and ten.class_names[3] == "cat"
    names = [twenty.class_names[label] for label in twenty.labels]
    assert names == ["aquatic_mammals", "insects", "non-insect_invertebrates"]  # a dolphin, a beetle and a worm
    assert twenty.class_names == CIFAR20 and twenty.class_names[3] == "food_containers"
    with pytest.raises(PGJRError, match="data_batch_1 is missing"):
        data.load("cifar10", "train", root=root / "py")


def test_all_splits_and_batches_are_joined_in_their_official_order(tmp_path, admit):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    for i, name in enumerate(names):
        (folder / name).write_bytes(python2_pickle(np.full((2, 3072), i, dtype=np.uint8), labels=[i, i + 1]))
    admit(torchvision.datasets.CIFAR10, "train_list", *(folder / name for name in names[:5]))
    admit(torchvision.datasets.CIFAR10, "test_list", folder / names[5])
    loaded = data.load("cifar10", "all", root=tmp_path)
    assert loaded.images[:, 0, 0, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert loaded.labels.tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6]
    digest = hashlib.sha256()  # the files and the order that keys of runs stand on
    for name in names:
        content = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        digest.update(f"cifar-10-batches-py/{name}|{content}\n".encode())
    assert loaded.checksum == digest.hexdigest()


def test_cifar_binaries(cifar):
    root, _, many, coarse = cifar
    ten, twenty = data.load("cifar10", root=root / "bin"), data.load("cifar20", root=root / "bin")
    assert (ten.images == many).all() and (ten.labels == coarse % 10).all()
    assert (twenty.images == many).all() and (twenty.labels == coarse).all()
    assert len(twenty.class_names) == 20 and data.load("cifar20", root=root / "bin", limit=9).labels.shape == (9,)


def test_damaged_cifar_files_are_refused(cifar):
    root, *_ = cifar
    path = root / "bin/cifar-100-binary/test.bin"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(PGJRError, match=r"test\.bin is truncated"):
        data.load("cifar20", root=root / "bin")
    path = root / "bin/cifar-10-batches-bin/test_batch.bin"
    path.write_bytes(b"\x0a" + path.read_bytes()[1:])
    with pytest.raises(PGJRError, match=r"test_batch\.bin holds labels of no class"):
        data.load("cifar10", root=root / "bin")
    path = root / "py/cifar-10-batches-py/test_batch"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(PGJRError, match=r"test_batch is not the official file .*: unpack cifar-10-python\.tar\.gz"):
        data.load("cifar10", root=root / "py")


@pytest.mark.parametrize(("name", "key", "labels"), [("cifar10", "labels", [0, 10]), ("cifar20", "fine_labels", [100])])
def test_labels_of_no_class_in_a_cifar_pickle_are_refused(name, key, labels, tmp_path, admit):
    dataset, file = {
        "cifar10": (torchvision.datasets.CIFAR10, "cifar-10-batches-py/test_batch"),
        "cifar20": (torchvision.datasets.CIFAR100, "cifar-100-python/test"),
    }[name]
    path = tmp_path / file
    path.parent.mkdir()
    pixels = np.zeros((len(labels), 3072), dtype=np.uint8)
    path.write_bytes(python2_pickle(pixels, **{key: labels}))
    admit(dataset, "test_list", path)
    with pytest.raises(PGJRError, match=f"{path.name} holds labels of no class"):
        data.load(name, root=tmp_path)


class Trap:
    """When unpickled, leaves a file at ``path``."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    ("name", "split", "file"),
    [
        ("cifar10", "test", "cifar-10-batches-py/test_batch"),
        ("cifar10", "train", "cifar-10-batches-py/data_batch_5"),
        ("cifar20", "test", "cifar-100-python/test"),
    ],
)
def test_a_pickle_with_another_md5_is_refused_before_it_is_opened(name, split, file, tmp_path, admit):
    trap, sprung = tmp_path / file, tmp_path / "sprung"
    trap.parent.mkdir()
    if split == "train":  # the other batches pass, and the last one is the trap
        batch = python2_pickle(np.zeros((1, 3072), dtype=np.uint8), labels=[0])
        others = [trap.with_name(f"data_batch_{i}") for i in range(1, 5)]
        for path in others:
            path.write_bytes(batch)
        admit(torchvision.datasets.CIFAR10, "train_list", *others)
    trap.write_bytes(pickle.dumps({"data": Trap(sprung)}, protocol=2))
    with pytest.raises(PGJRError, match=f"{trap.name} is not the official file"):
        data.load(name, split, root=tmp_path)
    data.checksum(name, split, tmp_path)
    assert not sprung.exists()
    pickle.loads(trap.read_bytes())
    assert sprung.exists()  # so the trap was armed


@pytest.mark.parametrize(
    ("name", "file"), [("cifar10", "cifar-10-batches-py/batches.meta"), ("cifar20", "cifar-100-python/meta")]
)
def test_files_of_the_archive_that_are_not_needed_are_not_opened(name, file, cifar):
    root, *_ = cifar
    (root / "py" / file).write_bytes(pickle.dumps(Trap(root / "sprung"), protocol=2))
    (root / "py/cifar-10-batches-py/data_batch_1").write_bytes(pickle.dumps(Trap(root / "sprung"), protocol=2))
    assert len(data.load(name, root=root / "py").labels) == 3 and not (root / "sprung").exists()


@pytest.fixture
def stl10(tmp_path, admit):
    """STL-10's test files, two images, without the unlabelled images; a function writes and admits labels."""
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 96, 96), dtype=np.uint8)
    (folder / "test_X.bin").write_bytes(images.transpose(0, 1, 3, 2).tobytes())

    def write_labels(*labels):
        (folder / "test_y.bin").write_bytes(bytes(labels))
        admit(torchvision.datasets.STL10, "test_list", folder / "test_X.bin", folder / "test_y.bin")

    write_labels(1, 8)
    return tmp_path, images, write_labels


def test_stl10_binaries_are_read_column_by_column(stl10):
    root, images, write_labels = stl10
    loaded = data.load("stl10", root=root)
    assert (loaded.images == images).all() and loaded.images.flags.c_contiguous and loaded.labels.dtype == np.int64
    assert [loaded.class_names[i] for i in loaded.labels] == ["airplane", "monkey"]
    for wrong in (0, 11):
        write_labels(1, wrong)
        with pytest.raises(PGJRError, match=r"test_y\.bin holds labels of no class"):
            data.load("stl10", root=root)


def test_stl10_needs_only_the_files_of_its_split(stl10, admit):
    root, images, _ = stl10
    files = [
        (root / "stl10_binary" / f"test_{end}.bin").rename(root / "stl10_binary" / f"train_{end}.bin") for end in "Xy"
    ]
    admit(torchvision.datasets.STL10, "train_list", *files)
    loaded = data.load("stl10", "train", root=root)
    assert (loaded.images == images).all() and loaded.labels.tolist() == [0, 7]
    assert "unlabeled_X.bin" in dict(torchvision.datasets.STL10.train_list)


@pytest.mark.parametrize("name", ["test_X.bin", "test_y.bin"])
def test_stl10_files_with_another_md5_are_refused(name, stl10):
    root, *_ = stl10
    (root / "stl10_binary" / name).write_bytes(b"short")
    with pytest.raises(PGJRError, match=rf"{name} is not the official file .*: unpack stl10_binary\.tar\.gz"):
        data.load("stl10", root=root)
    (root / "stl10_binary" / name).unlink()
    with pytest.raises(PGJRError, match=rf"{name} is missing: unpack the whole archive of stl10"):
        data.load("stl10", root=root)


def test_an_unreadable_archive_is_one_sentence(stl10, monkeypatch):
    root, *_ = stl10

    def refuse(path):  # permissions do not stop root, who runs tests in containers
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(data.loading, "file_sha256", refuse)
    with pytest.raises(PGJRError, match=r"test_X\.bin cannot be read \(Permission denied\)"):
        data.load("stl10", root=root)
