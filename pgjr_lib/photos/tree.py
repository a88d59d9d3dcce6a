"""Look for clusters within clusters."""

import numpy as np

from pgjr_lib.photos.choose_k import guess_k, worth
from pgjr_lib.photos.grouping import by_kmeans

SMALLEST = 24  # photographs that a cluster needs before parts are looked for
PARTS = (2, 3, 4, 5)  # numbers of parts that are tried
SAMPLE = 600  # photographs of a cluster that a number is tried on, at most
CLEAR = 0.05  # worth of a number of parts, at least: below it the parts are those of one cloud


def parts_of(points: np.ndarray, clusters: np.ndarray, seed: int) -> np.ndarray:
    """Split clusters that have parts.

    Args:
        points: (N, d).
        clusters: (N,) integers.
        seed: of k-means.

    Returns:
        (N,) the part of each photograph within its cluster, from 0; -1 throughout a cluster without clear parts.
    """
    parts = np.full(len(points), -1, dtype=np.int64)
    for number in np.unique(clusters[clusters >= 0]):
        rows = np.flatnonzero(clusters == number)
        if len(rows) < SMALLEST:
            continue
        sample = np.random.default_rng(seed).permutation(rows)[:SAMPLE]
        candidates = guess_k(points[sample], seed, PARTS)
        best = max(candidates, key=worth, default=None)
        if best and worth(best)[0] >= CLEAR:
            part_of = by_kmeans(points[rows], best["k"], seed)
            by_size = np.argsort(-np.bincount(part_of), kind="stable")
            parts[rows] = np.argsort(by_size)[part_of]
    return parts
