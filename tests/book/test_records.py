"""Keys and records."""

import json

import pytest

from pgjr_book import records
from pgjr_book.run_config import RunConfig
from pgjr_lib.errors import PGJRError


def test_the_key_follows_what_the_result_depends_on_and_nothing_else(tiny):
    run = RunConfig(**tiny)
    same = [run.model_copy(update=change) for change in ({"at": "layer3"}, {"views": 3}, {"prior": "class-name"})]
    other = [run.model_copy(update=c) for c in ({"seed": 1}, {"tau1": 0.5}, {"limit": 95}, {"jigsaw": "off"})]
    assert {records.key(r) for r in same} == {records.key(run)}
    assert len({records.key(r) for r in [run, *other]}) == 5


def test_idfd_does_not_depend_on_the_jigsaw(tiny):
    idfd = RunConfig(**{**tiny, "method": "idfd"})
    assert idfd.hash() == idfd.model_copy(update={"n": 3, "mode": "sequential"}).hash()


def test_what_is_recorded_besides_has_a_key_of_its_own_and_leaves_others_alone(tiny):
    plain = RunConfig(**tiny)
    assert "snapshots" not in plain.relevant() and "landscape" not in plain.relevant()
    assert len({plain.hash(), RunConfig(**tiny, snapshots=2).hash(), RunConfig(**tiny, landscape=9).hash()}) == 3


def test_a_file_that_is_no_record_is_refused(tmp_path):
    path = tmp_path / "abc.json"
    whole = {part: {} for part in ("config", "history", "scores", "provenance", "data")}
    for text in ("{", "{}", "5", '{"key": "other"}', json.dumps({**whole, "key": "abc"})):
        path.write_text(text)
        with pytest.raises(PGJRError, match="abc.json"):
            records.read_record(path)
