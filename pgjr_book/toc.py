"""The table of contents, _toc.yml."""

from pathlib import Path

import yaml


def toc_notebooks(home: Path) -> list[Path]:
    """Return the notebooks that the table of contents names, in its order."""
    toc = yaml.safe_load((home / "_toc.yml").read_text())
    files: list[str] = []

    def walk(node) -> None:
        if isinstance(node, dict):
            files.extend(value for key, value in node.items() if key == "file")
            node = list(node.values())
        if isinstance(node, list):
            for child in node:
                walk(child)

    walk(toc)
    return [home / f"{name.removesuffix('.ipynb')}.ipynb" for name in files if name.startswith("notebooks/")]
