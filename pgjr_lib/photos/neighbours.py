"""Find the photographs that resemble a photograph, by the angle between their embeddings."""

import numpy as np
from sklearn.decomposition import PCA

from pgjr_lib.evaluation import normalise

NEAREST = 12  # neighbours of a photograph that are kept
AXES = 128  # principal axes that many photographs are compared on
MANY = 4000  # from this number of photographs on
_ROWS = 256  # photographs that are compared with all others at a time: with 20,000 others, 60 MB


def nearest(embedding: np.ndarray, count: int = NEAREST) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest others of every photograph.

    Args:
        embedding: (N, D).
        count: how many are wanted; there are at most N - 1.

    Returns:
        (N, min(count, N - 1)) int32 indices, nearest first, and their cosines in [-1, 1], float32.
    """
    points = normalise(embedding)
    if len(points) > MANY and points.shape[1] > AXES:
        points = normalise(PCA(AXES, random_state=0, svd_solver="randomized").fit_transform(points))
    count = min(count, len(points) - 1)
    index, cosine = np.empty((len(points), count), np.int32), np.empty((len(points), count), np.float32)
    for start in range(0, len(points), _ROWS):
        rows = slice(start, start + _ROWS)
        near = points[rows] @ points.T
        near[np.arange(len(near)), np.arange(start, start + len(near))] = -2  # itself
        top = np.argpartition(near, -count, axis=1)[:, -count:] if count else np.empty((len(near), 0), int)
        order = np.argsort(-np.take_along_axis(near, top, 1), axis=1, kind="stable")
        index[rows] = np.take_along_axis(top, order, 1)
        cosine[rows] = np.take_along_axis(near, index[rows].astype(int), 1)
    return index, cosine


def rank(embedding: np.ndarray, query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rank (N, D) photographs by their cosine to a query (D,): the indices, best first, and all N cosines in that order."""
    cosine = normalise(embedding) @ normalise(query[None])[0]
    order = np.argsort(-cosine, kind="stable")
    return order, cosine[order]
