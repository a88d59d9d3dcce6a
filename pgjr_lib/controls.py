"""Controls of the jigsaw: operators that look like it and lack one thing, and the one place that builds them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pgjr_lib.jigsaw import GridJigsaw
from pgjr_lib.options import JIGSAWS

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


def build_jigsaw(kind, seed, channels, size, *, n=2, g=1, mode="surround", combine="residual", per_channel=False):
    """Build the jigsaw or one of its controls, for maps of a known size.

    Its weights are drawn from a generator of their own, and the caller's random numbers stay as they were. So the
    same seed gives the jigsaw and each of its controls the same start, and the model around it the same start
    with or without it.

    Args:
        kind: ``on`` (learned), ``off`` (none), ``frozen`` at its random start, ``dense`` (:class:`ChannelMix`) or
            ``permuted`` (:class:`Permuted`, with one permutation for all seeds: the control is about order, not
            about luck).
        seed: a non-negative integer.
        channels: C of the maps.
        size: (H, W) of the maps.
        n, g, mode, combine: as :class:`pgjr_lib.jigsaw.GridJigsaw`.
        per_channel: give each channel a matrix of its own.

    Returns:
        The operator, or None for ``off``.

    Raises:
        ValueError: an unknown kind or option, or maps too small for blocks of n * g pixels.
    """
    if kind not in JIGSAWS:
        raise ValueError(f"jigsaw={kind!r} is unknown: choose one of {', '.join(JIGSAWS)}.")
    if kind == "off":
        return None
    operator = ChannelMix if kind == "dense" else GridJigsaw
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(JIGSAW_SEED + seed)
        jigsaw = operator(n, g, mode, combine, channels if per_channel else None)
    # the controls must divide the map as the jigsaw does, or they would answer for maps that it cannot take
    GridJigsaw.divide(jigsaw, torch.empty(1, channels, *size))
    if kind == "frozen":
        jigsaw.requires_grad_(False)
    if kind == "permuted":
        order = torch.randperm(size[0] * size[1], generator=torch.Generator().manual_seed(JIGSAW_SEED))
        jigsaw = Permuted(jigsaw, order)
    return jigsaw
