"""Figures of the method: images, maps, regression matrices and the framework."""

import matplotlib.pyplot as plt
import numpy as np
import seaborn
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from pgjr_book.show.figures.style import PALETTE


def show_map(ax, image, title: str, blocks: int | None = None, grids: int | None = None) -> None:
    """Draw an image (H, W) or (H, W, 3) with white lines every ``grids`` pixels and orange ones every ``blocks``."""
    image = np.asarray(image)
    ax.imshow(np.clip(image, 0, 1) if image.ndim == 3 else image, cmap="gray", interpolation="nearest")
    for step, colour, width in ((grids, "white", 0.8), (blocks, PALETTE[4], 1.8)):
        for position in range(step, image.shape[0], step) if step else ():
            ax.axhline(position - 0.5, color=colour, lw=width)
        for position in range(step, image.shape[1], step) if step else ():
            ax.axvline(position - 0.5, color=colour, lw=width)
    ax.set_title(title)
    ax.set_axis_off()


def panels(rows: list[list[tuple]], size: float = 1.9):
    """Draw rows of images. A panel is (image, title, block step, grid step), or None for an empty place."""
    columns = max(len(row) for row in rows)
    figure, axes = plt.subplots(len(rows), columns, figsize=(size * columns, (size + 0.25) * len(rows)), squeeze=False)
    for row, line in zip(rows, axes, strict=True):
        for ax, panel in zip(line, [*row, *[None] * (columns - len(row))], strict=True):
            if panel is None:
                ax.set_axis_off()
            else:
                show_map(ax, *panel)
    figure.tight_layout()
    return figure


def matrices(named: dict[str, np.ndarray]):
    """Draw regression matrices (m, m) side by side on one scale; blue is negative, red positive."""
    size = (2.6 * len(named), 2.7)
    figure, axes = plt.subplots(1, len(named), figsize=size, squeeze=False, sharey=True, layout="constrained")
    limit = max(float(np.abs(matrix).max()) for matrix in named.values())
    for ax, (title, matrix) in zip(axes[0], named.items(), strict=True):
        seaborn.heatmap(matrix, vmin=-limit, vmax=limit, cmap="RdBu_r", square=True, cbar=False, ax=ax)
        ax.set(title=title, xlabel="grid j")
        ax.tick_params(axis="y", rotation=0)
    axes[0, 0].set_ylabel("grid r")
    figure.colorbar(axes[0, 0].collections[0], ax=axes[0].tolist(), label="A", fraction=0.03)
    return figure


def framework(shapes: dict[str, str]):
    """Draw the pGJR framework as boxes and arrows.

    Args:
        shapes: the shape of what leaves each box: "images", "prior", "embedding", "map", "jigsaw", "phi", "feature".
    """
    figure, ax = plt.subplots(figsize=(9.6, 3.8))
    ax.set(xlim=(0, 20.4), ylim=(0.4, 7.2))
    ax.set_axis_off()
    width = 3.0
    places = {  # name: (x, y, label, colour)
        "images": (0.2, 3.2, "images\nand views", "#bbbbbb"),
        "prior": (4.3, 3.2, "frozen prior", PALETTE[5]),
        "embedding": (8.4, 5.2, "embedding c̃,\nstandardised", PALETTE[4]),
        "map": (8.4, 1.2, "map Z, by PCA", PALETTE[4]),
        "jigsaw": (12.5, 1.2, "jigsaw J\nEqs. 1 to 4", PALETTE[1]),
        "phi": (16.6, 1.2, "φ: flatten,\nBatchNorm, ReLU", PALETTE[2]),
        "feature": (16.6, 5.2, "f, normalised\nEq. 7", PALETTE[0]),
    }
    for name, (x, y, label, colour) in places.items():
        box = FancyBboxPatch((x, y), width, 1.5, boxstyle="round,pad=0.08", fc=colour, ec="#333333", alpha=0.35)
        ax.add_patch(box)
        middle = x + width / 2
        ax.text(middle, y + 0.75, label, ha="center", va="center", fontsize=9.5)
        ax.text(middle, y - 0.2, shapes[name], ha="center", va="top", fontsize=9, color="#333333", family="monospace")
    ends = [("images", "prior"), ("prior", "embedding"), ("prior", "map"), ("map", "jigsaw"), ("jigsaw", "phi"),
            ("phi", "feature"), ("embedding", "feature")]  # fmt: skip
    for start, end in ends:
        (x0, y0, *_), (x1, y1, *_) = places[start], places[end]
        if x0 == x1:  # upwards, into the shape's label
            points = ((x0 + width / 2, y0 + 1.6), (x1 + width / 2, y1 - 0.75))
        else:
            points = ((x0 + width + 0.1, y0 + 0.75), (x1 - 0.1, y1 + 0.75))
        ax.add_patch(FancyArrowPatch(*points, arrowstyle="-|>", mutation_scale=12, color="#333333"))
    ax.text(14.0, 6.9, "trained by Eqs. 8 to 12, then clustered by k-means", fontsize=9.5, ha="center", va="bottom")
    figure.tight_layout()
    return figure
