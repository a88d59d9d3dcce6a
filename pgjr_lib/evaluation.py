"""Score features by the clustering protocol: k-means on L2-normalised features, scored by ACC, NMI and ARI.

One k-means start can move ACC by many points on the same features. So a run is scored over several k-means
seeds, and their spread is reported apart from the spread over training seeds.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

from pgjr_lib.kmeans import Clustering, kmeans


def _labels(truth, clusters) -> tuple[np.ndarray, np.ndarray]:
    truth, clusters = np.asarray(truth), np.asarray(clusters)
    if truth.ndim != 1 or truth.shape != clusters.shape:
        raise ValueError(f"labels {truth.shape} and clusters {clusters.shape} must be vectors of one length.")
    if not len(truth):
        raise ValueError("There are no labels to score: give at least one sample.")
    return truth, clusters


def accuracy(truth, clusters) -> float:
    """Return ACC in [0, 1], by the best one-to-one matching of clusters to classes (Hungarian method; Kuhn, 1955).

    Args:
        truth, clusters: (N,) integer labels. The numbers of classes and clusters may differ; unmatched samples
            count as wrong.

    Raises:
        ValueError: empty input or different lengths.
    """
    truth, clusters = _labels(truth, clusters)
    table = contingency_matrix(truth, clusters)
    return float(table[linear_sum_assignment(-table)].sum() / len(truth))


def nmi(truth, clusters) -> float:
    """Return normalised mutual information in [0, 1], by the arithmetic mean of the entropies. Raises as :func:`accuracy`."""
    return float(normalized_mutual_info_score(*_labels(truth, clusters), average_method="arithmetic"))


def ari(truth, clusters) -> float:
    """Return the adjusted Rand index in [-0.5, 1] (Hubert and Arabie, 1985). Raises as :func:`accuracy`."""
    return float(adjusted_rand_score(*_labels(truth, clusters)))


def normalise(features) -> np.ndarray:
    """Return (N, d) features as float32 on the unit sphere; a zero row stays zero."""
    features = np.asarray(features, dtype=np.float32)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def cluster(features, k: int, seed: int = 0, n_init: int = 20, threads: int = 1, device="cpu") -> Clustering:
    """Run k-means on the normalised features. Arguments and errors as :func:`kmeans_fits`."""
    return kmeans(_points(features, k), k, [seed], n_init, threads=threads, device=device)[0]


def kmeans_fits(
    features, k: int, seeds: int = 5, n_init: int = 20, threads: int = 1, workers: int = 1, device="cpu"
) -> list[Clustering]:
    """Run k-means on the normalised features once for each seed 0, 1, ..., ``seeds`` - 1.

    Args:
        features: (N, d) plain features.
        k: number of clusters.
        seeds: number of k-means seeds; each takes the best of ``n_init`` starts.
        threads: number of threads k-means may use in a process.
        workers: number of processes that share the starts, with one thread each; a pool is started only where it
            saves time. The result does not depend on it.
        device: scikit-learn runs on ``cpu``, torch on any other device, where all starts of a seed run at once. The
            clusterings say which in ``implementation``.

    Returns:
        The clusterings of the seeds in order, for :func:`scores_of` and :func:`exemplars_of`.

    Raises:
        ValueError: k < 1, k > N, features that are not finite, or several workers with several threads each.
    """
    return kmeans(_points(features, k), k, range(seeds), n_init, threads=threads, workers=workers, device=device)


def _points(features, k: int) -> np.ndarray:
    features = normalise(features)
    check_clusters(features, k)
    return features


def check_clusters(features, k: int, least: int = 1) -> None:
    """Refuse features that cannot be put into ``k`` clusters.

    Args:
        features: (N, d), an array or a tensor on the CPU.
        k: number of clusters.
        least: the smallest number of clusters that the method can make.

    Raises:
        ValueError: k < ``least``, k > N, or features that are not finite.
    """
    if not least <= k <= len(features):
        raise ValueError(
            f"k={k} clusters were asked for {len(features)} samples: choose k between {least} and {len(features)}."
        )
    if not np.isfinite(np.asarray(features)).all():
        raise ValueError("The features are not finite: lower the learning rate or check the images.")


def standardise(points: np.ndarray) -> np.ndarray:
    """Return (N, d) points with mean 0 and standard deviation 1 in each column; a constant column becomes 0."""
    return (points - points.mean(0)) / np.maximum(points.std(0), 1e-6)


def agreement(labels, clusters) -> dict[str, float]:
    """Return ``acc``, ``nmi`` and ``ari`` of (N,) clusters and classes. Raises as :func:`accuracy`."""
    return {"acc": accuracy(labels, clusters), "nmi": nmi(labels, clusters), "ari": ari(labels, clusters)}


def scores_of(fits: list[Clustering], labels) -> dict[str, list[float]]:
    """Score clusterings against the (N,) integer classes.

    Returns:
        ``acc``, ``nmi``, ``ari`` in [0, 1] and ``inertia``, each a list with one number for each clustering.
    """
    scores = [{**agreement(labels, fit.labels_), "inertia": fit.inertia_} for fit in fits]
    return {name: [score[name] for score in scores] for name in ("acc", "nmi", "ari", "inertia")}


def kmeans_scores(
    features, labels, k: int | None = None, seeds: int = 5, n_init: int = 20, threads: int = 1, workers: int = 1,
    device="cpu",
) -> dict[str, list[float]]:  # fmt: skip
    """Cluster ``seeds`` times and score each clustering.

    Args:
        features, seeds, n_init, threads, workers, device: as in :func:`kmeans_fits`.
        labels: (N,) integer classes, used for scoring only.
        k: number of clusters; None takes the number of classes.

    Returns:
        As :func:`scores_of`.
    """
    k = len(np.unique(labels)) if k is None else k
    return scores_of(kmeans_fits(features, k, seeds, n_init, threads, workers, device), labels)


def landscape(
    features, labels, k: int | None = None, starts: int = 100, threads: int = 1, workers: int = 1, device="cpu"
) -> dict[str, list[float]]:
    """Run many single k-means starts on the same features, to compare inertia with ACC.

    Args:
        features, labels, k, threads, workers, device: as in :func:`kmeans_scores`.
        starts: number of starts, with seeds 0, 1, ...; the protocol takes the best of 20 instead.

    Returns:
        ``inertia`` and ``acc`` (in [0, 1]), each a list with one number for each start.
    """
    k = len(np.unique(labels)) if k is None else k
    fits = kmeans_fits(features, k, starts, 1, threads, workers, device)
    return {"inertia": [fit.inertia_ for fit in fits], "acc": [accuracy(labels, fit.labels_) for fit in fits]}


def exemplars_of(fit: Clustering, features, labels, count: int) -> dict:
    """Describe a clustering: its confusion matrix and the images nearest to and farthest from its centres.

    Args:
        fit: a clustering of ``features``.
        features, labels: as in :func:`kmeans_scores`.
        count: number of images to name for each cluster.

    Returns:
        ``confusion``: rows are classes and columns clusters, ordered by the classes they match, unmatched ones last.
        ``nearest`` and ``farthest``: for each column, the rows of ``features`` nearest to and farthest from its
        centre.
    """
    table = contingency_matrix(np.asarray(labels), fit.labels_)
    matched = linear_sum_assignment(-table)[1].tolist()
    order = [*matched, *(c for c in range(table.shape[1]) if c not in matched)]
    names = np.unique(fit.labels_)
    distance = fit.transform(normalise(features)).min(1)
    sorted_rows = [np.flatnonzero(fit.labels_ == names[c]) for c in order]
    sorted_rows = [rows[np.argsort(distance[rows], kind="stable")].tolist() for rows in sorted_rows]
    return {
        "confusion": table[:, order].tolist(),
        "nearest": [rows[:count] for rows in sorted_rows],
        "farthest": [rows[::-1][:count] for rows in sorted_rows],
    }


def exemplars(features, labels, count: int, k: int | None = None, threads: int = 1) -> dict:
    """Cluster with seed 0, the first seed of :func:`kmeans_scores`, and return :func:`exemplars_of` it."""
    k = len(np.unique(labels)) if k is None else k
    return exemplars_of(cluster(features, k, threads=threads), features, labels, count)
