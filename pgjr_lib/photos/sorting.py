"""Sort the photographs of a run into folders: which folder each goes to, and what the terminal says of it."""

import sys
from pathlib import Path

from pgjr_lib.errors import PGJRError
from pgjr_lib.photos import sort_files
from pgjr_lib.photos.grouping import NONE
from pgjr_lib.photos.page import Photographs


def finish_stopped(folder: Path, target: Path | None, mode: sort_files.Mode) -> bool:
    """Finish a sorting of ``folder`` into ``target`` that was stopped, and say whether there was one.

    Raises:
        PGJRError: another sorting into ``target`` was stopped.
    """
    stopped = sort_files.unfinished(target) if target is not None and target.is_dir() else None
    if stopped is None:
        return False
    manifest = sort_files.read_manifest(stopped)
    if (Path(manifest.source), manifest.mode) != (folder.resolve(), mode):
        raise PGJRError(f"{stopped} is another sorting that was stopped: `pgjr undo {stopped}` puts its files back first.")
    print("An earlier sorting was stopped: it is finished now, and nothing is clustered.", file=sys.stderr)
    _carry_out(stopped)
    return True


def sort_photographs(folder: Path, photographs: Photographs, named: dict[int, str], target: Path, mode: sort_files.Mode) -> None:
    """Copy, link or move the photographs into one folder a cluster, called by its number and its name if it has one.

    Raises:
        PGJRError: as :func:`pgjr_lib.photos.sort_files.plan`.
    """
    digits = len(str(max(photographs.clusters.max(), 0)))

    def place_of(number):
        if number == NONE:
            return "no cluster"
        return f"{number:0{digits}d} {named[number]}" if number in named else f"cluster {number:0{digits}d}"

    goals = [place_of(number) for number in photographs.clusters.tolist()]
    _carry_out(sort_files.plan(folder, photographs.files, photographs.digests, goals, target, mode))


def _carry_out(path: Path) -> None:
    report, mode = sort_files.carry_out(path), sort_files.read_manifest(path).mode
    sort_files.report_left(report.left)
    done = {"copy": "copied", "link": "linked", "move": "moved"}[mode]
    print(f"{done} {report.done:,} images to {path.parent}; `pgjr undo {path}` puts everything back")
