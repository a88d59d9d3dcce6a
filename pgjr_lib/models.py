"""Implement equations 5 to 7: GJR, a CNN from scratch with the jigsaw inside, and PGJR, a head on a frozen prior.

With the jigsaw off, GJR is IDFD.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from timm.models.resnet import BasicBlock, downsample_conv
from torch import Tensor, nn

from pgjr_lib.options import BRANCHES, MAPS, PLACES


@dataclass(frozen=True)
class Architecture:
    """A ResNet of four stages of basic blocks, without max-pool.

    Attributes:
        blocks, channels, strides: of each stage. Together with the stem's, the strides make 4 up to layer3 and 8 up to
            layer4.
        stem: side of its convolution's kernel, and its stride.
    """

    blocks: tuple[int, int, int, int]
    channels: tuple[int, int, int, int]
    strides: tuple[int, int, int, int] = (1, 2, 2, 2)
    stem: tuple[int, int] = (3, 1)


BACKBONES = {  # options.Backbone -> architecture
    "resnet18": Architecture((2, 2, 2, 2), (64, 128, 256, 512)),  # as in IDFD's code
    "resnet34": Architecture((3, 4, 6, 3), (64, 128, 256, 512)),
    # our choice for machines without a GPU: a processor is fast at 64 channels, and no map is larger than half the image
    "small": Architecture((1, 1, 1, 1), (64, 64, 64, 128), (2, 1, 1, 2), (4, 2)),
    "thin": Architecture((1, 1, 1, 1), (16, 32, 64, 128)),
}
STEM_CHANNELS = 64
LAYER3_STRIDE, LAYER4_STRIDE = 4, 8  # pixels of the image along a pixel of the map
EMBEDDING_MAP = (16, 8, 8)  # channels, height, width of the learned map of an embedding


def _known(owner: str, name: str, value, known) -> None:
    if value not in known:
        raise ValueError(f"{owner}: {name}={value!r} is unknown: choose one of {', '.join(known)}.")


def _widening(jigsaw: nn.Module | None) -> int:
    """Return the factor by which the jigsaw multiplies the channels: 2 with ``concat``, else 1."""
    operator = getattr(jigsaw, "inner", jigsaw)
    return 2 if getattr(operator, "combine", None) == "concat" else 1


def _shared_start(inputs: int, outputs: int) -> nn.Linear:
    """Return a linear layer with torch's usual initialisation, drawn input by input.

    So two heads of one seed, of which one has more inputs, share what they draw for the inputs that both have.
    """
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs)
    bound = inputs**-0.5
    with torch.no_grad():
        layer.bias.uniform_(-1, 1).mul_(bound)
        layer.weight.copy_(torch.empty(inputs, outputs).uniform_(-1, 1).mul_(bound).T)
    return layer


def entering_map(backbone: str, at: str) -> tuple[int, int]:
    """Return (channels, pixels of the image along a pixel) of the map that enters a jigsaw at the place ``at``."""
    channels = BACKBONES[backbone].channels
    return {"pixel": (3, 1), "layer3": (channels[2], LAYER3_STRIDE), "layer4": (channels[3], LAYER4_STRIDE)}[at]


def _stages(architecture: Architecture) -> Iterator[nn.Sequential]:
    """Yield the four stages; a block that changes stride or channels has a 1x1 convolution on its shortcut."""
    entering = STEM_CHANNELS
    for count, channels, stride in zip(architecture.blocks, architecture.channels, architecture.strides, strict=True):
        blocks = []
        for step in (stride, *[1] * (count - 1)):
            changes = step != 1 or entering != channels
            shortcut = downsample_conv(entering, channels, kernel_size=1, stride=step) if changes else None
            blocks.append(BasicBlock(entering, channels, step, shortcut))
            entering = channels
        yield nn.Sequential(*blocks)


class GJR(nn.Module):
    """Compute equations 5 and 6: f = P(E(J(X))) or f = P(pool(E2(J(E1(X))))), normalised.

    ``resnet18`` is that of IDFD's code, with a 3x3 stem of stride 1 and no max-pool.

    Args:
        backbone: a key of ``BACKBONES``.
        jigsaw: the operator J, or None, which makes the model IDFD exactly.
        at: where J sits: on the pixels (equation 5), after layer3 so that layer4's nonlinearity follows it
            (equation 6), or after layer4 (an ablation).
        dim: d, the feature dimension.

    Shape:
        (B, 3, S, S) -> (B, d), on the unit sphere.
    """

    def __init__(self, backbone="resnet18", jigsaw=None, at="layer3", dim=128):
        super().__init__()
        _known("GJR", "backbone", backbone, BACKBONES)
        _known("GJR", "at", at, PLACES)
        architecture = BACKBONES[backbone]
        kernel, stride = architecture.stem
        conv = nn.Conv2d(3, STEM_CHANNELS, kernel, stride, padding=(kernel - 1) // 2, bias=False)
        self.stem = nn.Sequential(conv, nn.BatchNorm2d(STEM_CHANNELS), nn.ReLU(inplace=True))
        self.layer1, self.layer2, self.layer3, self.layer4 = _stages(architecture)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.project = nn.Linear(architecture.channels[-1], dim)  # P
        entering, _ = entering_map(backbone, at)
        # the next layer expects the channels of a map that is not stacked
        self.merge = nn.Conv2d(2 * entering, entering, 1) if _widening(jigsaw) == 2 else nn.Identity()
        self.jigsaw, self.at = jigsaw, at

    def arrange(self, z: Tensor, place: str) -> Tensor:
        """Return J(z) if the jigsaw sits at ``place``, else z; (B, C, H, W) -> (B, C, H, W)."""
        return self.merge(self.jigsaw(z)) if self.jigsaw is not None and self.at == place else z

    def forward(self, x: Tensor) -> Tensor:
        x = self.arrange(x, "pixel")  # Eq. (5): J(X)
        z = self.layer3(self.layer2(self.layer1(self.stem(x))))  # E1(X): (B, C, H, W)
        z = self.layer4(self.arrange(z, "layer3"))  # Eq. (6): E2(J(E1(X)))
        z = self.arrange(z, "layer4")
        f = self.project(z.mean((2, 3)))  # P(pool(.)): (B, d)
        return F.normalize(f.float() if f.dtype != torch.float64 else f, dim=1)


class PGJR(nn.Module):
    """Compute equation 7, f = normalise(W [c~ ; phi(J(Z))]): a head on the features of a frozen prior.

    c~ is the prior's embedding, standardised by the plain features' statistics; phi is flatten, BatchNorm and ReLU.
    Z is the prior's own map (``spatial``) or a learned linear map of c~ (``embedding``). The latter has no space in
    it: permuting its positions changes nothing before training.

    Args:
        embed_dim: D, the length of the prior's embedding.
        map_shape: (C, H, W) of the prior's map; not used with ``map="embedding"``.
        jigsaw: the operator J, or None for phi(Z) without it.
        map: ``spatial`` or ``embedding``.
        branch: ``supplement`` joins the jigsaw branch to the embedding, ``replace`` drops the embedding,
            ``none`` drops the branch and leaves a linear head.
        dim: d, the feature dimension.
        mean, std: (D,) statistics that standardise the embeddings; None leaves them as they are.

    Shape:
        (B, D) and (B, C, H, W) -> (B, d), on the unit sphere.
    """

    def __init__(self, embed_dim, map_shape=None, jigsaw=None, map="spatial", branch="supplement", dim=128,
                 mean=None, std=None):  # fmt: skip
        super().__init__()
        _known("PGJR", "map", map, MAPS)
        _known("PGJR", "branch", branch, BRANCHES)
        if map == "spatial" and branch != "none" and map_shape is None:
            raise ValueError("PGJR: map='spatial' needs map_shape, the (C, H, W) of the prior's map.")
        self.register_buffer("mean", torch.zeros(embed_dim) if mean is None else mean.clone())
        self.register_buffer("std", torch.ones(embed_dim) if std is None else std.clone())
        self.branch, self.jigsaw = branch, jigsaw
        C, H, W = map_shape if map == "spatial" and branch != "none" else EMBEDDING_MAP
        length = {"none": 0}.get(branch, C * H * W * _widening(jigsaw))
        self.to_map = None
        if map == "embedding" and branch != "none":
            self.to_map = nn.Sequential(nn.Linear(embed_dim, C * H * W), nn.Unflatten(1, (C, H, W)))
        self.phi = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(length), nn.ReLU()) if length else None
        self.project = _shared_start(length + (embed_dim if branch != "replace" else 0), dim)  # W

    def arrange(self, c: Tensor, z: Tensor | None = None) -> Tensor:
        """Return J(Z), which enters phi: (B, C, H, W), with twice the channels in ``concat``."""
        z = z if self.to_map is None else self.to_map((c - self.mean) / self.std)  # Z
        return z if self.jigsaw is None else self.jigsaw(z)

    def forward(self, c: Tensor, z: Tensor | None = None) -> Tensor:
        standardised = (c - self.mean) / self.std  # c~: (B, D)
        parts = [] if self.branch == "replace" else [standardised]
        if self.phi is not None:
            parts.append(self.phi(self.arrange(c, z)))  # phi(J(Z))
        f = self.project(torch.cat(parts, dim=1))  # Eq. (7): W [c~ ; phi(J(Z))]
        return F.normalize(f.float() if f.dtype != torch.float64 else f, dim=1)
