"""The run method ``baseline``: its settings, its scores, and a run from configuration to record."""

from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
import torch
from sklearn.cluster import SpectralClustering

from pgjr_book import baselines, make, records, train
from pgjr_book.manifest import load_manifest, validated, variant_runs
from pgjr_book.run_config import READS, RESULTS_VERSION, Baseline, RunConfig, digest
from pgjr_lib import evaluation
from pgjr_lib.baselines import temi, turtle
from pgjr_lib.errors import PGJRError

TINY = dict(method="baseline", dataset="digits", split="all", limit=96, prior="random:class-name", image_size=32, views=0,
            kmeans_seeds=2, seed=3)  # fmt: skip


@pytest.fixture
def short(monkeypatch):
    """Settings with which TURTLE and TEMI take a second."""
    monkeypatch.setattr(turtle, "OUTER_STEPS", 5)
    monkeypatch.setattr(temi, "EPOCHS", 2)
    monkeypatch.setattr(temi, "EPOCH_STEPS", 4)


@pytest.fixture(scope="module")
def features():
    """120 samples in three clusters, as a prior's features."""
    labels = torch.arange(3).repeat_interleave(40)
    generator = torch.Generator().manual_seed(0)
    embeddings = 3 * torch.randn(3, 16, generator=generator)[labels] + torch.randn(120, 16, generator=generator)
    maps = torch.randn(120, 2, 4, 4, generator=generator).half()
    return SimpleNamespace(embeddings=embeddings, maps=maps, view_embeddings=(), view_maps=(), labels=labels)


@pytest.mark.parametrize("name", get_args(Baseline))
def test_a_run_from_configuration_to_record(name, short, tmp_path):
    run = RunConfig(**TINY, baseline=name)
    record = make.run(run, tmp_path, device="cpu")
    stored = records.read_record(records.record_path(run, tmp_path))
    assert stored["config"]["baseline"] == name and stored["history"] == []
    assert {key: len(values) for key, values in stored["scores"]["plain"].items()} == dict.fromkeys(
        ("acc", "nmi", "ari", "inertia"), 2
    )
    assert {key: len(values) for key, values in stored["scores"]["argmax"].items()} == dict.fromkeys(("acc", "nmi", "ari"), 1)
    assert all(-0.5 <= value <= 1 for key in ("acc", "nmi", "ari") for value in stored["scores"]["argmax"][key])
    assert stored["timings"]["train_s"] > 0 and stored["timings"]["evaluate_s"] > 0
    again = make.run(run, tmp_path / "again", device="cpu")
    assert again["scores"] == record["scores"]


def test_a_kmeans_baseline_is_its_start_of_lowest_inertia(features):
    run = RunConfig(**TINY, baseline="joint")
    result = train.compute(run, features)
    z = np.concatenate([features.embeddings.numpy(), features.maps.float().flatten(1).numpy()], axis=1)
    z = (z - z.mean(0)) / z.std(0)
    assert z.shape == (120, 16 + 32)
    expected = evaluation.kmeans_scores(z, features.labels.numpy(), 3, 2)
    best = int(np.argmin(expected["inertia"]))
    assert result["scores"]["plain"]["inertia"] == pytest.approx(expected["inertia"], rel=1e-4)
    assert result["scores"]["argmax"]["nmi"] == [expected["nmi"][best]]
    assert result["kmeans"] == "scikit-learn" and result["landscape"] is result["exemplars"] is None


def test_the_untrained_head_is_pgjrs_head_at_epoch_0(features, monkeypatch):
    """A training of pGJR records its features at epoch 0; the baseline clusters the same ones."""
    settings = {**TINY, "map": "embedding", "g": 2}
    seen = []
    curve = train.curve_scores
    monkeypatch.setattr(train, "curve_scores", lambda points, *rest: seen.append(points) or curve(points, *rest))
    train.compute(RunConfig(**{**settings, "method": "pgjr"}, epochs=1, batch_size=60), features)
    outcome = baselines.BASELINES["untrained"](RunConfig(**settings, baseline="untrained"), features, 3, "cpu")
    assert np.array_equal(outcome.points, seen[0]) and outcome.clusters is None


def test_spectral_clustering_is_scikit_learns(features):
    outcome = baselines.BASELINES["spectral"](RunConfig(**TINY, baseline="spectral"), features, 3, "cpu")
    points = evaluation.normalise(features.embeddings.numpy())
    model = SpectralClustering(3, affinity="nearest_neighbors", n_neighbors=10, n_init=20, random_state=3).fit(points)
    assert np.array_equal(outcome.clusters, model.labels_) and outcome.points.shape == (120, 3)


def test_every_baseline_has_its_code_and_its_price():
    assert tuple(baselines.BASELINES) == get_args(Baseline) == tuple(make.BASELINE_SECONDS)
    run = RunConfig(method="baseline", dataset="stl10", prior="class-name", baseline="turtle")
    assert make.run_hours(run, {}) == pytest.approx(make.BASELINE_SECONDS["turtle"] / 3600)  # its 8,000 images


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"baseline": None}, "method=baseline needs one: add baseline=joint or untrained"),
        ({"baseline": "turtle", "prior": None}, "method=baseline needs a prior"),
        ({"baseline": "turtle", "image_size": 4}, "a prior needs 8 or more"),
        ({"baseline": "turtle", "method": "pgjr"}, "baseline=turtle belongs to method=baseline, not to method=pgjr"),
    ],
)
def test_a_mistake_is_one_sentence(changes, sentence):
    with pytest.raises(PGJRError, match=sentence):
        validated(RunConfig, {**TINY, **changes}, "train")


def test_a_baseline_reads_features_and_its_own_fields_only():
    run = RunConfig(**TINY, baseline="turtle")
    assert run.features() == RunConfig(**{**TINY, "method": "pgjr"}).features() is not None
    assert run.hash() != run.model_copy(update={"baseline": "temi"}).hash() != run.model_copy(update={"seed": 4}).hash()
    assert run.hash() == run.model_copy(update={"tau1": 0.3, "epochs": 7, "lr": 0.5}).hash()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (dict(method="pixels"), "94f99c22cc1a3178"),
        (dict(method="prior", prior="class-name"), "cea1ac7820138ee4"),
        (dict(method="pgjr", prior="class-name"), "0cd4aa373929c33a"),
        (dict(method="idfd", image_size=32), "baa56d68e8393449"),
        (dict(method="gjr", image_size=32), "966c8dfc009657db"),
    ],
)
def test_the_hashes_of_other_methods_are_those_of_before(fields, expected):
    run = RunConfig(dataset="cifar10", **fields)
    assert "baseline" not in READS[run.method]
    assert digest(run.relevant(), 2) == expected
    assert RESULTS_VERSION != 2 or run.hash() == expected


def test_the_experiment_compares_them_with_the_head_on_the_same_features():
    runs = variant_runs(load_manifest(), "local", "baselines")
    assert {run.config.baseline for run in runs} == {None, *get_args(Baseline)}
    for prior in ("class-name", "imagenet-labels"):
        for dataset in ("cifar10", "stl10"):
            group = [run for run in runs if run.config.prior == prior and run.config.dataset == dataset]
            assert len({run.config.features() for run in group}) == 1
            seeds = {run.variant.split("/")[1]: {r.config.seed for r in group if r.variant == run.variant} for run in group}
            single = {"joint": 1, "spherical": 1, "temi": 3}  # the first two give the same for every seed; TEMI takes long
            assert all(len(found) == single.get(name, 5) for name, found in seeds.items())
