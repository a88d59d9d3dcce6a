"""Compute one run, from a configuration and its images or features to a result. It knows no paths and no records."""

import time
from pathlib import Path

import numpy as np
import torch

from pgjr_book import baselines, memory
from pgjr_book.run_config import CNNS, RunConfig
from pgjr_book.snapshots import Snapshots
from pgjr_lib import data, evaluation
from pgjr_lib.augment import Augment, plain
from pgjr_lib.controls import build_jigsaw
from pgjr_lib.data.sets import SETS
from pgjr_lib.devices import workers
from pgjr_lib.errors import PGJRError
from pgjr_lib.losses import MemoryBank
from pgjr_lib.models import GJR, entering_map
from pgjr_lib.options import SOUND_BATCH, HeadOptions, TrainingOptions
from pgjr_lib.priors.cache import FeatureSet
from pgjr_lib.progress import progress
from pgjr_lib.training import FeatureSource, ImageSource, embed, fit, train_head

LEARNED_JIGSAWS = ("on", "zero", "permuted", "shifted")  # the kinds whose A is learned and acts on grids
CROP_DETAIL = 3  # images of many sizes are loaded at this many times the side of a crop, so that crops keep detail
CURVE_SAMPLES, CURVE_RESTARTS = 5000, 10  # the protocol of curves; final scores use all samples and 20 restarts


def load_images(run: RunConfig) -> data.ImageSet:
    """Load the images of a run that reads pixels.

    Raises:
        PGJRError: missing or damaged data.
    """
    size = run.image_size if run.method == "pixels" else None
    if run.method in CNNS and not (run.dataset in SETS and SETS[run.dataset].side):  # its images differ in size
        size = CROP_DETAIL * run.image_size
    return data.load(run.dataset, run.split, limit=run.limit, fold=run.fold, size=size)


def compute(
    run: RunConfig, inputs: data.ImageSet | FeatureSet, *, device="cpu", checkpoint: Path | None = None, identity: str = ""
) -> dict:
    """Compute a run.

    Args:
        run: its configuration.
        inputs: the :class:`FeatureSet` of ``run.features()``, or what :func:`load_images` returned.
        device: where to train.
        checkpoint, identity: as :func:`pgjr_lib.training.fit`. A killed run resumes from its last epoch.

    Returns:
        ``history``, ``scores``, ``timings`` (seconds ``train_s`` and ``evaluate_s``, those before a kill included),
        ``landscape``, ``exemplars``, ``snapshots``, ``jigsaw`` (:func:`learned_jigsaw`) and ``peak_memory_mb`` (the run's
        own; None where unknown).

    Raises:
        PGJRError: settings that do not fit the data, or a loss that is no longer finite.
    """
    memory.reset_peak(device)
    if run.method in ("pixels", "prior"):
        result = _clustered(run, inputs, device)
    elif run.method == "baseline":
        result = baselines.compute(run, inputs, device)
    else:
        result = _trained(run, inputs, device, checkpoint, identity)
    return {**result, "peak_memory_mb": memory.peak_mb(device)}


def curve_scores(points: np.ndarray, labels: np.ndarray, device="cpu") -> dict[str, float]:
    """Score (N, d) features for a curve: one k-means of 10 restarts on a fixed subset of at most 5,000.

    Returns:
        ``acc``, ``nmi`` and ``ari`` in [0, 1].
    """
    subset = np.random.default_rng(0).permutation(len(points))[:CURVE_SAMPLES]
    scores = evaluation.kmeans_scores(
        points[subset], labels[subset], len(np.unique(labels)), 1, CURVE_RESTARTS, workers=workers(), device=device
    )
    return {name: scores[name][0] for name in ("acc", "nmi", "ari")}


def make_cnn(run: RunConfig) -> GJR:
    """Build IDFD or GJR. Its start depends on the seed alone.

    Raises:
        PGJRError: the map where the jigsaw sits is too small for its blocks.
    """
    channels, stride = entering_map(run.backbone, run.at)
    side = -(-run.image_size // stride)
    kind = "off" if run.method == "idfd" else run.jigsaw
    try:
        jigsaw = build_jigsaw(kind, run.seed, channels, (side, side), n=run.n, g=run.g, mode=run.mode,
                              combine=run.combine, per_channel=run.per_channel)  # fmt: skip
    except ValueError as error:
        raise PGJRError(f"n={run.n}, g={run.g}: {error}") from None
    torch.manual_seed(run.seed)
    return GJR(run.backbone, jigsaw, run.at, run.dim)


def learned_jigsaw(run: RunConfig, jigsaw: torch.nn.Module | None) -> dict[str, list] | None:
    """Return A and b of equation 3 as they act after training, for the record of a run.

    Returns:
        ``matrix`` (n*n rows of n*n numbers) and ``offset`` (n*n numbers), rounded to 5 decimals. None for a run without a
        jigsaw that learns, for the dense layer, which has no grids, and where each channel has a matrix of its own.
    """
    if jigsaw is None or run.jigsaw not in LEARNED_JIGSAWS or run.per_channel:
        return None
    operator = getattr(jigsaw, "inner", jigsaw)  # of a permuted or shifted jigsaw
    parts = {"matrix": operator.matrix(), "offset": operator.offset()}
    return {name: part.detach().cpu().double().numpy().round(5).tolist() for name, part in parts.items()}


def _clustered(run: RunConfig, inputs, device: str) -> dict:
    """Cluster pixels, or the prior's plain features and the protocol's variants of them."""
    started, variants = time.perf_counter(), {}
    if run.method == "pixels":
        points, labels = inputs.images.reshape(len(inputs.labels), -1) / 255.0, inputs.labels
    else:
        points, labels = inputs.embeddings.numpy(), inputs.labels.numpy()
        variants["standardised"] = evaluation.standardise(points)
        if len(inputs.view_embeddings):
            variants["view_mean"] = torch.stack(inputs.view_embeddings).float().mean(0).numpy()
    fits = {name: _fits(run, features, labels, device) for name, features in {"plain": points, **variants}.items()}
    scores = {name: evaluation.scores_of(clusterings, labels) for name, clusterings in fits.items()}
    timings = {"train_s": 0.0, "evaluate_s": time.perf_counter() - started}
    return {"history": [], "scores": scores, "timings": timings, **_details(run, points, labels, fits["plain"], device)}


def _trained(run: RunConfig, inputs, device: str, checkpoint: Path | None, identity: str) -> dict:
    """Train IDFD, GJR or pGJR by Algorithm 1, with its curve and its final scores."""
    labels = inputs.labels.numpy() if run.method == "pgjr" else inputs.labels
    snapshots = Snapshots(run.snapshots, run.epochs, labels)
    bar = progress(None, f"{run.method} on {run.dataset.rpartition('/')[2]}, seed {run.seed}", "epoch", run.epochs)
    if run.method == "pgjr":
        source = FeatureSource(inputs.embeddings, inputs.maps, inputs.view_embeddings, inputs.view_maps)
    else:
        size = run.image_size
        augment = Augment(size, scale=(run.crop_scale, 1.0))
        source = ImageSource(torch.from_numpy(inputs.images).to(device), augment, lambda x: plain(x, size))

    last: dict = {}  # the features of the last scored epoch, which the final scores need again

    def on_epoch(model, epoch: int, row: dict) -> dict:
        bar.update(epoch - bar.n)
        due = epoch % run.eval_every == 0 or epoch == run.epochs
        if not due and epoch not in snapshots.epochs:
            return {}
        started = time.perf_counter()
        points = embed(model, source).numpy()
        scores = curve_scores(points, labels, device) if due else {}
        seconds = time.perf_counter() - started
        snapshots.keep(epoch, points)
        last.update(epoch=epoch, points=points)
        return {**scores, "evaluate_s": seconds}  # in the history, so that a resumed run knows it

    options = run.options(TrainingOptions, smallest_batch=SOUND_BATCH if run.method == "pgjr" else 2)
    how = {"checkpoint": checkpoint, "identity": identity, "on_epoch": on_epoch, "extra": snapshots.tensors}
    with bar:
        if run.method == "pgjr":
            source = source.to(device)
            head = train_head(source, run.options(HeadOptions), options, device=device, **how)
            model, bank, history = head.model, head.bank, head.history
        else:
            model = make_cnn(run).to(device, memory_format=torch.channels_last)
            bank = MemoryBank(len(source), run.dim, run.bank_momentum).to(device)
            history = fit(model, source, bank, options, **how)
    started = time.perf_counter()
    points = last["points"] if last.get("epoch") == run.epochs else embed(model, source).numpy()
    fits = _fits(run, points, labels, device)
    scores = {"plain": evaluation.scores_of(fits, labels)}
    if run.method in CNNS:  # IDFD is scored on its memory bank
        scores["bank"] = evaluation.scores_of(_fits(run, bank.vectors.cpu().numpy(), labels, device), labels)
    evaluate_s = sum(row.get("evaluate_s", 0.0) for row in history) + time.perf_counter() - started
    timings = {"train_s": history[-1]["seconds"], "evaluate_s": evaluate_s}
    return {"history": history, "scores": scores, "timings": timings, **_details(run, points, labels, fits, device),
            "snapshots": snapshots.coordinates(), "jigsaw": learned_jigsaw(run, model.jigsaw)}  # fmt: skip


def _fits(run: RunConfig, points: np.ndarray, labels: np.ndarray, device: str) -> list:
    """Cluster (N, d) features by the protocol, once for each k-means seed."""
    return evaluation.kmeans_fits(points, len(np.unique(labels)), run.kmeans_seeds, workers=workers(), device=device)


def _details(run: RunConfig, points: np.ndarray, labels: np.ndarray, fits: list, device: str) -> dict:
    """Return what the run records besides its scores, None where it does not ask for it."""
    starts = {"starts": run.landscape, "workers": workers(), "device": device}
    return {
        "kmeans": fits[0].implementation,
        "landscape": evaluation.landscape(points, labels, **starts) if run.landscape else None,
        "exemplars": evaluation.exemplars_of(fits[0], points, labels, run.exemplars) if run.exemplars else None,
    }
