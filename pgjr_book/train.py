"""One run, from its config to its record."""

import resource
import sys
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from pgjr_book.provenance import provenance
from pgjr_book.run_config import LABELS_SEEN, RESULTS_VERSION, RunConfig
from pgjr_book.runs import feature_folder, key, record_path
from pgjr_book.snapshots import Snapshots
from pgjr_lib import evaluation
from pgjr_lib.augment import Augment, plain
from pgjr_lib.data import loading as datasets
from pgjr_lib.errors import PGJRError
from pgjr_lib.jigsaw import ChannelMix, GridJigsaw, Permuted
from pgjr_lib.losses import MemoryBank
from pgjr_lib.models import EMBEDDING_MAP, GJR, PGJR
from pgjr_lib.priors import cache as features
from pgjr_lib.priors.names import classes_seen
from pgjr_lib.storage import write_json
from pgjr_lib.training import SOUND_BATCH, FeatureSource, ImageSource, TrainingOptions, embed, fit

CROP_DETAIL = 3
CURVE_SAMPLES, CURVE_RESTARTS = 5000, 10  # the protocol of curves; final scores use all samples and 20 restarts
JIGSAW_SEED = 7_000_003  # the jigsaw draws apart, so that paired runs share the start of everything else


def default_device() -> str:
    """cuda where there is one, else cpu."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def execute(run: RunConfig, root: Path, device: str | None = None, alone: bool = True) -> dict:
    """Compute ``run``, write its record below ``root`` and return it. A killed run goes on from its last epoch.

    ``alone`` tells whether the run has its device to itself, so that its seconds may be compared.

    Raises:
        PGJRError: missing or damaged data, weights or features, or a loss that is no longer finite; nothing is
            recorded then.
    """
    if run.beta and (run.method == "idfd" or run.jigsaw == "off" or (run.method == "pgjr" and run.branch == "none")):
        raise PGJRError(f"beta={run.beta} weights the jigsaw's own loss, but this run has no jigsaw: leave it at 0.")
    device = device or default_device()
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    started, run_key, made = time.perf_counter(), key(run), provenance(device, run.hash())
    if run.method in ("pixels", "prior"):
        result = _baseline(run, root, device)
    else:
        result = _trained(run, root, device, run_key)
    data, extracted = result.pop("image_set"), result.pop("features", None)
    record = {
        "key": run_key,
        "config": run.model_dump(exclude={"label"}),
        "results_version": RESULTS_VERSION,
        **result,
        "peak_memory_mb": _peak_memory_mb(device),
        "data": {name: data[name] for name in ("name", "split", "count", "classes", "checksum", "note")},
        "weights": extracted.manifest["weights"] if extracted else None,
        "provenance": made,
    }
    record["timings"]["alone"] = alone
    record["timings"]["extract_s"] = extracted.manifest["seconds"] if extracted else 0.0
    record["timings"]["total_s"] = time.perf_counter() - started
    write_json(record_path(run, root), record)
    for leftover in (root / "checkpoints").glob(f"{run_key}*"):
        leftover.unlink()
    return record


def make_jigsaw(run: RunConfig, channels: int, size: tuple[int, int]):
    """The operator J of a run (None where it is off), for maps of ``channels`` and (H, W) ``size``."""
    if run.method == "idfd" or run.jigsaw == "off":
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(JIGSAW_SEED + run.seed)
        build = ChannelMix if run.jigsaw == "dense" else GridJigsaw
        jigsaw = build(run.n, run.g, run.mode, run.combine, channels if run.per_channel else None)
    try:
        GridJigsaw.divide(jigsaw, torch.empty(1, channels, *size))
    except ValueError as error:
        raise PGJRError(f"n={run.n}, g={run.g}: {error}") from None
    if run.jigsaw == "frozen":
        jigsaw.requires_grad_(False)
    if run.jigsaw == "permuted":  # one fixed permutation for all seeds: the control is about order, not about luck
        order = torch.randperm(size[0] * size[1], generator=torch.Generator().manual_seed(JIGSAW_SEED))
        jigsaw = Permuted(jigsaw, order)
    return jigsaw


def make_cnn(run: RunConfig) -> GJR:
    """IDFD or GJR, its start a function of the seed alone."""
    place = {"pixel": (3, 1), "layer3": (None, 4), "layer4": (None, 8)}[run.at]  # channels, total stride
    side = -(-run.image_size // place[1])
    torch.manual_seed(run.seed)
    blank = GJR(run.backbone, None, run.at, run.dim)  # its channels tell what J will meet
    channels = place[0] or getattr(blank, run.at)[-1].conv2.out_channels
    torch.manual_seed(run.seed)
    return GJR(run.backbone, make_jigsaw(run, channels, (side, side)), run.at, run.dim)


def make_head(run: RunConfig, found: features.FeatureSet) -> PGJR:
    """The head of equation 7 on the features ``found``, its start a function of the seed alone."""
    shape = tuple(found.maps.shape[1:]) if run.map == "spatial" else EMBEDDING_MAP
    jigsaw = None if run.branch == "none" else make_jigsaw(run, shape[0], shape[1:])
    torch.manual_seed(run.seed)
    mean, std = found.embeddings.mean(0), found.embeddings.std(0).clamp_min(1e-6)
    return PGJR(found.embeddings.shape[1], shape, jigsaw, run.map, run.branch, run.dim, mean, std)


def start_head(run: RunConfig, found: features.FeatureSet, device: str) -> tuple[PGJR, FeatureSource, MemoryBank]:
    """pGJR before its first epoch: the head starts from a good place, and so does its bank."""
    tensors = (found.embeddings, found.maps, found.view_embeddings, found.view_maps)
    source = FeatureSource(*(tensor.to(device) for tensor in tensors))
    model = make_head(run, found).to(device)
    bank = MemoryBank(len(source), run.dim, run.bank_momentum).to(device)
    bank.write(embed(model, source).to(device))
    return model, source, bank


def training_options(run: RunConfig) -> TrainingOptions:
    """What a run says of its training; a head's BatchNorm needs batches of a sound size, a CNN's at least two."""
    names = {option.name for option in fields(TrainingOptions)} - {"smallest_batch"}
    sound = SOUND_BATCH if run.method == "pgjr" else 2
    return TrainingOptions(**{name: getattr(run, name) for name in names}, smallest_batch=sound)


def curve_scores(points: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """ACC, NMI, ARI in [0, 1] of one k-means (10 restarts) on a fixed subset of at most 5,000 of (N, d) features."""
    subset = np.random.default_rng(0).permutation(len(points))[:CURVE_SAMPLES]
    scores = evaluation.kmeans_scores(points[subset], labels[subset], len(np.unique(labels)), 1, CURVE_RESTARTS)
    return {name: scores[name][0] for name in ("acc", "nmi", "ari")}


def _describe(image_set: datasets.ImageSet) -> dict:
    return {
        "name": image_set.name,
        "split": image_set.split,
        "count": len(image_set.labels),
        "classes": len(image_set.class_names),
        "checksum": image_set.checksum,
        "note": image_set.note,
    }


def _described_features(found: features.FeatureSet) -> dict:
    return {**found.manifest["data"], "classes": len(found.class_names)}


def _extracted(run: RunConfig, root: Path, device: str) -> features.FeatureSet:
    refuse_seen(run.prior, run.dataset)
    config = run.features()
    found = features.extract(config, feature_folder(config, root), device=device)
    refuse_seen(run.prior, run.dataset, found.class_names)
    return found


def refuse_seen(prior: str, dataset: str, class_names=()) -> None:
    """No prior is scored on classes whose labels it was trained with.

    Raises:
        PGJRError: the set is known to hold such classes, or one of ``class_names`` (WordNet ids) is one of them.
    """
    seen = set(classes_seen(prior))
    if seen and (dataset in LABELS_SEEN or seen & set(class_names)):
        raise PGJRError(f"{dataset} cannot be scored with {prior}, which saw labels of its classes: use another prior.")


def _baseline(run: RunConfig, root: Path, device: str) -> dict:
    """k-means on pixels, or on the prior's plain features and their variants (protocol's controls)."""
    began, extra = time.perf_counter(), {}
    if run.method == "pixels":
        image_set = datasets.load(run.dataset, run.split, limit=run.limit, size=run.image_size)
        points, labels = image_set.images.reshape(len(image_set.labels), -1) / 255.0, image_set.labels
        described = _describe(image_set)
    else:
        found = _extracted(run, root, device)
        points, labels, described = found.embeddings.numpy(), found.labels.numpy(), _described_features(found)
        extra = {"standardised": (points - points.mean(0)) / np.maximum(points.std(0), 1e-6)}
        if len(found.view_embeddings):
            extra["view_mean"] = found.view_embeddings.float().mean(0).numpy()
        extra = {name: evaluation.kmeans_scores(p, labels, seeds=run.kmeans_seeds) for name, p in extra.items()}
    scores = {"plain": evaluation.kmeans_scores(points, labels, seeds=run.kmeans_seeds), **extra}
    timings = {"train_s": 0.0, "evaluate_s": time.perf_counter() - began}
    result = {"history": [], "scores": scores, "timings": timings, "image_set": described,
              **_looked_at(run, points, labels)}  # fmt: skip
    return result if run.method == "pixels" else {**result, "features": found}


def _trained(run: RunConfig, root: Path, device: str, run_key: str) -> dict:
    """Algorithm 1 for IDFD, GJR or PGJR, with its curve and its final scores."""
    found = None
    if run.method == "pgjr":
        found = _extracted(run, root, device)
        labels, described = found.labels.numpy(), _described_features(found)
        model, source, bank = start_head(run, found, device)
    else:
        # sets whose images differ in size are loaded at three times the side that crops end at: they keep detail
        varies = run.image_size and not (run.dataset in datasets.SETS and datasets.SETS[run.dataset].side)
        image_set = datasets.load(
            run.dataset, run.split, limit=run.limit, size=CROP_DETAIL * run.image_size if varies else None
        )
        labels, described = image_set.labels, _describe(image_set)
        size = run.image_size
        augment = Augment(size, scale=(run.crop_scale, 1.0))
        source = ImageSource(torch.from_numpy(image_set.images).to(device), augment, lambda x: plain(x, size))
        model = make_cnn(run).to(device, memory_format=torch.channels_last)
        bank = MemoryBank(len(source), run.dim, run.bank_momentum).to(device)
    scored: list[float] = []
    snapshots = Snapshots(root / "checkpoints", run_key, run.snapshots, run.epochs, labels)

    def curve(epoch: int) -> dict[str, float]:
        began = time.perf_counter()
        points = embed(model, source).numpy()
        scores = curve_scores(points, labels) if epoch % run.eval_every == 0 or epoch == run.epochs else {}
        snapshots.keep(epoch, points)
        scored.append(time.perf_counter() - began)
        return scores

    start = {"epoch": 0, "seconds": 0.0, "loss": None, "instance": None, "decorrelation": None, **curve(0)}
    bar = tqdm(total=run.epochs, desc=run.label or run.method, unit="epoch", disable=not sys.stderr.isatty())

    def on_epoch(epoch: int, row: dict) -> dict:
        due = epoch % run.eval_every == 0 or epoch == run.epochs or epoch in snapshots.epochs
        scores = curve(epoch) if due else {}
        bar.update(epoch - bar.n)
        if bar.disable:
            said = f", NMI {scores['nmi']:.3f}" if scores else ""
            print(f"{run.label or run.method} seed {run.seed}: epoch {epoch}/{run.epochs}, loss {row['loss']:.3f}{said}",
                  file=sys.stderr, flush=True)  # fmt: skip
        return scores

    checkpoint = root / "checkpoints" / f"{run_key}.safetensors"
    history = fit(model, source, bank, training_options(run), checkpoint=checkpoint, identity=run_key, on_epoch=on_epoch)
    bar.close()
    began, points = time.perf_counter(), embed(model, source).numpy()
    scores = {"plain": evaluation.kmeans_scores(points, labels, seeds=run.kmeans_seeds)}
    if run.method != "pgjr":
        scores["bank"] = evaluation.kmeans_scores(bank.vectors.cpu().numpy(), labels, seeds=run.kmeans_seeds)
    timings = {"train_s": history[-1]["seconds"], "evaluate_s": sum(scored) + time.perf_counter() - began}
    return {"history": [start, *history], "scores": scores, "timings": timings, "image_set": described,
            **_looked_at(run, points, labels), "snapshots": snapshots.drawn(), "features": found}  # fmt: skip


def _looked_at(run: RunConfig, points: np.ndarray, labels: np.ndarray) -> dict:
    """What is recorded besides the scores, where the run asks for it."""
    return {
        "landscape": evaluation.landscape(points, labels, starts=run.landscape) if run.landscape else None,
        "exemplars": evaluation.exemplars(points, labels, run.exemplars) if run.exemplars else None,
    }


def _peak_memory_mb(device: str) -> float:
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 2**20 if sys.platform == "darwin" else 1024  # macOS counts bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit  # the process's, since it began
