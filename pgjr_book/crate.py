"""Pack the committed records with the rules and the book's figures as an RO-Crate (https://w3id.org/ro/crate), for an archive.

A crate is a zip whose ``ro-crate-metadata.json`` describes every file in it, so that the records can be found and read without
this repository.
"""

import os
from pathlib import Path

from pgjr_book.make import build_root
from pgjr_book.manifest import home
from pgjr_book.pdf import NAME as PDF
from pgjr_book.records import read_record
from pgjr_book.vectors import FOLDER
from pgjr_lib.errors import PGJRError
from pgjr_lib.storage import file_sha256

PAPER = "https://doi.org/10.1007/s00530-025-01703-x"
MIT = "https://spdx.org/licenses/MIT"
FILES = {  # what explains the records -> what it is
    "experiments.yaml": "the experiments: every run that the tables and figures read",
    "book/plan.md": "the study plan, written before the runs",
    "pgjr_book/verdicts.py": "the rules that judge the claims, committed before the runs",
    "book/published.csv": "numbers of the literature, each with its source",
    "CITATION.cff": "how to cite this",
    "LICENSE": "the license of the code and the records",
}


def write_crate(target: Path) -> int:
    """Write the crate of the committed records to ``target``, atomically, with the published book's figures where they are built.

    Returns:
        The number of records in it.

    Raises:
        PGJRError: there is no record, one is damaged, or the package rocrate is missing.
    """
    try:
        from rocrate.rocrate import ROCrate
    except ImportError:
        raise PGJRError("A crate needs the package rocrate: pip install -e '.[dev]' in your clone.") from None
    paths = sorted((home() / "results").glob("*.json"))
    if not paths:
        raise PGJRError(f"{home() / 'results'} holds no records: there is nothing to pack.")
    crate = ROCrate()
    crate.name = "Grid Jigsaw Representation with CLIP: records of a companion"
    crate.description = "Run records behind every number of the companion book, with the rules that judge them and the book's figures."
    crate.license = MIT
    crate.keywords = ["image clustering", "self-supervised learning", "CLIP", "jigsaw", "reproducibility"]
    crate.isBasedOn = PAPER
    for path in paths:
        crate.add_file(path, f"results/{path.name}", properties=_described(path))
    for name, description in FILES.items():
        crate.add_file(home() / name, name, properties={"name": name, "description": description})
    html = build_root("published") / "html"
    for figure in sorted((html / "_static" / FOLDER).glob("*.svg")):
        page = f"figure of {figure.stem}"
        crate.add_file(figure, f"figures/{figure.name}", properties={"name": page, "encodingFormat": "image/svg+xml"})
    if (html / PDF).is_file():
        crate.add_file(html / PDF, PDF, properties={"name": "the whole book", "encodingFormat": "application/pdf"})
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.stem}.draft.zip")
    try:
        crate.write_zip(draft)
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)
    return len(paths)


def _described(path: Path) -> dict:
    """Return what the crate says of a record."""
    record = read_record(path)
    config, made = record["config"], record["provenance"]
    run = f"{config['method']} on {config['dataset']} ({config['split']}), seed {config['seed']}"
    return {
        "name": run, "encodingFormat": "application/json", "dateCreated": made["started"], "sha256": file_sha256(path),
        "softwareVersion": made["commit"] or "unknown", "description": f"Scores, curve and provenance of one run: {run}.",
    }  # fmt: skip
