"""The baselines of pGJR: other clusterings of the features that its head sees."""

import time
from dataclasses import dataclass

import numpy as np
from sklearn.cluster import k_means
from sklearn.manifold import spectral_embedding
from sklearn.neighbors import kneighbors_graph
from threadpoolctl import threadpool_limits

from pgjr_book.run_config import RunConfig
from pgjr_lib import evaluation
from pgjr_lib.baselines.spherical import spherical_kmeans
from pgjr_lib.baselines.temi import temi
from pgjr_lib.baselines.turtle import turtle
from pgjr_lib.devices import workers
from pgjr_lib.kmeans import Clustering
from pgjr_lib.options import HeadOptions, TrainingOptions
from pgjr_lib.priors.cache import FeatureSet
from pgjr_lib.training import FeatureSource, embed, train_head

GRAPH_NEIGHBOURS, STARTS = 10, 20  # of spectral clustering


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a baseline makes of the features.

    Attributes:
        points: (N, d), what the protocol's k-means clusters afterwards.
        clusters: (N,) its own assignment; None where that is the k-means with the lowest inertia.
        fits: its clusterings for each k-means seed, where it is a k-means of another kind.
    """

    points: np.ndarray
    clusters: np.ndarray | None = None
    fits: list[Clustering] | None = None


def compute(run: RunConfig, inputs: FeatureSet, device="cpu") -> dict:
    """Compute a run of the method ``baseline``.

    Args:
        run: its configuration.
        inputs: the features of ``run.features()``.
        device: where to train.

    Returns:
        ``history`` (empty), ``scores``, ``timings``, ``kmeans``, ``landscape`` and ``exemplars`` as
        :func:`pgjr_book.train.compute`. ``scores`` has ``plain``, k-means by the protocol on what the baseline makes of
        the features, and ``argmax``, the baseline's own assignment, in lists of one number without inertia.

    Raises:
        PGJRError: settings of the untrained head that do not fit the map.
    """
    labels, started = inputs.labels.numpy(), time.perf_counter()
    k = len(np.unique(labels))
    outcome = BASELINES[run.baseline](run, inputs, k, device)
    train_s, started = time.perf_counter() - started, time.perf_counter()
    fits = outcome.fits or evaluation.kmeans_fits(outcome.points, k, run.kmeans_seeds, workers=workers(), device=device)
    own = min(fits, key=lambda fit: fit.inertia_).labels_ if outcome.clusters is None else outcome.clusters
    argmax = {name: [value] for name, value in evaluation.agreement(labels, own).items()}
    scores = {"plain": evaluation.scores_of(fits, labels), "argmax": argmax}
    timings = {"train_s": train_s, "evaluate_s": time.perf_counter() - started}
    return {"history": [], "scores": scores, "timings": timings, "kmeans": fits[0].implementation,
            "landscape": None, "exemplars": None}  # fmt: skip


def _joint(run: RunConfig, inputs: FeatureSet, k: int, device) -> Outcome:
    """k-means on [c~ ; Z], the embedding and the flattened map, both standardised: all that the head sees."""
    parts = (inputs.embeddings.numpy(), inputs.maps.float().flatten(1).numpy())
    return Outcome(np.concatenate([evaluation.standardise(part) for part in parts], axis=1))


def _untrained(run: RunConfig, inputs: FeatureSet, k: int, device) -> Outcome:
    """k-means on the features of pGJR's head at epoch 0."""
    source = FeatureSource(inputs.embeddings, inputs.maps, (), ())
    head = train_head(source, run.options(HeadOptions), TrainingOptions(epochs=0, seed=run.seed), device=device)
    return Outcome(embed(head.model, head.source).numpy())


def _spherical(run: RunConfig, inputs: FeatureSet, k: int, device) -> Outcome:
    """Spherical k-means on the embedding, in the protocol's place of k-means."""
    points = inputs.embeddings.numpy()
    return Outcome(points, fits=spherical_kmeans(points, k, run.kmeans_seeds))


def _spectral(run: RunConfig, inputs: FeatureSet, k: int, device) -> Outcome:
    """Spectral clustering (Ng, Jordan and Weiss, 2001; Shi and Malik, 2000) of the graph of nearest neighbours.

    The steps are those of scikit-learn's ``SpectralClustering``, one by one because the protocol's k-means clusters the
    same coordinates, and these take most of the time.
    """
    points, generator = evaluation.normalise(inputs.embeddings.numpy()), np.random.RandomState(run.seed)
    with threadpool_limits(limits=1):  # sums depend on the number of threads
        graph = kneighbors_graph(points, min(GRAPH_NEIGHBOURS, len(points)), include_self=True)
        coordinates = spectral_embedding(
            (graph + graph.T) / 2, n_components=k, drop_first=False, random_state=generator
        )
        clusters = k_means(coordinates, k, n_init=STARTS, random_state=generator)[1]
    return Outcome(coordinates, clusters)


def _soft(method):
    """Return the baseline that clusters by the soft assignments of ``method``."""

    def outcome(run: RunConfig, inputs: FeatureSet, k: int, device) -> Outcome:
        assignments = method(inputs.embeddings, k, run.seed, device=device)
        return Outcome(assignments.numpy(), assignments.argmax(1).numpy())

    return outcome


BASELINES = {  # run_config.Baseline -> (run, features, k, device) -> Outcome
    "joint": _joint,
    "untrained": _untrained,
    "spherical": _spherical,
    "spectral": _spectral,
    "turtle": _soft(turtle),
    "temi": _soft(temi),
}
