"""pGJR as a scikit-learn estimator: a feature matrix in, clusters out."""

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
from pgjr_lib.jigsaw import GridJigsaw
from pgjr_lib.losses import MemoryBank
from pgjr_lib.models import PGJR
from pgjr_lib.training import SOUND_BATCH, FeatureSource, TrainingOptions, embed, fit


class PGJRClustering(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator):
    """The head of equation 7 on features of any kind, trained by Algorithm 1, clustered by k-means.

    A feature matrix has no space in it, so the jigsaw works on a learned map of it (``embedding``), where it has no
    neighbours to speak of; ``jigsaw=False`` leaves a linear head. Whether the head gains over k-means on the features
    themselves depends on the features: compare the two. Without ``views`` of the samples, instance discrimination
    sees each sample always the same; views that change more than the clusters differ cost.

    Args:
        n_clusters: number of clusters.
        dim: length of the learned feature.
        jigsaw: whether to join the jigsaw branch to the features.
        epochs: passes over the samples.
        batch_size: samples a step.
        learning_rate: of SGD with momentum 0.9.
        temperature: tau_1 of equation 8; sharp (0.1) separates samples, soft (1) keeps what the features had.
        decorrelation: alpha of equation 11.
        n_init: starts of k-means, the best of which is kept.
        device: where the head is trained, as torch names it: ``cpu``, ``cuda``, ``cuda:1``, ...
        random_state: seed, or a numpy random state.

    Attributes:
        labels_: (n_samples,) cluster of each training sample.
        cluster_centers_: (n_clusters, dim).
        inertia_: k-means' sum of squared distances.
        n_iter_: epochs trained.
        model_: the trained head, a :class:`PGJR`.

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
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "device": [str],
        "random_state": ["random_state"],
    }

    def __init__(
        self, n_clusters=8, *, dim=128, jigsaw=True, epochs=20, batch_size=256, learning_rate=0.006, temperature=1.0,
        decorrelation=1.0, n_init=20, device="cpu", random_state=None,
    ):  # fmt: skip
        self.n_clusters = n_clusters
        self.dim = dim
        self.jigsaw = jigsaw
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.temperature = temperature
        self.decorrelation = decorrelation
        self.n_init = n_init
        self.device = device
        self.random_state = random_state

    def fit(self, X, y=None, *, views=None):
        """Train the head and cluster.

        Args:
            X: (n_samples, n_features) plain features.
            y: ignored.
            views: (K, n_samples, n_features), the same samples seen in K other ways; every epoch draws one. In a
                Pipeline they pass the steps before this one by, so give them as those steps would make them; a
                grid search cannot split them.

        Raises:
            ValueError: wrong shapes, values that are not finite, fewer samples than clusters, an unknown device.
        """
        self._validate_params()
        try:
            torch.device(self.device)
        except RuntimeError:
            raise ValueError(f"device={self.device!r} is none that torch knows: give for example cpu or cuda:0.") from None
        X = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=2)
        views = self._checked_views(views, X)
        if self.n_clusters > len(X):
            raise ValueError(f"n_clusters={self.n_clusters}, but n_samples={len(X)}: ask for fewer clusters.")
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        mean, scale = X.mean(0, dtype=np.float64), X.std(0, dtype=np.float64)
        scale = np.where(scale > 0, scale, 1.0)
        c, nothing = torch.tensor((X - mean) / scale, dtype=torch.float32), torch.empty(len(X), 0)
        v, none = torch.tensor((views - mean) / scale, dtype=torch.float32), torch.empty(len(views), len(X), 0)
        source = FeatureSource(*(t.to(self.device) for t in (c, nothing, v, none)))
        with torch.random.fork_rng(range(torch.cuda.device_count())):  # the caller's random numbers are left alone
            torch.manual_seed(seed)
            jigsaw, branch = (GridJigsaw(2, 2), "supplement") if self.jigsaw else (None, "none")
            model = PGJR(X.shape[1], None, jigsaw, "embedding", branch, self.dim).to(self.device)
            bank = MemoryBank(len(X), self.dim).to(self.device)
            bank.write(embed(model, source).to(self.device))
            if self.epochs:
                options = TrainingOptions(
                    self.epochs, self.batch_size, self.learning_rate, self.temperature, alpha=self.decorrelation,
                    smallest_batch=SOUND_BATCH, seed=seed,
                )  # fmt: skip
                fit(model.train(), source, bank, options)
        fitted = (model.eval().cpu(), mean, scale)
        f = self._features(X, *fitted)
        found = cluster(f, self.n_clusters, seed, self.n_init)
        self.model_, self.mean_, self.scale_ = fitted  # all at the end: a fit that fails leaves nothing half done
        self.labels_, self.cluster_centers_ = self._nearest(f, found.cluster_centers_), found.cluster_centers_
        self.inertia_, self.n_iter_ = float(found.inertia_), self.epochs
        return self

    def transform(self, X):
        """The learned features: (n_samples, dim), rows on the unit sphere.

        Raises:
            ValueError: another number of features than in ``fit``; sklearn.exceptions.NotFittedError before it.
        """
        check_is_fitted(self, "model_")
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        return self._features(X, self.model_, self.mean_, self.scale_)

    def predict(self, X):
        """The nearest cluster of each row of ``X``: (n_samples,) integers."""
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
        """In double precision, so that a row's feature does not depend on the rows beside it."""
        double = copy.deepcopy(model).double()
        parts = torch.tensor((X - mean) / scale, dtype=torch.float64).split(4096)  # its map is wider than the row
        return torch.cat([double(part) for part in parts]).numpy()

    @staticmethod
    def _nearest(f, centres):
        f = normalise(f).astype(np.float64)
        return pairwise_distances_argmin(f, centres.astype(np.float64))
