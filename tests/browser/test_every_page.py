"""Every page of a built book in a real browser: nothing broken, nothing asked of the network, legible, phone width."""

from pathlib import Path

import pytest

HERE = Path(__file__).parents[2]
BOOKS = [path for name in ("embedded", "published") if (path := HERE / "build" / name / "html").is_dir()]
PAGES = [page for book in BOOKS for folder in ("book", "notebooks") for page in sorted((book / folder).glob("*.html"))]

pytestmark = pytest.mark.skipif(not PAGES, reason="no book is built: make book")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: f"{path.parents[2].name}-{path.stem}")
def test_page(visit, path):
    page = visit(path)
    page.wait_for_load_state("networkidle")
    assert page.trouble == []
    assert page.evaluate("[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)") == []
    assert page.evaluate("[...document.querySelectorAll('article img')].filter(i => !i.alt).map(i => i.src)") == []
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 1


@pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.parent.name)
def test_dark_mode_is_legible(visit, book):
    page = visit(book / "book" / "intro.html", scheme="dark")
    page.wait_for_function("document.documentElement.dataset.theme")
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    tones = page.evaluate("""() => [...document.querySelectorAll('article p, article td, article h1')].slice(0, 40).map(e => {
        const sum = s => s.match(/[\\d.]+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0);
        let g = e; while (g && /, 0\\)|transparent/.test(getComputedStyle(g).backgroundColor)) g = g.parentElement;
        return Math.abs(sum(getComputedStyle(e).color) - sum(getComputedStyle(g || document.body).backgroundColor)); })""")
    assert len(tones) > 5 and min(tones) > 250


@pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.parent.name)
def test_search_finds(visit, book):
    page = visit(book / "search.html")
    page.goto((book / "search.html").as_uri() + "?q=jigsaw")
    page.wait_for_selector("#search-results li", timeout=20_000)
    assert page.locator("#search-results li").count() > 3
