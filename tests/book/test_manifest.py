"""experiments.yaml: what it accepts, what it refuses, and the runs it stands for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pgjr_book.manifest import load_manifest, validated, variant_runs
from pgjr_book.run_config import RunConfig
from pgjr_lib.errors import PGJRError
from pgjr_lib.priors.config import FeatureConfig

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda m: m.update(profile={}), r"unknown key profile: did you mean profiles\?"),
        (lambda m: m["methods"]["gjr"].update(epoch=3), r"profile \w+.: unknown key epoch: did you mean epochs"),
        (lambda m: m["methods"]["pgjr"].update(tau1="sharp"), r"tau1 is 'sharp', but"),
        (lambda m: m["methods"]["gjr"].update(epochs=2.5), r"epochs is 2.5, but"),
        (lambda m: m["profiles"]["embedded"]["seeds"].update(head=True), r"seeds.head is True, but"),
        (lambda m: m["experiments"]["convergence"].pop("title"), r"experiments.convergence.title is missing"),
        (lambda m: m["experiments"]["main"]["variants"]["gjr"].pop("label"), r"main.variants.gjr needs a label, or panel"),
        (lambda m: m["notebooks"].update({"figure-4": ["convergnce"]}), r"notebooks.figure-4: .*did you mean convergence"),
        (lambda m: m["methods"]["pgjr"].update(beta=1.0), r"beta=1.0 weights the jigsaw's own loss, but this run has no"),
        (lambda m: m["profiles"]["published"].update(records=["local2"]), r"no profile 'local2'"),
        (lambda m: m["experiments"]["convergence"].update(sets={"paper": ["mnist"]}), r"names mnist, which profile paper"),
        (lambda m: m["experiments"]["attribution"]["variants"]["frozen"]["run"].update(jigsaw="maybe"), r"jigsaw is 'maybe', but"),
        (lambda m: m["experiments"]["main"]["sets"].update(locl=["digits"]), r"main: .*no profile 'locl': did you mean local"),
        (lambda m: m["experiments"]["main"].update(seeds={"clop": 1}), r"main: .*no profile 'clop': did you mean clip"),
        (lambda m: m["profiles"]["published"].update(records=["published"]), r"published renders records itself"),
        (lambda m: m["profiles"]["embedded"].update(sets={"digts": {}}), r"no data set 'digts': did you mean digits"),
        (lambda m: m["profiles"]["local"]["sets"]["digits"].update(splt="all"), r"digits.splt: did you mean split"),
        (lambda m: m["experiments"]["main"].update(timd=True), r"main.timd: did you mean timed"),
        (lambda m: m["profiles"]["embedded"]["common"].pop("prior"), r"method=\w+ needs a prior"),
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
        load_manifest()
    assert "\n" not in str(caught.value)


def test_the_manifest_reads_1e_3_as_a_number_and_refuses_a_key_that_stands_twice(manifest, tmp_path):
    manifest(lambda m: m["methods"]["gjr"].update(lr=0.25))
    path = tmp_path / "experiments.yaml"
    path.write_text(path.read_text().replace("lr: 0.25", "lr: 1e-3"))
    assert {run.config.lr for run in variant_runs(load_manifest(), "embedded", "main") if run.variant == "gjr"} == {0.001}
    path.write_text(path.read_text() + "\nmethods: {}\n")
    with pytest.raises(PGJRError, match=r"experiments.yaml cannot be read .*'methods' stands twice"):
        load_manifest()


def test_only_the_first_seed_records_more_and_an_experiment_may_have_its_own_seeds(manifest):
    edited = manifest(lambda raw: raw["experiments"]["convergence"].update(seeds={"embedded": 2}))
    runs = variant_runs(edited, "embedded", "convergence")
    first = {("idfd", 100), ("gjr", 100), ("class-name/pgjr", 100)}
    assert {(run.variant, run.config.seed) for run in runs if run.config.snapshots} == first
    assert len(runs) == 6


def test_a_point_of_a_panel_is_a_number_with_a_label_made_from_it():
    runs = {run.variant: run for run in variant_runs(load_manifest(), "local", "sensitivity")}
    assert (runs["tau1-0.05"].panel, runs["tau1-0.05"].value, runs["tau1-0.05"].label) == ("τ1", 0.05, "τ1 = 0.05")
    assert runs["mode-surround"].value == "surround" and runs["start"].panel is None


def test_a_profile_like_another_has_its_runs_with_another_prior(manifest):
    loaded = load_manifest()
    clip, stand_in = (loaded.profiles[name] for name in ("clip", "clip-imagenet-labels"))
    assert stand_in.methods["gjr"] == clip.methods["gjr"] and stand_in.seeds == clip.seeds
    assert stand_in.priors == ["imagenet-labels"] and stand_in.methods["pgjr"]["map_side"] == 4
    settings = []
    for name, variant in (("main", "pgjr"), ("heads", "imagenet-labels/pgjr")):
        run = next(run for run in variant_runs(loaded, "clip-imagenet-labels", name) if run.variant == variant)
        settings.append([run.config.relevant()[field] for field in ("map", "tau1", "g", "map_side")])
    assert settings[0] == settings[1]  # one pGJR in all of its pages
    assert set(clip.sets) - set(stand_in.sets) == {"tiny-imagenet"}  # that prior saw its labels
    for name in ("main", "heads", "winner"):
        theirs, ours = (variant_runs(loaded, profile, name) for profile in ("clip", "clip-imagenet-labels"))
        assert {run.config.prior for run in ours} - {None} == {"imagenet-labels"}
        kept = [run for run in theirs if run.config.dataset != "tiny-imagenet"]
        assert [run.variant.replace("clip/", "imagenet-labels/") for run in kept] == [run.variant for run in ours]
    assert {run.series for run in variant_runs(loaded, "clip", "main")} == {"profile clip"}
    assert {run.series for run in variant_runs(loaded, "clip-imagenet-labels", "main")} == {""}
    with pytest.raises(PGJRError, match="profiles.clip-class-name is like clip: name its prior"):
        manifest(lambda m: m["profiles"]["clip-class-name"].pop("prior"))
    with pytest.raises(PGJRError, match="clip-class-name is like clip: leave seeds out"):
        manifest(lambda m: m["profiles"]["clip-class-name"].update(prior="class-name", seeds={"head": 1}))
    with pytest.raises(PGJRError, match="clip-class-name.like: there is no profile 'clop': did you mean clip"):
        manifest(lambda m: m["profiles"]["clip-class-name"].update(like="clop", seeds={}))


def test_a_variant_may_be_run_on_some_sets_only(manifest):
    runs = variant_runs(load_manifest(), "clip", "main")
    sets = {name: {run.config.dataset for run in runs if run.variant == name} for name in ("gjr", "pgjr")}
    assert sets["gjr"] == {"cifar10"} and len(sets["pgjr"]) == 4
    with pytest.raises(PGJRError, match="variants.gjr: there is no profile 'clp': did you mean clip"):
        manifest(lambda m: m["experiments"]["main"]["variants"]["gjr"].update(sets={"clp": []}))


def test_variants_of_one_experiment_have_ids_and_labels_of_their_own():
    manifest = load_manifest()
    for name in manifest.experiments:
        labels = {run.variant: run.label for run in variant_runs(manifest, "local", name)}
        assert len(set(labels.values())) == len(labels), name


@pytest.mark.parametrize(("dataset", "split", "sentence"), [
    ("digits", "test", "digits has no split test: use split=all"), ("pieces", "train", "pieces has no split train: use split=all"),
])  # fmt: skip
def test_a_split_that_a_set_does_not_have_is_refused(dataset, split, sentence):
    with pytest.raises(PGJRError, match=sentence):
        validated(RunConfig, {"method": "pixels", "dataset": dataset, "split": split, "image_size": 8}, "train")
    assert validated(RunConfig, {"method": "pixels", "dataset": dataset, "split": "all"}, "train").split == "all"


def test_a_variant_with_priors_stands_for_one_with_each_prior_of_the_profile(manifest):
    runs = {run.variant: run for run in variant_runs(load_manifest(), "local", "heads")}
    weak, strong = runs["class-name/pgjr"], runs["imagenet-labels/pgjr"]
    assert weak.label == "pGJR, class-name prior" and strong.config.prior == "imagenet-labels" and strong.config.map_side == 4
    assert "clip/pgjr" not in runs and "clip/pgjr" in {run.variant for run in variant_runs(load_manifest(), "paper", "heads")}
    with pytest.raises(PGJRError, match=r"experiments.heads.variants.off: there is no prior 'clop': did you mean clip"):
        manifest(lambda raw: raw["experiments"]["heads"]["variants"]["off"].update(priors=["clop"]))
    with pytest.raises(PGJRError, match=r"profiles.local.priors: there is no prior 'clop'"):
        manifest(lambda raw: raw["profiles"]["local"]["priors"].append("clop"))


def test_every_seed_of_a_set_in_folds_sees_another_fold():
    runs = [run.config for run in variant_runs(load_manifest(), "local", "heads") if run.config.dataset == "cifar10"]
    assert {(run.seed, run.fold) for run in runs} == {(seed, seed - 100) for seed in range(100, 110)}
    assert {run.limit for run in runs} == {5000} and {run.split for run in runs} == {"train"}
    baseline = [run for run in runs if run.method == "prior"]
    assert len({run.hash() for run in baseline}) == len(baseline)  # k-means on the prior has a run a fold, too


@pytest.mark.parametrize("folder", [None, "elsewhere"])
def test_the_book_keeps_its_cache_in_build_unless_told_otherwise(folder, tmp_path):
    code = "import pgjr_book; from pgjr_lib.storage import cache_folder; print(cache_folder())"
    environment = {name: value for name, value in os.environ.items() if name != "PGJR_CACHE"}
    environment |= {"PYTHONPATH": str(ROOT)} | ({"PGJR_CACHE": folder} if folder else {})
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == (folder or str(ROOT / "build" / "cache")), done.stderr


def test_a_run_takes_the_defaults_of_the_features():
    for name in ("split", "views", "crop_scale", "flip", "map_channels", "map_side", "limit", "fold"):
        assert RunConfig.model_fields[name].default == FeatureConfig.model_fields[name].default, name
