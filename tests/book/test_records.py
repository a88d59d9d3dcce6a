"""Keys and records."""

import json

import pytest

from pgjr_book import make, records
from pgjr_book.run_config import RESULTS_VERSION, RunConfig
from pgjr_lib.errors import PGJRError
from pgjr_lib.priors.config import FORMAT


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


def committed(folder, number, config, *, data="d", weights="w", version=RESULTS_VERSION, feature_format=FORMAT, started="2026"):
    """Write a record with what decides whether a page shows it; returns its path."""
    path = folder / f"{number:016d}.json"
    record = {
        "key": path.stem, "config": config.model_dump(), "results_version": version, "feature_format": feature_format,
        "history": [], "scores": {}, "data": {"checksum": data}, "weights": {"checksum": weights} if weights else None,
        "provenance": {"config_hash": config.hash(), "started": started},
    }  # fmt: skip
    path.write_text(json.dumps(record))
    return path


HEAD = RunConfig(method="pgjr", dataset="stl10", prior="ViT-B-32-quickgelu/openai", epochs=2)


def test_a_page_pairs_no_records_of_different_priors_or_data(tmp_path):
    """Seed 0 was run again with a retrained prior, seed 1 was not: seed 1's record is not shown beside it."""
    other = HEAD.model_copy(update={"seed": 1})
    committed(tmp_path, 1, HEAD, weights="old", started="2025")
    committed(tmp_path, 2, other, weights="old", started="2025")
    new = committed(tmp_path, 3, HEAD, weights="new", started="2026")
    shown = records.Comparable(tmp_path)
    assert shown.record(HEAD) == new and shown.record(other) is None
    copy = committed(tmp_path, 4, HEAD.model_copy(update={"seed": 2}), weights="new", data="another copy", started="2027")
    shown = records.Comparable(tmp_path)
    assert shown.record(HEAD) is None and shown.record(HEAD.model_copy(update={"seed": 2})) == copy


def test_this_machines_weights_decide_where_they_are_here(tmp_path):
    bundled = RunConfig(method="pgjr", dataset="stl10", prior="class-name", epochs=2)
    mine = committed(tmp_path, 1, bundled, weights=records.prior_digest("class-name"), started="2025")
    committed(tmp_path, 2, bundled, weights="of a later or an earlier prior", started="2026")
    assert records.Comparable(tmp_path).record(bundled) == mine


def test_a_prior_that_only_its_own_machine_has_needs_no_file_to_be_shown(tmp_path):
    gone = HEAD.model_copy(update={"prior": f"file:{tmp_path / 'gone.safetensors'}"})
    path = committed(tmp_path, 1, gone)
    assert records.Comparable(tmp_path).record(gone) == path


def test_features_of_another_format_are_not_shown_and_earlier_code_is_only_where_nothing_newer_is(tmp_path):
    old = committed(tmp_path, 1, HEAD, version=RESULTS_VERSION - 1, feature_format=None)
    assert records.Comparable(tmp_path).record(HEAD) == old
    committed(tmp_path, 2, HEAD, feature_format=FORMAT + 1, started="2027")
    assert records.Comparable(tmp_path).record(HEAD) == old
    new = committed(tmp_path, 3, HEAD)
    assert records.Comparable(tmp_path).record(HEAD) == new


def test_the_key_follows_the_feature_format_where_features_are_read(tiny, monkeypatch):
    cnn, head = RunConfig(**tiny), RunConfig(method="pgjr", dataset="digits", split="all", prior="class-name", epochs=1)
    before = records.key(cnn), records.key(head)
    monkeypatch.setattr(records, "FORMAT", FORMAT + 1)
    assert records.key(cnn) == before[0] and records.key(head) != before[1]


def test_every_committed_record_is_shown_by_some_page():
    entries = make.plan("published").experiments.values()
    shown = {path for entry in entries for path in entry.paths.values()}
    shown |= {committed for _, committed in make.to_reproduce("embedded")}  # the default book holds its own runs against these
    assert set((make.home() / "results").glob("*.json")) == shown


def test_a_run_that_several_profiles_share_is_shown_once():
    for name in ("main", "landscape", "convergence"):
        shown = make.ensure(name, "published")
        assert len({(record["key"], record["variant"]) for record in shown}) == len(shown)
