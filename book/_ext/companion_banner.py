"""A Sphinx extension: every page says what stands in for the paper's setting, as the records have it.

A staged book brings its sentence in book/banner.json; a book built from a clone renders the committed records.
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
    from pgjr_lib.companion.report import banner_html

    return banner_html("published")


def setup(app) -> dict:
    """Called by Sphinx."""

    def announce(app, config) -> None:
        config.html_theme_options = {**config.html_theme_options, "announcement": banner(Path(app.srcdir))}

    app.connect("config-inited", announce)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
