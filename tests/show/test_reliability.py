"""The table of what the tests of faults tried."""

import json
from pathlib import Path

from pgjr_book.show import reliability, render

RECORD = Path(__file__).parents[1] / "faults" / "record.json"


def test_cases_and_losses_are_those_of_the_record():
    made = {"date": "2026-01-31", "commit": None}
    record = {"kinds": {"kill: training": {"tried": 30, "held": 30, **made}, "memory runs out": {"tried": 2, "held": 1, **made}}}
    frame = reliability.faults(record)
    assert frame["cases"].tolist() == [30, 2] and frame["losses"].tolist() == [0, 1]
    assert "killed in the middle" in frame["what happened"][0] and frame["where"].tolist() == ["training", "extraction"]
    assert reliability.in_short(record) == "30 kills and 2 other faults were tried; in 1 of them something was lost."
    assert "killed in the middle" in render.table(frame, "faults")


def test_every_kind_of_the_committed_record_is_shown():
    record = json.loads(RECORD.read_text())
    shown = reliability.faults(record)
    assert len(shown) == len(record["kinds"]) and shown["losses"].sum() == 0
