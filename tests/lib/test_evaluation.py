"""ACC, NMI and ARI against label vectors worked out by hand, degenerate ones too; the k-means protocol."""

import itertools
import math

import numpy as np
import pytest

from pgjr_lib import evaluation
from pgjr_lib.evaluation import (
    accuracy,
    ari,
    cluster,
    exemplars,
    exemplars_of,
    kmeans_fits,
    kmeans_scores,
    landscape,
    nmi,
    normalise,
    scores_of,
)

TRUTH = [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("truth", "clusters", "acc", "nmi_", "ari_"),
    [
        # the same partition, whatever the clusters are called
        (TRUTH, [0, 0, 0, 1, 1, 1], 1.0, 1.0, 1.0),
        (TRUTH, [1, 1, 1, 0, 0, 0], 1.0, 1.0, 1.0),
        (TRUTH, [7, 7, 7, -3, -3, -3], 1.0, 1.0, 1.0),
        ([0, 1, 2, 0, 1, 2], [2, 0, 1, 2, 0, 1], 1.0, 1.0, 1.0),
        # one cluster: half the samples match by chance, and nothing is known
        (TRUTH, [0] * 6, 0.5, 0.0, 0.0),
        # one class in two clusters: the other way round
        ([0] * 6, TRUTH, 0.5, 0.0, 0.0),
        # more clusters than classes: what is not matched is wrong.
        # H(truth) = log 2, H(clusters) = log 3, I = log 2; pairs: 3 in both, 6 and 3 in one, 15 in all
        (TRUTH, [0, 0, 1, 2, 2, 1], 4 / 6, 2 * (2 / 3) * math.log(2) / (math.log(2) + math.log(3)),
         (2 - 6 * 3 / 15) / ((6 + 3) / 2 - 6 * 3 / 15)),
        # every sample its own cluster: one of each class matches; I = log 2, H(clusters) = log 6, no pair agrees
        (TRUTH, [0, 1, 2, 3, 4, 5], 2 / 6, 2 * math.log(2) / (math.log(2) + math.log(6)), 0.0),
        # fewer clusters than classes: I = H(clusters) = entropy of (2/3, 1/3); pairs: 1 + 1 + 1 of 6 + 1 and 3
        ([0, 0, 1, 1, 2, 2], [0, 0, 0, 0, 1, 1], 4 / 6,
         2 * (math.log(3) - 2 / 3 * math.log(2)) / (math.log(3) - 2 / 3 * math.log(2) + math.log(3)),
         (3 - 3 * 7 / 15) / ((3 + 7) / 2 - 3 * 7 / 15)),
        # independent partitions: worse than chance in pairs. I = 0; no pair in both, 2 and 2 in one, 6 in all
        ([0, 0, 1, 1], [0, 1, 0, 1], 0.5, 0.0, (0 - 2 * 2 / 6) / ((2 + 2) / 2 - 2 * 2 / 6)),
        # a single sample
        ([5], [0], 1.0, 1.0, 1.0),
    ],
)  # fmt: skip
def test_scores_of_hand_made_vectors(truth, clusters, acc, nmi_, ari_):
    assert accuracy(truth, clusters) == pytest.approx(acc, abs=1e-12)
    assert nmi(truth, clusters) == pytest.approx(nmi_, abs=1e-12)
    assert ari(truth, clusters) == pytest.approx(ari_, abs=1e-12)


def test_accuracy_is_the_best_of_all_matchings():
    rng = np.random.default_rng(0)
    for _ in range(20):
        truth, clusters = rng.integers(0, 4, 30), rng.integers(0, 4, 30)
        best = max(np.mean(np.take(p, clusters) == truth) for p in itertools.permutations(range(4)))
        assert accuracy(truth, clusters) == pytest.approx(best)


@pytest.mark.parametrize("score", [accuracy, nmi, ari])
def test_what_cannot_be_scored_is_refused(score):
    with pytest.raises(ValueError, match="There are no labels to score"):
        score([], [])
    with pytest.raises(ValueError, match=r"labels \(3,\) and clusters \(2,\)"):
        score([0, 1, 1], [0, 1])
    with pytest.raises(ValueError, match="must be vectors"):
        score([[0, 1]], [[0, 1]])


def blobs(k=3, each=20, d=5):
    rng = np.random.default_rng(0)
    centres = np.eye(d)[:k]
    labels = np.repeat(np.arange(k), each)
    return centres[labels] + 0.05 * rng.standard_normal((k * each, d)), labels


def test_normalise_forgets_length_and_keeps_zero():
    rows = normalise([[3, 4], [0, 0]])
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0, 0]], atol=1e-7)


def test_kmeans_finds_what_is_there_whatever_the_length_of_the_features():
    features, labels = blobs()
    lengths = np.random.default_rng(1).uniform(0.1, 50, (len(features), 1))
    scores = kmeans_scores(features * lengths, labels, seeds=2, n_init=3)
    assert scores["acc"] == scores["nmi"] == scores["ari"] == [1.0, 1.0]
    assert all(len(scores[name]) == 2 for name in ("acc", "nmi", "ari", "inertia"))


def test_the_same_seed_gives_the_same_clusters_and_another_seed_another_start():
    features = np.random.default_rng(0).standard_normal((80, 4))
    first, again, other = (cluster(features, 6, seed, n_init=1) for seed in (0, 0, 1))
    assert (first.labels_ == again.labels_).all() and first.inertia_ == again.inertia_
    assert first.inertia_ != other.inertia_
    labels = np.arange(80) % 6
    assert kmeans_scores(features, labels, seeds=2, n_init=1) == kmeans_scores(features, labels, 6, 2, 1)


def test_more_starts_never_lose():
    features = np.random.default_rng(0).standard_normal((80, 4))
    assert cluster(features, 6, 0, n_init=20).inertia_ <= cluster(features, 6, 0, n_init=1).inertia_


@pytest.mark.parametrize("k", [0, 61])
def test_a_k_that_cannot_be_is_refused(k):
    features, labels = blobs()
    with pytest.raises(ValueError, match=f"k={k} clusters were asked for 60 samples: choose k between 1 and 60"):
        kmeans_scores(features, labels, k)


def test_features_that_are_not_finite_are_refused():
    features, labels = blobs()
    features[3, 1] = np.nan
    with pytest.raises(ValueError, match="The features are not finite"):
        kmeans_scores(features, labels)


def test_the_landscape_is_one_start_a_seed():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(c, 0.1, (20, 3)) for c in ([4, 0, 0], [0, 4, 0], [0, 0, 4])])
    found = landscape(points, np.repeat([0, 1, 2], 20), starts=12)
    assert len(found["acc"]) == len(found["inertia"]) == 12 and max(found["acc"]) == 1.0
    best = np.argmin(found["inertia"])
    assert found["acc"][best] == 1.0
    assert found == landscape(points, np.repeat([0, 1, 2], 20), starts=12)


def test_exemplars_are_matched_to_classes_and_ordered_by_distance():
    centres = np.array([[4.0, 0, 0], [0, 4.0, 0], [0, 0, 4.0]])
    offsets = np.array([[0.0, 0, 0], [0.5, 0.5, 0.5], [1, 1, 1]])
    points = (centres[:, None] + offsets).reshape(-1, 3)  # of each three, the first lies on its centre's axis
    labels = np.repeat([2, 0, 1], 3)
    found = exemplars(points, labels, 1)
    assert found["confusion"] == [[3, 0, 0], [0, 3, 0], [0, 0, 3]]  # columns follow the classes
    assert found["farthest"] in ([[3], [6], [0]], [[5], [8], [2]])
    assert [rows[0] // 3 for rows in found["nearest"]] == [1, 2, 0]
    found = exemplars(points, labels, 2, k=4)
    assert np.array(found["confusion"]).shape == (3, 4) and np.sum(found["confusion"]) == 9


def test_one_set_of_fits_gives_the_scores_and_the_exemplars(monkeypatch):
    rng = np.random.default_rng(0)
    features, labels = rng.standard_normal((90, 5)), np.arange(90) % 4
    scores, described = kmeans_scores(features, labels, seeds=3), exemplars(features, labels, 2)
    assert scores["nmi"] == [nmi(labels, cluster(features, 4, seed).labels_) for seed in range(3)]
    fits = kmeans_fits(features, 4, 3)
    monkeypatch.setattr(evaluation, "kmeans", None)  # nothing is clustered from here on
    assert scores_of(fits, labels) == scores and exemplars_of(fits[0], features, labels, 2) == described
    assert set(scores) == {"acc", "nmi", "ari", "inertia"} and {len(numbers) for numbers in scores.values()} == {3}
