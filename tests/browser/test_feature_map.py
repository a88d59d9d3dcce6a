"""Figure 5's map in a real browser: the points are the record's, the slider and the menu change them."""

import shutil
from pathlib import Path

import pytest

from pgjr_book.show.feature_map import feature_map

STATIC = Path(__file__).parents[2] / "book" / "_static" / "plotly"


def record(label, offset):
    frames = {str(e): {"x": [offset + e, 1.0, 2.0], "y": [0.0, 1.0, float(e)]} for e in (0, 5)}
    return {"label": label, "snapshots": {"rows": [3, 7, 11], "labels": [0, 1, 1], "epochs": frames}}


@pytest.fixture
def page(visit, tmp_path):
    shutil.copytree(STATIC, tmp_path / "_static" / "plotly")
    (tmp_path / "notebooks").mkdir()
    path = tmp_path / "notebooks" / "map.html"
    body = feature_map([record("IDFD", 10), record("</script>GJR", 20)], ["cat", "dog"], "toys (all)")
    path.write_text(f"<!DOCTYPE html><meta charset=utf-8><title>map</title><link rel=icon href='data:,'>{body}")
    shown = visit(path)
    shown.wait_for_selector(".plot .scatterlayer")
    return shown


def points(page):
    return page.evaluate("document.querySelector('.plot').data.map(t => [t.name, t.x, t.y, t.text])")


def test_it_opens_on_the_last_epoch_of_the_last_method(page):
    assert page.locator("output").inner_text() == "5"
    assert points(page) == [
        ["cat", [25], [0], ["cat, image 3"]],
        ["dog", [1, 2], [1, 5], ["dog, image 7", "dog, image 11"]],
    ]
    assert page.locator("input").get_attribute("aria-valuetext") == "epoch 5" and page.trouble == []


def test_nothing_offers_to_upload_it(page):
    page.locator(".plot").hover()
    offered = page.evaluate("[...document.querySelectorAll('.modebar-btn')].map(b => b.dataset.title)")
    assert offered and not [title for title in offered if "loud" in title or "hare" in title or "pload" in title]


def test_the_slider_and_the_menu_change_it(page):
    page.locator("input").fill("0")
    assert page.locator("output").inner_text() == "0" and points(page)[0][1] == [20]
    page.locator("select").select_option("IDFD")
    assert points(page)[0][1] == [10]


def test_without_plotly_it_says_so(visit, tmp_path):
    path = tmp_path / "map.html"
    path.write_text(f"<!DOCTYPE html><title>map</title>{feature_map([record('IDFD', 0)], ['a', 'b'], 'toys')}")
    shown = visit(path)
    shown.wait_for_function("!document.querySelector('select')")
    assert "needs JavaScript" in shown.locator(".plot").inner_text()
