"""Tables sort in a real browser."""

from pathlib import Path

import pytest

from pgjr_book.scored import ScoredSet
from pgjr_book.show import render

ROOT = Path(__file__).parents[2]


@pytest.fixture
def page(visit, tmp_path):
    import pandas as pd

    sets = [ScoredSet("stl10", "test")] * 3 + [ScoredSet("cifar10", "test")] * 2
    frame = pd.DataFrame({"set": sets, "variant": ["b", "a", "c", "y", "x"], "NMI": [2.0, 10.0, 9.5, 1.0, 3.0]})
    script = (ROOT / "book" / "_static" / "tables.js").read_text()
    (tmp_path / "page.html").write_text(f"<meta charset='utf-8'>{render.table(frame, 'x')}<script>{script}</script>")
    return visit(tmp_path / "page.html")


def names(page) -> list[str]:
    return page.evaluate("[...document.querySelectorAll('tbody tr:not(.block) td:first-child')].map(c => c.textContent)")


def test_a_click_sorts_within_blocks_by_number_and_a_second_turns_it_round(page):
    assert names(page) == ["b", "a", "c", "y", "x"]
    page.click("thead button:text('NMI')")
    assert names(page) == ["a", "c", "b", "x", "y"]
    assert page.evaluate("document.querySelector('[aria-sort]').getAttribute('aria-sort')") == "descending"
    page.click("thead button:text('NMI')")
    assert names(page) == ["b", "c", "a", "y", "x"]
    assert page.evaluate("[...document.querySelectorAll('tbody')].every(b => b.rows[0].classList.contains('block'))")


def test_the_keyboard_sorts_too_by_words(page):
    page.focus("thead button:text('variant')")
    page.keyboard.press("Enter")
    assert names(page) == ["c", "b", "a", "y", "x"]
