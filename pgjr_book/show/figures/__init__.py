"""Records and tensors in, matplotlib figures out: no training, no files.

``figures.style`` holds colours and what figures share, ``figures.method`` draws the method, ``figures.results`` draws records,
``figures.spectrum`` draws what the jigsaw does to waves.
"""

from pgjr_book.show.figures.method import framework, matrices, panels, show_map
from pgjr_book.show.figures.results import (
    choices,
    confusion,
    convergence,
    differences,
    distributions,
    exemplars,
    forest,
    growth,
    landscape,
    lengths,
    sensitivity,
    story,
    strength,
)
from pgjr_book.show.figures.spectrum import learned, responses
from pgjr_book.show.figures.style import PALETTE, as_html

__all__ = [
    "PALETTE",
    "as_html",
    "choices",
    "confusion",
    "convergence",
    "differences",
    "distributions",
    "exemplars",
    "forest",
    "framework",
    "growth",
    "landscape",
    "learned",
    "lengths",
    "matrices",
    "panels",
    "responses",
    "sensitivity",
    "show_map",
    "story",
    "strength",
]
