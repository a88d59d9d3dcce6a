"""Figures of what the jigsaw does to waves, at its start and after training."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import seaborn

from pgjr_book.show.figures.style import PALETTE, label_lines, line_style, titled

if TYPE_CHECKING:  # it imports torch, which other figures do without
    from pgjr_book.show.spectra import Learned, Response


def responses(panels: dict[str, list[Response]]):
    """Draw gains against frequency, a panel a title. Thin lines below are the amplitudes that come back in other waves."""
    figure, axes = plt.subplots(1, len(panels), figsize=(4.2 * len(panels), 3.3), squeeze=False, sharey=True)
    for ax, (title, curves) in zip(axes[0], panels.items(), strict=True):
        for number, curve in enumerate(curves):
            style = line_style(number)
            ax.plot(curve.frequencies, curve.gain, **style, label=curve.label)
            if curve.elsewhere.max() > 1e-6:
                ax.plot(curve.frequencies, curve.elsewhere, **{**style, "lw": 0.8}, label=f"{curve.label}: to other waves")
        _frequency_axis(ax, title)
    axes[0, 0].set_ylabel("gain")
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="upper center", ncols=3, bbox_to_anchor=(0.5, 0.02), fontsize=9)
    figure.tight_layout()
    return figure


def learned(rows: list[Learned], title: str):
    """Draw the variants of one set, a row each: A before and after training (means over seeds), and their responses.

    Thin lines are single seeds.
    """
    figure, axes = plt.subplots(
        len(rows), 3, figsize=(9, 2.7 * len(rows)), squeeze=False, layout="constrained", width_ratios=(1, 1, 1.5)
    )
    for (left, middle, right), row in zip(axes, rows, strict=True):
        pair = row.start.mean(0), row.end.mean(0)
        limit = max(float(np.abs(matrix).max()) for matrix in pair) or 1.0
        for ax, matrix, when in zip((left, middle), pair, ("start", "learned"), strict=True):
            seaborn.heatmap(matrix, vmin=-limit, vmax=limit, cmap="RdBu_r", square=True, cbar=False, ax=ax)
            ax.set(title=f"A, {when}", xlabel="grid j")
            ax.tick_params(axis="y", rotation=0)
        left.set_ylabel(f"{fill(row.label, 26)}\n\ngrid r", fontsize=9)
        figure.colorbar(middle.collections[0], ax=middle, fraction=0.05)
        _spectrum(right, row)
    return titled(figure, title)


def _spectrum(ax, row: Learned) -> None:
    """Draw the responses of one variant, or say that it has none."""
    if row.blur is None:
        ax.set_axis_off()
        ax.text(0.5, 0.5, "no frequencies:\npositions have no order", ha="center", va="center", color="#666666")
        return
    for curve in row.after:
        ax.plot(curve.frequencies, curve.gain, color=PALETTE[1], lw=0.6, alpha=0.6)
    for curves, style, label in (
        (row.after, {"color": PALETTE[1], "lw": 1.8}, "learned"),
        (row.before, {"color": PALETTE[0], "lw": 1.8, "ls": "--"}, "start"),
        ([row.blur], {"color": "#333333", "lw": 1.2, "ls": ":"}, "blur"),
    ):
        ax.plot(row.blur.frequencies, np.mean([curve.gain for curve in curves], axis=0), **style, label=label)
    _frequency_axis(ax, f"gain, n = {row.n}, g = {row.g}")
    label_lines(ax)


def _frequency_axis(ax, title: str) -> None:
    ax.axhline(0, color="#666666", lw=0.8, ls=":")
    ticks = (0, 1 / 8, 1 / 4, 3 / 8, 1 / 2)
    ax.set(title=title, xlabel="frequency, waves a pixel", xlim=(0, 0.5), xticks=ticks)
    ax.set_xticklabels(["0", "1/8", "1/4", "3/8", "1/2"])
