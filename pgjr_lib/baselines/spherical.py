"""Spherical k-means: k-means on the unit sphere, with centres that stay on it."""

import numpy as np
from sklearn.cluster import kmeans_plusplus
from threadpoolctl import threadpool_limits

from pgjr_lib.evaluation import check_clusters, normalise
from pgjr_lib.kmeans import Clustering

STEPS = 300  # as scikit-learn's KMeans at most


def spherical_kmeans(features, k: int, seeds=5, n_init: int = 20) -> list[Clustering]:
    """Maximise the sum of cosines between points and their centres (Dhillon and Modha, 2001), once for each seed.

    Args:
        features: (N, d) float, normalised here.
        k: number of clusters, 1 <= k <= N.
        seeds: number of seeds 0, 1, ...; each takes the start with the best objective.
        n_init: number of k-means++ starts a seed.

    Returns:
        One clustering for each seed. On the sphere a squared distance is 2 - 2 cos, so ``inertia_`` is 2 (N - objective).

    Raises:
        ValueError: k < 1 or k > N, or features that are not finite.
    """
    points = normalise(features)
    check_clusters(points, k)
    with threadpool_limits(limits=1):  # the result depends on the number of threads
        return [_best(points, k, np.random.RandomState(seed), n_init) for seed in range(seeds)]


def _best(points: np.ndarray, k: int, generator: np.random.RandomState, n_init: int) -> Clustering:
    starts = [ascend(points, kmeans_plusplus(points, k, random_state=generator)[0]) for _ in range(n_init)]
    return min(starts, key=lambda start: start.inertia_)


def ascend(points: np.ndarray, centres: np.ndarray) -> Clustering:
    """Repeat :func:`step` from (k, d) centres on the sphere until no point changes its cluster."""
    labels, total = None, 0.0
    for _ in range(STEPS):
        previous = labels
        labels, total, moved = step(points, centres)
        if previous is not None and (labels == previous).all():
            break
        centres = moved
    return Clustering(labels, 2 * (len(points) - total), centres, "spherical")


def step(points: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """Assign each point to the nearest centre, then move each centre to the normalised sum of its points.

    Args:
        points: (N, d) float32 on the sphere.
        centres: (k, d) float32 on the sphere.

    Returns:
        Labels (N,) int32, the objective of these labels with the given centres, and the moved centres (k, d). A centre
        without points stays where it is, so the objective never falls.
    """
    cosines = points @ centres.T  # (N, k)
    labels = cosines.argmax(1).astype(np.int32)
    total = float(cosines[np.arange(len(points)), labels].sum(dtype=np.float64))
    members = np.eye(len(centres), dtype=np.float32)[labels]  # (N, k)
    sums = members.T @ points
    filled = np.linalg.norm(sums, axis=1, keepdims=True) > 1e-6
    return labels, total, np.where(filled, normalise(sums), centres)
