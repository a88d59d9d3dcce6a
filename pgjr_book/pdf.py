"""Print the whole book as one PDF: Jupyter Book puts the staged pages into one, and a headless Chromium prints it."""

import shutil
import tempfile
from pathlib import Path

from pgjr_lib.errors import PGJRError

NAME = "grid-jigsaw-with-clip.pdf"  # beside the book's pages
MARGINS = {"top": "18mm", "bottom": "18mm", "left": "16mm", "right": "16mm"}
FOOTER = '<p style="width: 100%; font-size: 8px; text-align: center"><span class="pageNumber"></span></p>'


def launch(playwright):
    """Start a headless Chromium: the system's, else Playwright's own.

    Raises:
        PGJRError: there is none.
    """
    from playwright.sync_api import Error

    own = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
    try:
        return playwright.chromium.launch(executable_path=own, args=["--no-sandbox"])
    except Error:
        raise PGJRError("The PDF needs a Chromium: `playwright install chromium`, or your system's package.") from None


def print_book(pages: Path, target: Path) -> None:
    """Print the book of one page in the folder ``pages``, as Sphinx's ``singlehtml`` makes it, to ``target``, atomically.

    Raises:
        PGJRError: Playwright or a Chromium is missing.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise PGJRError("The PDF needs Playwright: pip install -e '.[dev]' in your clone.") from None
    whole = pages / "whole.html"
    shutil.copy(pages / "book" / "intro.html", whole)  # its links start at the folder above, where Sphinx expects the page
    with sync_playwright() as playwright, tempfile.TemporaryDirectory(dir=target.parent) as folder:
        browser = launch(playwright)
        page = browser.new_page()
        page.goto(whole.as_uri())
        page.wait_for_function("window.MathJax?.startup?.promise")
        page.evaluate("MathJax.startup.promise")
        draft = Path(folder) / NAME
        page.pdf(path=draft, format="A4", margin=MARGINS, outline=True, tagged=True, display_header_footer=True,
                 header_template="<p></p>", footer_template=FOOTER)  # fmt: skip
        browser.close()
        draft.replace(target)
