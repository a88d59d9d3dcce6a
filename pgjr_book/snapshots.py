"""How features spread through training: a fixed sample of them kept at a few epochs, drawn on a plane by t-SNE.

t-SNE differs from machine to machine, so its coordinates are part of the record.
"""

from pathlib import Path

import numpy as np
import torch
from sklearn.manifold import TSNE

from pgjr_lib.evaluation import normalise
from pgjr_lib.storage import load_tensors, save_tensors

SAMPLES, PERPLEXITY = 1000, 30


def plane(points: np.ndarray, start="pca", steps: int = 1000) -> np.ndarray:
    """t-SNE coordinates (N, 2) of (N, d) points; zeros where all points are one, which t-SNE does not survive."""
    if np.ptp(points, axis=0).max() < 1e-6:
        return np.zeros((len(points), 2), dtype=np.float32)
    perplexity = min(PERPLEXITY, (len(points) - 1) / 3)
    return TSNE(perplexity=perplexity, init=start, max_iter=steps, random_state=0).fit_transform(points)


class Snapshots:
    """The features of at most 1,000 samples, at the start and at ``count`` epochs after it.

    Args:
        folder, key: where and under what name they lie until the run ends, so that a killed run keeps them.
        count: how many, evenly over ``epochs``; 0 keeps none.
        labels: (N,) classes of all samples.
    """

    def __init__(self, folder: Path, key: str, count: int, epochs: int, labels: np.ndarray):
        self.path = lambda epoch: folder / f"{key}-epoch-{epoch}.safetensors"
        self.epochs = sorted({round(epochs * i / count) for i in range(count + 1)}) if count else []
        self.rows = np.sort(np.random.default_rng(0).permutation(len(labels))[:SAMPLES])
        self.labels = labels[self.rows]

    def keep(self, epoch: int, points: np.ndarray) -> None:
        """Keep the sample of ``points`` (N, d) if ``epoch`` is one of the snapshots'."""
        if epoch in self.epochs:
            save_tensors(self.path(epoch), {"points": torch.from_numpy(normalise(points[self.rows]))})

    def drawn(self) -> dict | None:
        """t-SNE coordinates: ``rows``, ``labels`` and, for each epoch, ``x`` and ``y``; None without snapshots.

        Each epoch's t-SNE starts from the coordinates of the epoch before, so that clusters stay where they were.
        """
        if not self.epochs:
            return None
        frames, place = {}, "pca"
        for epoch in self.epochs:
            points = load_tensors(self.path(epoch))[0]["points"].numpy()
            place = plane(points, place, 1000 if isinstance(place, str) else 500)  # there is less to do from the last
            frames[str(epoch)] = {"x": np.round(place[:, 0], 2).tolist(), "y": np.round(place[:, 1], 2).tolist()}
            spread = place.std(0)[:1]
            place = place / spread * 1e-4 if spread > 0 else "pca"  # the scale t-SNE wants its start to have
        return {"rows": self.rows.tolist(), "labels": self.labels.tolist(), "epochs": frames}
