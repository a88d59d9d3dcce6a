"""Project features on a plane, by t-SNE."""

import numpy as np
from sklearn.manifold import TSNE

PERPLEXITY = 30


def tsne(points: np.ndarray, start="pca", steps: int = 1000) -> np.ndarray:
    """Project features to two dimensions (van der Maaten and Hinton, 2008).

    Args:
        points: (N, d) features.
        start: ``pca``, or (N, 2) coordinates to start from.
        steps: iterations of gradient descent.

    Returns:
        (N, 2) float32 coordinates. They differ from machine to machine. Identical points become zeros, because
        t-SNE fails on them.
    """
    if np.ptp(points, axis=0).max() < 1e-6:
        return np.zeros((len(points), 2), dtype=np.float32)
    perplexity = min(PERPLEXITY, (len(points) - 1) / 3)
    return TSNE(perplexity=perplexity, init=start, max_iter=steps, random_state=0).fit_transform(points)
