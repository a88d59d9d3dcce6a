"""The repository's address: links that open pages on Colab and Binder, and where a lone notebook gets the rest."""

import re
from pathlib import Path

from pgjr_book.provenance import git
from pgjr_book.toc import toc_notebooks
from pgjr_lib.errors import PGJRError
from pgjr_lib.storage import atomic_write

README_NOTEBOOK = "notebooks/run-on-a-gpu.ipynb"  # what the README's badge opens


def launch_links(home: Path) -> dict:
    """Return Jupyter Book's settings for Colab and Binder, from the GitHub remote; {} where there is none."""
    remote, commit = git(home, "remote", "get-url", "origin"), git(home, "rev-parse", "HEAD")
    github = re.search(r"github\.com[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?$", remote or "")
    if not github or not commit:
        return {}
    buttons = {"colab_url": "https://colab.research.google.com", "binderhub_url": "https://mybinder.org",
               "notebook_interface": "jupyterlab", "thebe": False}  # fmt: skip
    return {"repository": {"url": f"https://github.com/{github[1]}", "branch": commit, "path_to_book": ""},
            "launch_buttons": buttons}  # fmt: skip


def set_address(home: Path, address: str, commit: str) -> int:
    """Write the repository's address into every notebook's first cell, and into the README's badges.

    A lone copy of a notebook, as on Colab, gets the rest of the repository from that address. The badges need an
    address on GitHub.

    Returns:
        The number of notebooks changed.

    Raises:
        PGJRError: the address is no https address, or the commit is no name.
    """
    if not re.fullmatch(r"https://[\w./-]+", address) or not re.fullmatch(r"[\w./-]+", commit):
        raise PGJRError(
            f"{address!r} at {commit!r} is no repository: give https://github.com/<owner>/<name> and a commit."
        )
    changed = 0
    for path in toc_notebooks(home):
        text = path.read_text()
        new = with_address(text, address, commit)
        if new != text:
            atomic_write(path, new)
            changed += 1
    readme, name = home / "README.md", address.removeprefix("https://github.com/")
    if name != address and readme.is_file():
        colab, binder = "https://colab.research.google.com", "https://mybinder.org"
        badges = (f"[![Open in Colab]({colab}/assets/colab-badge.svg)]({colab}/github/{name}/blob/{commit}/{README_NOTEBOOK})"
                  f" [![Binder]({binder}/badge_logo.svg)]({binder}/v2/gh/{name}/{commit})")  # fmt: skip
        atomic_write(readme, re.sub(r"<!-- badges -->.*", f"<!-- badges --> {badges}", readme.read_text()))
    return changed


def with_address(text: str, address: str, commit: str) -> str:
    """Return a notebook's JSON ``text`` with the repository's address in its first cell."""
    line = f'repository, commit = "{address}", "{commit}"'.replace('"', r'\\"')
    return re.sub(r'repository, commit = \\"[^"\\]*\\", \\"[^"\\]*\\"', line, text)
