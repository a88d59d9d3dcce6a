"""A record from another machine is checked by what it says of itself."""

import copy
import json
import math
from pathlib import Path

import pytest

from pgjr_book.arrival import check_record
from pgjr_book.run_config import RESULTS_VERSION
from pgjr_lib.errors import PGJRError

RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture
def arrived(record, tmp_path):
    """A function that writes a changed copy of a real record and checks it."""
    _, _, original = record
    original = copy.deepcopy(original)
    original["provenance"]["commit"] = "0" * 40  # the tests may run outside a clone

    def check(change=lambda r: None):
        changed = copy.deepcopy(original)
        change(changed)
        path = tmp_path / f"{changed['key']}.json"
        path.write_text(json.dumps(changed))
        return check_record(path)

    return check


def test_a_whole_record_passes_and_what_is_odd_is_said(arrived):
    assert arrived(lambda r: r["provenance"].update(dirty=False)) == []
    assert arrived(lambda r: r["provenance"].update(dirty=True)) == ["made by code that differs from its commit"]


@pytest.mark.parametrize(("change", "words"), [
    (lambda r: r["config"].update(tau1=0.5), "does not have the key of its configuration"),
    (lambda r: r["data"].update(checksum="0" * 64), "does not have the key of its configuration"),
    (lambda r: r["config"].update(surprise=1), "is no record of a run of this code"),
    (lambda r: r.update(results_version=RESULTS_VERSION + 1), "a later version of the code"),
    (lambda r: r["provenance"].update(commit=None), "names no commit"),
    (lambda r: r["provenance"]["versions"].pop("torch"), "the version of torch"),
    (lambda r: r["provenance"].update(config_hash="0" * 16), "does not belong to its configuration"),
    (lambda r: r["data"].update(count=97), "has 97 images of digits"),
    (lambda r: r["scores"]["plain"].update(nmi=[1.2, 0.3]), r"as NMI of plain: 2 from 0 to 1"),
    (lambda r: r["scores"]["plain"].update(acc=[math.nan, 0.3]), r"as ACC of plain"),
    (lambda r: r["scores"]["plain"].update(ari=[0.3]), r"as ARI of plain: 2 from -0.5 to 1"),
    (lambda r: r["history"].pop(), "has no history of epochs 0 to 2"),
    (lambda r: r["history"][1].update(seconds=1e9), "has no history of epochs 0 to 2"),
    (lambda r: r["timings"].update(train_s=-1.0), "seconds below zero"),
    (lambda r: r.update(scores=5), "is no record of a run of this code"),
])  # fmt: skip
def test_a_changed_record_is_refused_in_a_sentence(arrived, change, words):
    with pytest.raises(PGJRError, match=words):
        arrived(change)


def test_every_committed_record_would_pass():
    for path in RESULTS.glob("*.json"):
        check_record(path)
