"""Implement the Grid Jigsaw operator J, equations 1 to 4 of the book's method page.

A map is divided into blocks and grids, every grid is regressed linearly from the grids of its own block, and
the map is put together again. n is the number of grids along a block's side, g the pixels along a grid's side,
s = n * g the pixels along a block's side.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pgjr_lib.options import COMBINE, MODES, PAD


def divide_blocks(z: Tensor, s: int) -> Tensor:
    """Divide a map into blocks, equation 1.

    Args:
        z: (B, C, H, W) with H and W multiples of ``s``.
        s: pixels along a block's side.

    Returns:
        (B, C, H/s, W/s, s, s), a view of ``z`` where its layout allows one.
    """
    return z.unflatten(3, (-1, s)).unflatten(2, (-1, s)).transpose(3, 4)


def divide_grids(blocks: Tensor, n: int) -> Tensor:
    """Divide each block into n * n grids in reading order, equation 2.

    Args:
        blocks: (B, C, h, w, s, s) with s a multiple of ``n``.
        n: grids along a block's side.

    Returns:
        (B, C, h, w, n*n, g, g) with g = s / n.
    """
    return blocks.unflatten(5, (n, -1)).unflatten(4, (n, -1)).transpose(5, 6).flatten(4, 5)


def reassemble(grids: Tensor, n: int) -> Tensor:
    """Reassemble the map, equation 4: the exact inverse of equations 2 and 1.

    Args:
        grids: (B, C, h, w, n*n, g, g).
        n: grids along a block's side.

    Returns:
        (B, C, h*n*g, w*n*g).
    """
    blocks = grids.unflatten(4, (n, n)).transpose(5, 6).flatten(6, 7).flatten(4, 5)
    return blocks.transpose(3, 4).flatten(4, 5).flatten(2, 3)


def visible_grids(n: int, mode: str) -> tuple[Tensor, Tensor]:
    """Return which grids each grid is regressed from, and which grids keep themselves.

    ``surround``: every grid sees all the others, never itself. ``reference``: only the centre grid (n odd; else
    the first) is regressed. ``sequential``: grids are ordered by their distance from the reference outward, and
    each sees only those before it; the first keeps itself (our reading of "sequential and incremental").

    Returns:
        mask: (n*n, n*n) float of zeros and ones, mask[r, j] = 1 where grid r sees grid j.
        keep: (n*n,) float, 1 where a grid is not regressed and keeps itself.
    """
    m = n * n
    reference = (n // 2) * n + n // 2 if n % 2 else 0
    mask, keep = torch.zeros(m, m), torch.zeros(m)
    if mode == "surround":
        mask = 1.0 - torch.eye(m)
    elif mode == "reference":
        mask[reference] = 1.0
        mask[reference, reference] = 0.0
        keep = 1.0 - F.one_hot(torch.tensor(reference), m).float()
    else:
        row, column = reference // n, reference % n
        order = sorted(range(m), key=lambda r: ((r // n - row) ** 2 + (r % n - column) ** 2, r))
        for position, r in enumerate(order):
            mask[r, order[:position]] = 1.0
        keep[reference] = 1.0
    return mask, keep


class GridJigsaw(nn.Module):
    """Apply the jigsaw operator J: divide (1, 2), regress linearly (3), reconstruct (4).

    The regression matrix starts at 1/(n^2 - 1) + N(0, 0.02^2) off its diagonal, the bias at 0. Maps whose sides are no
    multiples of s are padded by reflection on the right and below, and cropped again afterwards.

    Args:
        n: grids along a block's side, at least 2.
        g: pixels along a grid's side, at least 1.
        mode: ``surround``, ``reference`` or ``sequential``, see :func:`visible_grids`.
        combine: ``replace`` gives the regressed map, ``residual`` adds it to the map, ``concat`` stacks both
            along the channels.
        channels: None shares one matrix over all channels; a number gives each of that many its own.
        pad: ``reflect``, or ``error`` to refuse maps that do not divide.

    Shape:
        (B, C, H, W) -> (B, C, H, W), or (B, 2C, H, W) with ``concat``; any floating dtype.

    Raises:
        ValueError: an unknown option; or a map of integers, with other channels than ``channels``, that does not
            divide (``error``) or that is too small to pad.

    Example:
        >>> GridJigsaw(n=2, g=2)(torch.randn(8, 64, 8, 8)).shape
        torch.Size([8, 64, 8, 8])
    """

    def __init__(self, n=2, g=1, mode="surround", combine="residual", channels=None, pad="reflect"):
        super().__init__()
        for name, value, known in (("mode", mode, MODES), ("combine", combine, COMBINE), ("pad", pad, PAD)):
            if value not in known:
                raise ValueError(f"GridJigsaw: {name}={value!r} is unknown: choose one of {', '.join(known)}.")
        if n < 2 or g < 1:
            raise ValueError(f"GridJigsaw: n={n}, g={g} given, but n must be at least 2 and g at least 1.")
        self.n, self.g, self.mode, self.combine, self.channels, self.pad = n, g, mode, combine, channels, pad
        m = n * n
        shape = (m, m) if channels is None else (channels, m, m)
        self.weight = nn.Parameter(1.0 / (m - 1) + 0.02 * torch.randn(shape))  # A of equation 3
        self.bias = nn.Parameter(torch.zeros(shape[:-1]))  # b of equation 3
        mask, keep = visible_grids(n, mode)
        self.register_buffer("mask", mask, persistent=False)
        self.register_buffer("keep", keep, persistent=False)

    def extra_repr(self) -> str:
        return f"n={self.n}, g={self.g}, mode={self.mode}, combine={self.combine}, channels={self.channels}"

    def matrix(self) -> Tensor:
        """Return A of equation 3 as it acts: masked, the identity where a grid keeps itself; (n*n, n*n) or (C, ...)."""
        return self.weight * self.mask + torch.diag(self.keep)

    def offset(self) -> Tensor:
        """Return b of equation 3 as it acts: zero where a grid keeps itself; (n*n,) or (C, n*n)."""
        return self.bias * (1.0 - self.keep)

    def regress(self, grids: Tensor) -> Tensor:
        """Apply equation 3: each grid becomes a linear function of the grids it sees.

        Args:
            grids: (B, C, h, w, n*n, g, g).

        Returns:
            The regressed grids, of the same shape.
        """
        A, b = self.matrix().to(grids.dtype), self.offset().to(grids.dtype)
        if self.channels is not None:  # one matrix a channel: line up with (B, C, h, w, ...)
            A, b = A[:, None, None], b[:, None, None]
        regressed = A @ grids.flatten(-2) + b[..., None]  # G_hat_r = sum_j A_rj G_j + b_r
        return regressed.unflatten(-1, grids.shape[-2:])

    def divide(self, z: Tensor) -> Tensor:
        """Apply equations 1 and 2, with padding: (B, C, H, W) -> (B, C, h, w, n*n, g, g)."""
        self._check(z)
        return divide_grids(divide_blocks(self._padded(z), self.n * self.g), self.n)

    def forward(self, z: Tensor) -> Tensor:
        H, W = z.shape[-2:]
        regressed = reassemble(self.regress(self.divide(z)), self.n)[..., :H, :W]
        if self.combine == "replace":
            return regressed
        return z + regressed if self.combine == "residual" else torch.cat([z, regressed], dim=1)

    def regression_error(self, z: Tensor) -> Tensor:
        """Return L_R of equation 11, a scalar: mean squared error of the regressed grids against the detached grids."""
        grids = self.divide(z)
        return F.mse_loss(self.regress(grids), grids.detach())

    def _check(self, z: Tensor) -> None:
        if z.ndim != 4:
            raise ValueError(f"GridJigsaw: a map of shape {tuple(z.shape)} given, but (B, C, H, W) is needed.")
        if not z.is_floating_point():
            raise ValueError(f"GridJigsaw: a map of {z.dtype} given, but floating-point numbers are needed.")
        if self.channels not in (None, z.shape[1]):
            raise ValueError(f"GridJigsaw: a map of {z.shape[1]} channels given, but {self.channels} are needed.")

    def _padded(self, z: Tensor) -> Tensor:
        (H, W), s = z.shape[-2:], self.n * self.g
        right, below = -W % s, -H % s
        if not (right or below):
            return z
        if self.pad == "error":
            raise ValueError(
                f"GridJigsaw: a map of {H}x{W} does not divide into blocks of {s}x{s} (n={self.n}, g={self.g})."
            )
        if right >= W or below >= H:  # reflection has at most size - 1 pixels to give
            raise ValueError(
                f"GridJigsaw: a map of {H}x{W} is too small for blocks of {s}x{s}: choose a smaller n or g."
            )
        return F.pad(z, (0, right, 0, below), mode="reflect")
