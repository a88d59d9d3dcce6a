"""The feature cache: every image through the frozen prior once, plain and as K augmented views.

The cache is a folder of chunks. A chunk holds consecutive images, and its random numbers depend on (seed, view, chunk)
only. So its bytes are the same whether the folder is made in one go, in shards, or resumed after a kill.
"""

import sys
import time
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from pgjr_lib import data
from pgjr_lib.augment import Augment, plain
from pgjr_lib.devices import default_device
from pgjr_lib.errors import PGJRError
from pgjr_lib.priors.backends import Encoding, choose, has_openvino
from pgjr_lib.priors.config import CHUNK, MANIFEST, PCA_IMAGES, FeatureConfig, check_config, feature_key
from pgjr_lib.priors.encoder import Prior, load_prior
from pgjr_lib.priors.fetch import fetch
from pgjr_lib.priors.names import digest
from pgjr_lib.progress import progress
from pgjr_lib.storage import load_tensors, read_json, save_tensors, write_json


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """The cache in memory.

    Attributes:
        embeddings: (N, D) float32, the prior's embeddings of the plain images.
        maps: (N, C, h, w) float32, its feature maps after PCA.
        view_embeddings: (K, N, D) float16, the embeddings of the views.
        view_maps: (K, N, C, h, w) float16, the feature maps of the views after PCA.
        labels: (N,) int64, an index into ``class_names``.
        class_names: tuple of str.
        manifest: config, data, weights, counts, checksums and seconds.
    """

    embeddings: Tensor
    maps: Tensor
    view_embeddings: Tensor
    view_maps: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    manifest: dict


def extract(
    config, folder, *, data_root=None, shard=(0, 1), device="auto", backend=None, precision=None, batch_size=CHUNK,
    skip_corrupt=False, alone=False,
) -> FeatureSet | None:  # fmt: skip
    """Make the features of ``config`` in ``folder``, or the part of them that ``shard`` names.

    Whole chunks are kept. Missing and damaged ones, and those of another config, are made anew. So are those of another
    device, backend or precision, after a line on stderr that says so; where there are several shards, they are refused.

    Args:
        config: a :class:`FeatureConfig` or a dict of its fields.
        folder: where the files go.
        data_root: by default ``$PGJR_DATA``.
        shard: (i, n) makes chunks i, i + n, i + 2n, ...; the shard that completes the folder writes its manifest.
        device: a torch device, or ``auto`` for CUDA where there is one.
        backend, precision: by default what :func:`pgjr_lib.priors.backends.choose` takes.
        batch_size: images in a forward pass; a chunk's 256 at most.
        skip_corrupt: leave out images that cannot be read.
        alone: whether this process has the machine to itself, so that its seconds may be compared. Chunks whose
            seconds were taken beside other work are then made anew.

    Returns:
        The FeatureSet, or None while chunks of other shards are missing.

    Raises:
        PGJRError: bad config or shard, shards on machines that encode in different ways, and what
            :func:`pgjr_lib.data.load` and :func:`pgjr_lib.priors.encoder.load_prior` raise.
    """
    config, folder = check_config(config), Path(folder)
    index, count = shard
    if not 0 <= index < count:
        raise PGJRError(f"shard {index}/{count} does not exist: use 0/{count} to {count - 1}/{count}.")
    data_checksum = data.checksum(config.dataset, config.split, data_root, config.limit)
    spec = fetch(config.prior)
    key = feature_key(config, data_checksum, digest(spec))
    device = default_device() if device == "auto" else device
    encoding = choose(spec["architecture"], device, backend, precision)
    if (finished := _finished(folder, key, encoding, skip_corrupt, alone)) is not None:
        return finished
    _check_encoding(folder, key, encoding, count)
    if encoding.device == "cpu" and backend is None and not has_openvino():
        print("OpenVINO is not installed, so torch encodes, more slowly: `pip install 'pgjr[fast]'`.", file=sys.stderr)
    prior = load_prior(
        config.prior, device, image_size=config.image_size, backend=encoding.backend, precision=encoding.precision
    )
    benchmark = data.SETS.get(config.dataset)
    image_set = data.load(
        config.dataset, config.split, root=data_root, limit=config.limit, skip_corrupt=skip_corrupt,
        size=None if benchmark and benchmark.side else prior.image_size,
    )  # fmt: skip
    # what the key does not cover: images left out, and how the others are encoded
    stamp = {"key": key, "count": len(image_set.labels), **asdict(encoding)}
    encoder = _Encoder(config, prior, torch.from_numpy(image_set.images), batch_size)
    pca_path = folder / "pca.safetensors"
    _make(pca_path, stamp, encoder.fit_pca, alone)
    encoder.pca, metadata = load_tensors(pca_path)
    chunk_stamp = {**stamp, "axes": metadata["checksum"]}  # a chunk belongs to the axes that its maps were projected on
    chunks = torch.arange(len(image_set.labels)).split(CHUNK)
    labels = torch.from_numpy(image_set.labels)
    paths = [folder / f"chunk-{c:05d}.safetensors" for c in range(len(chunks))]
    missing = [c for c in range(index, len(chunks), count) if not _note(paths[c], chunk_stamp, alone)]
    name = image_set.name.rpartition("/")[2]  # logs are passed on, and the path of a folder names its owner
    for c in progress(missing, f"features of {name} ({image_set.split})", "chunk"):
        _make(paths[c], chunk_stamp, lambda c=c: {**encoder.chunk(c, chunks[c]), "labels": labels[chunks[c]]}, alone)
    notes = [_note(pca_path, stamp, alone), *(_note(path, chunk_stamp, alone) for path in paths)]
    if not all(notes):
        _check_encoding(folder, key, encoding, count)
        return None
    seconds = sum(note["seconds"] for note in notes)
    write_json(folder / MANIFEST, {
        "key": key, "config": config.model_dump(), "count": len(image_set.labels), "class_names": image_set.class_names,
        "data": {"name": image_set.name, "split": image_set.split, "count": len(image_set.labels),
                 "classes": len(image_set.class_names), "checksum": image_set.checksum, "note": image_set.note,
                 "corrupt": image_set.corrupt},
        "weights": {"name": prior.name, "checksum": prior.checksum, "supervision": prior.supervision},
        "image_size": prior.image_size, **asdict(encoding),
        "threads": sorted({note["threads"] for note in notes}), "alone": all(note["alone"] for note in notes),
        "seconds": round(seconds, 3),
        "images_per_second": round(len(image_set.labels) * (1 + config.views) / max(seconds, 1e-9), 1),
        "paths": list(image_set.paths) if ":" in image_set.name else [],  # of a folder of the user's own
        "files": {path.name: note["checksum"] for path, note in zip(paths, notes[1:], strict=True)},
    })  # fmt: skip
    return load(folder)


def load(folder) -> FeatureSet:
    """Read a finished cache and check every file of it.

    Raises:
        PGJRError: the cache is not finished, or a file of it is missing, truncated or changed.
    """
    folder = Path(folder)
    manifest = read_json(folder / MANIFEST)
    if missing := {"files", "config", "class_names"} - set(manifest):
        raise PGJRError(f"{folder / MANIFEST} lacks {', '.join(sorted(missing))}: run the extraction again.")
    parts = []
    for name, checksum in manifest["files"].items():
        tensors, metadata = load_tensors(folder / name)
        if metadata["checksum"] != checksum:
            raise PGJRError(f"{folder / name} is not the file its manifest lists: run the extraction again.")
        parts.append(tensors)
    views = manifest["config"]["views"]
    # images lie along the first dimension, those of views along the second
    joined = {key: torch.cat([part[key] for part in parts], dim=int(key.startswith("view"))) for key in parts[0]}
    embeddings, maps = joined["embedding"], joined["map"].float()
    return FeatureSet(
        embeddings, maps,
        joined.get("view_embedding", embeddings.new_empty(0, *embeddings.shape)),
        joined.get("view_map", maps.new_empty(views, *maps.shape)),
        joined["labels"], tuple(manifest["class_names"]), manifest,
    )  # fmt: skip


@dataclass
class _Encoder:
    """Run the prior over chunks of images; the random numbers of a view depend on (seed, view, chunk) only."""

    config: FeatureConfig
    prior: Prior
    images: Tensor
    batch_size: int
    pca: dict | None = None

    def encode(self, batch):
        pairs = [self.prior.encode(part) for part in batch.split(self.batch_size)]
        return [torch.cat(parts) for parts in zip(*pairs, strict=True)]

    def fit_pca(self):
        """Return mean and principal axes of the plain maps' channels, over a fixed random subset of the images."""
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
        """Project (B, C, h, w) maps on the principal axes: (B, c, h, w) float16."""
        mean, axes = (self.pca[k].to(maps) for k in ("mean", "axes"))
        return torch.einsum("bchw,cd->bdhw", maps - mean.view(1, -1, 1, 1), axes).half()

    def chunk(self, c, rows):
        """Encode chunk number ``c``, the images ``rows``, plain and in every view."""
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


def _make(path, stamp, compute, alone):
    """Write ``compute()`` to ``path`` unless it is whole already; its time and checksum go into a JSON beside it."""
    if _note(path, stamp, alone):
        return
    start = time.perf_counter()
    tensors = compute()
    seconds = time.perf_counter() - start
    checksum = save_tensors(path, tensors)  # no metadata: safetensors shuffles its order, and bytes must repeat
    note = {"stamp": stamp, "checksum": checksum, "seconds": seconds, "threads": torch.get_num_threads(), "alone": alone}
    write_json(path.with_suffix(".json"), note)


def _note(path, stamp, alone):
    """Return the note of a whole file that was made for ``stamp``, and alone where that is asked for, else None."""
    try:
        note = read_json(path.with_suffix(".json"))
        _, metadata = load_tensors(path)
    except PGJRError:
        return None
    whole = (note.get("stamp"), note.get("checksum")) == (stamp, metadata["checksum"])
    return note if whole and (note.get("alone") or not alone) else None


def _finished(folder, key, encoding, skip_corrupt, alone):
    """Return the FeatureSet if ``folder`` holds it as it would be made now, else None."""
    try:
        manifest = read_json(folder / MANIFEST)
        if (manifest.get("key"), _encoding(manifest)) != (key, encoding) or (alone and not manifest.get("alone")):
            return None
        features = load(folder)
        complete = features.manifest["data"]["corrupt"] == 0
    except (PGJRError, LookupError):  # LookupError: a manifest that lacks a part
        return None
    return features if complete or skip_corrupt else None


def _check_encoding(folder, key, encoding, shards):
    """Say that files of the same config were encoded in another way, and are made anew.

    Raises:
        PGJRError: there are several shards: two machines would go on making each other's files anew.
    """
    for path in [folder / MANIFEST, folder / "pca.json", *sorted(folder.glob("chunk-*.json"))]:
        try:
            content = read_json(path)
        except PGJRError:  # missing or damaged, so it is made anew anyhow
            continue
        made = content if path.name == MANIFEST else content.get("stamp")
        if isinstance(made, dict) and made.get("key") == key and _encoding(made) != encoding:
            sentence = f"The features in {folder.name} were made by {_encoding(made)}, not by {encoding}"
            if shards > 1:
                raise PGJRError(f"{sentence}: make all shards on machines alike, or choose an empty folder.")
            print(f"{sentence}: they are made anew.", file=sys.stderr)
            return


def _encoding(entry):
    """Return the Encoding that a manifest or a stamp names."""
    return Encoding(*(entry.get(name) for name in ("device", "backend", "precision")))
