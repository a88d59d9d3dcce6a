"""Plans, their cost, and runs from configuration to record."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pgjr_book import make, records
from pgjr_book.__main__ import main
from pgjr_book.manifest import experiment, home, load_manifest
from pgjr_book.run_config import RESULTS_VERSION, RunConfig
from pgjr_lib.errors import PGJRError

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def test_a_plan_names_the_rate_it_lacks(manifest):
    with pytest.raises(PGJRError, match="profiles.embedded.rates.head is missing: add it"):
        manifest(lambda m: m["profiles"]["embedded"]["rates"].pop("head"))
    manifest(lambda m: m["profiles"]["embedded"].pop("rates"))
    with pytest.raises(PGJRError, match="profiles.embedded has no rates: add cnn, prior and head"):
        make.cost(make.plan("embedded"))


def test_a_plan_for_a_card_takes_its_rates_and_counts_the_scoring(capsys):
    plan = make.plan("clip-class-name", only=["convergence", "timing"])
    assert list(plan.experiments) == ["convergence", "timing"]
    t4, h100 = make.cost(plan, "t4"), make.cost(plan, "h100")
    cnn, head = (60 * (10_000 * epochs / rate + 1.5) for epochs, rate in ((15, 3000), (20, 60_000)))
    rows = {row.name: row for row in t4.experiments}
    assert rows["convergence"].hours == pytest.approx((20 * cnn + 10 * head) / 60 / 3600) and rows["timing"].new == 3
    assert h100.hours < t4.hours / 4 and t4.rates.cnn == 3000 and h100.card.jobs == 2
    assert main(["plan", "--profile", "clip-class-name", "--card", "t4", "--only", "timing"]) == 0
    out = capsys.readouterr().out
    assert "hours on NVIDIA T4, Colab's free card\n" in out and "rates (assumed): cnn 3,000" in out and "convergence" not in out
    for arguments, words in ((["--card", "t5"], "there is no card 't5': did you mean t4"),
                             (["--only", "mainn"], "there is no experiment 'mainn': did you mean main")):  # fmt: skip
        assert main(["plan", "--profile", "clip-class-name", *arguments]) == 2 and words in capsys.readouterr().err
    assert main(["plan", "--profile", "local", "--card", "t4"]) == 2
    assert "which profile local does not train: leave the card out" in capsys.readouterr().err


def test_the_hour_of_a_free_card_is_an_hour_by_the_plan():
    """The rates are assumptions; what is tested is that the plan keeps what the profile promises."""
    plan = make.plan("clip-class-name")
    assert make.cost(plan, "t4").hours < 1 and make.cost(plan, "h100").hours < 0.25


@pytest.mark.parametrize("text", ["{}", "5"])
def test_a_committed_file_that_is_no_record_is_named(manifest, tmp_path, text):
    manifest()
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "abc.json").write_text(text)
    with pytest.raises(PGJRError, match="results/abc.json") as caught:
        make.plan("published")
    assert "delete" not in str(caught.value)


def test_unknown_profile_and_experiment_are_named(manifest):
    manifest()
    with pytest.raises(PGJRError, match=r"no profile 'embeded': did you mean embedded\?"):
        make.plan("embeded")
    with pytest.raises(PGJRError, match="no experiment 'nothing'"):
        experiment(load_manifest(), "embedded", "nothing")


def test_a_run_of_two_experiments_belongs_to_one_of_them(manifest):
    manifest()
    plan = make.plan("embedded").experiments
    assert plan["timing"].experiment.timed and len(plan["timing"].own) == 3
    shared = set(plan["main"].paths.values()) & set(plan["attribution"].paths.values())
    owners = [name for path in shared for name, entry in plan.items() if path in entry.own]
    assert shared and len(owners) == len(shared)
    assert list(plan) == list(load_manifest().experiments)


def test_run_own_leaves_shared_runs_to_their_experiment(manifest, monkeypatch):
    manifest()
    started = []
    note = lambda run, root, device=None, alone=True: started.append((records.record_path(run, root), alone))  # noqa: E731
    monkeypatch.setattr(make, "run", note)
    planned = make.plan("embedded").experiments["main"]
    for more, paths in ((["--own"], planned.own), ([], planned.paths.values())):
        started.clear()
        assert main(["run", "--profile", "embedded", "--only", "main", "--not-alone", *more]) == 0
        assert {path for path, _ in started} == set(paths) and not any(alone for _, alone in started)


def test_a_profile_of_records_trains_nothing_under_any_name(manifest, monkeypatch):
    gone = home() / "gone.json"
    manifest(lambda m: m["profiles"].update(shown=m["profiles"].pop("published")))
    committed = lambda m, profile, name: [(run, gone) for run in experiment(m, profile, name).runs]  # noqa: E731
    monkeypatch.setattr(make, "_committed_runs", committed)
    monkeypatch.setattr(make, "run", lambda *_, **__: pytest.fail("a run was started"))
    assert main(["run", "--profile", "shown", "--only", "main"]) == 0


def test_every_run_of_the_published_manifest_is_found_under_one_name(manifest):
    manifest()
    plan = make.plan("embedded")
    own = [path for e in plan.experiments.values() for path in e.own]
    assert len(own) == len(set(own)) == 25
    assert all(set(e.paths.values()) <= set(own) for e in plan.experiments.values())
    assert plan.features


def test_a_record_holds_history_scores_and_provenance(record):
    run, root, made = record
    stored = records.read_record(records.record_path(run, root))
    assert stored == json.loads(json.dumps(made))
    assert [row["epoch"] for row in stored["history"]] == [0, 1, 2]
    assert all(0 <= row[name] <= 1 for row in stored["history"] for name in ("acc", "nmi"))
    assert {name: len(values) for name, values in stored["scores"]["bank"].items()} == dict.fromkeys(
        ("acc", "nmi", "ari", "inertia"), 2
    )
    assert stored["data"]["count"] == 96 and stored["data"]["split"] == "all"
    assert stored["provenance"]["config_hash"] == run.hash()
    assert stored["provenance"]["versions"]["torch"]
    timings = stored["timings"]
    assert timings["total_s"] == timings["extract_s"] + timings["train_s"] + timings["evaluate_s"] > timings["train_s"] > 0
    assert not list((root / "checkpoints").glob("*"))
    assert len(stored["landscape"]["acc"]) == len(stored["landscape"]["inertia"]) == 3
    assert np.sum(stored["exemplars"]["confusion"]) == 96 and len(stored["exemplars"]["nearest"]) == 10
    frames = stored["snapshots"]["epochs"]
    assert list(frames) == ["0", "1", "2"] and all(len(f["x"]) == len(f["y"]) == 96 for f in frames.values())
    assert sorted(set(stored["snapshots"]["labels"])) == list(range(10))


GOLDEN = json.loads((HERE / "golden.json").read_text())


def golden_values(record: dict) -> dict:
    """What a golden run is held to: its losses and curve, and the inertia of its clusterings."""
    names = ("loss", "instance", "decorrelation", "nmi")
    history = [{name: row[name] for name in names if name in row} for row in record["history"]]
    return {"history": history, "inertia": record["scores"]["plain"]["inertia"]}


def test_the_golden_runs_are_of_this_version():
    """If a golden run changes and the change is meant, raise RESULTS_VERSION and write the new values to golden.json."""
    assert GOLDEN["results_version"] == RESULTS_VERSION


@pytest.mark.parametrize("method", GOLDEN["runs"])
def test_the_golden_run_of_a_method_changes_only_with_the_results_version(method, tmp_path):
    expected = GOLDEN["runs"][method]
    values = golden_values(make.run(RunConfig(**expected["config"]), tmp_path / "first", device="cpu"))
    for row, golden in zip(values["history"], expected["values"]["history"], strict=True):
        for name in ("loss", "instance", "decorrelation"):  # another processor rounds otherwise
            assert row[name] == (golden[name] if golden[name] is None else pytest.approx(golden[name], rel=2e-3)), name
    assert values["inertia"] == pytest.approx(expected["values"]["inertia"], rel=0.05)
    again = golden_values(make.run(RunConfig(**expected["config"]), tmp_path / "second", device="cpu"))
    assert again == values  # bit for bit on one machine


def test_a_killed_run_ends_in_the_same_record(record, tmp_path, monkeypatch):
    run, _, whole = record
    from pgjr_book import train as module

    calls = []

    def dies(points, labels, device):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return curve(points, labels, device)

    curve = module.curve_scores
    monkeypatch.setattr(module, "curve_scores", dies)
    monkeypatch.setattr(module, "fit", functools.partial(module.fit, checkpoint_seconds=0))
    with pytest.raises(KeyboardInterrupt):
        make.run(run, tmp_path, device="cpu")
    assert not list((tmp_path / "runs").glob("*")) if (tmp_path / "runs").exists() else True
    assert (tmp_path / "checkpoints" / f"{whole['key']}.safetensors").exists()
    monkeypatch.setattr(module, "curve_scores", curve)
    resumed = make.run(run, tmp_path, device="cpu")
    seconds = ("seconds", "evaluate_s")
    strip = lambda r: [{k: v for k, v in row.items() if k not in seconds} for row in r["history"]]  # noqa: E731
    assert strip(resumed) == strip(whole)
    assert resumed["scores"] == whole["scores"]
    assert resumed["snapshots"] == whole["snapshots"] and resumed["landscape"] == whole["landscape"]
    assert whole["timings"]["alone"] and not resumed["timings"]["alone"]


def test_ensure_reads_what_is_there_and_published_computes_nothing(manifest, tmp_path, monkeypatch, record):
    run, root, made = record

    fields = run.model_dump(exclude_defaults=True, exclude={"dataset", "split", "limit"})

    def only_tiny(raw):
        variants = {"gjr": {"label": "GJR", "run": fields}}
        raw["experiments"] = {"one": {"item": "F4", "title": "t", "first_seed": 0, "variants": variants}}
        raw["notebooks"] = {"figure-4": ["one"]}
        raw["profiles"]["embedded"] |= {"sets": {"digits": {"split": "all", "limit": 96}}, "seeds": {"cnn": 1},
                                        "common": {}, "methods": {}}  # fmt: skip
        raw["methods"] = {"gjr": {}}

    manifest(only_tiny)

    def forbidden(*args, **kwargs):
        raise AssertionError("a record on disk was computed again")

    monkeypatch.setattr(make, "run", forbidden)
    (read,) = make.ensure("one", "embedded", root)
    assert (read["key"], read["variant"], read["label"], read["panel"]) == (made["key"], "gjr", "GJR", None)
    assert make.ensure("one", "published") == []
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / f"{made['key']}.json").write_text(json.dumps(made))
    assert [r["key"] for r in make.ensure("one", "published")] == [made["key"]]
    later = {**made, "key": "0" * 16, "provenance": {**made["provenance"], "started": "2999-01-01T00:00:00+00:00"}}
    (tmp_path / "results" / f"{later['key']}.json").write_text(json.dumps(later))
    assert [r["key"] for r in make.ensure("one", "published")] == [later["key"]]  # results/ is append-only
    earlier = {**later, "key": "1" * 16, "results_version": RESULTS_VERSION - 1}
    (tmp_path / "results" / f"{earlier['key']}.json").write_text(json.dumps(earlier))
    assert [r["key"] for r in make.ensure("one", "published")] == [later["key"]]  # newer code precedes a later date


def test_a_set_is_shown_as_the_first_profile_ran_it(manifest, tmp_path, record):
    def two_profiles(raw):
        raw["methods"] = {"gjr": {"image_size": 8}}
        raw["experiments"] = {"one": {"item": "F4", "title": "t", "variants": {"gjr": {"label": "GJR", "run": {"method": "gjr"}}}}}
        raw["notebooks"] = {"figure-4": ["one"]}
        for name, epochs, sets in (("embedded", 2, ["digits", "cifar10"]), ("local", 3, ["digits"])):
            raw["profiles"][name] |= {"sets": {s: {"split": "all"} for s in sets}, "seeds": {"cnn": 2}, "common": {},
                                      "methods": {"gjr": {"epochs": epochs}}}  # fmt: skip
        raw["profiles"]["published"]["records"] = ["local", "embedded"]

    manifest(two_profiles)
    (tmp_path / "results").mkdir()

    def commit(profile, number):
        for run in experiment(load_manifest(), profile, "one").runs:
            number += 1
            made = {**record[2], "key": f"{number:016d}", "config": run.config.model_dump()}
            made["provenance"] = {**made["provenance"], "config_hash": run.config.hash()}
            (tmp_path / "results" / f"{number:016d}.json").write_text(json.dumps(made))

    shown = lambda: sorted((r["config"]["dataset"], r["config"]["epochs"]) for r in make.ensure("one", "published"))  # noqa: E731
    commit("embedded", 0)
    assert shown() == [("cifar10", 2)] * 2 + [("digits", 2)] * 2
    commit("local", 100)
    assert shown() == [("cifar10", 2)] * 2 + [("digits", 3)] * 2  # never a mixture of two settings
    assert len(make.plan("published").experiments["one"].paths) == 4


def test_the_cnns_of_one_experiment_and_set_ran_with_one_number_of_threads():
    threads = {}
    for name, entry in make.plan("published").experiments.items():
        for path in entry.paths.values():
            record = records.read_record(path)
            if record["config"]["method"] in ("idfd", "gjr"):
                threads.setdefault((name, record["data"]["name"]), set()).add(record["provenance"]["threads"])
    assert threads and all(len(numbers) == 1 for numbers in threads.values()), threads


def test_a_plan_uses_no_network_and_no_torch_and_says_what_to_fetch(tmp_path):
    """Torch cannot be imported and no socket opened; the paper profile's priors are not here."""
    code = """
import socket, sys
sys.modules["torch"] = None
socket.socket = None
from pgjr_book import make
plan = make.plan("paper")
make.cost(plan)
print(*plan.to_fetch)
assert any("cifar10 (train) was not" in sentence for sentence in plan.missing), plan.missing
"""
    environment = {**os.environ, "PGJR_DATA": str(tmp_path), "PGJR_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "ViT-B-32-quickgelu/openai" in done.stdout and "RN50-quickgelu/openai" in done.stdout


def test_every_experiment_is_read_by_a_notebook():
    manifest = load_manifest()
    read = {name for notebook in manifest.notebooks for name in manifest.reads(notebook)}
    assert read == set(manifest.experiments)
    assert manifest.reads("ledger") == manifest.reads("table-1") == list(manifest.experiments)
    assert manifest.reads("table-6") == ["winner", "strength", "baselines", "clip_priors"] and manifest.reads("figure-1") == []
    with pytest.raises(PGJRError, match="no notebook 'figure-9'"):
        manifest.reads("figure-9")


def test_what_a_notebook_gets_is_what_the_manifest_says(manifest, monkeypatch):
    manifest()
    monkeypatch.setattr(make, "ensure", lambda name, profile: [name, profile])
    assert make.records_for("figure-4", "local") == {"convergence": ["convergence", "local"], "timing": ["timing", "local"]}


class Clock:
    """A clock that only moves when somebody turns it."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now

    def turning(self, function, seconds):
        """Return ``function``, which now also takes ``seconds`` of this clock."""

        def turned(*arguments, **options):
            self.now += seconds
            return function(*arguments, **options)

        return turned


@pytest.mark.parametrize("method", ["pixels", "gjr"])
def test_the_seconds_of_evaluation_are_those_of_evaluation(method, tiny, monkeypatch):
    from pgjr_book import snapshots, train
    from pgjr_lib import evaluation, training

    clock = Clock()
    monkeypatch.setattr(train, "time", clock)
    monkeypatch.setattr(training, "time", clock)
    monkeypatch.setattr(training, "save", clock.turning(training.save, 50))
    monkeypatch.setattr(training, "feature_decorrelation", clock.turning(training.feature_decorrelation, 10))
    monkeypatch.setattr(snapshots, "tsne", clock.turning(snapshots.tsne, 1000))
    monkeypatch.setattr(evaluation, "landscape", clock.turning(evaluation.landscape, 5000))
    monkeypatch.setattr(train, "embed", clock.turning(train.embed, 0.25))
    monkeypatch.setattr(evaluation, "kmeans_fits", clock.turning(evaluation.kmeans_fits, 1))
    run = RunConfig(**tiny | {"method": method, "epochs": 2, "snapshots": 1, "landscape": 2})
    timings = train.compute(run, train.load_images(run))["timings"]
    batches, curves = 3, 3  # 96 images in batches of 32; epochs 0, 1 and 2
    expected = {"pixels": {"train_s": 0.0, "evaluate_s": 1.0},
                "gjr": {"train_s": 2 * batches * 10.0, "evaluate_s": curves * 1.25 + 2}}  # fmt: skip
    assert timings == pytest.approx(expected[method])


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux measures a run's own memory")
def test_peak_memory_is_the_runs_own():
    from pgjr_book import memory

    block = np.ones(2**26)  # 512 MiB
    before = memory.peak_mb("cpu")
    del block
    memory.reset_peak("cpu")
    small = memory.peak_mb("cpu")
    memory.reset_peak("cpu")
    block = np.ones(2**26)
    large = memory.peak_mb("cpu")
    assert before > small + 300 and large > small + 300 and block.size


def test_encodings_have_the_machine_to_themselves_and_runs_ask_for_such_seconds(tiny, tmp_path, monkeypatch):
    """Snakemake gives the rule of each feature folder all cores, so that nothing runs beside it."""
    rule = (ROOT / "Snakefile").read_text().split('name: f"features_')[1].split("shell:")
    assert "threads: CORES" in rule[0] and 'alone="" if SHARDS > 1 or CLUSTER else "--alone"' in rule[0]
    assert "{params.alone}" in rule[1].partition("\n\n")[0]

    from pgjr_lib.priors import cache

    asked = []
    extract = cache.extract
    monkeypatch.setattr(cache, "extract", lambda *a, alone, **k: asked.append(alone) or extract(*a, alone=alone, **k))
    run = RunConfig(method="prior", dataset="digits", split="all", limit=40, prior="class-name", views=0, kmeans_seeds=1)
    for alone in (False, True):
        record = make.run(run, tmp_path, alone=alone)
    assert asked == [False, True] and record["timings"]["alone"]


def test_plan_and_ensure_leave_out_an_optional_experiment_alike(manifest, monkeypatch):
    """One of its three priors is here: neither computes a part of it."""
    manifest()
    monkeypatch.setattr(make, "at_hand", lambda prior: prior == "RN50-quickgelu/openai")
    monkeypatch.setattr(make, "run", lambda *_, **__: pytest.fail("a run was started"))
    assert make.ensure("clip_priors", "paper") == []
    entry = make.plan("paper").experiments["clip_priors"]
    assert entry.left_out and entry.experiment.runs and not entry.own and not entry.paths


def test_a_plan_costs_optional_experiments_and_marks_them(manifest):
    from pgjr_book.show.plan import plan_text

    manifest()
    plan, profile = make.plan("paper"), load_manifest().profiles["paper"]
    cost = make.cost(plan)
    (row,) = [row for row in cost.experiments if row.name == "clip_priors"]
    assert row.optional and row.new > 0 and row.hours > 0
    lines = plan_text(profile, plan, cost).splitlines()
    (line,) = [line for line in lines if line.lstrip().startswith("clip_priors")]
    assert line.endswith("  optional") and sum(line.endswith("optional") for line in lines) == 1


def test_a_prior_that_can_be_fetched_is_listed_once_and_hides_no_missing_data(manifest):
    manifest()
    plan = make.plan("paper")
    assert "ViT-B-32-quickgelu/openai" in plan.required and set(plan.required) < set(plan.to_fetch)
    assert not [sentence for sentence in plan.missing if any(prior in sentence for prior in plan.to_fetch)]
    assert any(sentence.startswith("No data root is set, so cifar10") for sentence in plan.missing)


def small_manifest(optional_prior: str, required_prior: str = "class-name", dataset: str = "digits"):
    """Return an edit of the manifest: two experiments on ``optional_prior`` that are optional, one that is not."""
    entry = lambda prior, **more: {"item": "F4", "title": "t", **more, "variants": {  # noqa: E731
        "v": {"label": "V", "run": {"method": "prior", "prior": prior, "views": 0}}}}  # fmt: skip

    def edit(raw):
        raw["experiments"] = {"one": entry(optional_prior, optional=True), "two": entry(optional_prior, optional=True),
                              "three": entry(required_prior)}  # fmt: skip
        raw["notebooks"] = {"figure-4": ["one", "two", "three"]}
        raw["methods"], raw["priors"] = {}, {}
        raw["profiles"] = {name: profile for name, profile in raw["profiles"].items() if "like" not in profile}
        for profile in raw["profiles"].values():
            profile.update(priors=[], common={}, methods={})
        raw["profiles"]["embedded"]["sets"] = {dataset: {"split": "all", **({"limit": 40} if dataset == "digits" else {})}}

    return edit


@pytest.fixture
def attempts(monkeypatch):
    """The priors that were asked of the network, which does not have them."""
    from pgjr_lib.priors import fetch as module

    names = []

    def fail(name):
        names.append(name)
        raise PGJRError(f"{name} could not be fetched.")

    monkeypatch.setattr(module, "fetch", fail)
    monkeypatch.setattr(make, "_unavailable", set())
    return names


def test_an_optional_prior_is_tried_once_in_a_process(manifest, monkeypatch, attempts):
    manifest(small_manifest("RN50-quickgelu/openai"))
    configs = []
    monkeypatch.setattr(make, "run", lambda run, root, device=None, alone=True: configs.append(run))
    assert make.fetch("embedded") == [] and make.run_missing("embedded") == 1
    assert attempts == ["RN50-quickgelu/openai"] and [run.prior for run in configs] == ["class-name"]
    make.plan("embedded").refuse_incomplete()  # the book is made without the two experiments


def test_a_required_prior_stops_the_fetch_and_the_book_even_where_it_is_optional_elsewhere(manifest, attempts):
    manifest(small_manifest("RN50-quickgelu/openai", "RN50-quickgelu/openai"))
    for _ in range(2):
        with pytest.raises(PGJRError, match="could not be fetched"):
            make.fetch("embedded")
    assert len(attempts) == 2  # the network may be back
    with pytest.raises(PGJRError, match="fetch it with `python -m pgjr_book fetch --profile embedded`"):
        make.plan("embedded").refuse_incomplete()


def test_nothing_is_fetched_while_data_are_missing(manifest, attempts):
    manifest(small_manifest("RN50-quickgelu/openai", "ViT-B-32-quickgelu/openai", "cifar10"))
    with pytest.raises(PGJRError, match="No data root is set, so cifar10"):
        make.fetch("embedded")
    assert attempts == []


def test_ensure_times_the_runs_of_timed_experiments_alone(manifest, monkeypatch):
    manifest()
    seconds = {}
    monkeypatch.setattr(make, "run", lambda run, root, device=None, alone=True: seconds.setdefault(name, alone))
    monkeypatch.setattr(records, "read_record", lambda path: {})
    entries = {name: entry.experiment for name, entry in make.plan("embedded").experiments.items()}
    timed = {name: entry.timed for name, entry in entries.items() if entry.runs and not entry.optional}
    for name in timed:
        make.ensure(name, "embedded")
    assert seconds == timed and set(timed.values()) == {True, False}


def test_an_unknown_experiment_is_named_in_a_profile_of_records_too(capsys):
    assert main(["run", "--profile", "published", "--only", "nosuch"]) == 2
    assert "no experiment 'nosuch'" in capsys.readouterr().err


def test_runs_in_shards_are_not_alone(manifest, monkeypatch):
    manifest()
    seen = []
    monkeypatch.setattr(make, "run", lambda run, root, device=None, alone=True: seen.append(alone))
    for shard in ("0/1", "0/2"):
        assert main(["run", "--profile", "embedded", "--only", "distributions", "--shard", shard]) == 0
    assert set(seen[:3]) == {True} and seen[3:] and set(seen[3:]) == {False}


def test_a_profile_shows_others_beside_its_own_and_holds_its_runs_against_the_committed(manifest, tmp_path):
    head = {"method": "pgjr", "prior": "class-name", "views": 0, "epochs": 1, "map": "embedding", "n": 2, "g": 2, "kmeans_seeds": 1}

    def edit(raw):
        raw["experiments"] = {"one": {"item": "a", "title": "a", "variants": {"v": {"label": "V", "run": head}}}}
        raw["notebooks"], raw["methods"], raw["priors"] = {}, {}, {}
        raw["profiles"] = {name: {"about": "x", "sets": {"digits": {"split": "all", "limit": limit}}, "seeds": {"head": 1}}
                           for name, limit in (("embedded", 60), ("local", 80))}  # fmt: skip
        raw["profiles"]["embedded"] |= {"also": ["local"], "made_here": "just now"}
        raw["profiles"]["published"] = {"about": "x", "records": ["local", "embedded"]}

    manifest(edit)
    for profile in ("local", "embedded"):  # committed by somebody
        make.run_missing(profile)
        for path in (make.build_root(profile) / "runs").glob("*.json"):
            (tmp_path / "results").mkdir(exist_ok=True)
            (tmp_path / "results" / path.name).write_text(path.read_text())
    rows = make.ensure("one", "embedded")
    assert [(row["config"]["limit"], row["series"]) for row in rows] == [(80, ""), (60, "just now")]
    assert {row["config"]["limit"] for row in make.profile_records("embedded")} == {60, 80}
    ((here, committed),) = make.reproductions("embedded")
    assert here["key"] == committed["key"] and here["config"]["limit"] == 60 and make.reproductions("published") == []
    assert [path.name for _, path in make.to_reproduce("embedded")] == [f"{here['key']}.json"]
