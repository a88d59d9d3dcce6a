"""Render the page of ``pgjr cluster``: galleries, sizes, a map with thumbnails, and a search, in one file."""

import base64
from pathlib import Path

import jinja2
import numpy as np

from pgjr_lib.data.decoding import thumbnails
from pgjr_lib.projection import tsne

TEMPLATE = Path(__file__).parent / "page.html"
MAP_IMAGES, THUMBNAIL = 4000, 96  # images on the page, at most, and the side of their thumbnails in pixels
NEAREST, FARTHEST = 24, 8  # images at both ends of every cluster, which the page always has and shows unfolded


def render(
    folder: Path, files: list[str], points: np.ndarray, clusters: np.ndarray, distance: np.ndarray, about: dict
) -> str:
    """Fill the template. File names reach the page as data, so none of them can become markup.

    Args:
        folder: where the images are.
        files: N paths, relative to ``folder``.
        points: (N, d) features.
        clusters: (N,) integers from 0.
        distance: (N,) distances to the cluster's centre.
        about: the texts and numbers beside the galleries: ``folder`` (its name), ``prior``, ``supervision``, ``note``,
            ``skipped`` and ``damaged`` (file names), ``link`` (relative path from the page to the images, or ""),
            ``epochs``, ``seed``, ``guess`` (rows of :func:`pgjr_lib.photos.choose_k.guess_k`) and ``scores``.

    Returns:
        HTML that needs no other file; images are embedded as thumbnails.
    """
    selection = select(clusters, distance)
    plane = tsne(points[selection])
    pictures = thumbnails([folder / files[i] for i in selection], THUMBNAIL)
    plane = (plane - plane.min(0)) / np.ptp(plane, axis=0).clip(1e-9)
    rows = [
        [files[i], int(clusters[i]), round(float(distance[i]), 4), round(float(x), 4), round(float(y), 4),
         base64.b64encode(thumbnail).decode()]
        for i, (x, y), thumbnail in zip(selection, plane, pictures, strict=True)
    ]  # fmt: skip
    page = {"about": about, "sizes": np.bincount(clusters).tolist(), "images": rows, "total": len(files),
            "nearest": NEAREST, "farthest": FARTHEST}  # fmt: skip
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(TEMPLATE.read_text()).render(title=about["folder"], page=page)


def select(clusters: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Choose the images that a page shows: the ends of every cluster first, then others at random.

    Args:
        clusters: (N,) integers.
        distance: (N,) distances to the cluster's centre.

    Returns:
        Sorted indices of at most ``MAP_IMAGES`` images.
    """
    if len(clusters) <= MAP_IMAGES:
        return np.arange(len(clusters))
    ends = []
    for c in np.unique(clusters):
        members = np.flatnonzero(clusters == c)
        members = members[np.argsort(distance[members])]
        ends += [*members[:NEAREST], *members[-FARTHEST:]]
    others = np.random.default_rng(0).permutation(len(clusters))
    return np.sort(list(dict.fromkeys([*ends, *others]))[:MAP_IMAGES])
