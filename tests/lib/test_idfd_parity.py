"""With the jigsaw off, Algorithm 1 is IDFD: held against an implementation that shares no code with the library.

The other implementation is written from IDFD's description: the network layer by layer, the whole matrix of
logits, losses and bank by loops, SGD by hand. The library's own ``fit`` runs 20 batches, the last of each epoch
short, and both must make the same logits, losses, gradients, weights and bank in every one of them.
"""

import pytest
import torch
import torch.nn.functional as F
from torch.optim.optimizer import register_optimizer_step_pre_hook

from pgjr_lib import training
from pgjr_lib.losses import MemoryBank
from pgjr_lib.models import GJR
from pgjr_lib.training import TrainingOptions, fit

N, B, EPOCHS, SIZE, DIM = 36, 8, 4, 12, 32  # five batches an epoch, the last one half: 20 in all
TAU1, TAU2, ALPHA, MU, LR, MOMENTUM, DECAY = 1.0, 2.0, 1.0, 0.5, 0.03, 0.9, 5e-4


# ---- IDFD, naively ----


def batch_norm(x, w, name):
    return F.batch_norm(x, None, None, w[f"{name}.weight"], w[f"{name}.bias"], training=True)


def resnet(x, w):
    """A ResNet in training mode with a 3x3 stride-1 stem and no max-pool; features on the sphere."""
    x = batch_norm(F.conv2d(x, w["stem.0.weight"], padding=1), w, "stem.1").clamp_min(0)
    for stage in (1, 2, 3, 4):
        for block in range(sum(f"layer{stage}.{b}.conv1.weight" in w for b in (0, 1))):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            out = F.conv2d(x, w[f"{name}.conv1.weight"], stride=stride, padding=1)
            out = batch_norm(out, w, f"{name}.bn1").clamp_min(0)
            out = batch_norm(F.conv2d(out, w[f"{name}.conv2.weight"], padding=1), w, f"{name}.bn2")
            if f"{name}.downsample.0.weight" in w:
                x = F.conv2d(x, w[f"{name}.downsample.0.weight"], stride=stride)
                x = batch_norm(x, w, f"{name}.downsample.1")
            x = (x + out).clamp_min(0)
    f = x.flatten(2).sum(2) / (x.shape[2] * x.shape[3]) @ w["project.weight"].T + w["project.bias"]
    return f / (f * f).sum(1, keepdim=True).sqrt()


def naive_step(weights, velocity, bank, x, index, lr):
    """One step of IDFD from the given state; everything it makes, by name."""
    w = {name: value.clone().requires_grad_() for name, value in weights.items()}
    f = resnet(x, w)
    logits = torch.stack([(bank * row).sum(1) / TAU1 for row in f])  # V f / tau1, the whole matrix
    instance = 0
    for row, i in zip(logits, index.tolist(), strict=True):
        instance = instance - (row[i] - row.exp().sum().log()) / len(index)
    columns = [column / (column * column).sum().sqrt() for column in f.T]
    decorrelation = 0
    for k, column in enumerate(columns):
        scores = torch.stack([(column * other).sum() for other in columns]) / TAU2
        decorrelation = decorrelation - (scores[k] - scores.exp().sum().log()) / len(columns)
    gradients = torch.autograd.grad(instance + ALPHA * decorrelation, w.values())
    gradients = dict(zip(w, gradients, strict=True))
    new_weights, new_velocity = {}, {}
    for name, value in weights.items():
        step = gradients[name] + DECAY * value
        new_velocity[name] = step if velocity is None else MOMENTUM * velocity[name] + step
        new_weights[name] = value - lr * new_velocity[name]
    new_bank = bank.clone()
    for i, row in zip(index.tolist(), f.detach(), strict=True):
        mixed = MU * bank[i] + (1 - MU) * row
        new_bank[i] = mixed / (mixed * mixed).sum().sqrt()
    return {"logits": logits.detach(), "instance": instance.detach(), "decorrelation": decorrelation.detach(),
            "gradients": gradients, "weights": new_weights, "velocity": new_velocity, "bank": new_bank}  # fmt: skip


# ---- the library, watched ----


class Source:
    """Fixed images, and a note of the state in which every batch was asked for."""

    def __init__(self, dtype):
        self.images, self.watch = torch.randn(N, 3, SIZE, SIZE, dtype=dtype), None

    def __len__(self):
        return N

    def choose_views(self):
        return None

    def draw(self, index, views):
        self.watch(index)
        return (self.images[index],)


def watched_fit(backbone, dtype, monkeypatch):
    """Run ``fit``; a list of one dict a batch: the state before it and all it made."""
    torch.manual_seed(1)
    model, bank = GJR(backbone, dim=DIM).to(dtype), MemoryBank(N, DIM, MU).to(dtype)
    source, seen = Source(dtype), []

    def weights():
        return {name: p.detach().clone() for name, p in model.named_parameters()}

    def before(index):
        if seen:
            seen[-1] |= {"weights": weights(), "new_bank": bank.vectors.clone()}
        seen.append({"index": index, "old_weights": weights(), "bank": bank.vectors.clone()})

    def spy(name, function):
        def spied(*args):
            out = function(*args)
            seen[-1][name] = out.detach().clone()
            return out

        monkeypatch.setattr(training, function.__name__, spied)

    def at_step(optimizer, *_):
        seen[-1]["gradients"] = {name: p.grad.clone() for name, p in model.named_parameters()}
        seen[-1]["lr"] = optimizer.param_groups[0]["lr"]

    source.watch = before
    spy("instance", training.instance_discrimination)
    spy("decorrelation", training.feature_decorrelation)
    model.register_forward_hook(lambda *args: seen[-1].update(f=args[-1].detach().clone()))
    handle = register_optimizer_step_pre_hook(at_step)
    try:
        fit(model, source, bank, TrainingOptions(EPOCHS, B, LR, TAU1, TAU2, ALPHA, 0.0, MOMENTUM, DECAY))
    finally:
        handle.remove()
    seen[-1] |= {"weights": weights(), "new_bank": bank.vectors.clone()}
    return source.images, seen


def apart(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest difference, in units of the largest entry where that exceeds 1."""
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    return ((ours - theirs).abs().max() / theirs.abs().max().clamp_min(1)).item()


def differences(ours: dict, theirs: dict) -> dict[str, float]:
    """What the two made of one batch, item by item."""
    return {
        "logits": apart(ours["f"] @ ours["bank"].T / TAU1, theirs["logits"]),
        "instance": apart(ours["instance"], theirs["instance"]),
        "decorrelation": apart(ours["decorrelation"], theirs["decorrelation"]),
        "gradients": max(apart(g, theirs["gradients"][name]) for name, g in ours["gradients"].items()),
        "weights": max(apart(w, theirs["weights"][name]) for name, w in ours["weights"].items()),
        "bank": apart(ours["new_bank"], theirs["bank"]),
    }


@pytest.mark.parametrize(("backbone", "dtype"), [("resnet18", torch.float32), ("thin", torch.float64)])
def test_twenty_batches_of_fit_equal_twenty_steps_of_idfd(backbone, dtype, monkeypatch):
    """float32: every step from the library's state before it. float64: left to itself from the same start.

    Left to itself in float32, rounding soon moves some activation across a ReLU's corner.
    """
    images, seen = watched_fit(backbone, dtype, monkeypatch)
    assert [len(batch["index"]) for batch in seen] == EPOCHS * [8, 8, 8, 8, 4]
    weights, velocity, bank, worst = seen[0]["old_weights"], None, seen[0]["bank"], {}
    for ours in seen:
        if dtype == torch.float32:
            weights, bank = ours["old_weights"], ours["bank"]
        theirs = naive_step(weights, velocity, bank, images[ours["index"]], ours["index"], ours["lr"])
        weights, velocity, bank = theirs["weights"], theirs["velocity"], theirs["bank"]
        worst = {name: max(value, worst.get(name, 0.0)) for name, value in differences(ours, theirs).items()}
    assert max(worst.values()) < 1e-5, worst
    print(worst)
