"""Figure 5 to move about in: the snapshots' t-SNE as an interactive map (plotly, which the book brings along)."""

import html
from pathlib import Path

from pgjr_book.show.figures import PALETTE
from pgjr_lib.templates import fill, script_data

TEMPLATE = Path(__file__).parent / "feature_map.html"


def feature_map(records: list[dict], class_names: list[str], name: str) -> str:
    """The map of one data set as HTML: a method to choose, an epoch to slide to, classes and image numbers on hover.

    Args:
        records: of runs that kept snapshots; one method each.
        class_names: of the set.
        name: the set's, as shown.
    """
    methods = [{"label": record["label"], **record["snapshots"]} for record in records]
    fields = {
        "id": "map-" + "".join(c if c.isalnum() else "-" for c in name),
        "alt": html.escape(f"t-SNE of the features on {name}; each point is an image, its colour the true class"),
        "name": html.escape(name),
        "data": script_data({"methods": methods, "classes": class_names, "colours": PALETTE}),
    }
    return fill(TEMPLATE, fields)
