"""Run Algorithm 1: the training loop, where its batches come from, its checkpoints, and the training of pGJR's head."""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pgjr_lib.captured import CapturedStep
from pgjr_lib.controls import build_jigsaw
from pgjr_lib.devices import training_half
from pgjr_lib.errors import PGJRError
from pgjr_lib.losses import MemoryBank, feature_decorrelation, instance_discrimination
from pgjr_lib.models import EMBEDDING_MAP, PGJR
from pgjr_lib.options import HeadOptions, TrainingOptions
from pgjr_lib.storage import load_tensors, save_tensors

MILESTONES = (300, 475, 650, 825)  # thousandths of training, from IDFD's code: the rate falls to a tenth at each
PIXEL_SAMPLES = 5000  # images that a CNN's pixel statistics are taken of
CHECKPOINT_SECONDS = 60.0  # a checkpoint is saved when this much time has passed since the last, and at the end
LOSS_SCALE = 2.0**10  # of the loss in float16 at first: the default of 2**16 overflows, and the first steps would be skipped


class ImageSource:
    """Images and their augmented views, for a CNN.

    Args:
        images: (N, 3, H, W) uint8; it stays on its device.
        augment: maps a batch to float32 views (B, 3, S, S) in [0, 1].
        plain: maps a batch to float32 images without augmentation (B, 3, S, S) in [0, 1].
    """

    def __init__(self, images: Tensor, augment: Callable, plain: Callable):
        self.images, self.augment, self.resize = images, augment, plain
        # stored images are often sorted by class, so the statistics come from a random subset
        picked = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:PIXEL_SAMPLES]
        small = plain(images[picked.sort().values.to(images.device)])
        self.mean = small.mean((0, 2, 3))[:, None, None]
        self.std = small.std((0, 2, 3))[:, None, None].clamp_min(1e-3)

    def __len__(self) -> int:
        return len(self.images)

    def _standard(self, x: Tensor) -> Tensor:
        return ((x - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def choose_views(self) -> None:
        """Choose nothing ahead: the augmentation draws when it is called."""

    def draw(self, index: Tensor, views: None) -> tuple[Tensor]:
        """Return one random view of each image in ``index`` (B,): ((B, 3, S, S),)."""
        return (self._standard(self.augment(self.images[index])),)

    def plain(self, index: Tensor) -> tuple[Tensor]:
        """Return the images of ``index`` without augmentation: ((B, 3, S, S),)."""
        return (self._standard(self.resize(self.images[index])),)


class FeatureSource:
    """Features of a frozen prior, plain and of K views, for the head. Each draw picks one view of each sample.

    Args:
        embeddings, maps: plain features (N, D) and (N, C, h, w), float32 or half precision.
        view_embeddings, view_maps: features of the views, for each of K views (N, D) and (N, C, h, w), float32 or half
            precision. With K = 0 the head trains on the plain features. On a CPU they may lie on disk, mapped into
            memory.
    """

    def __init__(self, embeddings: Tensor, maps: Tensor, view_embeddings: Sequence[Tensor], view_maps: Sequence[Tensor]):
        self.embeddings, self.maps = embeddings, maps
        self.view_embeddings, self.view_maps = view_embeddings, view_maps

    def __len__(self) -> int:
        return len(self.embeddings)

    def to(self, device) -> "FeatureSource":
        """Return the same features on ``device``. On an accelerator the views are stacked, and no draw waits for it."""
        views = (self.view_embeddings, self.view_maps)
        if torch.device(device).type != "cpu" and len(self.view_embeddings):
            views = (torch.stack([view.to(device) for view in kind]) for kind in views)
        return FeatureSource(self.embeddings.to(device), self.maps.to(device), *views)

    def choose_views(self) -> Tensor | None:
        """Choose one of the K views for each sample, for a whole epoch: (N,) int64 on the features' device, None if K = 0."""
        K = len(self.view_embeddings)
        return torch.randint(K, (len(self),)).to(self.embeddings.device) if K else None

    def draw(self, index: Tensor, views: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the chosen view of each sample in ``index`` (B,): (B, D) and (B, C, h, w)."""
        if views is None:
            return self.plain(index)
        view = views[index]
        return _gather(self.view_embeddings, view, index), _gather(self.view_maps, view, index)

    def plain(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the plain features of ``index``: (B, D) and (B, C, h, w)."""
        return self.embeddings[index].float(), self.maps[index].float()


def _gather(views: Sequence[Tensor], view: Tensor, index: Tensor) -> Tensor:
    """Return ``views[view[i]][index[i]]`` for each i, float32. Views on disk stay there: none is copied whole."""
    if isinstance(views, Tensor):
        return views[view, index].float()
    picked = torch.empty(len(index), *views[0].shape[1:], device=index.device)
    for k, features in enumerate(views):
        rows = (view == k).nonzero().squeeze(1)
        picked[rows] = features[index[rows]].float()
    return picked


def learning_rate(epoch: int, options: TrainingOptions) -> float:
    """Return the rate in ``epoch`` (from 0).

    In ``steps``, every milestone that lies before the epoch or at its start divides the rate by ten, so the first
    epoch has the full rate in a training of any length.
    """
    if options.schedule == "constant":
        return options.lr
    return options.lr * 0.1 ** sum(1000 * epoch >= milestone * options.epochs for milestone in MILESTONES)


def epoch_batches(size: int, epoch: int, options: TrainingOptions, device="cpu") -> list[Tensor]:
    """Return the batches of one epoch on ``device``, (B,) int64 each. They depend on the seed and the epoch alone."""
    smallest = min(options.smallest_batch, options.batch_size, size)  # so that a small set still trains
    order = torch.randperm(size, generator=torch.Generator().manual_seed(_epoch_seed(epoch, options)))
    return [index for index in order.to(device).split(options.batch_size) if len(index) >= smallest]


def _epoch_seed(epoch: int, options: TrainingOptions) -> int:
    return 1_000_003 * options.seed + epoch  # of the epoch alone, so that a resumed run draws the same


@torch.enable_grad()  # the caller may have switched gradients off
def fit(
    model: nn.Module,
    source,
    bank: MemoryBank,
    options: TrainingOptions,
    *,
    checkpoint: Path | None = None,
    identity: str = "",
    on_epoch: Callable[[nn.Module, int, dict], dict] | None = None,
    extra: dict[str, Tensor] | None = None,
    chunk: int | None = None,
    checkpoint_seconds: float | None = None,
    captured: bool | None = None,
) -> list[dict]:
    """Run Algorithm 1. Trains ``model`` and ``bank`` in place, on the device the model is on.

    Args:
        model: maps features or images to (B, d) on the unit sphere.
        source: an :class:`ImageSource` or :class:`FeatureSource`.
        bank: a memory bank with one row for each sample of ``source``.
        options: see :class:`pgjr_lib.options.TrainingOptions`.
        checkpoint: a file to save to. If it exists, training resumes from it.
        identity: names what the checkpoint belongs to; the checkpoint of anything else is refused.
        on_epoch: called with the model, the epoch and its row of the history, at epoch 0 (before training) and after
            every epoch. What it returns is added to the row.
        extra: tensors that the checkpoint keeps too; ``on_epoch`` may add some, and resuming restores them.
        chunk: as :func:`pgjr_lib.losses.instance_discrimination`.
        checkpoint_seconds: save after an epoch when this much time has passed since the last checkpoint, and at the
            end; None takes ``CHECKPOINT_SECONDS``.
        captured: replay the steps as a CUDA graph (:class:`pgjr_lib.captured.CapturedStep`); None does so wherever it
            can be done, which is on a CUDA device with all negatives and an unscaled loss.

    Returns:
        The history, one dict for each epoch from 0: ``epoch``, ``seconds`` (of training alone, summed), ``loss``,
        ``instance``, ``decorrelation`` (None at epoch 0) and what ``on_epoch`` returned.

    Raises:
        PGJRError: the checkpoint is damaged or belongs to another model, the loss is no longer finite, or a graph was asked
            for that cannot be captured.
    """
    device = next(model.parameters()).device
    optimizer = torch.optim.SGD(model.parameters(), options.lr, options.momentum, weight_decay=options.weight_decay)
    half = training_half(device) if options.precision == "half" else torch.bfloat16
    scaled = options.precision == "half" and half is torch.float16
    scaler = torch.amp.GradScaler(device.type, init_scale=LOSS_SCALE, enabled=scaled)
    history = resume(checkpoint, identity, model, bank, optimizer, extra, scaler)
    if not history:
        row = {"epoch": 0, "seconds": 0.0, "loss": None, "instance": None, "decorrelation": None}
        history.append(row | (on_epoch(model, 0, row) if on_epoch else {}))
    saved = time.perf_counter()
    interval = CHECKPOINT_SECONDS if checkpoint_seconds is None else checkpoint_seconds
    sums = torch.zeros(3, device=device)  # of the losses of an epoch
    capturable = device.type == "cuda" and options.negatives is None and not scaled
    if captured and not capturable:
        raise PGJRError("captured=True needs a CUDA device, all negatives and an unscaled loss: leave captured out.")
    captured = capturable if captured is None else captured
    with _jigsaw_input(model.jigsaw if options.beta else None) as entered:

        def step(index: Tensor, *inputs: Tensor) -> None:
            with torch.autocast(device.type, half, enabled=options.precision != "fp32"):
                f = model(*inputs)  # Eq. (5), (6) or (7)
            instance = instance_discrimination(f, index, bank.vectors, options.tau1, chunk, options.negatives)  # Eqs. (8), (9)
            decorrelation = feature_decorrelation(f, options.tau2)  # Eq. (10): L_F
            loss = instance + options.alpha * decorrelation  # Eq. (11)
            if options.beta:
                loss = loss + options.beta * model.jigsaw.regression_error(entered["z"])  # Eq. (11): beta L_R
            optimizer.zero_grad()
            scaler.scale(loss).backward()  # the loss as it is, except in float16
            scaler.step(optimizer)
            scaler.update()
            bank.update(index, f.detach())  # Eq. (12)
            sums.add_(torch.stack([loss.detach(), instance.detach(), decorrelation.detach()]))

        take_step = step
        for epoch in range(len(history) - 1, options.epochs):
            started = time.perf_counter()
            sums.zero_()
            rate = learning_rate(epoch, options)
            if captured and (take_step is step or rate != optimizer.param_groups[0]["lr"]):
                take_step = CapturedStep(step)  # a graph holds the rate that it was captured with
            optimizer.param_groups[0]["lr"] = rate
            model.train()
            torch.manual_seed(_epoch_seed(epoch, options))  # for the views
            views, indices = source.choose_views(), epoch_batches(len(source), epoch, options, device)
            for index in indices:
                take_step(index, *source.draw(index, views))
            means = (sums / max(len(indices), 1)).tolist()  # the only wait for the device in an epoch, apart from a scaled loss
            if not all(map(math.isfinite, means)):
                raise PGJRError(
                    f"The loss is not finite in epoch {epoch + 1}: lower the learning rate (lr, now {options.lr})"
                    f" or raise the temperature (tau1, now {options.tau1})."
                )
            row = {"epoch": epoch + 1, "seconds": history[-1]["seconds"] + time.perf_counter() - started}
            row |= dict(zip(("loss", "instance", "decorrelation"), means, strict=True))
            history.append(row | (on_epoch(model, epoch + 1, row) if on_epoch else {}))
            due = epoch + 1 == options.epochs or time.perf_counter() - saved >= interval
            if checkpoint is not None and due:
                saved = time.perf_counter()
                save(checkpoint, identity, model, bank, optimizer, history, extra, scaler)
    return history


@dataclass(frozen=True, eq=False)
class Head:
    """A trained head with what it was trained on: the model, its source and bank on one device, and the history."""

    model: PGJR
    source: FeatureSource
    bank: MemoryBank
    history: list[dict]


def build_head(source: FeatureSource, head: HeadOptions, seed: int) -> PGJR:
    """Build pGJR's untrained head for features of this shape, on the CPU. Its start depends on ``seed`` alone.

    Raises:
        PGJRError: an unknown option, or a map that is too small for blocks of n * g pixels.
    """
    shape = tuple(source.maps.shape[1:]) if head.map == "spatial" else EMBEDDING_MAP
    jigsaw = None
    if head.branch != "none":
        settings = {name: getattr(head, name) for name in ("n", "g", "mode", "combine", "per_channel")}
        try:
            jigsaw = build_jigsaw(head.jigsaw, seed, shape[0], shape[1:], **settings)
        except ValueError as error:
            raise PGJRError(f"n={head.n}, g={head.g}: {error}") from None
    mean, std = source.embeddings.mean(0), source.embeddings.std(0).clamp_min(1e-6)
    torch.manual_seed(seed)
    return PGJR(len(mean), shape, jigsaw, head.map, head.branch, head.dim, mean, std)


def train_head(
    source: FeatureSource,
    head: HeadOptions,
    options: TrainingOptions,
    *,
    device="cpu",
    checkpoint: Path | None = None,
    identity: str = "",
    on_epoch: Callable[[nn.Module, int, dict], dict] | None = None,
    extra: dict[str, Tensor] | None = None,
) -> Head:
    """Build pGJR's head on the features of a frozen prior and train it by Algorithm 1.

    The start depends on ``options.seed`` alone. The untrained head's BatchNorm has the statistics of the plain
    features, and the memory bank starts from that head's features.

    Args:
        source: the features; the plain ones also give the statistics that standardise the embedding.
        head: see :class:`pgjr_lib.options.HeadOptions`.
        options: see :class:`pgjr_lib.options.TrainingOptions`.
        device: where to train.
        checkpoint, identity, on_epoch, extra: as :func:`fit`.

    Raises:
        PGJRError: as :func:`fit`, an unknown option, or a map that is too small for blocks of n * g pixels.
    """
    model = build_head(source, head, options.seed).to(device)
    source = source.to(device)
    calibrate(model, source)
    bank = MemoryBank(len(source), head.dim, head.bank_momentum).to(device)
    bank.write(embed(model, source).to(device))
    history = fit(model, source, bank, options, checkpoint=checkpoint, identity=identity, on_epoch=on_epoch, extra=extra)
    return Head(model, source, bank, history)


@contextmanager
def _jigsaw_input(jigsaw: nn.Module | None) -> Iterator[dict[str, Tensor]]:
    """Yield a dict whose ``z`` is what entered the jigsaw last, for L_R of equation 11."""
    entered: dict[str, Tensor] = {}
    hook = jigsaw.register_forward_pre_hook(lambda _, inputs: entered.update(z=inputs[0])) if jigsaw else None
    try:
        yield entered
    finally:
        if hook:
            hook.remove()  # a model with a hook cannot be pickled


@torch.no_grad()
def calibrate(model: PGJR, source: FeatureSource, batch_size: int = 4096) -> None:
    """Set the running statistics of a head's BatchNorm to those of the plain features, in one pass over them.

    Untrained, BatchNorm takes its input for standardised, which the map of a prior is not. A head without the jigsaw
    branch has no BatchNorm and stays as it is.
    """
    if model.phi is None:
        return
    norm, total, square = model.phi[1], 0.0, 0.0
    for rows in torch.arange(len(source), device=source.embeddings.device).split(batch_size):
        entering = model.arrange(*source.plain(rows)).flatten(1).double()  # sums of many small numbers
        total, square = total + entering.sum(0), square + entering.square().sum(0)
    mean = total / len(source)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_((square / len(source) - mean.square()).clamp_min(0))


@torch.no_grad()
def embed(model: nn.Module, source, batch_size: int = 512) -> Tensor:
    """Return the features of the plain samples, in evaluation mode: (N, d) float32 on the CPU.

    Raises:
        PGJRError: they are not finite, because training diverged although its loss stayed finite.
    """
    device, training = next(model.parameters()).device, model.training
    model.eval()
    features = torch.empty(len(source), model.project.out_features)  # at once: many parts would scatter over the heap
    for rows in torch.arange(len(source)).split(batch_size):
        features[rows] = model(*source.plain(rows.to(device))).float().cpu()
    model.train(training)
    if not torch.isfinite(features).all():
        raise PGJRError("The features are not finite: lower the learning rate or raise the temperature.")
    return features


def save(
    path: Path, identity: str, model, bank, optimizer, history: list[dict], extra: dict | None = None, scaler=None
) -> None:
    """Write a checkpoint, atomically: model, bank, momentum buffers, history, extra tensors and the scale of the loss."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors["bank"] = bank.vectors
    for i, p in enumerate(optimizer.param_groups[0]["params"]):
        if (buffer := optimizer.state[p].get("momentum_buffer")) is not None:
            tensors[f"momentum.{i}"] = buffer
    tensors |= {f"extra.{name}": value for name, value in (extra or {}).items()}
    scale = scaler.state_dict() if scaler else {}  # numbers; empty unless the loss is scaled
    save_tensors(path, tensors, {"identity": identity, "history": json.dumps(history), "scale": json.dumps(scale)})


def resume(path: Path | None, identity: str, model, bank, optimizer, extra: dict | None = None, scaler=None) -> list[dict]:
    """Load a checkpoint if there is one.

    Returns:
        Its history; [] where there is no checkpoint.

    Raises:
        PGJRError: the file is damaged, is a pickle, or belongs to another model.
    """
    if path is None or not Path(path).exists():
        return []
    tensors, metadata = load_tensors(path)
    if metadata.get("identity") != identity:
        raise PGJRError(f"{path} is the checkpoint of another model: delete it, or name another file.")
    model.load_state_dict({name[6:]: value for name, value in tensors.items() if name.startswith("model.")})
    bank.vectors.copy_(tensors["bank"])
    for i, p in enumerate(optimizer.param_groups[0]["params"]):
        if f"momentum.{i}" in tensors:
            optimizer.state[p]["momentum_buffer"] = tensors[f"momentum.{i}"].to(p)
    if scaler and (scale := json.loads(metadata.get("scale", "{}"))):
        scaler.load_state_dict(scale)
    if extra is not None:
        extra |= {name[6:]: value for name, value in tensors.items() if name.startswith("extra.")}
    return json.loads(metadata["history"])
