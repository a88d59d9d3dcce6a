"""The page of ``pgjr cluster`` in a real browser."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from pgjr_lib.companion import clustering


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A page of 90 images in three clusters, colour by cluster."""
    folder = tmp_path_factory.mktemp("photos")
    rng, paths, clusters = np.random.default_rng(0), [], np.arange(90) % 3
    for i, c in enumerate(clusters):
        colour = [(230, 20, 20), (20, 200, 20), (20, 20, 230)][c]
        Image.new("RGB", (24, 24), colour).save(folder / f"picture {i:02d}.png")
        paths.append(f"picture {i:02d}.png")
    points = np.eye(16)[clusters] + 0.05 * rng.standard_normal((90, 16))
    about = {"folder": folder.name, "prior": "none", "supervision": "none", "note": "", "skipped": ["film.mp4"], "epochs": 0,
             "seed": 0, "guess": [{"k": 3, "silhouette": 0.9, "stability": 1.0}], "scores": {}}  # fmt: skip
    path = folder / "index.html"
    path.write_text(clustering.page(folder, paths, points, clusters, rng.random(90), about))
    return path


def test_it_shows_every_cluster_and_asks_nothing_of_the_network(visit, report):
    page = visit(report)
    assert page.trouble == [] and page.locator("section.cluster").count() == 3
    assert page.locator("section.cluster h2").first.inner_text() == "Cluster 0: 30 images"
    assert page.locator("img:not([alt])").count() == 0
    broken = page.evaluate("[...document.images].filter(i => i.complete && !i.naturalWidth).length")
    assert broken == 0


def test_pointing_at_the_map_shows_the_image_of_that_point(visit, report):
    page = visit(report)
    for i in (0, 37, 88):
        x, y = page.evaluate(f"at(images[{i}])")
        box = page.locator("#plane").bounding_box()
        page.mouse.move(box["x"] + x, box["y"] + y)
        file = page.evaluate(f"images[{i}].file")
        shown = page.locator("#tip").get_attribute("data-file")
        if shown != file:  # a neighbour may lie over it, not a point of another cluster
            assert page.evaluate(f"images.find(j => j.file === '{shown}').cluster === images[{i}].cluster")
        picture = page.locator("#tip img").get_attribute("src").split(",")[1]
        pixel = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB").getpixel((36, 36))
        assert np.argmax(pixel) == int(shown.split()[1][:2]) % 3


def test_arrow_keys_walk_the_map(visit, report):
    page = visit(report)
    page.locator("#plane").focus()
    page.keyboard.press("ArrowRight")
    first = page.locator("#tip").get_attribute("data-file")
    at = page.evaluate("at(images[current])[0]")
    page.keyboard.press("ArrowRight")
    second = page.locator("#tip").get_attribute("data-file")
    assert first != second and page.evaluate("at(images[current])[0]") > at


def test_search_finds_by_file_name(visit, report):
    page = visit(report)
    page.locator("#query").fill("PICTURE 07")
    assert page.locator("#hits").inner_text() == "1 found"
    assert page.locator("li.hit").count() == 1 and page.locator("li.dim").count() > 10
    page.locator("#query").fill("nothing like it")
    assert page.locator("#hits").inner_text() == "0 found"
    page.locator("#query").fill("")
    assert page.locator("li.dim").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_legible_in_light_and_dark_and_fits_a_phone(visit, report, scheme):
    page = visit(report, width=390, scheme=scheme)
    ink, ground = page.evaluate("[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]")
    tone = lambda text: sum(map(int, text.split("(")[1].split(")")[0].split(",")[:3]))  # noqa: E731
    assert abs(tone(ink) - tone(ground)) > 500 and (tone(ground) > tone(ink)) == (scheme == "light")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator("#theme").click()
    turned = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert turned != ground
