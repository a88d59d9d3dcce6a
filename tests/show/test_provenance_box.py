"""The box below a page's results says where its numbers come from."""

import re

from pgjr_book import verdicts
from pgjr_book.show.provenance_box import provenance_box, rules_text
from pgjr_lib.storage import file_sha256


def traced(records) -> list[dict]:
    data = {"name": "digits", "split": "all", "count": 10, "checksum": "0" * 64}
    origin = {"commit": "0" * 40, "dirty": False, "device": "cpu", "host_cpu": "x", "threads": 1,
              "started": "2026-01-01T00:00", "versions": {"torch": "2.15"}}  # fmt: skip
    return [{**record, "data": data, "weights": None, "provenance": origin} for record in records]


def test_provenance_names_every_seed(records):
    box = provenance_box(traced(records))
    assert "<dt>seeds</dt><dd>0, 1, 2</dd>" in box and "<dt>weights</dt><dd>none</dd>" in box
    assert "6 records" in box and "digits (all, 10 images, SHA-256 000000000000)" in box and "0.1 minutes" in box
    assert "no record for this page" in provenance_box([])


def test_names_in_the_box_are_escaped(records):
    (first, *_) = traced(records)
    first["weights"] = {"name": "file:<i>", "checksum": "1" * 64}
    assert "<i>" not in provenance_box([first]) and "file:&lt;i&gt;" in provenance_box([first])


def test_the_rules_have_their_hash(records):
    text = rules_text(traced(records))
    assert re.search(r"^verdicts\.py, SHA-256: [0-9a-f]{64}\n\d+ of 6 records", text)
    assert file_sha256(verdicts.__file__) in text
