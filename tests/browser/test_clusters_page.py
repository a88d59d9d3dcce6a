"""The page of ``pgjr cluster`` in a real browser."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from pgjr_lib.photos.page import FARTHEST, NEAREST, render


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Write a page of 120 images in three clusters, one colour each."""
    folder = tmp_path_factory.mktemp("photos")
    rng, paths, clusters = np.random.default_rng(0), [], np.arange(120) % 3
    for i, c in enumerate(clusters):
        colour = [(230, 20, 20), (20, 200, 20), (20, 20, 230)][c]
        Image.new("RGB", (24, 24), colour).save(folder / f"picture {i:03d}.png")
        paths.append(f"picture {i:03d}.png")
    points = np.eye(16)[clusters] + 0.05 * rng.standard_normal((120, 16))
    about = {"folder": folder.name, "prior": "none", "supervision": "none", "note": "", "skipped": ["film.mp4"], "epochs": 0,
             "damaged": ["half.jpg"], "link": ".", "seed": 0, "scores": {},
             "guess": [{"k": 3, "silhouette": 0.9, "one_cloud": 0.1, "stability": 1.0}]}  # fmt: skip
    path = folder / "index.html"
    path.write_text(render(folder, paths, points, clusters, rng.random(120), about))
    return path


def test_the_page_shows_every_cluster_and_needs_no_network(visit, report):
    page = visit(report)
    assert page.trouble == [] and page.locator("section.cluster").count() == 3
    assert page.locator("section.cluster h2").first.inner_text() == "Cluster 0: 40 images"
    assert page.locator("img:not([alt])").count() == 0
    broken = page.evaluate("[...document.images].filter(i => i.complete && !i.naturalWidth).length")
    assert broken == 0


def test_a_gallery_shows_both_ends_of_its_cluster_and_folds_the_rest(visit, report):
    section = visit(report).locator("section.cluster").first
    galleries = section.locator("ul.gallery")
    assert [galleries.nth(i).locator("li").count() for i in range(galleries.count())] == [NEAREST, FARTHEST]
    assert section.locator("summary").inner_text() == f"{40 - NEAREST - FARTHEST} more"


def test_pointing_at_the_map_shows_the_image_of_that_point(visit, report):
    page = visit(report)
    for i in (0, 37, 88):
        x, y = page.evaluate(f"at(images[{i}])")
        box = page.locator("#plane").bounding_box()
        page.mouse.move(box["x"] + x, box["y"] + y)
        file = page.evaluate(f"images[{i}].file")
        shown = page.locator("#tip").get_attribute("data-file")
        if shown != file:  # a neighbour may lie over it, but no point of another cluster
            assert page.evaluate(f"images.find(j => j.file === '{shown}').cluster === images[{i}].cluster")
        picture = page.locator("#tip img").get_attribute("src").split(",")[1]
        pixel = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB").getpixel((36, 36))
        assert np.argmax(pixel) == int(shown.split()[1][:3]) % 3


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
    file = page.evaluate("images.find(i => !folded.has(i)).file")
    page.locator("#query").fill(file.upper())
    assert page.locator("#hits").inner_text() == "1 found"
    assert page.locator("li.hit").count() == 1 and page.locator("li.dim").count() > 10
    found = page.locator("#results li")
    assert found.count() == 1 and found.inner_text().startswith(f"{file} cluster ")
    page.locator("#query").fill("nothing like it")
    assert page.locator("#hits").inner_text() == "0 found" and page.locator("#results").is_hidden()
    page.locator("#query").fill("")
    assert page.locator("li.dim").count() == 0 and page.locator("#results").is_hidden()


def focused(page):
    """Return the file of the gallery image that has the focus."""
    return page.evaluate("images.find(i => (places.get(i) || []).includes(document.activeElement.closest('li')))?.file")


def test_a_search_result_leads_to_its_image_even_in_a_folded_list(visit, report):
    page = visit(report)
    inner = page.evaluate("[...folded.keys()].at(-1).file")  # neither near its centre nor far from it
    page.locator("#query").fill(inner)
    assert page.locator("li.hit").count() == 0
    page.locator("#results a").click()
    assert focused(page) == inner and page.locator("li.hit").count() == 1 and page.locator("details[open]").count() == 1


def test_the_map_leads_to_an_image_by_click_and_by_enter(visit, report):
    page = visit(report)
    x, y = page.evaluate("at(images[5])")
    page.locator("#plane").click(position={"x": x, "y": y})
    assert focused(page) is not None
    page.locator("#plane").focus()
    page.keyboard.press("ArrowRight")
    pointed = page.locator("#tip").get_attribute("data-file")
    page.keyboard.press("Enter")
    assert focused(page) == pointed


def test_an_image_is_enlarged_with_its_name_and_a_link_to_the_file(visit, report):
    page = visit(report)
    first = page.locator("section.cluster img").first
    first.click()
    dialog = page.locator("dialog[open]")
    assert dialog.locator("a").inner_text() == first.get_attribute("alt")
    assert (
        page.evaluate("document.querySelector('dialog a').href")
        == (report.parent / first.get_attribute("alt")).as_uri()
    )
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    first.locator("..").focus()  # by keyboard: a gallery is one stop, arrows walk in it, Enter enlarges
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    second = page.locator("section.cluster img").nth(1).get_attribute("alt")
    assert dialog.locator("a").inner_text() == second
    page.keyboard.press("Enter")  # on the button that closes it
    assert page.locator("dialog[open]").count() == 0


def test_a_page_far_from_its_images_links_to_none_of_them(visit, report, tmp_path):
    text = report.read_text()
    assert text.count('"link": "."') == 1
    (tmp_path / "far.html").write_text(text.replace('"link": "."', '"link": ""'))
    page = visit(tmp_path / "far.html")
    page.locator("section.cluster img").first.click()
    assert page.locator("dialog[open] a").count() == 0 and "picture" in page.locator("#large-name").inner_text()


def test_the_map_shows_the_images_themselves(visit, report):
    page = visit(report)
    page.locator("#pictures").click()
    page.wait_for_selector("#pictures[aria-pressed=true]")
    file, x, y = page.evaluate("(([key, i]) => [i.file, ...key.split(',').map(v => v * STEP)])([...occupied][0])")
    box = page.locator("#plane").bounding_box()
    page.mouse.move(box["x"] + x, box["y"] + y)
    assert page.locator("#tip").get_attribute("data-file") == file
    shot = Image.open(io.BytesIO(page.locator("#plane").screenshot())).convert("RGB").getpixel((int(x), int(y)))
    assert np.argmax(shot) == int(file.split()[1][:3]) % 3 and page.trouble == []


def test_the_page_lists_what_was_left_out(visit, report):
    page = visit(report)
    summaries = page.locator("#extra summary").all_inner_texts()
    assert (
        "Skipped files that are not images of a readable format: 1" in summaries
        and "Left out damaged images: 1" in summaries
    )


def test_the_list_of_sizes_leads_to_the_clusters(visit, report):
    page = visit(report)
    assert [text.split() for text in page.locator("#sizes a").all_inner_texts()] == [
        ["Cluster", str(c), "40"] for c in range(3)
    ]
    page.locator("#sizes a").nth(2).click()
    assert page.locator("#cluster-2").bounding_box()["y"] < 900


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_legible_in_light_and_dark_and_fits_a_phone(visit, report, scheme):
    page = visit(report, width=390, scheme=scheme)
    ink, ground = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    tone = lambda text: sum(map(int, text.split("(")[1].split(")")[0].split(",")[:3]))  # noqa: E731
    assert abs(tone(ink) - tone(ground)) > 500 and (tone(ground) > tone(ink)) == (scheme == "light")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator("#theme").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != ground
