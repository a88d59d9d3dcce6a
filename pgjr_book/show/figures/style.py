"""What all figures share: colours, dashes, fonts, and how a figure becomes HTML.

Colours are Okabe and Ito's, which colour-blind readers can tell apart; lines also differ in their dashes. Figures have a
white ground of their own, so that they look the same on light and dark pages.
"""

import base64
import html
import io

import matplotlib.pyplot as plt

from pgjr_book.show.palette import PALETTE

DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "^", "s", "D")

plt.rcParams.update({
    "font.size": 10, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False,
    "figure.facecolor": "white", "savefig.facecolor": "white", "figure.dpi": 180, "savefig.dpi": 180,
    "legend.frameon": False, "svg.fonttype": "none",
})  # fmt: skip


def line_style(number: int) -> dict:
    """Return the colour and the dashes of the ``number``-th line of a panel."""
    return {"color": PALETTE[number % len(PALETTE)], "ls": DASHES[number % len(DASHES)], "lw": 1.8}


METHODS = ("idfd", "gjr", "class-name", "imagenet-labels", "clip", "random")  # each has its colour in every figure


def method_style(variant: str) -> dict:
    """Return the line style of a variant's method: that of IDFD, of GJR with its controls, or of pGJR with a prior.

    Without a prior in its id, pGJR stands on the profile's own, the class-name prior's place.
    """
    own = next((name for name in METHODS if variant.startswith(f"{name}/")), None)
    return line_style(METHODS.index(own or {"idfd": "idfd", "pgjr": "class-name"}.get(variant, "gjr")))


def titled(figure, title: str, y: float = 1.0):
    """Write a title over the upper left corner of a figure, at the height ``y``, where 1 is the figure's own."""
    figure.suptitle(title, x=0.01, y=y, ha="left", va="bottom")
    return figure


def as_html(figure, alt: str) -> str:
    """Return a figure as an HTML image, for pages that show another page's figure, and close it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight")
    plt.close(figure)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img class="figure" alt="{html.escape(alt)}" src="data:image/png;base64,{data}">'
