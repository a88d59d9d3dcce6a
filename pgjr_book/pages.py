"""What the notebooks of a profile show, as HTML for another notebook: tables and figures, without the code and the prose."""

import html
import json
import shutil
from dataclasses import replace

from pgjr_book.execution import execute_notebook
from pgjr_book.make import build_root, cost, plan, rated_on_cards
from pgjr_book.manifest import home, known, load_manifest
from pgjr_book.show.plan import plan_text

GLUED = "application/papermill.record"  # of outputs that other pages paste, and nobody shows twice


def show_pages(names, profile: str) -> str:
    """Execute notebooks and return their titles, tables and figures as HTML, one after another.

    Raises:
        PGJRError: a notebook that does not exist or fails.
    """
    parts = []
    for name in names:
        path = build_root(profile) / "notebooks" / f"{name}.ipynb"
        execute_notebook(home() / "notebooks" / f"{name}.ipynb", path, {"profile": profile})
        parts += _shown(json.loads(path.read_text())["cells"])
    return "\n".join(parts)


def plan_of(profile: str, card: str) -> str:
    """Return a profile's plan as text, at the rates of a card where these are of its CNN, else at its own.

    Only the experiments that it runs are named, and not what is missing here.

    Raises:
        PGJRError: no such profile or card.
    """
    settings = known(load_manifest().profiles, profile, "profile")
    planned = plan(profile)
    run_here = {name: entry for name, entry in planned.experiments.items() if entry.experiment.runs}
    planned = replace(planned, experiments=run_here, missing=[], to_fetch=[])
    return plan_text(settings, planned, cost(planned, card if rated_on_cards(settings) else None), shutil.disk_usage(home()).free)


def _shown(cells: list[dict]) -> list[str]:
    parts = []
    for cell in cells:
        if cell["cell_type"] == "markdown":
            headings = [line for line in "".join(cell["source"]).splitlines()[:1] if line.startswith("# ")]
            parts += [f"<h2>{html.escape(line[2:])}</h2>" for line in headings]
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if any(kind.startswith(GLUED) for kind in data):
                continue
            if "text/html" in data:
                parts.append("".join(data["text/html"]))
            elif "image/png" in data:
                parts.append(f'<img style="max-width: 100%" src="data:image/png;base64,{"".join(data["image/png"]).strip()}">')
    return parts
