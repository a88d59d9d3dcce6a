"""The clustering protocol: k-means on L2-normalised features, scored by ACC, NMI and ARI.

One k-means start can move ACC by many points on the same features, so a run is scored over several k-means
seeds and that spread is kept apart from the spread over training seeds.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix
from threadpoolctl import threadpool_limits


def _labels(truth, clusters) -> tuple[np.ndarray, np.ndarray]:
    truth, clusters = np.asarray(truth), np.asarray(clusters)
    if truth.ndim != 1 or truth.shape != clusters.shape:
        raise ValueError(f"labels {truth.shape} and clusters {clusters.shape} must be vectors of one length.")
    if not len(truth):
        raise ValueError("there are no labels to score: give at least one sample.")
    return truth, clusters


def accuracy(truth, clusters) -> float:
    """ACC in [0, 1]: the best one-to-one matching of clusters to classes (Hungarian method; Kuhn, 1955).

    Args:
        truth, clusters: (N,) integer labels; the numbers of classes and clusters may differ, and what is left
            unmatched counts as wrong.

    Raises:
        ValueError: empty input or different lengths.
    """
    truth, clusters = _labels(truth, clusters)
    table = contingency_matrix(truth, clusters)
    return float(table[linear_sum_assignment(-table)].sum() / len(truth))


def nmi(truth, clusters) -> float:
    """Normalised mutual information in [0, 1], arithmetic mean of the entropies. Raises as :func:`accuracy`."""
    return float(normalized_mutual_info_score(*_labels(truth, clusters), average_method="arithmetic"))


def ari(truth, clusters) -> float:
    """Adjusted Rand index in [-0.5, 1] (Hubert and Arabie, 1985). Raises as :func:`accuracy`."""
    return float(adjusted_rand_score(*_labels(truth, clusters)))


def normalise(features) -> np.ndarray:
    """(N, d) features as float32 on the unit sphere; a zero row stays zero."""
    features = np.asarray(features, dtype=np.float32)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def cluster(features, k: int, seed: int = 0, n_init: int = 20, threads: int = 1) -> KMeans:
    """k-means on the normalised features (N, d); the fitted model holds ``labels_`` and ``inertia_``.

    Raises:
        ValueError: fewer than two samples a clustering could split, k < 1, k > N, or features that are not finite.
    """
    features = normalise(features)
    if not 1 <= k <= len(features):
        raise ValueError(
            f"k={k} clusters were asked for {len(features)} samples: choose k between 1 and {len(features)}."
        )
    if not np.isfinite(features).all():
        raise ValueError("the features are not finite: lower the learning rate or check the images.")
    with threadpool_limits(limits=threads):  # k-means' sums, and so its optima, depend on the thread count
        return KMeans(k, n_init=n_init, random_state=seed).fit(features)


def landscape(features, labels, k: int | None = None, starts: int = 100, threads: int = 1) -> dict:
    """Many single k-means starts on the same features: how well does inertia tell the better clustering?

    Args:
        features, labels, k, threads: as in :func:`kmeans_scores`.
        starts: seeds 0, 1, ...; each is one start, where the protocol takes the best of 20.

    Returns:
        ``inertia`` and ``acc`` (in [0, 1]), each a list of one number a start.
    """
    k = len(np.unique(labels)) if k is None else k
    found = [cluster(features, k, seed, 1, threads) for seed in range(starts)]
    return {"inertia": [float(f.inertia_) for f in found], "acc": [accuracy(labels, f.labels_) for f in found]}


def exemplars(features, labels, count: int, k: int | None = None, threads: int = 1) -> dict:
    """One clustering (seed 0) to look at.

    Args:
        features, labels, k, threads: as in :func:`kmeans_scores`.
        count: images of each cluster to name.

    Returns:
        ``confusion``: rows are classes, columns clusters, those matched to classes first and in their order;
        ``nearest`` and ``farthest``: for each column, the rows of ``features`` nearest to and farthest from its
        centre.
    """
    k = len(np.unique(labels)) if k is None else k
    found = cluster(features, k, 0, threads=threads)
    table = contingency_matrix(np.asarray(labels), found.labels_)
    matched = linear_sum_assignment(-table)[1].tolist()
    order = [*matched, *(c for c in range(table.shape[1]) if c not in matched)]
    names = np.unique(found.labels_)
    distance = found.transform(normalise(features)).min(1)
    sorted_rows = [np.flatnonzero(found.labels_ == names[c]) for c in order]
    sorted_rows = [rows[np.argsort(distance[rows], kind="stable")].tolist() for rows in sorted_rows]
    return {
        "confusion": table[:, order].tolist(),
        "nearest": [rows[:count] for rows in sorted_rows],
        "farthest": [rows[::-1][:count] for rows in sorted_rows],
    }


def kmeans_scores(features, labels, k: int | None = None, seeds: int = 5, n_init: int = 20, threads: int = 1) -> dict:
    """Cluster ``seeds`` times and score each time.

    Args:
        features: (N, d) plain features.
        labels: (N,) integer classes; used to score only.
        k: clusters; the number of classes if None.
        seeds: k-means seeds 0, 1, ...; each takes the best of ``n_init`` starts.
        threads: threads k-means may use.

    Returns:
        ``acc``, ``nmi``, ``ari`` in [0, 1] and ``inertia``, each a list of one number a seed.
    """
    k = len(np.unique(labels)) if k is None else k
    scores: dict[str, list[float]] = {"acc": [], "nmi": [], "ari": [], "inertia": []}
    for seed in range(seeds):
        found = cluster(features, k, seed, n_init, threads)
        scores["acc"].append(accuracy(labels, found.labels_))
        scores["nmi"].append(nmi(labels, found.labels_))
        scores["ari"].append(ari(labels, found.labels_))
        scores["inertia"].append(float(found.inertia_))
    return scores
