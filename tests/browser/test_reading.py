"""What makes reading comfortable works in a browser, without a network: previews on hover, and figures that open large."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

from pgjr_book.pdf import NAME, print_book

HERE = Path(__file__).parents[2]
BOOKS = [path for name in ("embedded", "published") if (path := HERE / "build" / name / "html").is_dir()]

built = pytest.mark.skipif(not BOOKS, reason="no book is built: make book")


@built
@pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.parent.name)
def test_an_equation_is_previewed_where_it_is_named(visit, book):
    page = visit(book / "book" / "linear-jigsaw.html")
    page.wait_for_function("document.querySelector('article mjx-container')")
    link = page.locator("article a.reference[href*='eq-regression']").first
    link.scroll_into_view_if_needed()
    link.hover()
    page.wait_for_selector(".tippy-box mjx-container", timeout=10_000)
    assert page.trouble == []


@built
@pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.parent.name)
def test_a_figure_opens_large_and_closes(visit, book):
    page = visit(book / "notebooks" / "figure-1.html")
    page.locator("article .cell_output img").first.click()
    width = page.evaluate("document.querySelector('dialog.zoom img').getBoundingClientRect().width")
    assert width > 0.5 * page.viewport_size["width"]
    assert page.evaluate("[...document.querySelectorAll('dialog.zoom a')].map(a => a.download.slice(-4))") == [".png", ".svg"]
    saved = Path(unquote(urlparse(page.evaluate("document.querySelectorAll('dialog.zoom a')[1].href")).path))
    assert "<svg" in saved.read_text()[:500]
    page.keyboard.press("Escape")
    page.wait_for_function("!document.querySelector('dialog.zoom')")
    assert page.trouble == []


def test_the_whole_book_prints_as_a_pdf_and_keeps_nothing_else(browser, tmp_path):
    (tmp_path / "book").mkdir()
    mathjax = (HERE / "book" / "_static" / "mathjax" / "tex-mml-chtml.js").as_uri()
    page = f'<script src="{mathjax}"></script><h1>Grids</h1><p>\\(x^2\\)</p><h1 style="break-before: page">Blocks</h1>'
    (tmp_path / "book" / "intro.html").write_text(page)
    (tmp_path / "out").mkdir()
    target = tmp_path / "out" / NAME
    with ThreadPoolExecutor(1) as pool:  # this thread has a Playwright already
        pool.submit(print_book, tmp_path, target).result()
    assert target.read_bytes().startswith(b"%PDF-") and b"/Count 2" in target.read_bytes()
    assert list(target.parent.iterdir()) == [target]
