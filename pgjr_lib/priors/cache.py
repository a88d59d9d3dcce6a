"""Keep the feature cache: every image through the frozen prior once, plain and as K augmented views.

A folder has one file for the plain features and one for each view, so fewer views are a prefix of more, and a training
reads from disk what it draws. The files are made in chunks of consecutive images, whose random numbers depend on
(seed, view, chunk) only. So the bytes are the same whether a folder is made in one go, in shards, or resumed after a kill.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from pgjr_lib import data
from pgjr_lib.devices import default_device
from pgjr_lib.errors import PGJRError
from pgjr_lib.priors.backends import Encoding, choose, has_openvino
from pgjr_lib.priors.chunks import Encoder
from pgjr_lib.priors.config import CHUNK, FeatureConfig, check_config, feature_key, manifest_name, part_names
from pgjr_lib.priors.encoder import Prior, load_prior
from pgjr_lib.priors.fetch import fetch
from pgjr_lib.priors.names import digest
from pgjr_lib.progress import progress
from pgjr_lib.storage import exclusive, load_tensors, read_json, read_sealed, save_tensors, write_sealed

JOIN = ".join.lock"  # held by the one shard that fits the axes, or joins the chunks
NOTE = ("stamp", "checksum", "seconds", "threads", "batches", "alone")  # what the JSON beside a file says
MANIFEST = ("key", "config", "count", "class_names", "data", "weights", "image_size", "device", "backend", "precision", "threads",
            "batches", "alone", "seconds", "plain_seconds", "images_per_second", "paths", "files")  # fmt: skip


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """The cache, mapped into memory: a tensor is read from disk where it is used.

    Attributes:
        embeddings: (N, D) float32, the prior's embeddings of the plain images.
        maps: (N, C, h, w) float16, its feature maps after PCA.
        view_embeddings: for each of the K views (N, D) float16, its embeddings.
        view_maps: for each of the K views (N, C, h, w) float16, its feature maps after PCA.
        labels: (N,) int64, an index into ``class_names``.
        class_names: tuple of str.
        manifest: config, data, weights, counts, checksums, seconds, and the threads and batch sizes that made them.
    """

    embeddings: Tensor
    maps: Tensor
    view_embeddings: tuple[Tensor, ...]
    view_maps: tuple[Tensor, ...]
    labels: Tensor
    class_names: tuple[str, ...]
    manifest: dict


def extract(
    config, folder, *, data_root=None, shard=(0, 1), device="auto", backend=None, precision=None, batch_size=CHUNK,
    skip_corrupt=False, alone=False,
) -> FeatureSet | None:  # fmt: skip
    """Make the features of ``config`` in ``folder``, or the part of them that ``shard`` names.

    Whole files are kept, so a folder with fewer views gets those that it lacks. Missing and damaged files, and those of
    another config, are made anew. So are those of another device, backend or precision, after a line on stderr that says
    so; where there are several shards, they are refused.

    Args:
        config: a :class:`FeatureConfig` or a dict of its fields.
        folder: where the files go.
        data_root: by default ``$PGJR_DATA``.
        shard: (i, n) makes chunks i, i + n, i + 2n, ...; the shard that completes the folder writes its manifest.
        device: a torch device, or ``auto`` for CUDA where there is one.
        backend, precision: by default what :func:`pgjr_lib.priors.backends.choose` takes.
        batch_size: images in a forward pass; a chunk's 256 at most. Where memory runs out, half as many go on.
        skip_corrupt: leave out images that cannot be read.
        alone: whether this process has the machine to itself, so that its seconds may be compared. Files whose
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
    data_checksum = data.checksum(config.dataset, config.split, data_root, config.limit, config.fold)
    spec = fetch(config.prior)
    key = feature_key(config, data_checksum, digest(spec))
    device = default_device() if device == "auto" else device
    encoding = choose(spec["architecture"], device, backend, precision)
    if (finished := _finished(folder, config.views, key, encoding, skip_corrupt, alone)) is not None:
        return finished
    work = f"the features in {folder.name}"
    with exclusive(folder / f".shard-{index}-of-{count}.lock", work):
        if (finished := _finished(folder, config.views, key, encoding, skip_corrupt, alone)) is not None:
            return finished  # the process that had the lock made them
        _check_encoding(folder, key, encoding, count)
        if encoding.device == "cpu" and backend is None and not has_openvino():
            print("OpenVINO is not installed, so torch encodes, more slowly: `pip install 'pgjr[fast]'`.", file=sys.stderr)
        prior = load_prior(
            config.prior, device, image_size=config.image_size, backend=encoding.backend, precision=encoding.precision
        )
        benchmark = data.SETS.get(config.dataset)
        image_set = data.load(
            config.dataset, config.split, root=data_root, limit=config.limit, fold=config.fold, skip_corrupt=skip_corrupt,
            size=None if benchmark and benchmark.side else prior.image_size,
        )  # fmt: skip
        # what the key does not cover: images left out, and how the others are encoded
        stamp = {"key": key, "count": len(image_set.labels), **asdict(encoding)}
        encoder = Encoder(config, prior, torch.from_numpy(image_set.images), torch.from_numpy(image_set.labels), batch_size)
        pca_path = folder / "pca.safetensors"
        with exclusive(folder / JOIN, work):
            _make(pca_path, stamp, encoder.fit_pca, encoder, alone)
        encoder.pca, metadata = load_tensors(pca_path)
        stamp_of_part = {**stamp, "axes": metadata["checksum"]}  # maps belong to the axes that they were projected on
        chunks = torch.arange(len(image_set.labels)).split(CHUNK)
        parts = [part for part in part_names(config.views) if not _note(_file(folder, part), stamp_of_part, alone)]
        mine = [(part, c) for part in parts for c in range(index, len(chunks), count)]
        mine = [(part, c) for part, c in mine if not _note(_file(folder, part, c), stamp_of_part, alone)]
        name = image_set.name.rpartition("/")[2]  # logs are passed on, and the path of a folder names its owner
        for part, c in progress(mine, f"features of {name} ({image_set.split})", "chunk"):
            _make(_file(folder, part, c), stamp_of_part, partial(encoder.chunk, part, c, chunks[c]), encoder, alone)
        with exclusive(folder / JOIN, work):  # two shards may finish at once
            if not all(_join(folder, part, len(chunks), stamp_of_part, alone) for part in parts):
                _check_encoding(folder, key, encoding, count)
                return None
            for part in part_names(config.views):  # of every part, for a kill may have come between joining and removing
                for chunk in folder.glob(f"{part}.chunk-*"):
                    chunk.unlink(missing_ok=True)
            files = {part: _note(_file(folder, part), stamp_of_part, alone) for part in part_names(config.views)}
            manifest = _manifest(config, key, image_set, prior, _note(pca_path, stamp, alone), files)
            write_sealed(folder / manifest_name(config.views), manifest)
        return load(folder, config.views)


def _manifest(config: FeatureConfig, key: str, image_set, prior: Prior, pca: dict, parts: dict[str, dict]) -> dict:
    """Return what the manifest of a finished folder says; ``pca`` and ``parts`` are the notes of its files."""
    notes, count = [pca, *parts.values()], len(image_set.labels)
    seconds = sum(note["seconds"] for note in notes)
    return {
        "key": key, "config": config.model_dump(), "count": count, "class_names": image_set.class_names,
        "data": {"name": image_set.name, "split": image_set.split, "count": count, "classes": len(image_set.class_names),
                 "checksum": image_set.checksum, "note": image_set.note, "corrupt": image_set.corrupt},
        "weights": {"name": prior.name, "checksum": prior.checksum, "supervision": prior.supervision,
                    "training_seconds": prior.training_seconds},
        "image_size": prior.image_size, **asdict(prior.encoding),
        "threads": sorted({threads for note in notes for threads in note["threads"]}),
        "batches": sorted({size for note in notes for size in note.get("batches", [])}),
        "alone": all(note["alone"] for note in notes),
        "seconds": round(seconds, 3), "plain_seconds": round(sum(note["seconds"] for note in notes[:2]), 3),
        "images_per_second": round(count * (1 + config.views) / max(seconds, 1e-9), 1),
        "paths": list(image_set.paths) if ":" in image_set.name else [],  # of a folder of the user's own
        "files": {_file(Path(), part).name: note["checksum"] for part, note in parts.items()},
    }  # fmt: skip


def load(folder, views: int | None = None) -> FeatureSet:
    """Open a finished cache and check every file of it.

    Args:
        folder: where :func:`extract` put it.
        views: how many views; None takes as many as there are.

    Raises:
        PGJRError: the cache is not finished, or a file of it is missing, truncated or changed.
    """
    folder = Path(folder)
    if views is None:
        counts = [int(path.stem.rpartition("-")[2]) for path in folder.glob(manifest_name("*"))]
        views = max(counts, default=0)
    path = folder / manifest_name(views)
    manifest = read_sealed(path, MANIFEST)
    if missing := {"files", "config", "class_names"} - set(manifest):
        raise PGJRError(f"{path} lacks {', '.join(sorted(missing))}: run the extraction again.")
    if list(manifest["files"]) != [_file(folder, part).name for part in part_names(views)]:
        raise PGJRError(f"{path} does not list the files of {views} views: run the extraction again.")
    parts = []
    for name, checksum in manifest["files"].items():
        tensors, metadata = load_tensors(folder / name)
        if metadata["checksum"] != checksum:
            raise PGJRError(f"{folder / name} is not the file its manifest lists: run the extraction again.")
        parts.append(tensors)
    plain, *view_parts = parts
    return FeatureSet(
        plain["embedding"], plain["map"], tuple(part["embedding"] for part in view_parts),
        tuple(part["map"] for part in view_parts), plain["labels"], tuple(manifest["class_names"]), manifest,
    )  # fmt: skip


def _file(folder: Path, part: str, chunk: int | None = None) -> Path:
    """Return the file of a part (``plain``, ``view-0``, ...), or of one of the chunks that it is joined from."""
    return folder / (f"{part}.safetensors" if chunk is None else f"{part}.chunk-{chunk:05d}.safetensors")


def _make(path: Path, stamp: dict, compute: Callable[[], dict[str, Tensor]], encoder: Encoder, alone: bool) -> None:
    """Write ``compute()`` to ``path`` unless it is whole already; its time and checksum go into a JSON beside it."""
    if _note(path, stamp, alone):
        return
    start = time.perf_counter()
    tensors = compute()
    how = {"threads": [torch.get_num_threads()], "batches": [encoder.batch_size]}  # both may change a last bit
    _save(path, tensors, stamp, time.perf_counter() - start, how, alone)


def _save(path: Path, tensors: dict[str, Tensor], stamp: dict, seconds: float, how: dict, alone: bool) -> None:
    checksum = save_tensors(path, tensors)  # no metadata: safetensors shuffles its order, and bytes must repeat
    note = {"stamp": stamp, "checksum": checksum, "seconds": seconds, **how, "alone": alone}
    write_sealed(path.with_suffix(".json"), note)


def _join(folder: Path, part: str, count: int, stamp: dict, alone: bool) -> bool:
    """Join the chunks of a part into its file; False while some are missing."""
    path, chunks = _file(folder, part), [_file(folder, part, c) for c in range(count)]
    notes = [_note(chunk, stamp, alone) for chunk in chunks]
    if not all(notes):
        return _note(path, stamp, alone) is not None  # another shard may have joined them
    tensors = [load_tensors(chunk)[0] for chunk in chunks]
    joined = {name: torch.cat([chunk[name] for chunk in tensors]) for name in tensors[0]}
    how = {field: sorted({value for note in notes for value in note.get(field, [])}) for field in ("threads", "batches")}
    _save(path, joined, stamp, sum(note["seconds"] for note in notes), how, all(note["alone"] for note in notes))
    return True


def _note(path: Path, stamp: dict, alone: bool) -> dict | None:
    """Return the note of a whole file that was made for ``stamp``, and alone where that is asked for, else None."""
    try:
        note = read_sealed(path.with_suffix(".json"), NOTE)
        _, metadata = load_tensors(path)
    except PGJRError:
        return None
    whole = (note.get("stamp"), note.get("checksum")) == (stamp, metadata["checksum"])
    return note if whole and (note.get("alone") or not alone) else None


def _finished(folder, views, key, encoding, skip_corrupt, alone):
    """Return the FeatureSet if ``folder`` holds it as it would be made now, else None."""
    try:
        manifest = read_sealed(folder / manifest_name(views), MANIFEST)
        if (manifest.get("key"), _encoding(manifest)) != (key, encoding) or (alone and not manifest.get("alone")):
            return None
        features = load(folder, views)
        complete = features.manifest["data"]["corrupt"] == 0
    except (PGJRError, LookupError):  # LookupError: a manifest that lacks a part
        return None
    return features if complete or skip_corrupt else None


def _check_encoding(folder, key, encoding, shards):
    """Say that files of the same config were encoded in another way, and are made anew.

    Raises:
        PGJRError: there are several shards: two machines would go on making each other's files anew.
    """
    for path in sorted(folder.glob("*.json")):
        try:
            content = read_json(path)
        except PGJRError:  # damaged, so it is made anew anyhow
            continue
        entry = content.get("stamp", content)  # a note's stamp, or a manifest
        if isinstance(entry, dict) and entry.get("key") == key and _encoding(entry) != encoding:
            sentence = f"The features in {folder.name} were made by {_encoding(entry)}, not by {encoding}"
            if shards > 1:
                raise PGJRError(f"{sentence}: make all shards on machines alike, or choose an empty folder.")
            print(f"{sentence}: they are made anew.", file=sys.stderr)
            return


def _encoding(entry):
    """Return the Encoding that a manifest or a stamp names."""
    return Encoding(*(entry.get(name) for name in ("device", "backend", "precision")))
