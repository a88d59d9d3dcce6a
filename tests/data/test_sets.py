"""The table of named sets agrees with itself and with what is published."""

import subprocess
import sys

import pytest

from pgjr_lib import data
from pgjr_lib.data.sets import CIFAR20, CIFAR100_SUPERCLASSES, MARKS, PAPER_SETS, SETS, SPLITS, SUPERCLASS_OF

# the coarse label of each fine label in CIFAR-100's archive
COARSE_OF_FINE = [
    4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7, 6, 13, 15, 3, 15,
    0, 11, 1, 10, 12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10, 16, 4, 17, 4, 2, 0, 17, 4, 18, 17,
    10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16, 12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19,
    18, 1, 2, 15, 6, 0, 17, 8, 14, 13,
]  # fmt: skip


@pytest.mark.parametrize("name", SETS)
def test_the_facts_about_a_set_agree(name):
    info = SETS[name]
    assert len(info.counts) == len(info.splits) and min(info.counts) >= info.classes
    assert info.splits in (("all",), ("train", "test"))
    assert info.mark in ("", *MARKS) and info.download and set(info.splits) <= set(SPLITS)
    assert info.licence and len(info.licence) <= 50 and not info.licence.endswith(".")
    assert info.paper == bool(info.layouts) and not (info.paper and info.generated)
    assert len(set(info.class_names)) == info.classes or name == "tiny-imagenet" and not info.class_names


def test_class_lists_have_the_sizes_of_their_sets():
    for name, info in data.SETS.items():
        if info.class_names:
            assert len(set(info.class_names)) == info.classes, name
            assert sorted(info.class_names) == list(info.class_names), name


def test_groups_of_sets():
    assert PAPER_SETS == ("cifar10", "cifar20", "stl10", "imagenet-10", "imagenet-dogs", "tiny-imagenet")
    seen = {name for name, info in SETS.items() if "class-name" in info.seen_by}
    assert seen == {"tiny-imagenet", "imagenet-10", "imagenet-dogs"}
    marks = {name: info.mark for name, info in SETS.items() if info.mark}
    assert marks == {"stl10": "†", "digits": "†", "cifar10": "‡"}
    assert [name for name, info in SETS.items() if info.generated] == ["pieces", "pieces-hard"]


def test_sets_without_files_have_the_size_that_the_table_gives():
    for name in ("digits", "pieces", "pieces-hard"):
        loaded, info = data.load(name), SETS[name]
        assert loaded.images.shape == (info.counts[0], 3, info.side, info.side)
        assert set(loaded.labels.tolist()) == set(range(info.classes))


def test_the_superclass_map_is_a_partition_of_cifar100():
    assert len(CIFAR100_SUPERCLASSES) == 20 and len(SUPERCLASS_OF) == 100
    assert all(len(names) == 5 for names in CIFAR100_SUPERCLASSES.values())
    # the labels of the archive number superclasses alphabetically, and so does every folder layout
    assert sorted(CIFAR100_SUPERCLASSES) == list(CIFAR100_SUPERCLASSES) == list(CIFAR20)
    known = {"maple_tree": "trees", "bus": "vehicles_1", "tank": "vehicles_2", "baby": "people", "whale":
             "aquatic_mammals", "mushroom": "fruit_and_vegetables", "porcupine": "medium_mammals"}  # fmt: skip
    assert {fine: SUPERCLASS_OF[fine] for fine in known} == known
    assert [CIFAR20.index(SUPERCLASS_OF[fine]) for fine in sorted(SUPERCLASS_OF)] == COARSE_OF_FINE


def test_importing_data_and_computing_a_checksum_import_no_torch(tmp_path):
    (tmp_path / "stl10_binary").mkdir()
    for name in ("test_X.bin", "test_y.bin"):
        (tmp_path / "stl10_binary" / name).write_bytes(b"pixels")
    code = f"""
import sys
from pgjr_lib import data
import pgjr_lib.data.loading
assert "torch" not in sys.modules
assert data.available("stl10", "test", {str(tmp_path)!r})
data.checksum("stl10", "test", {str(tmp_path)!r}, limit=10)
data.checksum("digits")
assert "torch" not in sys.modules
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
