"""A Sphinx extension: every page says what stands in for the paper's setting, as the records have it.

A staged book brings its sentence in book/banner.json; a book built from a clone renders the committed records.
Thebe, which would fetch its code from a network when asked to run a cell, is taken out of the pages.
"""

import json
import sys
from pathlib import Path


def banner(source: Path) -> str:
    """The banner as HTML, for the book whose sources lie in ``source``."""
    staged = source / "book" / "banner.json"
    if staged.is_file():
        return json.loads(staged.read_text())["html"]
    sys.path.insert(0, str(source))  # a clone that has not been installed works, too
    from pgjr_book.book import banner_html

    return banner_html("published")


def announce(app, config) -> None:
    """Hand the banner to the theme, before it reads its options."""
    config.html_theme_options = {**config.html_theme_options, "announcement": banner(Path(app.srcdir))}
    config.html_context = {"default_mode": "auto", **config.html_context}


def without_thebe(app, pagename, templatename, context, doctree) -> None:
    """Drop Thebe's scripts and styles from one page."""
    for kind in ("script_files", "css_files"):
        context[kind] = [asset for asset in context[kind] if not _is_thebe(asset)]


def _is_thebe(asset) -> bool:
    text = f"{getattr(asset, 'filename', asset)} {getattr(asset, 'attributes', '')}"
    return "thebe" in text.lower()


def setup(app) -> dict:
    """Called by Sphinx."""
    app.connect("config-inited", announce)
    app.connect("html-page-context", without_thebe, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
