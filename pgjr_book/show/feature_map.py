"""Figure 5 as an interactive map: the t-SNE of the snapshots, drawn by plotly, which the book brings along."""

from pgjr_book.show.palette import PALETTE
from pgjr_book.show.templates import fill


def feature_map(records: list[dict], class_names: list[str], name: str) -> str:
    """Return the map of one data set as HTML: a method to choose, an epoch to slide to, classes and images on hover.

    Args:
        records: runs that kept snapshots, one a method.
        class_names: names of the set's classes, in the order of their labels.
        name: the set's name on the page; the map's id is made from it.
    """
    methods = [{"label": record["label"], **record["snapshots"]} for record in records]
    data = {"methods": methods, "classes": class_names, "colours": PALETTE}
    return fill("feature_map.html", id="map-" + "".join(c if c.isalnum() else "-" for c in name), name=name, data=data)
