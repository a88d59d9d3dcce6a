"""TEMI: heads that give a sample and its nearest neighbours the same cluster.

Adaloglou, Michels, Kalisch and Kollmann, "Exploring the Limits of Deep Image Clustering using Pretrained Models",
BMVC 2023. Settings are those of the authors' code for CIFAR-10, except for fewer heads (theirs: 16) and epochs (100). An
epoch has as many batches as theirs has, whatever the number of samples, because momenta and warm-up count steps.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from pgjr_lib.evaluation import check_clusters

NEIGHBOURS = 50
HEADS = 4
EPOCHS, WARMUP_EPOCHS = 50, 20  # the learning rate rises linearly through the warm-up and then stays
EPOCH_STEPS = 48  # batches of 50,000 images; larger sets have more, so that an epoch covers them
FROZEN_EPOCHS = 1  # the last layer is not trained before
BATCH = 1024
LEARNING_RATE = 1e-4 / 256  # of AdamW, a sample of the batch
WEIGHT_DECAY = 1e-4  # of matrices only
HIDDEN, BOTTLENECK = 512, 256
TEMPERATURE = 0.1  # of the softmax of student and teacher
BETA = 0.6  # below 1 it keeps clusters from becoming one
TEACHER_MOMENTUM = 0.996
MEAN_MOMENTUM = 0.9  # of the running mean of the teacher's assignments


class Head(nn.Module):
    """A perceptron of two layers, normalised, then a layer of unit-norm rows with a learned scale: (B, D) -> (B, k)."""

    def __init__(self, inputs: int, k: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(inputs, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, BOTTLENECK))
        for layer in (self.mlp[0], self.mlp[2]):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        self.last = weight_norm(nn.Linear(BOTTLENECK, k, bias=False))
        self.last.parametrizations.weight.original0.data.fill_(1)  # the scale

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.normalize(self.mlp(x), dim=1))


@torch.enable_grad()  # the caller may have switched gradients off
def temi(features: Tensor, k: int, seed: int = 0, device="cpu") -> Tensor:
    """Train heads by self-distillation between neighbours and return the teacher of lowest training loss.

    Args:
        features: (N, D) float32 on the CPU, the prior's embeddings as it gives them.
        k: number of clusters, at least 2.
        seed: of starts, batches and neighbours. It seeds torch's global generator.
        device: where to train; results repeat bit for bit on a CPU.

    Returns:
        (N, k) float32 on the CPU, the soft assignments of every sample. Their argmax is the clustering.

    Raises:
        ValueError: k < 2, k > N, or features that are not finite.
    """
    check_clusters(features, k, least=2)
    torch.manual_seed(seed)
    features = features.float().to(device)
    neighbours = nearest(features, NEIGHBOURS)
    students = nn.ModuleList(Head(features.shape[1], k) for _ in range(HEADS)).to(device)
    teachers = copy.deepcopy(students).requires_grad_(False)
    means = torch.full((HEADS, k), 1 / k, device=device)  # p(c), of each head
    decayed = [p for p in students.parameters() if p.ndim > 1]
    others = [p for p in students.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups)
    batch = min(BATCH, len(features))
    steps = max(EPOCH_STEPS, len(features) // batch)
    for epoch in range(EPOCHS):
        losses = torch.zeros(HEADS, device=device)
        rounds = -(-steps * batch // len(features))
        order = torch.cat([torch.randperm(len(features)) for _ in range(rounds)])[: steps * batch]
        for i, index in enumerate(order.split(batch)):
            warmth = min(1.0, (epoch * steps + i) / max(WARMUP_EPOCHS * steps - 1, 1))
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * batch * warmth
            index = index.to(device)
            drawn = torch.randint(neighbours.shape[1], (batch,)).to(device)
            pair = torch.cat([features[index], features[neighbours[index, drawn]]])  # x, then x': (2B, D)
            student = torch.stack([F.log_softmax(head(pair) / TEMPERATURE, dim=1) for head in students])
            with torch.no_grad():
                teacher = torch.stack([F.log_softmax(head(pair) / TEMPERATURE, dim=1) for head in teachers])
                means = MEAN_MOMENTUM * means + (1 - MEAN_MOMENTUM) * teacher.exp().mean(1)
            head_losses = loss(student, teacher, means)
            optimizer.zero_grad()
            head_losses.mean().backward()
            if epoch < FROZEN_EPOCHS:
                for head in students:
                    head.last.zero_grad()
            optimizer.step()
            with torch.no_grad():
                for ours, theirs in zip(students.parameters(), teachers.parameters(), strict=True):
                    theirs.lerp_(ours, 1 - TEACHER_MOMENTUM)
            losses += head_losses.detach()
    best = teachers[int(losses.argmin())]  # of the last epoch
    with torch.no_grad():
        return F.softmax(best(features) / TEMPERATURE, dim=1).cpu()


def loss(student: Tensor, teacher: Tensor, means: Tensor) -> Tensor:
    """Return the weighted pointwise mutual information of neighbours, negated: (H,), one number a head.

    For a pair x, x' a head's loss is -w/2 (pmi(x, x') + pmi(x', x)), where

    pmi(x, x') = log sum_c (q_s(c|x) q_t(c|x'))^beta / q_t(c),  w = mean over heads of sum_c q_t(c|x) q_t(c|x').

    Args:
        student, teacher: (H, 2B, k) log-probabilities, of the B samples x and then of their neighbours x'.
        means: (H, k), the running mean q_t(c) of the teacher.
    """
    s1, s2 = student.chunk(2, dim=1)
    t1, t2 = teacher.chunk(2, dim=1)
    weight = (t1 + t2).exp().sum(2).mean(0)  # (B,): low where the teachers think that neighbours differ
    shift = means.log()[:, None]
    # in logarithms, because a power of a product that underflows has no gradient
    pmi = [torch.logsumexp(BETA * (s + t) - shift, dim=2) for s, t in ((s1, t2), (s2, t1))]  # (H, B)
    return -(weight * (pmi[0] + pmi[1]) / 2).mean(1)


def nearest(features: Tensor, count: int, rows: int = 1024) -> Tensor:
    """Return the ``count`` nearest other samples of each, by cosine: (N, count) int64; N - 1 of them at most."""
    unit = F.normalize(features, dim=1)
    neighbours = []
    for index in torch.arange(len(unit), device=unit.device).split(rows):
        cosines = unit[index] @ unit.T
        cosines[torch.arange(len(index)), index] = -2.0  # not the sample itself
        neighbours.append(cosines.topk(min(count, len(unit) - 1), dim=1).indices)
    return torch.cat(neighbours)
