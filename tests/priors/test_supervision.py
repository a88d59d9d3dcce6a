"""Labels that priors saw: no set is scored with a prior that was trained with labels of its classes."""

import json
import shutil

import pytest

from pgjr_lib import data
from pgjr_lib.errors import PGJRError
from pgjr_lib.priors.names import BUNDLED
from pgjr_lib.priors.supervision import classes_seen, refuse_seen
from pgjr_lib.storage import read_sealed


def test_only_priors_with_labels_have_seen_classes():
    assert len(classes_seen("class-name")) == 200 and "n01443537" in classes_seen("class-name")
    assert classes_seen(f"file:{BUNDLED}") == classes_seen("class-name")
    for name in ("random:class-name", "ViT-B-32-quickgelu/openai", "random:ViT-B-32-quickgelu/openai"):
        assert classes_seen(name) == ()


def test_sets_with_labels_that_the_class_name_prior_saw_are_refused():
    refused = {"tiny-imagenet", "imagenet-10", "imagenet-dogs"}
    for name in data.SETS:
        for prior in ("class-name", f"file:{BUNDLED}"):
            if name in refused:
                with pytest.raises(
                    PGJRError, match=f"{name} cannot be scored with {prior}, which saw labels of its classes"
                ):
                    refuse_seen(prior, name)
            else:
                refuse_seen(prior, name)
        refuse_seen("random:class-name", name)
        refuse_seen("ViT-B-32-quickgelu/openai", name)


def test_a_folder_of_such_classes_is_refused_by_their_names():
    refuse_seen("class-name", "folder:photos")
    refuse_seen("class-name", "folder:photos", ("cat", "dog"))
    refuse_seen("random:class-name", "folder:photos", ("cat", "n01443537"))
    with pytest.raises(PGJRError, match="folder:photos cannot be scored with class-name"):
        refuse_seen("class-name", "folder:photos", ("cat", "n01443537"))


def test_a_file_that_saw_no_labels_may_be_scored_anywhere(tmp_path):
    shutil.copy(BUNDLED, tmp_path / "own.safetensors")
    fields = read_sealed(BUNDLED.with_suffix(".json"))
    (tmp_path / "own.json").write_text(json.dumps({**fields, "classes_seen": []}))
    refuse_seen(f"file:{tmp_path / 'own.safetensors'}", "tiny-imagenet", ("n01443537",))


def test_the_sets_table_agrees_with_the_classes_that_the_bundled_prior_saw():
    seen = set(classes_seen("class-name"))
    for name, info in data.SETS.items():
        if name != "tiny-imagenet":  # its classes are listed by its files only
            assert bool(seen & set(info.class_names)) == ("class-name" in info.seen_by), name
