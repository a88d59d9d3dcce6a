"""Build the controls of the jigsaw: operators that look like it and lack one thing, and the one place that builds them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pgjr_lib.jigsaw import GridJigsaw
from pgjr_lib.options import FIXED_JIGSAWS, JIGSAWS

JIGSAW_SEED = 7_000_003  # the jigsaw draws apart, so that paired runs share the start of everything else


class ChannelMix(GridJigsaw):
    """Mix channels instead of grids, with exactly the jigsaw's parameters.

    One masked n*n x n*n matrix mixes groups of n*n channels at every position; zeros complete a group that the
    channels do not fill. The parameter count, initialisation and combination are the jigsaw's, but the operator has
    no space in it.

    Args:
        n, g, mode, combine, pad: as :class:`pgjr_lib.jigsaw.GridJigsaw`.
        channels: must be None, because no channel has a matrix of its own.

    Shape:
        (B, C, H, W) -> (B, C, H, W), or (B, 2C, H, W) with ``concat``.

    Raises:
        ValueError: ``channels`` is given, and as :class:`pgjr_lib.jigsaw.GridJigsaw`.
    """

    def __init__(self, n=2, g=1, mode="surround", combine="residual", channels=None, pad="reflect"):
        if channels is not None:
            raise ValueError("ChannelMix mixes channels, so no channel has a matrix of its own: leave channels None.")
        super().__init__(n, g, mode, combine, channels, pad)

    def divide(self, z: Tensor) -> Tensor:
        """Take groups of n*n channels for grids: (B, C, H, W) -> (B, C', 1, 1, n*n, H, W)."""
        self._check(z)
        B, C, H, W = z.shape
        m = self.n * self.n
        return F.pad(z, (0, 0, 0, 0, 0, -C % m)).reshape(B, -(-C // m), 1, 1, m, H, W)

    def forward(self, z: Tensor) -> Tensor:
        mixed = self.regress(self.divide(z)).flatten(1, 4)[:, : z.shape[1]]
        if self.combine == "replace":
            return mixed
        return z + mixed if self.combine == "residual" else torch.cat([z, mixed], dim=1)


class Permuted(nn.Module):
    """Permute a map's positions, apply the inner operator, and restore the order.

    The permutation is fixed. Only the operator loses the neighbourhoods: what follows it sees the map in order.

    Args:
        inner: an operator (B, C, H, W) -> (B, C', H, W).
        permutation: (H*W,) int64, a permutation of the positions.
    """

    def __init__(self, inner: nn.Module, permutation: Tensor):
        super().__init__()
        self.inner = inner
        self.register_buffer("permutation", permutation)
        self.register_buffer("inverse", permutation.argsort())

    def forward(self, z: Tensor) -> Tensor:
        out = self.inner(self._reorder(z, self.permutation))
        return self._reorder(out, self.inverse)

    def regression_error(self, z: Tensor) -> Tensor:
        """Return L_R of equation 11 on the permuted map, a scalar."""
        return self.inner.regression_error(self._reorder(z, self.permutation))

    @staticmethod
    def _reorder(z: Tensor, order: Tensor) -> Tensor:
        return z.flatten(2)[..., order].unflatten(2, z.shape[-2:])


class Shifted(nn.Module):
    """Shift a map by half a block before the inner operator and back after it, so that blocks straddle what they held.

    The map is padded by reflection above and on the left, and cropped again.

    Args:
        inner: an operator (B, C, H, W) -> (B, C', H, W).
        shift: pixels, half the side of a block.
    """

    def __init__(self, inner: nn.Module, shift: int):
        super().__init__()
        self.inner, self.shift = inner, shift

    def forward(self, z: Tensor) -> Tensor:
        return self.inner(self._moved(z))[..., self.shift :, self.shift :]

    def regression_error(self, z: Tensor) -> Tensor:
        """Return L_R of equation 11 on the shifted map, a scalar."""
        return self.inner.regression_error(self._moved(z))

    def _moved(self, z: Tensor) -> Tensor:
        return F.pad(z, (self.shift, 0, self.shift, 0), mode="reflect")


class BlockMean(GridJigsaw):
    """Replace every grid by twice the mean of its block's grids, position by position.

    It is what the jigsaw with ``surround`` and ``residual`` starts as, without the deviations from the mean, and it has
    no parameters.

    Args:
        n, g: as :class:`pgjr_lib.jigsaw.GridJigsaw`.

    Shape:
        (B, C, H, W) -> (B, C, H, W).
    """

    def __init__(self, n=2, g=1):
        super().__init__(n, g, combine="replace")
        self.weight = self.bias = None

    def regress(self, grids: Tensor) -> Tensor:
        return (2 * grids.mean(4, keepdim=True)).expand_as(grids)


class Blur(nn.Module):
    """Blur every position alike, with the strength of the jigsaw's start and without its blocks.

    The jigsaw with ``surround`` and ``residual`` starts as a x + (2 - a) mean, where the mean is over the block's
    m = n * n grids and a = (m - 2) / (m - 1). Here a binomial mean (1, 2, 1) / 4 along both axes, with taps g pixels
    apart, takes its place. So the gains are the start's at frequencies 0 and 1 / (2g): 2 and a. It has no parameters;
    the map's border is padded by reflection.

    Args:
        n, g: of the jigsaw that it stands for.

    Shape:
        (B, C, H, W) -> (B, C, H, W).

    Raises:
        ValueError: a map too small to pad.
    """

    def __init__(self, n=2, g=1):
        super().__init__()
        m = n * n
        self.g, self.share = g, (m - 2) / (m - 1)

    def forward(self, z: Tensor) -> Tensor:
        g = self.g
        if min(z.shape[-2:]) <= g:
            raise ValueError(f"Blur: a map of {z.shape[-2]}x{z.shape[-1]} is too small for taps {g} pixels apart.")
        p = F.pad(z, (g, g, g, g), mode="reflect")
        p = (p[..., : -2 * g, :] + 2 * p[..., g:-g, :] + p[..., 2 * g :, :]) / 4
        p = (p[..., : -2 * g] + 2 * p[..., g:-g] + p[..., 2 * g :]) / 4
        return self.share * z + (2 - self.share) * p


def build_jigsaw(kind, seed, channels, size, *, n=2, g=1, mode="surround", combine="residual", per_channel=False):
    """Build the jigsaw or one of its controls, for maps of a known size.

    Its weights are drawn from a generator of their own, and the caller's random numbers stay as they were. So the
    same seed gives the jigsaw and each of its controls the same start, and the model around it the same start
    with or without it.

    Args:
        kind: ``on`` (learned), ``off`` (none), ``frozen`` at its random start, ``zero`` (learned from A = 0, where J
            is the identity), ``dense`` (:class:`ChannelMix`), ``permuted`` (:class:`Permuted`, with one permutation for
            all seeds: the control is about order, not about luck), ``shifted`` by half a block (:class:`Shifted`),
            ``mean`` (:class:`BlockMean`) or ``blur`` (:class:`Blur`).
        seed: a non-negative integer.
        channels: C of the maps.
        size: (H, W) of the maps.
        n, g, mode, combine: as :class:`pgjr_lib.jigsaw.GridJigsaw`.
        per_channel: give each channel a matrix of its own.

    Returns:
        The operator, or None for ``off``.

    Raises:
        ValueError: an unknown kind or option, maps too small for blocks of n * g pixels, or a fixed control of another
            jigsaw than ``surround`` with ``residual``.
    """
    if kind not in JIGSAWS:
        raise ValueError(f"jigsaw={kind!r} is unknown: choose one of {', '.join(JIGSAWS)}.")
    if kind == "off":
        return None
    if kind in FIXED_JIGSAWS and (mode, combine, per_channel) != ("surround", "residual", False):
        raise ValueError(f"jigsaw={kind} stands for mode=surround with combine=residual: leave mode, combine and per_channel.")
    operator = ChannelMix if kind == "dense" else GridJigsaw
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(JIGSAW_SEED + seed)
        jigsaw = operator(n, g, mode, combine, channels if per_channel else None)
        fixed = {"mean": BlockMean, "blur": Blur}[kind](n, g) if kind in FIXED_JIGSAWS else None
    # the controls must divide the map as the jigsaw does, or they would answer for maps that it cannot take
    GridJigsaw.divide(jigsaw, torch.empty(1, channels, *size))
    if kind == "frozen":
        jigsaw.requires_grad_(False)
    if kind == "permuted":
        order = torch.randperm(size[0] * size[1], generator=torch.Generator().manual_seed(JIGSAW_SEED))
        return Permuted(jigsaw, order)
    if kind == "zero":
        torch.nn.init.zeros_(jigsaw.weight)
    if kind == "shifted":
        return Shifted(jigsaw, n * g // 2)
    return fixed or jigsaw
