"""Turn a prior's embeddings into the points that are clustered: as they are, or through a trained head."""

import hashlib
import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from pgjr_lib import __version__
from pgjr_lib.errors import PGJRError
from pgjr_lib.evaluation import normalise
from pgjr_lib.options import HEAD_TRAINING, HEADS, HeadName, HeadOptions
from pgjr_lib.photos.store import Contents
from pgjr_lib.progress import progress
from pgjr_lib.storage import load_tensors, save_tensors
from pgjr_lib.training import FeatureSource, build_head, embed, train_head

TITLES = {"kmeans": "k-means on the prior's own features", "linear": "the linear head", "pgjr": "pGJR's head"}
# the heads work on the embedding alone: the axes of a spatial map would change with every photograph
_OPTIONS = {
    "linear": HeadOptions(map="embedding", branch="none"),
    "pgjr": HeadOptions(map="embedding", branch="supplement", g=2),
}
# priors with which the heads were tried on photographs. On 2,000 of STL-10's, with NMI over seeds of k-means: 0.39 to 0.40 for
# class-name's own embeddings, 0.37 to 0.38 through the linear head with 1 to 8 views, 0.365 without views
TRIED = ("class-name",)


@dataclass(frozen=True)
class Choice:
    """Which head is used, and why, as a clause for the page."""

    head: HeadName
    reason: str


def choose_head(asked: HeadName | None, prior: str) -> Choice:
    """Choose the head: the one that was asked for, else k-means on the prior's features, with what speaks for it.

    Raises:
        PGJRError: there is no head of that name.
    """
    if asked is not None:
        if asked not in HEADS:
            raise PGJRError(f"There is no head {asked!r}: use {', '.join(HEADS)}.")
        return Choice(asked, "it was asked for with --head")
    if prior in TRIED:
        return Choice("kmeans", "on 2,000 of STL-10's photographs a linear head on this prior's embeddings did not score above it")
    return Choice("kmeans", "no trial with photographs shows that a trained head helps with this prior")


def training_identity(contents: Contents, head: HeadName, epochs: int, seed: int, negatives: int | None) -> str:
    """Return a hash of everything that a trained head is a result of, but the device."""
    parts = [__version__, head, asdict(_training(epochs, seed, negatives)), contents.views.shape[1], contents.digests]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def train(
    contents: Contents, head: HeadName, epochs: int, seed: int, negatives: int | None, *, checkpoint: Path, weights: Path, device: str
) -> np.ndarray:
    """Train a head, keep its weights, and return the points.

    Args:
        contents: what the store keeps of the N photographs.
        head: ``linear`` or ``pgjr``.
        epochs, seed, negatives: as :class:`pgjr_lib.options.TrainingOptions`.
        checkpoint: a stopped training resumes from this file.
        weights: the file for the trained head.
        device: where to train.

    Returns:
        (N, d) float32.
    """
    identity = training_identity(contents, head, epochs, seed, negatives)
    if checkpoint.exists() and load_tensors(checkpoint)[1].get("identity") != identity:
        print("The images or settings have changed, so training starts again.", file=sys.stderr)
        checkpoint.unlink()
    with progress(None, "training the head", "epoch", epochs) as bar:

        def on_epoch(model, epoch, row):
            bar.update(epoch - bar.n)  # a resumed run starts where it stopped
            return {}

        trained = train_head(_source(contents), _OPTIONS[head], _training(epochs, seed, negatives), device=device,
                             checkpoint=checkpoint, identity=identity, on_epoch=on_epoch)  # fmt: skip
    save_tensors(weights, trained.model.state_dict(), {"head": head})
    return embed(trained.model, trained.source).numpy()


def apply(contents: Contents, head: HeadName, weights: Path, device: str) -> np.ndarray:
    """Return the points of photographs through the head that :func:`train` kept: (N, d) float32.

    Raises:
        PGJRError: the file is missing, damaged, or holds another head.
    """
    state, metadata = load_tensors(weights)
    source = _source(contents)
    model = build_head(source, _OPTIONS[head], 0)
    try:
        if metadata.get("head") != head:
            raise RuntimeError("another head")
        model.load_state_dict(state)
    except RuntimeError:
        raise PGJRError(f"{weights} does not hold the head {head} for these features: start anew with --fresh.") from None
    return embed(model.to(device), source.to(device)).numpy()


def plain_points(contents: Contents) -> np.ndarray:
    """Return the prior's own embeddings, on the unit sphere, as the points: (N, D) float32."""
    return normalise(contents.embedding.numpy())


def _source(contents):
    none, views = torch.empty(len(contents.digests), 0), contents.views.unbind(1)
    return FeatureSource(contents.embedding, none, views, [none] * len(views))


def _training(epochs, seed, negatives):
    return replace(HEAD_TRAINING, epochs=epochs, seed=seed, negatives=negatives)
