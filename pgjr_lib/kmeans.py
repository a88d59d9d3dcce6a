"""Run k-means, the best of several starts: scikit-learn's on a CPU, in one process or several, and torch's on a GPU."""

import copy
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import reduce
from itertools import chain, islice

import numpy as np
from joblib import Parallel, delayed
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.metrics.pairwise import euclidean_distances
from threadpoolctl import threadpool_limits

POOL_SECONDS = 4.0  # what a pool costs at its start, measured on two cores: each process imports scikit-learn
TASKS = 4  # that a process gets: few, because handing one over takes time; more than one, so that none waits long for another


@dataclass(frozen=True, eq=False)
class Clustering:
    """One clustering, with the attributes that scikit-learn's ``KMeans`` has after its fit.

    Attributes:
        labels_: (N,) int32, the cluster of each point, in [0, k).
        inertia_: sum of the points' squared distances to their centres.
        cluster_centers_: (k, d) float32.
        implementation: ``scikit-learn`` or ``torch``.
    """

    labels_: np.ndarray
    inertia_: float
    cluster_centers_: np.ndarray
    implementation: str

    def transform(self, points) -> np.ndarray:
        """Return the Euclidean distances of (M, d) points to the centres: (M, k)."""
        return euclidean_distances(points, self.cluster_centers_)


def kmeans(
    points: np.ndarray, k: int, seeds, n_init: int = 20, *, threads: int = 1, workers: int = 1, device="cpu"
) -> list[Clustering]:
    """Cluster the points once for each seed and keep the best of ``n_init`` starts.

    Args:
        points: (N, d) float32, N >= k.
        k: number of clusters.
        seeds: the random seeds; a seed's starts do not depend on the other seeds.
        n_init: number of greedy k-means++ starts a seed.
        threads: threads a process, on a CPU. Sums, and so the optima, depend on it.
        workers: processes that share the starts on a CPU, where that is faster. The result does not depend on it.
        device: on a CPU scikit-learn does the work, on any other torch device :mod:`pgjr_lib.kmeans_torch`.

    Returns:
        One clustering for each seed, in the order of ``seeds``.

    Raises:
        ValueError: workers < 1, or several workers with several threads each.
    """
    if workers < 1:
        raise ValueError(f"workers={workers} processes cannot run k-means: give at least 1.")
    if workers > 1 and threads != 1:
        raise ValueError(f"threads={threads} and workers={workers}: give several threads or several workers, not both.")
    seeds = list(seeds)
    if str(device).partition(":")[0] != "cpu":
        starts = _torch_starts(points, k, _generators(k, seeds, n_init), device)
    elif workers > 1:
        starts = _pooled_starts(points, k, list(_generators(k, seeds, n_init)), workers)
    else:
        starts = None
    if starts is None:
        with threadpool_limits(limits=threads):
            return [_fit(points, k, seed, n_init) for seed in seeds]
    return [reduce(_better, islice(starts, n_init)) for _ in seeds]


def _fit(points: np.ndarray, k: int, random_state, n_init: int) -> Clustering:
    fit = KMeans(k, n_init=n_init, random_state=random_state).fit(points)
    return Clustering(fit.labels_, float(fit.inertia_), fit.cluster_centers_, "scikit-learn")


def _generators(k: int, seeds, n_init: int) -> Iterator[np.random.RandomState]:
    """Yield the random state that each start of each seed begins with when scikit-learn runs one after the other.

    A start draws as many numbers as k asks for, whatever the points; so k-means++ on k points moves to the next start.
    """
    few = np.arange(k, dtype=np.float32)[:, None]
    for seed in seeds:
        generator = np.random.RandomState(seed)
        for _ in range(n_init):
            yield copy.deepcopy(generator)
            kmeans_plusplus(few, k, random_state=generator)


def _better(best: Clustering, start: Clustering) -> Clustering:
    """Choose as scikit-learn does: an equal clustering does not replace the best by rounding."""
    if start.inertia_ >= best.inertia_:
        return best
    pairs = np.unique(start.labels_.astype(np.int64) * len(best.cluster_centers_) + best.labels_)
    return best if len(pairs) == len(np.unique(start.labels_)) else start


def _pooled_starts(points: np.ndarray, k: int, generators: list, workers: int) -> Iterator[Clustering] | None:
    """Return the starts in order, computed in a pool of processes; None where a pool is not worth its start."""
    began = time.perf_counter()
    first, rest = _starts(points, k, generators[:1]), generators[1:]
    seconds = time.perf_counter() - began
    if seconds * (len(rest) - len(rest) / workers) <= POOL_SECONDS:
        return None
    size = max(1, len(rest) // (TASKS * workers))
    return chain(first, _pooled(points, k, [rest[i : i + size] for i in range(0, len(rest), size)], workers))


def _pooled(points: np.ndarray, k: int, tasks: list[list], workers: int) -> Iterator[Clustering]:
    """Yield a start for each generator of each task, from a pool; where one of its processes dies, this one does what is left."""
    pool, done = Parallel(n_jobs=workers, backend="loky", return_as="generator"), 0
    try:
        for starts in pool(delayed(_starts)(points, k, generators) for generators in tasks):
            done += 1
            yield from starts
    except BrokenProcessPool:  # for want of memory, say; the starts are the same wherever they are computed
        for generators in tasks[done:]:
            yield from _starts(points, k, generators)


def _starts(points: np.ndarray, k: int, generators: list) -> list[Clustering]:
    """Return the start that each generator's state begins; the generators stay as they are."""
    with threadpool_limits(limits=1):
        return [_fit(points, k, copy.deepcopy(generator), 1) for generator in generators]


def _torch_starts(points: np.ndarray, k: int, generators, device) -> Iterator[Clustering]:
    from pgjr_lib.kmeans_torch import starts  # here, so that k-means on a CPU and its processes need no torch

    return (Clustering(*start, "torch") for start in starts(points, k, generators, device))
