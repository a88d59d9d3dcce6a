"""Group points into clusters, and give clusters the numbers that they had in the run before."""

import warnings
from dataclasses import dataclass
from itertools import count

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning

from pgjr_lib import evaluation

NONE = -1  # the cluster of photographs that HDBSCAN leaves out
DENSITY_AXES = 16  # principal axes that HDBSCAN works on: in more, all distances are alike
SMALLEST = 5  # photographs in a cluster of HDBSCAN, at least; and one in a hundred of all
PERSISTS = 1 / 3  # a cluster persists where it and its counterpart share this part of their photographs (Jaccard)


def by_kmeans(points: np.ndarray, k: int, seed: int, centres: np.ndarray | None = None) -> np.ndarray:
    """Cluster by k-means on the unit sphere: (N,) integers from 0.

    Args:
        points: (N, d).
        k: number of clusters.
        seed: of the starts.
        centres: (k, d) to start from, in place of twenty starts of its own.
    """
    if centres is None:
        return evaluation.cluster(points, k, seed).labels_.astype(np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return KMeans(k, init=centres, n_init=1).fit(evaluation.normalise(points)).labels_.astype(np.int64)


def by_density(points: np.ndarray) -> np.ndarray:
    """Cluster by HDBSCAN (Campello et al., 2013) on the principal axes: (N,) integers from 0, ``NONE`` for what fits nowhere."""
    points = evaluation.normalise(points)
    axes = min(DENSITY_AXES, *points.shape)
    plain = PCA(axes, random_state=0).fit_transform(points)
    size = min(len(points), max(SMALLEST, len(points) // 100))
    return HDBSCAN(min_cluster_size=max(2, size), min_samples=min(SMALLEST, size), copy=True).fit(plain).labels_.astype(np.int64)


def distances(points: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Return the distance of each point from the mean of its cluster, on the unit sphere: (N,) float32."""
    points, distance = evaluation.normalise(points), np.empty(len(points), dtype=np.float32)
    for number in np.unique(clusters):
        rows = clusters == number
        distance[rows] = np.linalg.norm(points[rows] - points[rows].mean(0), axis=1)
    return distance


def centres(points: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Return the mean of each cluster that has a number from 0, on the unit sphere's chord: (k, d) float32."""
    points = evaluation.normalise(points)
    return np.stack([points[clusters == number].mean(0) for number in np.unique(clusters[clusters >= 0])])


@dataclass(frozen=True)
class Changes:
    """How clusters differ from those of the run before.

    Attributes:
        kept, new, gone: numbers of clusters.
        moved: photographs of both runs that are in another cluster now.
        shared: photographs of both runs.
    """

    kept: list[int]
    new: list[int]
    gone: list[int]
    moved: int
    shared: int

    def sentence(self) -> str:
        """Say it in a sentence or two."""
        parts = [f"{_count(self.kept)} kept {'its number' if len(self.kept) == 1 else 'their numbers'}"]
        parts += [f"{len(self.new)} new ({_list(self.new)})"] * bool(self.new)
        parts += [f"{len(self.gone)} gone ({_list(self.gone)})"] * bool(self.gone)
        return f"Clusters: {', '.join(parts)}. Of {self.shared:,} photographs of the last run, {self.moved:,} changed their cluster."


def _count(numbers):
    return "1 cluster" if len(numbers) == 1 else f"{len(numbers)} clusters"


def _list(numbers):
    return ", ".join(map(str, numbers))


def keep_numbers(clusters: np.ndarray, last: np.ndarray, taken: frozenset[int] = frozenset()) -> tuple[np.ndarray, Changes]:
    """Renumber clusters so that those which persist keep their number.

    Clusters are matched one to one so that matched ones share most photographs (Hungarian method; Kuhn, 1955). A new
    cluster gets the lowest number that is free.

    Args:
        clusters: (N,) integers, ``NONE`` for no cluster.
        last: (N,) the last run's numbers; a value below ``NONE`` for a photograph that is new.
        taken: numbers that no new cluster may get, for example because the user named them.

    Returns:
        (N,) the clusters renumbered, and what changed.
    """
    ours, theirs = (np.unique(labels[labels >= 0]) for labels in (clusters, last))
    shared = last >= NONE
    table = np.array([[np.sum((clusters == a) & (last == b)) for b in theirs] for a in ours]).reshape(len(ours), len(theirs))
    of_ours = np.array([np.sum((clusters == a) & shared) for a in ours])
    of_theirs = np.array([np.sum(last == b) for b in theirs])
    number = {}
    for i, j in zip(*linear_sum_assignment(-table), strict=True):
        together = table[i, j]
        if together and together >= PERSISTS * (of_ours[i] + of_theirs[j] - together):
            number[ours[i]] = int(theirs[j])
    kept, used = sorted(number.values()), {int(b) for b in theirs}
    free = (i for i in count() if i not in used | taken)
    new = {a: next(free) for a in ours if a not in number}
    number |= new
    renamed = np.array([number.get(label, NONE) for label in clusters], dtype=np.int64)
    changes = Changes(kept, sorted(new.values()), sorted(used - set(kept)), int(np.sum(shared & (renamed != last))), int(shared.sum()))
    return renamed, changes
