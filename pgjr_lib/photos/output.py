"""Write the folder of ``pgjr cluster``: its files, and whose results it holds."""

import csv
import hashlib
import io
import os
from pathlib import Path

import numpy as np
import torch

from pgjr_lib.errors import PGJRError
from pgjr_lib.storage import atomic_write, read_json, save_tensors, write_json

TABLE, FEATURES, PAGE = "clusters.csv", "features.safetensors", "index.html"
CACHE, CHECKPOINT = "features", "checkpoint.safetensors"  # a stopped run resumes from these
OWNER = "made-from.json"
FILES = (TABLE, FEATURES, CHECKPOINT, PAGE, CACHE)


class OutputFolder:
    """An output folder, claimed for the results of one folder of images.

    Args:
        path: the output folder. It is created if needed, and marked as this folder's.
        folder: the images' folder.

    Attributes:
        path, page, cache, checkpoint: the folder, and where its parts lie.

    Raises:
        PGJRError: ``path`` is a file, or holds a file of such a name from another folder or of the user's own.
    """

    def __init__(self, path: Path, folder: Path):
        if path.exists() and not path.is_dir():
            raise PGJRError(f"{path} is a file: choose a folder with --out.")
        self.path, self.folder = path, folder
        self.page, self.cache, self.checkpoint = path / PAGE, path / CACHE, path / CHECKPOINT
        # a hash, because output folders are passed on, and because a path need not be text
        mark = {"folder": hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()}
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

    def write_clusters(self, files: list[str], points: np.ndarray, clusters: np.ndarray, distance: np.ndarray) -> None:
        """Write the table and the features.

        Args:
            files: N paths, relative to the images' folder.
            points: (N, d) float32 features.
            clusters: (N,) integers.
            distance: (N,) distances to the cluster's centre.
        """
        text = io.StringIO()
        table = csv.writer(text)  # the default line ends make it quote file names that hold one
        table.writerow(["file", "cluster", "distance"])
        table.writerows(zip(map(_cell, files), clusters.tolist(), (f"{d:.4f}" for d in distance), strict=True))
        tensors = {"features": torch.from_numpy(points), "clusters": torch.from_numpy(clusters)}
        save_tensors(self.path / FEATURES, tensors)
        atomic_write(self.path / TABLE, text.getvalue())

    def write_page(self, page: str) -> None:
        """Write the page. It is the last result, so the checkpoint is no longer needed."""
        atomic_write(self.page, page)
        self.checkpoint.unlink(missing_ok=True)


def _cell(file: str) -> str:
    """Return a path as a cell of a table: one that a spreadsheet would run as a formula begins with ./ then."""
    return f"./{file}" if file.startswith(("=", "+", "-", "@", "\t", "\r")) else file
