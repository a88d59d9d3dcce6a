"""Algorithm 1: the training loop, where its batches come from, and its checkpoints."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pgjr_lib.errors import PGJRError
from pgjr_lib.losses import MemoryBank, feature_decorrelation, instance_discrimination
from pgjr_lib.storage import load_tensors, save_tensors

SOUND_BATCH = 32  # the smallest batch of a head: fewer samples make poor statistics for its BatchNorm
MILESTONES = (0.3, 0.475, 0.65, 0.825)  # of all epochs, as in IDFD's code: the rate falls to a tenth at each


@dataclass(frozen=True)
class TrainingOptions:
    """What Algorithm 1 needs to know; the symbols are those of the method page."""

    epochs: int
    batch_size: int
    lr: float
    tau1: float
    tau2: float = 2.0
    alpha: float = 1.0
    beta: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    smallest_batch: int = 1  # a shorter last batch is dropped: 1 keeps all, as IDFD does
    precision: str = "fp32"  # or "bf16", by autocast
    seed: int = 0


class ImageSource:
    """Augmented views of images, for a CNN.

    Args:
        images: (N, 3, H, W) uint8, kept on its device.
        augment: batch -> float32 views (B, 3, S, S) in [0, 1].
        plain: batch -> float32 un-augmented (B, 3, S, S) in [0, 1].
    """

    def __init__(self, images: Tensor, augment: Callable, plain: Callable):
        self.images, self.augment, self.resize = images, augment, plain
        small = plain(images[: min(len(images), 5000)])
        self.mean = small.mean((0, 2, 3))[:, None, None]
        self.std = small.std((0, 2, 3))[:, None, None].clamp_min(1e-3)

    def __len__(self) -> int:
        return len(self.images)

    def _standard(self, x: Tensor) -> Tensor:
        return ((x - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def draw(self, index: Tensor) -> tuple[Tensor]:
        """One random view of each image in ``index`` (B,): ((B, 3, S, S),)."""
        return (self._standard(self.augment(self.images[index])),)

    def plain(self, index: Tensor) -> tuple[Tensor]:
        """The images themselves: ((B, 3, S, S),)."""
        return (self._standard(self.resize(self.images[index])),)


class FeatureSource:
    """Views of a frozen prior's features, for the head: every draw picks one of the K cached views a sample.

    Args:
        embeddings, maps: plain features (N, D) and (N, C, h, w), float32.
        view_embeddings, view_maps: (K, N, D) and (K, N, C, h, w), half precision allowed; K = 0 trains on the
            plain features.
    """

    def __init__(self, embeddings: Tensor, maps: Tensor, view_embeddings: Tensor, view_maps: Tensor):
        self.embeddings, self.maps = embeddings, maps
        self.view_embeddings, self.view_maps = view_embeddings, view_maps

    def __len__(self) -> int:
        return len(self.embeddings)

    def draw(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D) and (B, C, h, w): a random view of each sample in ``index`` (B,)."""
        K = len(self.view_embeddings)
        if K == 0:
            return self.plain(index)
        view = torch.randint(K, index.shape).to(index.device)
        return self.view_embeddings[view, index].float(), self.view_maps[view, index].float()

    def plain(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D) and (B, C, h, w): the plain features of ``index``."""
        return self.embeddings[index], self.maps[index]


def learning_rate(epoch: int, options: TrainingOptions) -> float:
    """The step schedule: ``lr`` times 0.1 for every milestone that ``epoch`` (from 0) has reached."""
    return options.lr * 0.1 ** sum(epoch >= round(share * options.epochs) for share in MILESTONES)


def epoch_batches(size: int, epoch: int, options: TrainingOptions) -> Iterator[Tensor]:
    """The batches of one epoch, (B,) int64 each; a function of the seed and the epoch alone."""
    smallest = min(options.smallest_batch, options.batch_size, size)  # a small set still trains
    order = torch.randperm(size, generator=torch.Generator().manual_seed(_epoch_seed(epoch, options)))
    for index in order.split(options.batch_size):
        if len(index) >= smallest:
            yield index


def _epoch_seed(epoch: int, options: TrainingOptions) -> int:
    return 1_000_003 * options.seed + epoch  # so that a resumed epoch draws what it would have drawn


@torch.enable_grad()  # whoever calls it
def fit(
    model: nn.Module,
    source,
    bank: MemoryBank,
    options: TrainingOptions,
    *,
    checkpoint: Path | None = None,
    identity: str = "",
    on_epoch: Callable[[int, dict], dict] | None = None,
) -> list[dict]:
    """Algorithm 1. Trains ``model`` and ``bank`` in place, on the device the model is on.

    Args:
        model: features -> (B, d) on the unit sphere.
        source: an :class:`ImageSource` or :class:`FeatureSource`.
        bank: one row a sample of ``source``.
        options: see :class:`TrainingOptions`.
        checkpoint: where to save after every epoch; training goes on from a file that is there.
        identity: what the checkpoint belongs to; another model's is refused.
        on_epoch: called with (epoch from 1, row of the history); what it returns is joined to the row.

    Returns:
        The history: one dict an epoch with ``epoch``, ``seconds`` (training only, since the start), ``loss``,
        ``instance``, ``decorrelation`` and what ``on_epoch`` added.

    Raises:
        PGJRError: the checkpoint is damaged or another model's, or the loss is no longer finite.
    """
    device = next(model.parameters()).device
    optimizer = torch.optim.SGD(model.parameters(), options.lr, options.momentum, weight_decay=options.weight_decay)
    history = resume(checkpoint, identity, model, bank, optimizer)
    with _noted_input(model.jigsaw if options.beta else None) as entered:
        for epoch in range(len(history), options.epochs):
            started, sums, batches = time.perf_counter(), torch.zeros(3, device=device), 0
            optimizer.param_groups[0]["lr"] = learning_rate(epoch, options)
            model.train()
            torch.manual_seed(_epoch_seed(epoch, options))  # for the views
            for index in epoch_batches(len(source), epoch, options):
                index = index.to(device)
                views = source.draw(index)
                with torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bf16"):
                    f = model(*views)  # Eq. (5), (6) or (7)
                instance = instance_discrimination(f, index, bank.vectors, options.tau1)  # Eqs. (8), (9): L_I
                decorrelation = feature_decorrelation(f, options.tau2)  # Eq. (10): L_F
                loss = instance + options.alpha * decorrelation  # Eq. (11)
                if options.beta:
                    loss = loss + options.beta * model.jigsaw.regression_error(entered["z"])  # Eq. (11): beta L_R
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                bank.update(index, f.detach())  # Eq. (12)
                sums += torch.stack([loss.detach(), instance.detach(), decorrelation.detach()])
                batches += 1
            means = (sums / max(batches, 1)).tolist()
            if not torch.isfinite(sums).all():
                raise PGJRError(
                    f"the loss is not finite in epoch {epoch + 1}: lower the learning rate (lr, {options.lr})"
                    f" or raise the temperature (tau1, {options.tau1})."
                )
            before = history[-1]["seconds"] if history else 0.0
            row = {"epoch": epoch + 1, "seconds": before + time.perf_counter() - started}
            row |= dict(zip(("loss", "instance", "decorrelation"), means, strict=True))
            history.append(row | (on_epoch(epoch + 1, row) if on_epoch else {}))
            if checkpoint is not None:
                save(checkpoint, identity, model, bank, optimizer, history)
    return history


@contextmanager
def _noted_input(jigsaw: nn.Module | None) -> Iterator[dict[str, Tensor]]:
    """What enters the jigsaw, as ``z``, for L_R of equation 11; nothing without one."""
    entered: dict[str, Tensor] = {}
    hook = jigsaw.register_forward_pre_hook(lambda _, inputs: entered.update(z=inputs[0])) if jigsaw else None
    try:
        yield entered
    finally:
        if hook:
            hook.remove()  # a model that is left with it could not be pickled


@torch.no_grad()
def embed(model: nn.Module, source, batch_size: int = 512) -> Tensor:
    """The features of the plain samples, in evaluation mode: (N, d) float32 on the CPU.

    Raises:
        PGJRError: they are not finite, as after a training that diverged while its loss still was.
    """
    device, training = next(model.parameters()).device, model.training
    model.eval()
    parts = [model(*source.plain(i.to(device))).float().cpu() for i in torch.arange(len(source)).split(batch_size)]
    model.train(training)
    features = torch.cat(parts)
    if not torch.isfinite(features).all():
        raise PGJRError("the features are not finite: lower the learning rate or raise the temperature.")
    return features


def save(path: Path, identity: str, model, bank, optimizer, history: list[dict]) -> None:
    """Write a checkpoint, atomically: model, bank, momentum buffers, history."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors["bank"] = bank.vectors
    for i, p in enumerate(optimizer.param_groups[0]["params"]):
        if (buffer := optimizer.state[p].get("momentum_buffer")) is not None:
            tensors[f"momentum.{i}"] = buffer
    save_tensors(path, tensors, {"identity": identity, "history": json.dumps(history)})


def resume(path: Path | None, identity: str, model, bank, optimizer) -> list[dict]:
    """Load a checkpoint where there is one; returns its history, [] where there is none.

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
    return json.loads(metadata["history"])
