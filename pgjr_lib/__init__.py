"""Grid Jigsaw Representation with a pretrained prior: the models, the losses and what they need.

Names are imported on first use, so that ``import pgjr_lib`` stays fast.
"""

from importlib import import_module

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


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module 'pgjr_lib' has no attribute {name!r}")
    return getattr(import_module(f"pgjr_lib.{_HOME[name]}"), name)


def __dir__():
    return sorted([*globals(), *__all__])
