"""The page of ``pgjr cluster`` in a real browser."""

import base64
import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pgjr_lib.photos import page as page_module
from pgjr_lib.photos.edits import read_edits
from pgjr_lib.photos.page import FARTHEST, NEAREST, render, write_thumbnails

AXE = Path(__file__).with_name("axe.min.js")


ABOUT = {"folder": "photos", "prior": "none", "supervision": "none", "note": "", "skipped": ["film.mp4"], "raw": ["IMG_1.CR2"],
         "damaged": ["half.jpg"], "link": ".", "scores": {}, "method": "Clusters by k-means with seed 0.", "head": "none",
         "reason": "it is a test", "changes": "",
         "guess": [{"k": 3, "silhouette": 0.9, "one_cloud": 0.1, "stability": 1.0}]}  # fmt: skip
def write_page(out, photos, **changes):
    suggestions = [["rose", 0.21], ["tomato", 0.11]]
    clusters = [{"number": c, "name": "", "suggestions": suggestions if c == 0 else []} for c in range(3)]
    (out / "index.html").write_text(render(photos, clusters, "a" * 16, 2, ABOUT | changes))
    write_thumbnails(photos, out / "thumbnails")
    return out / "index.html"


@pytest.fixture(scope="module")
def report(tmp_path_factory, photographs):
    """Write a page of 120 images in three clusters, with the images beside it."""
    folder, photos = tmp_path_factory.mktemp("photos"), photographs(120)
    for file, cluster in zip(photos.files, photos.clusters, strict=True):
        Image.new("RGB", (320, 240), photographs.colours[cluster]).save(folder / file)
    return write_page(folder, photos)


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
    assert section.locator("summary").nth(1).inner_text() == f"{40 - NEAREST - FARTHEST} more"


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
    assert focused(page) == inner and page.locator("li.hit").count() == 1


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
    assert dialog.locator("#large-name a").inner_text() == first.get_attribute("alt")
    assert "640 × 480 pixels" in dialog.locator("#facts").inner_text()
    page.wait_for_function("document.querySelector('#frame img').naturalWidth === 320")  # the file itself, not the thumbnail
    assert (
        page.evaluate("document.querySelector('#large-name a').href")
        == (report.parent / first.get_attribute("alt")).as_uri()
    )
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    first.locator("..").focus()  # by keyboard: a gallery is one stop, arrows walk in it, Enter enlarges
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    second = page.locator("section.cluster img").nth(1).get_attribute("alt")
    assert dialog.locator("#large-name a").inner_text() == second
    page.keyboard.press("Enter")  # on the button that closes it
    assert page.locator("dialog[open]").count() == 0


def test_a_page_far_from_its_images_links_to_none_of_them(visit, report, tmp_path, photographs):
    page = visit(write_page(tmp_path, photographs(12), link=""))
    page.locator("section.cluster img").first.click()
    assert page.locator("dialog[open] a").count() == 0 and "picture" in page.locator("#large-name").inner_text()


def test_the_map_shows_the_images_themselves(visit, report):
    page = visit(report)
    page.locator("#pictures").click()
    page.wait_for_selector("#pictures[aria-pressed=true]")
    page.wait_for_timeout(300)  # pictures are drawn when they are decoded
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
        and "Left out damaged images: 1" in summaries and "Skipped RAW files: 1" in summaries
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


# ---- what is like what, and what the user changes ----


def test_more_like_this_leads_from_image_to_image(visit, report):
    page = visit(report)
    page.locator("section.cluster img").first.click()
    first = page.locator("#large-name").inner_text()
    similar = page.locator("#similar img")
    expected = page.evaluate(f"images.find(i => i.file === '{first}').near.map(i => images[i].file)")
    assert [similar.nth(i).get_attribute("alt") for i in range(similar.count())] == expected and len(expected) == 4
    similar.nth(1).click()
    assert page.locator("#large-name").inner_text() == expected[1]
    page.locator("#find").click()
    assert focused(page) == expected[1] and page.locator("dialog[open]").count() == 0


def test_near_duplicates_are_a_filter_and_a_list_with_the_best_first(visit, report):
    page = visit(report)
    button = page.locator("#copies")
    assert button.inner_text() == "Near-duplicates: 1" and page.locator("#duplicates").is_hidden()
    button.click()
    items = page.locator("#duplicates li").all_inner_texts()
    assert items[0].startswith("picture 003.png: 640 × 480, 8 kB, the best") and items[1].startswith("picture 000.png")
    assert len(items) == 2
    assert page.evaluate("images.filter(matches).length") == 2 and page.locator("li.dim").count() > 10
    button.click()
    assert page.locator("li.dim").count() == 0 and page.locator("#duplicates").is_hidden()


def test_clusters_within_a_cluster_unfold(visit, report):
    page = visit(report)
    summary = page.locator("section.cluster details.parts summary")
    assert summary.count() == 1 and summary.inner_text() == "2 clusters within this cluster"
    summary.click()
    assert page.locator("details.parts h3").all_inner_texts() == ["Part 1: 20 images", "Part 2: 20 images"]
    assert page.locator("details.parts img").count() == 40


def downloaded(page):
    with page.expect_download() as download:
        page.locator("#download").click()
    return Path(download.value.path())


def test_names_merges_and_moves_leave_the_page_as_a_file_that_is_taken_up(visit, report, photographs):
    page = visit(report)
    assert page.locator("#changes").is_hidden()
    page.locator("#cluster-0 .tools button", has_text="rose").click()  # a suggestion
    assert page.locator("#cluster-0 h2").inner_text() == "Cluster 0, rose: 40 images"
    page.locator("#tools-1").click()
    page.get_by_label("Name of cluster 1").fill("</script><b>Grass")
    page.keyboard.press("Enter")
    assert page.locator("#cluster-1 h2").inner_text() == "Cluster 1, </script><b>Grass: 40 images"
    page.locator("#tools-2").click()
    page.get_by_label("Merge cluster 2 into").select_option("1")
    page.locator("#cluster-2 form").nth(1).locator("button").click()
    assert page.locator("#cluster-2").count() == 0 and "80 images" in page.locator("#cluster-1 h2").inner_text()
    page.locator("#cluster-0 img").first.click()
    moved = page.locator("#large-name").inner_text()
    page.locator("#goal").select_option(label="A new cluster, number 3")
    page.locator("#move").click()
    assert "Cluster 3." in page.locator("#facts").inner_text()
    page.keyboard.press("Escape")
    assert page.locator("#cluster-3 h2").inner_text() == "Cluster 3: 1 image"
    assert page.locator("#changed").inner_text() == "4 changes are in this page only."
    edits = read_edits(downloaded(page), "a" * 16)
    key = hashlib.sha256(str(int(moved.split()[1][:3])).encode()).hexdigest()[:16]
    assert edits.names == {"0": "rose", "1": "</script><b>Grass"} and edits.merges == {"2": 1} and edits.moves == {key: 3}
    digests = photographs(120).digests
    applied = edits.apply(np.arange(120) % 3, digests)
    assert applied.tolist() == page.evaluate("images.map(i => i.cluster)")
    for _ in range(4):
        page.locator("#back").click()
    assert page.locator("#changes").is_hidden() and page.evaluate("images.map(i => i.cluster)") == (np.arange(120) % 3).tolist()
    assert page.locator("section.cluster h2").all_inner_texts() == [f"Cluster {c}: 40 images" for c in range(3)]
    assert page.trouble == []


def test_a_chain_of_merges_and_moves_is_taken_up_as_the_page_shows_it(visit, report, photographs):
    page = visit(report)
    merges = "merge(clusters.get(1), clusters.get(2)); merge(clusters.get(2), clusters.get(0));"
    page.evaluate(f"move(images[0], 1); {merges} move(images[4], 7)")
    edits = read_edits(downloaded(page), "a" * 16)
    assert edits.apply(np.arange(120) % 3, photographs(120).digests).tolist() == page.evaluate("images.map(i => i.cluster)")


def test_a_search_finds_by_the_name_of_a_cluster(visit, report):
    page = visit(report)
    page.locator("#cluster-0 .tools button", has_text="tomato").click()
    page.locator("#query").fill("Tomato")
    assert page.locator("#hits").inner_text() == "40 found"


# ---- many images, and safety ----


def test_many_images_are_a_page_with_a_folder_of_thumbnails(visit, tmp_path, monkeypatch, photographs):
    monkeypatch.setattr(page_module, "ONE_FILE", 100)
    photos = photographs(3000)
    page = visit(write_page(tmp_path, photos))
    assert page.evaluate("images.length") == 3000 and "/9j/" not in (tmp_path / "index.html").read_text()
    assert page.locator("section.cluster img").first.evaluate("async i => { await i.decode(); return i.naturalWidth; }") == 96
    folded = page.locator("#cluster-0 details", has_text="968 more")
    folded.locator("summary").click()
    folded.locator("li").nth(299).wait_for(state="attached")  # a fold tells that it opened a little later
    assert folded.locator("li").count() == 300
    folded.locator("button", has_text="Show 300 more of 668").click()
    assert folded.locator("li").count() == 600
    page.locator("#query").fill("picture 2999")
    page.locator("#results a").click()
    assert focused(page) == "picture 2999.png"
    page.locator("#pictures").click()
    page.wait_for_function("occupied.size && [...occupied.values()].every(i => i.decoded.naturalWidth === 96)")
    assert page.trouble == []
    monkeypatch.setattr(page_module, "ONE_FILE", 10_000)
    write_page(tmp_path, photos)
    assert not list((tmp_path / "thumbnails").glob("*/*.jpg"))  # they are in the page now


def test_the_page_runs_its_own_scripts_only_and_loads_nothing_else(visit, tmp_path, photographs):
    names = ["<img src=x onerror=alert(1)>.png", "</script><script>alert(1)</script>.png", "javascript:alert(1).png"]
    photos = photographs(6, [*names, "%2e%2e/../a?b#c.png", "\u202egnp.exe", "\U0001f600.png"])
    page = visit(write_page(tmp_path, photos, folder="<script>alert(1)</script>", changes="<b>no</b>"))
    alternatives = [page.locator("section.cluster img").nth(i).get_attribute("alt") for i in range(6)]
    assert set(names) <= set(alternatives) and page.locator("script").count() == 2 and page.trouble == []
    page.evaluate("const s = document.createElement('script'); s.textContent = 'window.intruder = 1'; document.body.append(s)")
    page.evaluate("new Image().src = 'https://example.org/x.png'")
    page.wait_for_timeout(200)
    assert page.evaluate("window.intruder") is None
    assert len([text for text in page.trouble if "Content Security Policy" in text]) == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_has_no_serious_fault_of_accessibility(visit, report, scheme):
    page = visit(report, scheme=scheme)
    page.locator("#copies").click()
    page.locator("#query").fill("picture")
    page.locator("#cluster-0 .tools button").first.click()
    page.evaluate(AXE.read_text())
    for open_image in ("", "enlarge(images[0])"):
        page.evaluate(open_image)
        violations = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        assert not [(v["id"], v["nodes"][0]["html"][:150]) for v in violations if v["impact"] in ("serious", "critical")]


def test_print_leaves_out_what_cannot_be_pressed(visit, report):
    page = visit(report)
    page.emulate_media(media="print")
    assert page.locator("#map").is_hidden() and page.locator(".bar").first.is_hidden() and page.locator(".tools").first.is_hidden()
    assert page.locator("section.cluster h2").first.is_visible()
