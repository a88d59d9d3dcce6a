"""How many clusters a folder of images might have: a guess, and told as one."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score, silhouette_score

from pgjr_lib import evaluation

CANDIDATES = (2, 3, 4, 5, 6, 8, 10, 12, 15, 20)  # numbers of clusters that are tried
SEEDS = 3  # k-means runs that are compared with each other
SAMPLE = 2000  # points a silhouette is taken of


def guess_k(points: np.ndarray, seed: int = 0) -> list[dict]:
    """Silhouette, beside that of one cloud, and agreement (ARI) of k-means over three seeds, for every candidate.

    A silhouette depends on k where there are no clusters, too, and is often highest for two. What counts is what it has
    above the same number for a single Gaussian cloud, drawn with the points' mean and covariance and normalised as they are.

    Args:
        points: (N, d) features.

    Returns:
        One dict a candidate k below the number of different points: ``k``, ``silhouette`` and ``one_cloud`` in
        [-1, 1], ``stability`` in about [0, 1].
    """
    points = evaluation.normalise(points)
    draw = np.random.default_rng(seed)
    sample = draw.permutation(len(points))[:SAMPLE]
    spread = np.cov(points.T.astype(float))
    cloud = draw.multivariate_normal(points.mean(0), spread, len(points), check_valid="ignore", method="eigh")
    cloud = evaluation.normalise(cloud)  # as many as there are points: k-means fits fewer more closely
    different, rows = len(np.unique(points, axis=0)), []
    for k in (k for k in CANDIDATES if k < different):
        labels = [_labels(points, k, (seed + i) % 2**32) for i in range(SEEDS)]
        pairs = [(a, b) for a in range(SEEDS) for b in range(a)]
        stability = float(np.mean([adjusted_rand_score(labels[a], labels[b]) for a, b in pairs]))
        alone = _labels(cloud, k, seed)
        told = {"silhouette": _silhouette(points[sample], labels[0][sample]), "one_cloud": _silhouette(cloud[sample], alone[sample])}
        rows.append({"k": k, "stability": round(stability, 3), **{name: round(value, 3) for name, value in told.items()}})
    return rows


def worth(row: dict) -> tuple[float, float]:
    """What a candidate is judged by: how far it is above one cloud, times its stability; of equals the silhouette."""
    return max(row["silhouette"] - row["one_cloud"], 0) * max(row["stability"], 0), row["silhouette"]


def _labels(points, k, seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # copies of one picture are no concern of whoever guesses
        return evaluation.cluster(points, k, seed, n_init=3).labels_


def _silhouette(points, labels) -> float:
    groups = len(np.unique(labels))
    return float(silhouette_score(points, labels)) if 1 < groups < len(points) else -1.0
