"""Offer pGJR as a scikit-learn estimator: a feature matrix in, clusters out."""

import copy
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.metrics import pairwise_distances_argmin
from sklearn.utils import check_array, check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted, validate_data

from pgjr_lib.evaluation import cluster, normalise
from pgjr_lib.options import HEAD_TRAINING, SOUND_BATCH, HeadOptions, TrainingOptions
from pgjr_lib.training import FeatureSource, train_head


class PGJRClustering(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator):
    """Train the head of equation 7 on features of any kind, and cluster its features by k-means.

    A feature matrix has no space in it, so the jigsaw works on a learned map of it (``embedding``) whose positions
    have no natural neighbours; ``jigsaw=False`` leaves a linear head. Compare with k-means on the features
    themselves: whether the head gains depends on the features. Without ``views``, instance discrimination always
    sees a sample in the same way. Views that differ more than the clusters do lower the score.

    Args:
        n_clusters: number of clusters.
        dim: length of the learned feature.
        jigsaw: whether to join the jigsaw branch to the features.
        epochs: passes over the samples.
        batch_size: samples a step.
        learning_rate: learning rate of SGD with momentum 0.9.
        temperature: tau_1 of equation 8. A sharp one (0.1) separates samples, a soft one (1) keeps more of the
            features' own structure.
        decorrelation: alpha of equation 11.
        negatives: samples that each step of instance discrimination draws to estimate its sum; None takes all.
        n_init: starts of k-means; the best one is kept.
        device: where the head is trained, as torch names it: ``cpu``, ``cuda``, ``cuda:1``, ...
        random_state: a seed, or a numpy random state.

    Attributes:
        labels_: (n_samples,) cluster of each training sample.
        cluster_centers_: (n_clusters, dim).
        inertia_: k-means' sum of squared distances.
        n_iter_: epochs trained.
        model_: the trained head, a :class:`pgjr_lib.models.PGJR`.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> labels = PGJRClustering(n_clusters=10, random_state=0).fit_predict(load_digits().data)
    """

    _parameter_constraints = {
        "n_clusters": [Interval(Integral, 1, None, closed="left")],
        "dim": [Interval(Integral, 2, None, closed="left")],
        "jigsaw": ["boolean"],
        "epochs": [Interval(Integral, 0, None, closed="left")],
        "batch_size": [Interval(Integral, 2, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "decorrelation": [Interval(Real, 0, None, closed="left")],
        "negatives": [Interval(Integral, 1, None, closed="left"), None],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "device": [str],
        "random_state": ["random_state"],
    }

    def __init__(
        self, n_clusters=8, *, dim=HeadOptions.dim, jigsaw=True, epochs=HEAD_TRAINING.epochs,
        batch_size=HEAD_TRAINING.batch_size, learning_rate=HEAD_TRAINING.lr, temperature=HEAD_TRAINING.tau1,
        decorrelation=HEAD_TRAINING.alpha, negatives=None, n_init=20, device="cpu", random_state=None,
    ):  # fmt: skip
        self.n_clusters = n_clusters
        self.dim = dim
        self.jigsaw = jigsaw
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.temperature = temperature
        self.decorrelation = decorrelation
        self.negatives = negatives
        self.n_init = n_init
        self.device = device
        self.random_state = random_state

    def fit(self, X, y=None, *, views=None):
        """Train the head and cluster.

        Args:
            X: (n_samples, n_features) plain features.
            y: ignored.
            views: (K, n_samples, n_features), K other views of the same samples; every epoch draws one of each. A
                Pipeline does not apply its earlier steps to them, so transform them first. A grid search cannot
                split them.

        Raises:
            ValueError: wrong shapes, values that are not finite, fewer samples than clusters, an unknown device.
        """
        self._validate_params()
        try:
            torch.device(self.device)
        except RuntimeError:
            raise ValueError(f"device={self.device!r} is unknown to torch: give for example cpu or cuda:0.") from None
        X = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=2)
        views = self._checked_views(views, X)
        if self.n_clusters > len(X):
            raise ValueError(f"n_clusters={self.n_clusters}, but n_samples={len(X)}: ask for fewer clusters.")
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        mean, scale = X.mean(0, dtype=np.float64), X.std(0, dtype=np.float64)
        scale = np.where(scale > 0, scale, 1.0)
        c, no_map = torch.tensor((X - mean) / scale, dtype=torch.float32), torch.empty(len(X), 0)
        v, no_maps = torch.tensor((views - mean) / scale, dtype=torch.float32), torch.empty(len(views), len(X), 0)
        head = HeadOptions(map="embedding", branch="supplement" if self.jigsaw else "none", g=2, dim=self.dim)
        options = TrainingOptions(
            self.epochs, self.batch_size, self.learning_rate, self.temperature, alpha=self.decorrelation,
            smallest_batch=SOUND_BATCH, seed=seed, negatives=self.negatives,
        )  # fmt: skip
        with torch.random.fork_rng(range(torch.cuda.device_count())):  # the caller's random numbers stay as they were
            model = train_head(FeatureSource(c, no_map, v, no_maps), head, options, device=self.device).model
        fitted = (model.eval().cpu(), mean, scale)
        f = self._features(X, *fitted)
        kmeans = cluster(f, self.n_clusters, seed, self.n_init)
        self.model_, self.mean_, self.scale_ = fitted  # set last, so that a fit that fails leaves nothing half done
        self.labels_, self.cluster_centers_ = self._nearest(f, kmeans.cluster_centers_), kmeans.cluster_centers_
        self.inertia_, self.n_iter_ = float(kmeans.inertia_), self.epochs
        return self

    def transform(self, X):
        """Return the learned features: (n_samples, dim), rows on the unit sphere.

        Raises:
            ValueError: another number of features than in ``fit``; sklearn.exceptions.NotFittedError before it.
        """
        check_is_fitted(self, "model_")
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        return self._features(X, self.model_, self.mean_, self.scale_)

    def predict(self, X):
        """Return the nearest cluster of each row of ``X``: (n_samples,) integers."""
        return self._nearest(self.transform(X), self.cluster_centers_)

    @property
    def _n_features_out(self):
        return self.cluster_centers_.shape[1]  # of the fit, whatever the parameter says since

    def _checked_views(self, views, X):
        if views is None or np.ndim(views) == 3 and not len(views):
            return np.empty((0, *X.shape))
        views = check_array(views, allow_nd=True, dtype=[np.float64, np.float32], input_name="views")
        if views.shape[1:] != X.shape:
            raise ValueError(f"views has the shape {views.shape}, but (K, {len(X)}, {X.shape[1]}) is needed.")
        return views

    @staticmethod
    @torch.no_grad()
    def _features(X, model, mean, scale):
        """Compute in double precision, so that a row's feature does not depend on the rows beside it."""
        double = copy.deepcopy(model).double()
        parts = torch.tensor((X - mean) / scale, dtype=torch.float64).split(4096)  # the map needs more memory than the row
        return torch.cat([double(part) for part in parts]).numpy()

    @staticmethod
    def _nearest(f, centres):
        f = normalise(f).astype(np.float64)
        return pairwise_distances_argmin(f, centres.astype(np.float64))
