"""Render the page of ``pgjr cluster``: one file, or beside a folder of thumbnails where there are many photographs."""

import base64
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup

from pgjr_lib.photos.duplicates import Copy
from pgjr_lib.photos.edits import FORMAT, KEY

TEMPLATE = Path(__file__).parent / "template"
SCRIPTS = ("data.js", "galleries.js", "dialog.js", "edits.js", "map.js", "search.js")  # in the order in which they run
ONE_FILE = 4000  # photographs on a page that holds their thumbnails itself, at most
NEAREST, FARTHEST = 24, 8  # images at both ends of every cluster, which the page shows unfolded
THUMBNAILS = "thumbnails"  # the folder beside a page of more


@dataclass(frozen=True, eq=False)
class Photographs:
    """What the page shows of F files.

    Attributes:
        files: paths, relative to the images' folder.
        digests: SHA-256 of each.
        clusters: (F,) integers.
        distance: (F,) distances to the cluster's centre.
        plane: (F, 2) places on the map, in [0, 1].
        width, height, bytes: (F,) of each file.
        parts: (F,) the part within the cluster, -1 for none.
        neighbours: (F, n) indices of the files that are most like it.
        thumbnails: F JPEG files.
        copies: near-duplicates; ``row`` is an index of a file.
    """

    files: list[str]
    digests: list[str]
    clusters: np.ndarray
    distance: np.ndarray
    plane: np.ndarray
    width: np.ndarray
    height: np.ndarray
    bytes: np.ndarray
    parts: np.ndarray
    neighbours: np.ndarray
    thumbnails: list[bytes]
    copies: list[Copy]


def render(photographs: Photographs, clusters: list[dict], key: str, highest: int, about: dict) -> str:
    """Fill the template. File names reach the page as data, so none of them can become markup.

    Args:
        photographs: what is shown.
        clusters: for each its ``number``, ``name`` and ``suggestions``, a list of (word, score).
        key: names the folder in files of edits.
        highest: the highest number that a cluster has or had.
        about: the texts and numbers beside the galleries: ``folder`` (its name), ``prior``, ``supervision``, ``note``,
            ``skipped``, ``raw`` and ``damaged`` (file names), ``link`` (relative path from the page to the images, or
            ""), ``method`` (a sentence), ``head`` and ``reason``, ``changes`` (a sentence or ""), ``guess`` (rows of
            :func:`pgjr_lib.photos.choose_k.guess_k`) and ``scores``.

    Returns:
        HTML that needs no other file but, for more than ``ONE_FILE`` photographs, those of :func:`write_thumbnails`.
        Its policy lets the browser run these scripts alone, and load nothing but images from this machine.
    """
    p, embedded = photographs, len(photographs.files) <= ONE_FILE
    pictures = [[base64.b64encode(thumbnail).decode()] if embedded else [] for thumbnail in p.thumbnails]
    columns = (
        p.files, p.clusters.tolist(), np.round(p.distance.astype(float), 4).tolist(), *np.round(p.plane.astype(float), 4).T.tolist(),
        [digest[:KEY] for digest in p.digests], p.width.tolist(), p.height.tolist(), p.bytes.tolist(), p.parts.tolist(),
        p.neighbours.tolist(),
    )  # fmt: skip
    page = {
        "about": about, "clusters": clusters, "key": key, "highest": highest, "format": FORMAT,
        "images": [[*row, *picture] for *row, picture in zip(*columns, pictures, strict=True)],
        "copies": [[copy.row, copy.group, copy.best, copy.same] for copy in p.copies],
        "thumbnails": "" if embedded else THUMBNAILS, "nearest": NEAREST, "farthest": FARTHEST,
    }  # fmt: skip
    style = (TEMPLATE / "page.css").read_text()
    script = "".join((TEMPLATE / name).read_text() for name in SCRIPTS)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string((TEMPLATE / "page.html").read_text()).render(
        title=about["folder"], page=page, style=style, script=script, style_hash=_csp(style), script_hash=_csp(script)
    )


def write_thumbnails(photographs: Photographs, folder: Path) -> None:
    """Bring the folder of thumbnails beside the page up to date: each named by its photograph, others removed.

    A thumbnail can be made again, so none is synced to the disk by itself.
    """
    wanted = {}
    if len(photographs.files) > ONE_FILE:
        names = (f"{digest[:2]}/{digest[:KEY]}.jpg" for digest in photographs.digests)
        wanted = dict(zip(names, photographs.thumbnails, strict=True))
    here = {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.glob("??/*.jpg")}
    for name in set(here) - set(wanted):
        (folder / name).unlink()
    for place in {name[:2] for name in wanted}:
        (folder / place).mkdir(parents=True, exist_ok=True)
    for name, thumbnail in wanted.items():
        if here.get(name) != len(thumbnail):
            partial = folder / f"{name}.partial"
            partial.write_bytes(thumbnail)
            os.replace(partial, folder / name)


def _csp(text: str) -> Markup:
    """Return the hash by which a page's policy knows a script or style of its own."""
    return Markup("sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode())
