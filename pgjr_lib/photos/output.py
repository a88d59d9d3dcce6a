"""Write the folder of ``pgjr cluster``: its files, and whose results it holds."""

import csv
import hashlib
import io
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from pgjr_lib.errors import PGJRError
from pgjr_lib.photos.edits import KEY
from pgjr_lib.photos.page import THUMBNAILS, Photographs, write_thumbnails
from pgjr_lib.storage import atomic_write, read_json, save_tensors, write_json

TABLE, COPIES, FEATURES, PAGE = "clusters.csv", "duplicates.csv", "features.safetensors", "index.html"
CACHE, CHECKPOINT = "features", "checkpoint.safetensors"  # a stopped run resumes from these
HEAD, LAST_RUN, EDITS = "head.safetensors", "last-run.safetensors", "edits.json"  # the next run goes on from these
OWNER = "made-from.json"
INDEX = "index.json"  # in the cache: which file is which photograph
FILES = (TABLE, COPIES, FEATURES, CHECKPOINT, HEAD, LAST_RUN, EDITS, PAGE, THUMBNAILS, CACHE)


class OutputFolder:
    """An output folder, claimed for the results of one folder of images.

    Args:
        path: the output folder. It is created if needed, and marked as this folder's.
        folder: the images' folder.

    Attributes:
        path: the folder.
        key: 16 hexadecimal digits that stand for the folder of images.
        page, cache, checkpoint, head, last_run, edits, thumbnails: where its parts lie.

    Raises:
        PGJRError: ``path`` is a file, or holds a file of such a name from another folder or of the user's own.
    """

    def __init__(self, path: Path, folder: Path):
        if path.exists() and not path.is_dir():
            raise PGJRError(f"{path} is a file: choose a folder with --out.")
        self.path, self.folder = path, folder
        self.page, self.cache, self.checkpoint = path / PAGE, path / CACHE, path / CHECKPOINT
        self.head, self.last_run, self.edits = path / HEAD, path / LAST_RUN, path / EDITS
        self.thumbnails = path / THUMBNAILS
        # a hash, because output folders are passed on, and because a path need not be text
        mark = {"folder": hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()}
        self.key = mark["folder"][:KEY]
        owner, existing = path / OWNER, [name for name in FILES if (path / name).exists()]
        if existing and not (owner.is_file() and read_json(owner) == mark):
            raise PGJRError(
                f"{path} holds {existing[0]}, which as far as pgjr knows was not made from {folder}:"
                " choose another folder with --out, or remove it."
            )
        write_json(owner, mark)

    def holds(self, path: Path) -> bool:
        """Say whether ``path`` is one of the files written here; the output may lie among the images."""
        parts = Path(os.path.relpath(os.path.realpath(path), os.path.realpath(self.path))).parts
        return bool(parts) and parts[0] in (*FILES, OWNER)

    def link(self) -> str:
        """Return the relative path from the page to the images, "" where it would leave the output's parent folder.

        The path is kept short, so that a page does not reveal its user's directories.
        """
        path = os.path.relpath(os.path.realpath(self.folder), os.path.realpath(self.path))
        return "" if path.startswith(os.path.join("..", "..")) else Path(path).as_posix()

    def write_clusters(self, photographs: Photographs, names: dict[int, str], points: np.ndarray) -> None:
        """Write the tables and the features.

        Args:
            photographs: F files with their clusters.
            names: number of a cluster -> its name, for those that have one.
            points: (F, d) float32 features.
        """
        p = photographs
        rows = zip(map(_cell, p.files), p.clusters.tolist(), (f"{d:.4f}" for d in p.distance),
                   (_quoted(names.get(c, "")) for c in p.clusters.tolist()),
                   ("" if part < 0 else part + 1 for part in p.parts.tolist()), strict=True)  # fmt: skip
        tensors = {"features": torch.from_numpy(points), "clusters": torch.from_numpy(p.clusters)}
        save_tensors(self.path / FEATURES, tensors)
        _write_table(self.path / TABLE, ["file", "cluster", "distance", "name", "part"], rows)
        rows = (
            [c.group, _cell(p.files[c.row]), "yes" if c.best else "no", int(p.width[c.row]), int(p.height[c.row]), int(p.bytes[c.row]),
             "yes" if c.same else "no"]
            for c in p.copies
        )  # fmt: skip
        _write_table(self.path / COPIES, ["group", "file", "best", "width", "height", "bytes", "same bytes as another"], rows)

    def write_page(self, page: str, photographs: Photographs) -> None:
        """Write the page. It is the last result, so the checkpoint is no longer needed."""
        write_thumbnails(photographs, self.thumbnails)
        atomic_write(self.page, page)
        self.checkpoint.unlink(missing_ok=True)


def _write_table(path: Path, header: list[str], rows: Iterable) -> None:
    text = io.StringIO()
    table = csv.writer(text)  # the default line ends make it quote file names that hold one
    table.writerow(header)
    table.writerows(rows)
    atomic_write(path, text.getvalue())


FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would run a cell that begins with one of these


def _cell(file: str) -> str:
    """Return a path as a cell of a table: one that would be a formula begins with ./ then."""
    return f"./{file}" if file.startswith(FORMULA) else file


def _quoted(name: str) -> str:
    """Return a name as a cell of a table: one that would be a formula begins with an apostrophe then."""
    return f"'{name}" if name.startswith(FORMULA) else name
