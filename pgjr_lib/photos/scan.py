"""Find out what a folder holds now: photographs, what cannot be read, and what is not read."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from pgjr_lib.data.folders import HEIF_SUFFIXES, RAW_SUFFIXES
from pgjr_lib.errors import PGJRError
from pgjr_lib.photos import encoding
from pgjr_lib.photos.index import Index
from pgjr_lib.photos.output import OutputFolder
from pgjr_lib.photos.store import Store

NAMED = 10  # file names in one message on the terminal; the page lists all


@dataclass
class Scan:
    """The files of a folder: those that are images, and those that are left out, as names for the page."""

    files: list[str]
    digests: list[str]
    skipped: list[str] = field(default_factory=list)
    raw: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


def bring_up_to_date(
    index: Index, store: Store, folder: Path, images: list[Path], others: list[Path], output: OutputFolder, prior: str, device: str,
    views: int | None,
) -> Scan:  # fmt: skip
    """Bring index and store up to date with a folder, and say on the terminal what was found.

    Args:
        index, store: of the last run.
        folder, images, others: the folder, and what :func:`pgjr_lib.data.list_images` found in it.
        output: whose files are none of the user's.
        prior, device, views: as for :func:`pgjr_lib.photos.encoding.update`.

    Raises:
        PGJRError: there are fewer than three readable images.
    """
    others = [path for path in others if not output.holds(path)]
    names_of = lambda paths: [as_text(path.relative_to(folder)) for path in paths]  # noqa: E731
    raw = names_of(path for path in others if path.suffix.lower() in RAW_SUFFIXES)
    skipped = names_of(path for path in others if path.suffix.lower() not in RAW_SUFFIXES)
    _report("Skipped files that are not images of a readable format", skipped)
    _report("Skipped RAW files; export them, for example as JPEG, to include them", raw)
    if any(name.lower().endswith(tuple(HEIF_SUFFIXES)) for name in skipped):
        print("`pip install 'pgjr[heic]'` lets pgjr read HEIC images; or convert them to JPEG.", file=sys.stderr)
    unread = set(index.scan(folder, [path for path in images if not output.holds(path)]))
    missing = [file for file, e in index.now.items() if file in unread or (not e.error and e.digest not in store)]
    try:
        encoded = encoding.update(index, store, folder, missing, prior, device, views)
    finally:
        index.save()  # after a stop, too: what was read is not read again
    good = [(file, entry) for file, entry in index.now.items() if not entry.error]
    damaged = sorted(file for file, entry in index.now.items() if entry.error)
    _report("Left out damaged images", damaged)
    if len(good) < 3:
        raise PGJRError(f"{folder} holds {len(good)} readable images: at least three are needed to cluster.")
    store.keep_only({entry.digest for _, entry in good})
    if index.last:
        renamed = index.renamed()
        gone = len(set(index.last) - set(index.now)) - len(renamed)
        counts = f"{encoded:,} encoded now, {len(renamed):,} renamed or moved, {max(gone, 0):,} gone since the last run"
        print(f"{len(good):,} images: {counts}.", file=sys.stderr)
    return Scan([file for file, _ in good], [entry.digest for _, entry in good], skipped, raw, damaged)


def _report(what: str, files: list[str]) -> None:
    """Print how many files there are and the names of the first."""
    if files:
        more = f" and {len(files) - NAMED} more" if len(files) > NAMED else ""
        print(f"{what} ({len(files)}): {', '.join(files[:NAMED])}{more}.", file=sys.stderr)


def as_text(path) -> str:
    """Return a path as text, with a question mark for what is not UTF-8."""
    return str(path).encode(errors="replace").decode()
