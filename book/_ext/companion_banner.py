"""A Sphinx extension: a banner on every page says what stands in for the paper's setting, as the records have it.

A staged book has its banner in book/banner.json; a book built from a clone renders the committed records. Thebe is removed
from the pages, because it would load its code from the network when a reader runs a cell.
"""

import json
import sys
from pathlib import Path


def banner(source: Path) -> str:
    """Return the banner as HTML, for the book whose sources are in ``source``."""
    staged = source / "book" / "banner.json"
    if staged.is_file():
        return json.loads(staged.read_text())["html"]
    sys.path.insert(0, str(source))  # so that a clone works without being installed
    from pgjr_book.book import BACKBONES
    from pgjr_book.make import profile_records
    from pgjr_book.show.banner import banner_html

    return banner_html(profile_records("published", without=(BACKBONES,)))


def announce(app, config) -> None:
    """Hand the banner to the theme before it reads its options."""
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
    """Connect the extension; Sphinx calls it."""
    app.connect("config-inited", announce)
    app.connect("html-page-context", without_thebe, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
