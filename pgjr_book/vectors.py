"""Figures as SVG: notebooks make them beside the PNG that a page shows, and the book keeps them as files to save."""

from pathlib import Path

from pgjr_lib.storage import atomic_write

FOLDER = "vectors"  # below the book's _static
CLASS = "svg-"  # of an image that has such files; the id of its cell follows


def move_vectors(notebook: dict, stem: str, static: Path) -> None:
    """Move the SVG of every figure of an executed notebook into a file, and name its cell in the class of its images.

    The file of a cell's k-th figure is ``vectors/<stem>-<cell id>-<k>.svg``; ``book/_static/zoom.js`` links it.

    Args:
        notebook: as JSON; changed in place.
        stem: the notebook's name without .ipynb.
        static: the book's folder of static files.
    """
    for cell in notebook["cells"]:
        data = [output["data"] for output in cell.get("outputs", []) if "image/svg+xml" in output.get("data", {})]
        name = f"{stem}-{cell['id']}"
        for number, figure in enumerate(data):
            atomic_write(static / FOLDER / f"{name}-{number}.svg", "".join(figure.pop("image/svg+xml")))
        if data:
            image = cell["metadata"].setdefault("mystnb", {}).setdefault("image", {})
            image["classes"] = f"{CLASS}{name}"
