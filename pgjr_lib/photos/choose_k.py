"""Guess how many clusters a folder of images has."""

import warnings

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score, silhouette_score
from threadpoolctl import threadpool_limits

from pgjr_lib import evaluation

CANDIDATES = (2, 3, 4, 5, 6, 8, 10, 12, 15, 20)  # numbers of clusters that are tried
SEEDS = 3  # runs of k-means whose agreement is the stability
MANY = 5000  # points that k-means is tried on, at most
SAMPLE = 2000  # points that a silhouette is computed on, at most


def guess_k(points: np.ndarray, seed: int = 0, candidates: tuple[int, ...] = CANDIDATES) -> list[dict]:
    """Rate every candidate number of clusters by silhouette and stability.

    The silhouette (Rousseeuw, 1987) depends on k even where there are no clusters, and is often highest for two. So
    each one is compared with the silhouette of a single Gaussian cloud that has the points' mean and covariance.
    Stability is the mean ARI between runs of k-means from different seeds.

    Args:
        points: (N, d) features.
        seed: seed of k-means, of the cloud and of the sample.
        candidates: the numbers that are tried.

    Returns:
        One dict for each candidate below the number of distinct points: ``k``, ``silhouette`` and ``one_cloud`` in
        [-1, 1], ``stability`` in [-0.5, 1]. The guess is the one with the largest :func:`worth`.
    """
    points = evaluation.normalise(points)
    draw = np.random.default_rng(seed)
    if len(points) > MANY:  # a number that stands out does so among fewer points, too
        points = points[np.sort(draw.permutation(len(points))[:MANY])]
    distinct = len(np.unique(points, axis=0))
    with threadpool_limits(limits=1):  # the results depend on the number of threads
        points = _in_fewest_axes(points)
        sample = draw.permutation(len(points))[:SAMPLE]
        covariance = np.cov(points.T.astype(float))
        cloud = draw.multivariate_normal(points.mean(0), covariance, len(points), check_valid="ignore", method="eigh")
        cloud = evaluation.normalise(cloud)  # as many as there are points, because k-means fits fewer points more closely
        return [_rated(points, cloud, sample, k, seed) for k in candidates if k < distinct]


def _in_fewest_axes(points: np.ndarray) -> np.ndarray:
    """Turn (N, d) points into as many axes as there are points, where that is fewer: the same distances with less work."""
    if len(points) >= points.shape[1]:
        return points
    left, lengths, _ = np.linalg.svd(points, full_matrices=False)
    return left * lengths


def _rated(points: np.ndarray, cloud: np.ndarray, sample: np.ndarray, k: int, seed: int) -> dict:
    runs = [_kmeans(points, k, (seed + i) % 2**32) for i in range(SEEDS)]
    row = {
        "stability": float(np.mean([adjusted_rand_score(runs[a], runs[b]) for a in range(SEEDS) for b in range(a)])),
        "silhouette": _silhouette(points[sample], runs[0][sample]),
        "one_cloud": _silhouette(cloud[sample], _kmeans(cloud, k, seed)[sample]),
    }
    return {"k": k, **{name: round(value, 3) for name, value in row.items()}}


def worth(row: dict) -> tuple[float, float]:
    """Return what a candidate is compared by: its silhouette above one cloud's, times stability; then the silhouette."""
    return max(row["silhouette"] - row["one_cloud"], 0) * max(row["stability"], 0), row["silhouette"]


def _kmeans(points, k, seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it warns of copies of an image, which do no harm here
        return KMeans(k, n_init=3, random_state=seed).fit(points).labels_


def _silhouette(points, labels) -> float:
    groups = len(np.unique(labels))
    return float(silhouette_score(points, labels)) if 1 < groups < len(points) else -1.0
