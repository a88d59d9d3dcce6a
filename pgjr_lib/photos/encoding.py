"""Bring the store of a prior up to date with a folder: read what is new, encode it, and know what is damaged.

The random numbers of a view depend on the photograph's content and the number of the view, so no photograph changes the
features of another.
"""

import sys
import time
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch

from pgjr_lib.augment import JITTER, NUMBERS, Augment, plain
from pgjr_lib.devices import workers
from pgjr_lib.photos.index import Index
from pgjr_lib.photos.reading import Reading, read_photos
from pgjr_lib.photos.store import PART, Contents, Store
from pgjr_lib.priors.backends import choose, has_openvino
from pgjr_lib.priors.encoder import Prior, load_prior
from pgjr_lib.priors.fetch import fetch
from pgjr_lib.priors.names import digest as prior_digest
from pgjr_lib.progress import progress

FORMAT = 1  # raise it whenever the same photograph would give other contents
CROP = (0.2, 1.0)  # area of a view, as a fraction of the photograph's square
MOST_VIEWS = 8
VIEWS_SECONDS, SECONDS_A_PHOTO = 12.0, 0.006  # the time that views may take: so much, and so much for each photograph


def store_folder(base: Path, prior: str, device: str) -> Path:
    """Return the folder in ``base`` for the contents of ``prior`` as this machine encodes them.

    Raises:
        PGJRError: as :func:`pgjr_lib.priors.fetch.fetch`.
    """
    spec = fetch(prior)
    parts = [FORMAT, CROP, prior_digest(spec), *asdict(choose(spec["architecture"], device)).values()]
    return base / sha256("|".join(map(str, parts)).encode()).hexdigest()[:16]


def update(index: Index, store: Store, folder: Path, files: list[str], prior_name: str, device: str, views: int | None) -> int:
    """Read the files that the index does not know, and encode the contents that the store lacks.

    A stopped update keeps the parts that it has written.

    Args:
        index: after its scan.
        store: of this prior.
        folder: the photographs.
        files: those to read, relative to ``folder``: new ones, and those whose contents the store lacks.
        prior_name, device: as for :func:`pgjr_lib.priors.encoder.load_prior`.
        views: augmented views of each photograph; None takes as many as the store has, or if it has none as time allows.

    Returns:
        The number of photographs that were encoded.
    """
    if store.views not in (None, views) and (views is not None or store.views == 0):
        store.forget()
        files = list(index.now)
    if not files:
        return 0
    if device == "cpu" and not has_openvino():
        print("OpenVINO is not installed, so torch encodes, more slowly: `pip install 'pgjr[fast]'`.", file=sys.stderr)
    prior, encoded, waiting = load_prior(prior_name, device), 0, {}
    views = store.views if views is None else views

    def encode():
        nonlocal views, waiting, encoded
        if not waiting:
            return
        start = time.perf_counter()
        embedding = _encode(prior, plain(_stack(waiting).to(device), prior.image_size))
        if views is None:
            views = affordable_views((time.perf_counter() - start) / len(waiting), len(files))
        readings = list(waiting.values())
        store.add(Contents(
            list(waiting), embedding, _encode_views(prior, waiting, views),
            torch.tensor([r.look for r in readings], dtype=torch.int64),
            *(torch.tensor([getattr(r, side) for r in readings], dtype=torch.int32) for side in ("width", "height")),
            [r.thumbnail for r in readings],
        ))  # fmt: skip
        encoded, waiting = encoded + len(waiting), {}

    readings = read_photos([folder / file for file in files], prior.image_size, workers())
    try:
        for file, reading in progress(zip(files, readings, strict=True), "reading and encoding", "photo", len(files)):
            index.set(file, reading.digest, reading.error)
            if not reading.error and reading.digest not in store:
                waiting[reading.digest] = reading
                if len(waiting) == PART:
                    encode()
        encode()
    finally:
        readings.close()  # ends the pool, at a stop too
    return encoded


def affordable_views(seconds: float, count: int) -> int:
    """Return how many views of ``count`` photographs fit into the time for them, at ``seconds`` for each; at least one."""
    budget = VIEWS_SECONDS + SECONDS_A_PHOTO * count
    return max(1, min(MOST_VIEWS, int(budget / max(seconds * count, 1e-9))))


def embed_file(path: Path, prior: Prior) -> tuple[Reading, np.ndarray | None]:
    """Read one file and encode it as :func:`update` does: (the reading, (D,) float32 or None where it is damaged)."""
    (reading,) = read_photos([path], prior.image_size, 1)
    if reading.error:
        return reading, None
    return reading, _encode(prior, plain(_stack({"": reading}).to(prior.device), prior.image_size))[0].numpy()


def _stack(waiting):
    return torch.from_numpy(np.stack([reading.pixels for reading in waiting.values()]))


def _encode(prior, images):
    return prior.encode(images)[0].float().cpu()


def _encode_views(prior, waiting, views):
    """Encode ``views`` views of each photograph: (N, K, D) float16."""
    if not views:
        return torch.empty(len(waiting), 0, prior.embed_dim, dtype=torch.float16)
    images, augment, encoded = _stack(waiting).to(prior.device), Augment(prior.image_size, CROP), []
    for view in range(views):
        uniform = np.stack([view_numbers(digest, view) for digest in waiting])
        order = np.random.default_rng(view).permutation(len(JITTER)).tolist()
        encoded.append(_encode(prior, augment.from_numbers(images, torch.from_numpy(uniform), order)).half())
    return torch.stack(encoded, 1)


def view_numbers(digest: str, view: int) -> np.ndarray:
    """Return the random numbers of one view of the photograph with this digest: (NUMBERS,) float32 in [0, 1)."""
    return np.random.default_rng([int(digest[:16], 16), view]).random(NUMBERS, dtype=np.float32)
