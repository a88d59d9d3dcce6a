"""Grid Jigsaw Representation with a pretrained prior: the models, the losses and what they need.

Names are imported on first use, so that ``import pgjr_lib`` stays fast.
"""

from pgjr_lib.lazy import on_first_use

__version__ = "0.1.0"

_HOME = {
    "GridJigsaw": "jigsaw",
    "ChannelMix": "controls",
    "MemoryBank": "losses",
    "instance_discrimination": "losses",
    "feature_decorrelation": "losses",
    "GJR": "models",
    "PGJR": "models",
    "PGJRError": "errors",
    "load_prior": "priors.encoder",
    "kmeans_scores": "evaluation",
    "PGJRClustering": "estimator",
}
__all__ = sorted(_HOME)
__getattr__ = on_first_use(__name__, _HOME)


def __dir__():
    return sorted([*globals(), *__all__])
