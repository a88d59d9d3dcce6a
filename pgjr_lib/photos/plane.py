"""Lay photographs out on a plane: some by t-SNE, and the others beside those that they resemble."""

import numpy as np
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from pgjr_lib.projection import tsne

FITTED = 3000  # photographs that t-SNE lays out, at most
STEPS = 500  # of t-SNE
AXES = 50  # principal axes that it works on
BESIDE = 5  # photographs that a further one is placed between


def project(points: np.ndarray) -> np.ndarray:
    """Lay out all points: (N, d) to (N, 2) float32 in [0, 1]."""
    picked = np.sort(np.random.default_rng(0).permutation(len(points))[:FITTED])
    fitted = points[picked]
    if min(fitted.shape) > AXES:
        fitted = PCA(AXES, random_state=0).fit_transform(fitted)
    plane = tsne(fitted, steps=STEPS)
    plane = ((plane - plane.min(0)) / np.ptp(plane, axis=0).clip(1e-9)).astype(np.float32)
    return place(points, picked, plane)


def place(points: np.ndarray, rows: np.ndarray, plane: np.ndarray) -> np.ndarray:
    """Place every point between those that it resembles among some that have a place.

    Args:
        points: (N, d).
        rows: (M,) indices of those that have a place.
        plane: (M, 2) their places in [0, 1].

    Returns:
        (N, 2) float32.
    """
    whole = np.empty((len(points), 2), dtype=np.float32)
    whole[rows] = plane
    others = np.setdiff1d(np.arange(len(points)), rows)
    if len(others):
        nearest = NearestNeighbors(n_neighbors=min(BESIDE, len(rows)), algorithm="brute").fit(points[rows])
        distance, index = nearest.kneighbors(points[others])
        weight = 1 / (distance + 1e-6)
        whole[others] = (plane[index] * weight[..., None]).sum(1) / weight.sum(1, keepdims=True)
    return whole
