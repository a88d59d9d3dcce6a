"""What all figures share: colours, dashes, fonts, and how a figure becomes HTML.

Colours are Okabe and Ito's, which colour-blind readers can tell apart; lines also differ in their dashes. Figures have a
white ground of their own, so that they look the same on light and dark pages.
"""

import base64
import html
import io
import sys

import matplotlib.pyplot as plt

from pgjr_book.show.palette import PALETTE

DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "^", "s", "D")

plt.rcParams.update({
    "font.size": 10, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False,
    "figure.facecolor": "white", "savefig.facecolor": "white", "figure.dpi": 180, "savefig.dpi": 180,
    "legend.frameon": False, "svg.fonttype": "none",
})  # fmt: skip


if "IPython" in sys.modules and (shell := sys.modules["IPython"].get_ipython()):  # a notebook keeps its figures as SVG, too
    shell.run_line_magic("config", "InlineBackend.figure_formats = {'png', 'svg'}")


def line_style(number: int) -> dict:
    """Return the colour and the dashes of the ``number``-th line of a panel."""
    return {"color": PALETTE[number % len(PALETTE)], "ls": DASHES[number % len(DASHES)], "lw": 1.8}


METHODS = ("idfd", "gjr", "class-name", "imagenet-labels", "clip", "random")  # each has its colour in every figure


def method_style(variant: str) -> dict:
    """Return the line style of a variant's method: that of IDFD, of GJR with its controls, or of pGJR with a prior.

    Without a prior in its id, pGJR stands on the profile's own, the class-name prior's place.
    """
    own = next((name for name in METHODS if variant.startswith((f"{name}/", f"{name}-"))), None)
    return line_style(METHODS.index(own or {"idfd": "idfd", "pgjr": "class-name"}.get(variant, "gjr")))


def titled(figure, title: str, y: float = 1.0):
    """Write a title over the upper left corner of a figure, at the height ``y``, where 1 is the figure's own."""
    figure.suptitle(title, x=0.01, y=y, ha="left", va="bottom")
    return figure


def label_lines(ax, size: float = 8.0) -> None:
    """Write the label of each line beside the panel, in the line's colour and at the height of its end, in place of a legend.

    Labels that would overlap move apart.

    Args:
        ax: a panel with lines; those without a label are left out.
        size: of the letters, in points.
    """
    ends = [(line.get_ydata()[-1], line) for line in ax.lines if not line.get_label().startswith("_")]
    ax.autoscale_view()  # else the limits are found only when the figure is drawn
    to_panel = ax.transData + ax.transAxes.inverted()
    heights = {line: to_panel.transform((line.get_xdata()[-1], y))[1] for y, line in ends}
    gap = 1.5 * size * ax.figure.dpi / 72 / ax.get_window_extent().height  # of a line of text, in panels
    placed: list[float] = []
    ordered = sorted(heights, key=heights.__getitem__)
    for line in ordered:
        placed.append(max(heights[line], placed[-1] + gap) if placed else heights[line])
    over = max(0.0, placed[-1] - 1) if placed else 0.0  # a pile that grew over the panel moves down
    for line, height in zip(ordered, placed, strict=True):
        ax.text(1.02, height - over, line.get_label(), transform=ax.transAxes, color=line.get_color(), fontsize=size, va="center")


def as_html(figure, alt: str) -> str:
    """Return a figure as an HTML image, for pages that show another page's figure, and close it. It brings its SVG along."""
    data = {}
    for kind in ("png", "svg"):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, bbox_inches="tight")
        data[kind] = base64.b64encode(buffer.getvalue()).decode()
    plt.close(figure)
    sources = f'src="data:image/png;base64,{data["png"]}" data-svg="data:image/svg+xml;base64,{data["svg"]}"'
    return f'<img class="figure" alt="{html.escape(alt)}" {sources}>'
