"""Snapshots of the features through training: a fixed sample at a few epochs, drawn on a plane by t-SNE.

t-SNE differs from machine to machine, so its coordinates are part of the record.
"""

import numpy as np
import torch

from pgjr_lib.evaluation import normalise
from pgjr_lib.projection import tsne

SAMPLES = 1000


class Snapshots:
    """The features of at most 1,000 samples, before training and at ``count`` epochs of it.

    Args:
        count: number of snapshots after the first, spread evenly over ``epochs``; 0 keeps none at all.
        epochs: length of the training.
        labels: (N,) classes of all samples.

    Attributes:
        epochs: the epochs at which features are kept.
        tensors: what has been kept so far, by name; a checkpoint carries it, so that a killed run keeps it.
    """

    def __init__(self, count: int, epochs: int, labels: np.ndarray):
        self.epochs = sorted({round(epochs * i / count) for i in range(count + 1)}) if count else []
        self.rows = np.sort(np.random.default_rng(0).permutation(len(labels))[:SAMPLES])
        self.labels = labels[self.rows]
        self.tensors: dict[str, torch.Tensor] = {}

    def keep(self, epoch: int, points: np.ndarray) -> None:
        """Keep the sample of ``points`` (N, d) if a snapshot is due at ``epoch``."""
        if epoch in self.epochs:
            self.tensors[f"snapshot-{epoch}"] = torch.from_numpy(normalise(points[self.rows]))

    def coordinates(self) -> dict | None:
        """Return ``rows``, ``labels`` and the t-SNE coordinates ``x`` and ``y`` of each epoch; None without snapshots.

        Each epoch's t-SNE starts from the coordinates of the epoch before, so that clusters keep their places.
        """
        if not self.epochs:
            return None
        frames, place = {}, "pca"
        for epoch in self.epochs:
            steps = 1000 if isinstance(place, str) else 500  # a later plane starts close to its end
            place = tsne(self.tensors[f"snapshot-{epoch}"].numpy(), place, steps)
            frames[str(epoch)] = {"x": np.round(place[:, 0], 2).tolist(), "y": np.round(place[:, 1], 2).tolist()}
            spread = place.std(0)[:1]
            place = place / spread * 1e-4 if spread > 0 else "pca"  # the scale that t-SNE wants of its start
        return {"rows": self.rows.tolist(), "labels": self.labels.tolist(), "epochs": frames}
