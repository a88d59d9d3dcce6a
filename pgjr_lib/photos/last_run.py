"""Remember what a run found, so that the next one need not find it again and can say what changed."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from pgjr_lib.errors import PGJRError
from pgjr_lib.storage import load_tensors, save_tensors

TENSORS = ("base", "plane", "final", "parts", "neighbours", "cosines")


@dataclass(frozen=True, eq=False)
class LastRun:
    """The results of a run on N different photographs.

    Attributes:
        digests: hashes of the photographs' contents, sorted.
        base: (N,) int64, the clusters before the user's edits.
        plane: (N, 2) float32, the places on the map.
        final: (N,) int64, the clusters after the edits.
        parts: (N,) int64, the part of each within its cluster.
        neighbours, cosines: (N, n), see :func:`pgjr_lib.photos.neighbours.nearest`.
        head: settings of the head and the features.
        grouping: settings of the clustering.
        guess: rows of :func:`pgjr_lib.photos.choose_k.guess_k`; empty where k was given.
        fitted: number of photographs that the head was trained on.
        added: number of photographs that came since then.
    """

    digests: list[str]
    base: np.ndarray
    plane: np.ndarray
    final: np.ndarray
    parts: np.ndarray
    neighbours: np.ndarray
    cosines: np.ndarray
    head: dict
    grouping: dict
    guess: list[dict] = field(default_factory=list)
    fitted: int = 0
    added: int = 0

    def save(self, path: Path) -> None:
        """Write it."""
        facts = {name: getattr(self, name) for name in ("digests", "head", "grouping", "guess", "fitted", "added")}
        tensors = {name: torch.from_numpy(np.ascontiguousarray(getattr(self, name))) for name in TENSORS}
        save_tensors(path, tensors, {"run": json.dumps(facts)})


def read_last_run(path: Path) -> LastRun | None:
    """Return the last run, None where there is none or it is damaged, which only costs time."""
    try:
        tensors, metadata = load_tensors(path)
        return LastRun(**json.loads(metadata["run"]), **{name: tensors[name].numpy() for name in TENSORS})
    except (PGJRError, LookupError, TypeError, ValueError):
        return None
