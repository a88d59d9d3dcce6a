"""The manifest, run keys and records."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from pgjr_book import runs
from pgjr_book.runs import RESULTS_VERSION, RunConfig
from pgjr_book.train import execute
from pgjr_lib.errors import PGJRError

HERE = Path(__file__).parent
TINY = dict(method="gjr", dataset="digits", split="all", limit=96, image_size=8, backbone="thin", n=2, g=1,
            epochs=2, batch_size=32, kmeans_seeds=2)  # fmt: skip


@pytest.fixture
def manifest(tmp_path, monkeypatch):
    """A copy of the manifest in an empty clone; call with a function that edits it."""
    raw = yaml.safe_load((HERE.parent / "experiments.yaml").read_text())
    monkeypatch.chdir(tmp_path)

    def edited(edit=lambda raw: None):
        edit(raw)
        (tmp_path / "experiments.yaml").write_text(yaml.safe_dump(raw))
        return runs.load_manifest()

    return edited


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda m: m.update(profile={}), r"unknown key profile: did you mean profiles\?"),
        (lambda m: m["methods"]["gjr"].update(epoch=3), r"GJR .profile \w+.: unknown key epoch: did you mean epochs"),
        (lambda m: m["methods"]["pgjr"].update(tau1="sharp"), r"tau1 is 'sharp', but"),
        (lambda m: m["methods"]["gjr"].update(epochs=2.5), r"epochs is 2.5, but"),
        (lambda m: m["profiles"]["embedded"]["seeds"].update(head=True), r"seeds.head is True, but"),
        (lambda m: m["experiments"]["convergence"].pop("notebook"), r"experiments.convergence.notebook is"),
        (lambda m: m["profiles"]["published"].update(records=["local2"]), r"no profile 'local2'"),
        (lambda m: m["experiments"]["convergence"].update(sets={"paper": ["mnist"]}), r"names mnist, which profile paper"),
        (lambda m: m["experiments"]["components"]["variants"]["GJR"].update(jigsaw="maybe"), r"jigsaw is 'maybe', but"),
        (lambda m: m["experiments"]["main"]["sets"].update(locl=["digits"]), r"main: .*no profile 'locl': did you mean local"),
        (lambda m: m["experiments"]["main"].update(seeds={"gpo": 1}), r"main: .*no profile 'gpo': did you mean gpu"),
        (lambda m: m["profiles"]["published"].update(records=["published"]), r"published has records itself"),
        (lambda m: m["profiles"]["embedded"].update(sets={"digts": {}}), r"no data set 'digts': did you mean digits"),
        (lambda m: m["profiles"]["local"]["sets"]["digits"].update(splt="all"), r"digits.splt: did you mean split"),
        (lambda m: m["experiments"]["main"].update(timd=True), r"main.timd: did you mean timed"),
        (lambda m: m["profiles"]["embedded"]["common"].pop("prior"), r"method=prior needs a prior"),
        (lambda m: m["methods"]["gjr"].update(lr="1e-x"), r"lr is '1e-x', but"),
        (lambda m: m["profiles"]["local"]["rates"].update(cnn=0), r"rates.cnn is 0, but"),
    ],
)
def test_a_mistake_in_the_manifest_is_one_sentence_that_names_it(manifest, edit, sentence):
    with pytest.raises(PGJRError, match=sentence) as caught:
        manifest(edit)
    assert str(caught.value).startswith("experiments.yaml") or "no profile" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_broken_yaml_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "experiments.yaml").write_text("methods: [unclosed")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PGJRError, match="experiments.yaml cannot be read") as caught:
        runs.load_manifest()
    assert "\n" not in str(caught.value)


def test_the_manifest_reads_1e_3_as_a_number_and_refuses_a_key_that_stands_twice(manifest, tmp_path):
    manifest(lambda m: m["methods"]["gjr"].update(lr=0.25))
    path = tmp_path / "experiments.yaml"
    path.write_text(path.read_text().replace("lr: 0.25", "lr: 1e-3"))
    assert {run.lr for run in runs.experiment("embedded", "main").runs if run.method == "gjr"} == {0.001}
    path.write_text(path.read_text() + "\nmethods: {}\n")
    with pytest.raises(PGJRError, match=r"experiments.yaml cannot be read .*'methods' stands twice"):
        runs.load_manifest()


def test_a_plan_names_the_rate_it_lacks(manifest):
    from pgjr_book.planning import describe

    manifest(lambda m: m["profiles"]["embedded"]["rates"].pop("head"))
    with pytest.raises(PGJRError, match="profiles.embedded.rates lacks head"):
        describe("embedded")


@pytest.mark.parametrize("text", ["{}", "5"])
def test_a_committed_file_that_is_no_record_is_named(manifest, tmp_path, text):
    from pgjr_book.planning import describe

    manifest()
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "abc.json").write_text(text)
    with pytest.raises(PGJRError, match="results/abc.json") as caught:
        describe("published")
    assert "delete" not in str(caught.value)


def test_unknown_profile_and_experiment_are_named(manifest):
    manifest()
    with pytest.raises(PGJRError, match=r"no profile 'embeded': did you mean embedded\?"):
        runs.plan("embeded")
    with pytest.raises(PGJRError, match="no experiment 'nothing'"):
        runs.experiment("embedded", "nothing")


def test_the_key_follows_what_the_result_depends_on_and_nothing_else():
    run = RunConfig(**TINY)
    same = [run.model_copy(update=change) for change in ({"label": "x"}, {"views": 3}, {"prior": "class-name"})]
    other = [run.model_copy(update=c) for c in ({"seed": 1}, {"tau1": 0.5}, {"limit": 95}, {"jigsaw": "off"})]
    assert {runs.key(r) for r in same} == {runs.key(run)}
    assert len({runs.key(r) for r in [run, *other]}) == 5


def test_idfd_does_not_depend_on_the_jigsaw():
    idfd = RunConfig(**{**TINY, "method": "idfd"})
    assert idfd.hash() == idfd.model_copy(update={"n": 3, "mode": "sequential"}).hash()


def test_what_is_recorded_besides_has_a_key_of_its_own_and_leaves_others_alone():
    plain = RunConfig(**TINY)
    assert "snapshots" not in plain.relevant() and "landscape" not in plain.relevant()
    assert len({plain.hash(), RunConfig(**TINY, snapshots=2).hash(), RunConfig(**TINY, landscape=9).hash()}) == 3


def test_only_the_first_seed_records_more_and_an_experiment_may_have_its_own_seeds(manifest):
    manifest(lambda raw: raw["experiments"]["convergence"].update(seeds={"embedded": 2}))
    found = runs.experiment("embedded", "convergence").runs
    assert {(run.label, run.seed) for run in found if run.snapshots} == {
        ("IDFD (no jigsaw)", 0), ("GJR", 0), ("pGJR", 0)}  # fmt: skip
    assert len(found) == 6


def test_a_run_of_two_experiments_belongs_to_the_timed_one(manifest):
    manifest()
    plan = runs.plan("embedded").experiments
    assert plan["convergence"].timed and len(plan["convergence"].own_record_paths) == 9
    assert not set(plan["main"].own_record_paths) & set(plan["convergence"].own_record_paths)
    assert list(plan) == list(runs.load_manifest().experiments)


def test_run_own_leaves_shared_runs_to_their_experiment(manifest, monkeypatch):
    from pgjr_book import train as module
    from pgjr_lib.cli import main

    manifest()
    made = []
    monkeypatch.setattr(module, "execute", lambda run, root, alone: made.append((runs.record_path(run, root), alone)))
    for more, expected in ((["--own"], "own_record_paths"), ([], "record_paths")):
        made.clear()
        assert main(["run", "--profile", "embedded", "--experiment", "main", "--not-alone", *more]) == 0
        paths = getattr(runs.plan("embedded").experiments["main"], expected)
        assert {path for path, _ in made} == set(paths) and not any(alone for _, alone in made)


def test_a_profile_of_records_trains_nothing_under_any_name(manifest, monkeypatch):
    from pgjr_book import train as module
    from pgjr_lib.cli import main

    gone = runs.home() / "gone.json"
    manifest(lambda m: m["profiles"].update(shown=m["profiles"].pop("published")))
    monkeypatch.setattr(runs, "_committed", lambda m, profile, name: [(r, gone) for r in runs.experiment(profile, name).runs])
    monkeypatch.setattr(module, "execute", lambda *_, **__: pytest.fail("a run was started"))
    assert main(["run", "--profile", "shown", "--experiment", "main"]) == 0


def test_every_run_of_the_published_manifest_is_found_under_one_name(manifest):
    manifest()
    plan = runs.plan("embedded")
    own = [path for e in plan.experiments.values() for path in e.own_record_paths]
    assert len(own) == len(set(own)) > 30
    assert all(set(e.record_paths) <= set(own) for e in plan.experiments.values())
    assert plan.features


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    root = tmp_path_factory.mktemp("run")
    run = RunConfig(**TINY, snapshots=2, landscape=3, exemplars=2)
    return run, root, execute(run, root, device="cpu")


def test_a_record_holds_history_scores_and_provenance(record):
    run, root, made = record
    stored = runs.read_record(runs.record_path(run, root))
    assert stored == json.loads(json.dumps(made))
    assert [row["epoch"] for row in stored["history"]] == [0, 1, 2]
    assert all(0 <= row[name] <= 1 for row in stored["history"] for name in ("acc", "nmi"))
    assert {name: len(values) for name, values in stored["scores"]["bank"].items()} == dict.fromkeys(
        ("acc", "nmi", "ari", "inertia"), 2
    )
    assert stored["data"]["count"] == 96 and stored["data"]["split"] == "all"
    assert stored["provenance"]["config_hash"] == run.hash()
    assert stored["provenance"]["versions"]["torch"]
    assert stored["timings"]["total_s"] >= stored["timings"]["train_s"] > 0
    assert not list((root / "checkpoints").glob("*"))
    assert len(stored["landscape"]["acc"]) == len(stored["landscape"]["inertia"]) == 3
    assert np.sum(stored["exemplars"]["confusion"]) == 96 and len(stored["exemplars"]["nearest"]) == 10
    frames = stored["snapshots"]["epochs"]
    assert list(frames) == ["0", "1", "2"] and all(len(f["x"]) == len(f["y"]) == 96 for f in frames.values())
    assert sorted(set(stored["snapshots"]["labels"])) == list(range(10))


def test_the_golden_run_changes_only_with_the_results_version(record):
    """If this fails and the change is meant, raise RESULTS_VERSION and write the new numbers into golden.json."""
    golden = json.loads((HERE / "golden.json").read_text())
    assert golden["results_version"] == RESULTS_VERSION
    _, _, made = record
    for row, expected in zip(made["history"][1:], golden["history"], strict=True):
        assert row["instance"] == pytest.approx(expected["instance"], rel=2e-3)
        assert row["decorrelation"] == pytest.approx(expected["decorrelation"], rel=2e-3)


def test_a_killed_run_ends_in_the_same_record(record, tmp_path, monkeypatch):
    run, _, whole = record
    from pgjr_book import train as module

    calls = []

    def dies(points, labels):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return curve(points, labels)

    curve = module.curve_scores
    monkeypatch.setattr(module, "curve_scores", dies)
    with pytest.raises(KeyboardInterrupt):
        execute(run, tmp_path, device="cpu")
    assert not list((tmp_path / "runs").glob("*")) if (tmp_path / "runs").exists() else True
    assert (tmp_path / "checkpoints" / f"{whole['key']}.safetensors").exists()
    monkeypatch.setattr(module, "curve_scores", curve)
    resumed = execute(run, tmp_path, device="cpu")
    strip = lambda r: [{k: v for k, v in row.items() if k != "seconds"} for row in r["history"]]  # noqa: E731
    assert strip(resumed) == strip(whole)
    assert resumed["scores"] == whole["scores"]
    assert resumed["snapshots"] == whole["snapshots"] and resumed["landscape"] == whole["landscape"]


def test_ensure_reads_what_is_there_and_published_computes_nothing(manifest, tmp_path, monkeypatch, record):
    run, root, made = record

    def only_tiny(raw):
        raw["experiments"] = {"one": {"item": "F4", "title": "t", "notebook": "figure-4",
                                      "variants": {"GJR": {k: v for k, v in run.model_dump(exclude_defaults=True).items() if k not in
                                                           ("dataset", "split", "limit")}}}}  # fmt: skip
        raw["profiles"]["embedded"] |= {"sets": {"digits": {"split": "all", "limit": 96}}, "seeds": {"cnn": 1},
                                        "common": {}, "methods": {}}  # fmt: skip
        raw["methods"] = {"gjr": {}}

    manifest(only_tiny)
    from pgjr_book import train as module

    def forbidden(*args, **kwargs):
        raise AssertionError("a record on disk was computed again")

    monkeypatch.setattr(module, "execute", forbidden)
    (found,) = runs.ensure("one", "embedded", root)
    assert found["key"] == made["key"] and found["label"] == "GJR"
    assert runs.ensure("one", "published") == []
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / f"{made['key']}.json").write_text(json.dumps(made))
    assert [r["key"] for r in runs.ensure("one", "published")] == [made["key"]]
    later = {**made, "key": "0" * 16, "provenance": {**made["provenance"], "started": "2999-01-01T00:00:00+00:00"}}
    (tmp_path / "results" / f"{later['key']}.json").write_text(json.dumps(later))
    assert [r["key"] for r in runs.ensure("one", "published")] == [later["key"]]  # results/ is append-only


def test_a_set_is_shown_as_the_first_profile_ran_it(manifest, tmp_path, record):
    def two_profiles(raw):
        raw["methods"] = {"gjr": {"image_size": 8}}
        raw["experiments"] = {"one": {"item": "F4", "title": "t", "notebook": "figure-4", "variants": {"GJR": {"method": "gjr"}}}}
        for name, epochs, sets in (("embedded", 2, ["digits", "cifar10"]), ("local", 3, ["digits"])):
            raw["profiles"][name] |= {"sets": {s: {"split": "all"} for s in sets}, "seeds": {"cnn": 2}, "common": {},
                                      "methods": {"gjr": {"epochs": epochs}}}  # fmt: skip
        raw["profiles"]["published"]["records"] = ["local", "embedded"]

    manifest(two_profiles)
    (tmp_path / "results").mkdir()

    def commit(profile, number):
        for run in runs.experiment(profile, "one").runs:
            number += 1
            made = {**record[2], "key": f"{number:016d}", "config": run.model_dump(exclude={"label"})}
            made["provenance"] = {**made["provenance"], "config_hash": run.hash()}
            (tmp_path / "results" / f"{number:016d}.json").write_text(json.dumps(made))

    shown = lambda: sorted((r["config"]["dataset"], r["config"]["epochs"]) for r in runs.ensure("one", "published"))  # noqa: E731
    commit("embedded", 0)
    assert shown() == [("cifar10", 2)] * 2 + [("digits", 2)] * 2
    commit("local", 100)
    assert shown() == [("cifar10", 2)] * 2 + [("digits", 3)] * 2  # never a mixture of two settings
    assert len(runs.plan("published").experiments["one"].record_paths) == 4


def test_a_file_that_is_no_record_is_refused(tmp_path):
    path = tmp_path / "abc.json"
    whole = {part: {} for part in ("config", "history", "scores", "provenance", "data")}
    for text in ("{", "{}", "5", '{"key": "other"}', json.dumps({**whole, "key": "abc"})):
        path.write_text(text)
        with pytest.raises(PGJRError, match="abc.json"):
            runs.read_record(path)


def test_the_cnns_of_one_experiment_and_set_ran_with_one_number_of_threads():
    threads = {}
    for name, found in runs.plan("published").experiments.items():
        for path in found.record_paths:
            record = runs.read_record(path)
            if record["config"]["method"] in ("idfd", "gjr"):
                threads.setdefault((name, record["data"]["name"]), set()).add(record["provenance"]["threads"])
    assert threads and all(len(found) == 1 for found in threads.values()), threads
