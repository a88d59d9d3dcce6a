"""The feature cache: every image through the frozen prior once, plain and as K augmented views.

A folder of chunks, each made from consecutive images by random numbers that depend on (seed, view, chunk)
only. So a chunk has the same bytes whoever makes it: in one go, in shards or after a kill.
"""

import sys
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor
from tqdm import tqdm

from pgjr_lib.augment import Augment, plain
from pgjr_lib.data import loading as datasets
from pgjr_lib.errors import PGJRError
from pgjr_lib.priors.config import CHUNK, PCA_IMAGES, FeatureConfig, feature_key
from pgjr_lib.priors.encoder import Prior, load_prior
from pgjr_lib.priors.names import prior_checksum
from pgjr_lib.storage import load_tensors, read_json, save_tensors, write_json


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """The cache in memory.

    Attributes:
        embeddings: (N, D) float32, the prior's embedding of the plain images.
        maps: (N, C, h, w) float32, its feature map after PCA.
        view_embeddings, view_maps: (K, N, D) and (K, N, C, h, w) float16, the same of the views.
        labels: (N,) int64.
        class_names: tuple of str.
        manifest: what was made from what, with counts, checksums and seconds.
    """

    embeddings: Tensor
    maps: Tensor
    view_embeddings: Tensor
    view_maps: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    manifest: dict


def extract(
    config, folder, *, data_root=None, shard=(0, 1), device="auto", batch_size=256, skip_corrupt=False
) -> FeatureSet | None:
    """Make the features of ``config`` in ``folder``, or the part of them that ``shard`` names.

    Chunks that are there and whole are kept; missing, damaged and foreign ones are made (again).

    Args:
        config: a :class:`FeatureConfig` or a dict of its fields.
        folder: where the files go.
        data_root: by default ``$PGJR_DATA``.
        shard: (i, n) makes chunks i, i + n, i + 2n, ...; the shard that completes the folder closes it.
        device: ``auto`` (CUDA where there is one), or a torch device.
        batch_size: images a forward pass; a chunk's 256 at most.
        skip_corrupt: leave out images that cannot be read.

    Returns:
        The FeatureSet, or None while other shards' chunks are missing.

    Raises:
        PGJRError: bad config or shard, and what :func:`datasets.load` and :func:`priors.load_prior` raise.
    """
    config, folder = check_config(config), Path(folder)
    index, count = shard
    if not 0 <= index < count:
        raise PGJRError(f"shard {index}/{count} does not exist: use 0/{count} to {count - 1}/{count}.")
    data_checksum = datasets.checksum(config.dataset, config.split, data_root, config.limit)
    key = feature_key(config, data_checksum, prior_checksum(config.prior))
    if (done := _finished(folder, key, skip_corrupt)) is not None:
        return done
    device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    prior = load_prior(config.prior, device, image_size=config.image_size)
    info = datasets.SETS.get(config.dataset)
    data = datasets.load(
        config.dataset, config.split, root=data_root, limit=config.limit, skip_corrupt=skip_corrupt,
        size=None if info and info.side else prior.image_size,
    )  # fmt: skip
    stamp = f"{key}-{len(data.labels)}-{prior.half}"  # what the key does not know: images left out, precision
    encoder = _Encoder(config, prior, torch.from_numpy(data.images), batch_size)
    _make(folder / "pca.safetensors", stamp, encoder.fit_pca)
    encoder.pca, told = load_tensors(folder / "pca.safetensors")
    projected = f"{stamp}-{told['checksum']}"  # chunks belong to the axes that their maps were projected on
    chunks = torch.arange(len(data.labels)).split(CHUNK)
    labels = torch.from_numpy(data.labels)
    paths = [folder / f"chunk-{c:05d}.safetensors" for c in range(len(chunks))]
    missing = [c for c in range(index, len(chunks), count) if not _note(paths[c], projected)]
    for c in _progress(missing, f"{data.name} ({data.split})", CHUNK * (1 + config.views)):
        _make(paths[c], projected, lambda c=c: {**encoder.chunk(c, chunks[c]), "labels": labels[chunks[c]]})
    notes = [_note(folder / "pca.safetensors", stamp), *(_note(path, projected) for path in paths)]
    if not all(notes):
        return None
    seconds = sum(note["seconds"] for note in notes)
    write_json(folder / "manifest.json", {
        "key": key, "config": config.model_dump(), "count": len(data.labels), "class_names": data.class_names,
        "data": {"name": data.name, "split": data.split, "count": len(data.labels),
                 "classes": len(data.class_names), "checksum": data.checksum, "note": data.note},
        "weights": {"name": prior.name, "checksum": prior.checksum, "supervision": prior.supervision},
        "image_size": prior.image_size, "device": prior.device.type,
        "precision": str(prior.half or torch.float32),
        "seconds": round(seconds, 3),
        "images_per_second": round(len(data.labels) * (1 + config.views) / max(seconds, 1e-9), 1),
        "paths": list(data.paths) if ":" in data.name else [],  # of a user's own images
        "files": {path.name: note["checksum"] for path, note in zip(paths, notes[1:], strict=True)},
    })  # fmt: skip
    return load(folder)


def load(folder) -> FeatureSet:
    """Read a finished cache and check every file of it.

    Raises:
        PGJRError: not finished, or a file is missing, truncated or changed.
    """
    folder = Path(folder)
    manifest = read_json(folder / "manifest.json")
    if missing := {"files", "config", "class_names"} - set(manifest):
        raise PGJRError(f"{folder / 'manifest.json'} lacks {', '.join(sorted(missing))}: run the extraction again.")
    parts = []
    for name, checksum in manifest["files"].items():
        tensors, metadata = load_tensors(folder / name)
        if metadata["checksum"] != checksum:
            raise PGJRError(f"{folder / name} is not the file its manifest lists: run the extraction again.")
        parts.append(tensors)
    views = manifest["config"]["views"]
    joined = {k: torch.cat([p[k] for p in parts], dim=int(k.startswith("view"))) for k in parts[0]}
    embeddings, maps = joined["embedding"], joined["map"].float()
    return FeatureSet(
        embeddings, maps,
        joined.get("view_embedding", embeddings.new_empty(0, *embeddings.shape)),
        joined.get("view_map", maps.new_empty(views, *maps.shape)),
        joined["labels"], tuple(manifest["class_names"]), manifest,
    )  # fmt: skip


def check_config(config) -> FeatureConfig:
    """A FeatureConfig from itself or from a dict; PGJRError names the field that is wrong."""
    if isinstance(config, FeatureConfig):
        return config
    try:
        return FeatureConfig(**config)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise PGJRError(f"There is no feature setting {field!r}: known are {', '.join(FeatureConfig.model_fields)}.") from None
        raise PGJRError(f"The feature setting {field!r} is wrong: {first['msg']} (got {first['input']!r}).") from None


@dataclass
class _Encoder:
    """The prior over chunks of images; the random numbers of a view depend on (seed, view, chunk) only."""

    config: FeatureConfig
    prior: Prior
    images: Tensor
    batch_size: int
    pca: dict | None = None

    def encode(self, batch):
        pairs = [self.prior.encode(part) for part in batch.split(self.batch_size)]
        return [torch.cat(parts) for parts in zip(*pairs, strict=True)]

    def fit_pca(self):
        """Mean and principal axes of the plain maps' channels, over a fixed random subset of the images."""
        picked = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(0))[:PCA_IMAGES]
        total, square, positions = 0, 0, 0
        for rows in picked.sort().values.split(CHUNK):
            _, maps = self.encode(plain(self.images[rows].to(self.prior.device), self.prior.image_size))
            vectors = maps.permute(0, 2, 3, 1).flatten(0, 2).double()
            total, square = total + vectors.sum(0), square + vectors.T @ vectors
            positions += len(vectors)
        mean = total / positions
        axes = torch.linalg.eigh((square / positions - mean.outer(mean)).cpu()).eigenvectors.flip(1)
        axes = axes[:, : self.config.map_channels]
        axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()  # the largest entry is positive
        return {"mean": mean.float().cpu(), "axes": axes.float()}

    def project(self, maps):
        """(B, C, h, w) -> (B, c, h, w) float16 on the principal axes."""
        mean, axes = (self.pca[k].to(maps) for k in ("mean", "axes"))
        return torch.einsum("bchw,cd->bdhw", maps - mean.view(1, -1, 1, 1), axes).half()

    def chunk(self, c, rows):
        """Chunk number ``c``: its images plain and in every view."""
        images = self.images[rows].to(self.prior.device)
        embedding, maps = self.encode(plain(images, self.prior.image_size))
        tensors = {"embedding": embedding, "map": self.project(maps)}
        augment = Augment(self.prior.image_size, (self.config.crop_scale, 1.0), flip=0.5 * self.config.flip)
        drawn = []
        for view in range(self.config.views):
            with torch.random.fork_rng(devices=[]):
                name = f"{self.config.seed}|{view}|{c}"
                torch.manual_seed(int(sha256(name.encode()).hexdigest()[:15], 16))
                views = augment(images)
            embedding, maps = self.encode(views)
            drawn.append((embedding.half(), self.project(maps)))
        if drawn:
            embeddings, maps = zip(*drawn, strict=True)
            tensors |= {"view_embedding": torch.stack(embeddings), "view_map": torch.stack(maps)}
        return tensors


def _make(path, stamp, compute):
    """Write ``compute()`` to ``path`` unless it is there and whole; its time and checksum go beside it."""
    if _note(path, stamp):
        return
    start = time.perf_counter()
    tensors = compute()
    seconds = time.perf_counter() - start
    checksum = save_tensors(path, tensors)  # no metadata of ours: its order is not kept, and bytes must be
    write_json(path.with_suffix(".json"), {"stamp": stamp, "checksum": checksum, "seconds": seconds})


def _note(path, stamp):
    """The note of a file made for ``stamp`` that is whole, else None."""
    try:
        note = read_json(path.with_suffix(".json"))
        _, metadata = load_tensors(path)
    except PGJRError:
        return None
    return note if (note.get("stamp"), note.get("checksum")) == (stamp, metadata["checksum"]) else None


def _finished(folder, key, skip_corrupt):
    """The FeatureSet if ``folder`` holds it whole, else None."""
    try:
        found = load(folder) if read_json(folder / "manifest.json").get("key") == key else None
    except (PGJRError, LookupError):  # LookupError: a manifest that lacks a part
        return None
    left_out = found is not None and "left out" in found.manifest["data"]["note"]
    return None if left_out and not skip_corrupt else found


def _progress(items, name, encodings):
    """A bar on a terminal; elsewhere a line every tenth, with rate (``encodings`` a chunk) and time left."""
    name = name.rpartition("/")[2]  # of a folder: logs are passed on, and a path tells where somebody lives
    if sys.stderr.isatty():
        yield from tqdm(items, desc=f"features of {name}", unit="chunk")
        return
    start, last = time.perf_counter(), 0
    for i, item in enumerate(items, 1):
        yield item
        if i * 10 // len(items) > last or i == len(items):
            last, spent = i * 10 // len(items), time.perf_counter() - start
            told = f"{i}/{len(items)} chunks, {i * encodings / spent:.0f} images/s, {spent / i * (len(items) - i):.0f} s left"
            print(f"features of {name}: {told}", file=sys.stderr, flush=True)
