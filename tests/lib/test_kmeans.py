"""k-means: the pool gives scikit-learn's own results bit for bit, and torch's starts give its scores."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

from pgjr_lib import kmeans as kmeans_module
from pgjr_lib import kmeans_torch
from pgjr_lib.evaluation import cluster, kmeans_fits, kmeans_scores, landscape, normalise
from pgjr_lib.kmeans import kmeans

DATA = os.environ.get("PGJR_DATA")  # as it was before the tests hide it


def overlapping(n=600, k=10, d=16, noise=0.3):
    """Clusters on the sphere that overlap: features (n, d) and their labels."""
    rng = np.random.default_rng(0)
    centres, labels = normalise(rng.standard_normal((k, d))), rng.integers(0, k, n)
    return centres[labels] + noise * rng.standard_normal((n, d)), labels


def copies(n=60, distinct=4):
    """Fewer distinct points than clusters."""
    return np.random.default_rng(0).standard_normal((distinct, 5))[np.arange(n) % distinct]


def by_scikit_learn(features, k, seed, n_init):
    with threadpool_limits(limits=1):
        return KMeans(k, n_init=n_init, random_state=seed).fit(normalise(features))


def assert_equal(fit, expected):
    assert (fit.labels_ == expected.labels_).all() and fit.labels_.dtype == expected.labels_.dtype
    assert fit.inertia_ == expected.inertia_
    assert (fit.cluster_centers_ == expected.cluster_centers_).all()


@pytest.fixture(params=["sequential", "pool"])
def workers(request, monkeypatch):
    """One process, and two that are used however short the work is."""
    monkeypatch.setattr(kmeans_module, "POOL_SECONDS", 0.0)
    return {"sequential": 1, "pool": 2}[request.param]


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
@pytest.mark.parametrize(
    ("features", "k", "n_init"),
    [
        (overlapping()[0], 10, 20),
        (overlapping(5000, 7, 64)[0], 7, 3),  # more than 1 MB: joblib shares it as a file
        (overlapping()[0], 1, 4),
        (copies(), 6, 4),
        (load_digits().data, 40, 2),
    ],
    ids=["overlapping", "large", "one cluster", "copies", "digits"],
)
def test_any_number_of_processes_gives_what_scikit_learn_gives(features, k, n_init, workers):
    seeds = [0, 1, 2**32 - 1]
    for fit, seed in zip(kmeans(normalise(features), k, seeds, n_init, workers=workers), seeds, strict=True):
        assert_equal(fit, by_scikit_learn(features, k, seed, n_init))
        assert fit.implementation == "scikit-learn"


def test_the_landscape_in_a_pool_is_the_sequential_one(workers):
    features, labels = overlapping()
    expected = [by_scikit_learn(features, 10, seed, 1).inertia_ for seed in range(8)]
    assert landscape(features, labels, starts=8, workers=workers)["inertia"] == expected


def test_short_work_starts_no_pool(monkeypatch):
    monkeypatch.setattr(kmeans_module, "Parallel", None)
    features, _ = overlapping()
    fits = kmeans_fits(features, 10, 2, 3, workers=64)
    for seed, fit in enumerate(fits):
        assert_equal(fit, by_scikit_learn(features, 10, seed, 3))


def test_a_single_start_needs_no_pool(workers):
    features, _ = overlapping()
    (fit,) = kmeans_fits(features, 10, 1, 1, workers=workers)
    assert_equal(fit, by_scikit_learn(features, 10, 0, 1))


def test_a_process_of_the_pool_needs_no_torch():
    code = "import sys, pgjr_lib.kmeans; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)


def test_settings_that_contradict_are_refused():
    features, _ = overlapping()
    with pytest.raises(ValueError, match="workers=0 processes cannot run k-means: give at least 1"):
        kmeans_fits(features, 10, workers=0)
    with pytest.raises(ValueError, match="threads=2 and workers=3: give several threads or several workers, not both"):
        kmeans_fits(features, 10, threads=2, workers=3)


def test_transform_is_scikit_learns():
    features, _ = overlapping()
    expected = by_scikit_learn(features, 10, 0, 2).transform(normalise(features))
    assert (cluster(features, 10, 0, 2).transform(normalise(features)) == expected).all()


# ---- in torch ----


@pytest.fixture
def torch_device(monkeypatch):
    """CUDA where there is one; else a name that stands for the CPU, but is not its own, so that torch clusters."""
    if not torch.cuda.is_available():
        starts = kmeans_torch.starts
        monkeypatch.setattr(kmeans_torch, "starts", lambda *arguments: starts(*arguments[:-1], "cpu"))
    return "cuda:0"


def features_of_stl10(tmp_path, monkeypatch):
    from pgjr_lib.priors.cache import extract

    if not DATA or not (Path(DATA) / "stl10").exists():
        pytest.skip("STL-10 is not in PGJR_DATA")
    monkeypatch.setenv("PGJR_DATA", DATA)
    config = {"dataset": "stl10", "prior": "class-name", "views": 0, "limit": 1000}
    features = extract(config, tmp_path, device="cpu")
    return features.embeddings.float().numpy(), features.labels.numpy()


@pytest.mark.parametrize("name", ["digits", "overlapping", pytest.param("stl10", marks=pytest.mark.slow)])
def test_torch_scores_within_scikit_learns_spread(name, tmp_path, monkeypatch, torch_device):
    if name == "digits":
        features, labels = load_digits(return_X_y=True)
    elif name == "overlapping":
        features, labels = overlapping(2000)
    else:
        features, labels = features_of_stl10(tmp_path, monkeypatch)
    scores = kmeans_scores(features, labels, seeds=8)["nmi"]
    by_torch = kmeans_scores(features, labels, seeds=5, device=torch_device)["nmi"]
    spread = max(scores) - min(scores)
    assert min(scores) <= np.mean(by_torch) <= max(scores)
    assert min(scores) - spread <= min(by_torch) and max(by_torch) <= max(scores) + spread


def test_torch_starts_where_scikit_learn_starts(torch_device):
    features, labels = overlapping(1000)
    ours = landscape(features, labels, starts=25, device=torch_device)  # more than run at once
    expected = landscape(features, labels, starts=25)
    close = np.isclose(ours["inertia"], expected["inertia"], rtol=1e-5)
    assert np.mean(close) > 0.8  # rounding may move a sample at a border, and a start with it
    assert np.allclose(np.array(ours["acc"])[close], np.array(expected["acc"])[close], atol=0.01)


def test_torch_gives_the_same_again_and_has_every_attribute(torch_device):
    features, _ = overlapping()
    fit, again = (cluster(features, 10, 3, 4, device=torch_device) for _ in range(2))
    assert_equal(fit, again)
    expected = by_scikit_learn(features, 10, 3, 4)
    assert fit.implementation == "torch" and isinstance(fit.inertia_, float)
    assert (fit.labels_.shape, fit.labels_.dtype) == (expected.labels_.shape, expected.labels_.dtype)
    assert fit.cluster_centers_.shape == expected.cluster_centers_.shape and fit.cluster_centers_.dtype == np.float32
    distances = fit.transform(normalise(features))
    assert (distances.argmin(1) == fit.labels_).all()
    assert fit.inertia_ == pytest.approx((distances.min(1) ** 2).sum(), rel=1e-5)


def test_chunks_change_nothing(monkeypatch, torch_device):
    features, _ = overlapping()
    whole = cluster(features, 10, 0, 4, device=torch_device)
    monkeypatch.setattr(kmeans_torch, "BLOCK_BYTES", 4 * 4 * 10 * 37)  # 37 samples for 4 starts of 10 clusters
    chunked = cluster(features, 10, 0, 4, device=torch_device)
    assert (chunked.labels_ == whole.labels_).all() and chunked.inertia_ == pytest.approx(whole.inertia_)


def test_no_block_of_distances_is_larger_than_its_bound(monkeypatch):
    sizes, bound = [], 4 * 4 * 10 * 50
    for name in ("addmm", "minimum"):
        function = getattr(torch, name)

        def spy(*args, function=function, **others):
            sizes.append((block := function(*args, **others)).nbytes)
            return block

        monkeypatch.setattr(torch, name, spy)
    monkeypatch.setattr(kmeans_torch, "BLOCK_BYTES", bound)
    list(kmeans_torch.starts(normalise(overlapping(400)[0]), 10, map(np.random.RandomState, range(4)), "cpu"))
    assert max(sizes) == bound


def test_an_empty_cluster_takes_the_farthest_samples_as_in_scikit_learn():
    points = torch.tensor(normalise(overlapping()[0]))
    points -= points.mean(0)
    centres = points[:6].clone().repeat(3, 1, 1)
    centres[1, 2:4] = 50.0  # two clusters that no sample is near to, and one
    centres[2, 5] = -50.0
    labels, inertia, found = kmeans_torch.lloyd(points, centres)
    for start in range(3):
        expected = KMeans(6, init=centres[start].numpy(), n_init=1).fit(points.numpy())
        assert (labels[start].numpy() == expected.labels_).all()
        assert inertia[start].item() == pytest.approx(expected.inertia_, rel=1e-5)
        np.testing.assert_allclose(found[start], expected.cluster_centers_, atol=1e-5)


def test_fewer_distinct_samples_than_clusters_are_told_apart_all_the_same(torch_device):
    features = copies(60, distinct=4)
    fit = cluster(features, 6, 0, 5, device=torch_device)
    assert fit.inertia_ == pytest.approx(0, abs=1e-9) and np.isfinite(fit.cluster_centers_).all()
    groups = [set(fit.labels_[np.arange(60) % 4 == i]) for i in range(4)]
    assert all(len(group) == 1 for group in groups) and len(set.union(*groups)) == 4
    assert cluster(np.ones((5, 3)), 3, 0, 2, device=torch_device).inertia_ == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("k", [1, 2, 60])
def test_torch_takes_any_number_of_clusters(k, torch_device):
    features = overlapping(60)[0]
    fit = cluster(features, k, 0, 3, device=torch_device)
    assert fit.inertia_ == pytest.approx(by_scikit_learn(features, k, 0, 3).inertia_, rel=1e-4, abs=1e-6)
    assert len(set(fit.labels_)) == k
