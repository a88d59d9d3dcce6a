"""``pgjr cluster``: what it writes, what it skips, how it guesses, and that it goes on where it was stopped."""

import csv
import json
import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from pgjr_lib.cli import main
from pgjr_lib.data import loading as datasets
from pgjr_lib.data.decoding import decode
from pgjr_lib.errors import PGJRError
from pgjr_lib.photos import cluster as clustering
from pgjr_lib.photos.choose_k import guess_k, worth
from pgjr_lib.storage import load_tensors


def page_data(out):
    """The page's data, and the page itself."""
    text = (out / "index.html").read_text()
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1]), text


@pytest.fixture
def photos(tmp_path):
    """Three kinds of picture in nested folders of no meaning, and files that are no images."""
    rng = np.random.default_rng(0)
    for i in range(36):
        kind, folder = i % 3, tmp_path / "photos" / f"roll {i % 2}" / "deep"
        folder.mkdir(parents=True, exist_ok=True)
        base = np.zeros((40, 50, 3)) + [(220, 40, 40), (40, 200, 60), (30, 60, 220)][kind]
        base[:, ::8] = 255 * (kind == 1)
        pixels = (base + 15 * rng.standard_normal(base.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02d}-{kind}.png")
    (tmp_path / "photos" / "clip.mp4").write_bytes(b"film")
    (tmp_path / "photos" / "roll 0" / "x.heic").write_bytes(b"heic")
    return tmp_path / "photos"


def run(photos, out, *more):
    return main(["cluster", str(photos), "--epochs", "2", "--out", str(out), *more])


def test_it_clusters_nested_folders_without_labels_and_tells_what_it_skipped(photos, tmp_path, capsys):
    assert run(photos, tmp_path / "out", "-k", "3") == 0
    assert "Skipped, as they are no images this can read: (2) clip.mp4, roll 0/x.heic." in capsys.readouterr().err
    rows = list(csv.DictReader((tmp_path / "out" / "clusters.csv").open()))
    kinds = {row["cluster"]: {name["file"][-5] for name in rows if name["cluster"] == row["cluster"]} for row in rows}
    assert len(rows) == 36 and sorted(map(len, kinds.values())) == [1, 1, 1]  # three colours, three clusters
    data, text = page_data(tmp_path / "out")
    assert data["sizes"] == [12, 12, 12] and data["about"]["skipped"] == ["clip.mp4", "roll 0/x.heic"]
    assert {row[0] for row in data["images"]} == {row["file"] for row in rows}
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", text)  # nothing comes from anywhere else
    tensors, _ = load_tensors(tmp_path / "out" / "features.safetensors")
    assert tensors["features"].shape == (36, 128) and not (tmp_path / "out" / "checkpoint.safetensors").exists()


def test_without_k_it_guesses_and_says_so(photos, tmp_path):
    assert run(photos, tmp_path / "out") == 0
    data, _ = page_data(tmp_path / "out")
    assert [row["k"] for row in data["about"]["guess"]][:3] == [2, 3, 4]
    best = max(data["about"]["guess"], key=lambda row: (row["silhouette"] - row["one_cloud"]) * row["stability"])
    assert best["k"] == len(data["sizes"]) == 3


def test_a_file_name_is_never_markup(photos, tmp_path):
    name = "</script><script>alert(1)</script> & ü.png".replace("/", "∕")
    os.rename(photos / "roll 0" / "deep" / "00-0.png", photos / "roll 0" / "deep" / name)
    (photos / "roll 0" / "deep" / "<").mkdir()
    os.rename(photos / "roll 0" / "deep" / "02-2.png", photos / "roll 0" / "deep" / "<" / "script>b.png")
    assert run(photos, tmp_path / "out", "-k", "3") == 0
    data, text = page_data(tmp_path / "out")
    assert f"roll 0/deep/{name}" in {row[0] for row in data["images"]} and "<script>alert" not in text
    assert text.count("</script") == 2


def test_folders_as_labels_add_scores(photos, tmp_path):
    for i, path in enumerate(sorted(photos.rglob("*.png"))):
        kind = photos / "by kind" / path.name[3]
        kind.mkdir(parents=True, exist_ok=True)
        path.rename(kind / f"{i}.png")
    assert run(photos / "by kind", tmp_path / "out", "-k", "3", "--labels") == 0
    scores = page_data(tmp_path / "out")[0]["about"]["scores"]
    assert scores["acc"] == 1.0 and scores["classes"] == ["0", "1", "2"]
    assert sorted(map(max, scores["confusion"])) == [12, 12, 12]


def test_stopped_training_goes_on(photos, tmp_path, monkeypatch, capsys):
    assert run(photos, tmp_path / "whole", "-k", "3") == 0
    fit = clustering.fit

    def stopped(*arguments, on_epoch, **named):
        def once(epoch, row):
            if epoch == 2:
                raise KeyboardInterrupt
            return on_epoch(epoch, row)

        return fit(*arguments, on_epoch=once, **named)

    monkeypatch.setattr(clustering, "fit", stopped)
    assert run(photos, tmp_path / "out", "-k", "3") == 130
    assert "goes on from the last finished part" in capsys.readouterr().err
    assert (tmp_path / "out" / "checkpoint.safetensors").exists()
    monkeypatch.setattr(clustering, "fit", fit)
    assert run(photos, tmp_path / "out", "-k", "3") == 0
    assert "epoch 1/2" not in capsys.readouterr().err  # it was not trained again
    assert (tmp_path / "out" / "clusters.csv").read_text() == (tmp_path / "whole" / "clusters.csv").read_text()


def test_a_folder_that_may_not_be_read_is_named(photos, monkeypatch):
    def walk(base, onerror, followlinks):
        onerror(PermissionError(13, "Permission denied", f"{base}/locked"))

    monkeypatch.setattr(datasets.os, "walk", walk)  # root, who runs some test machines, may read everything
    with pytest.raises(PGJRError, match=r"locked cannot be read \(Permission denied\): change its permissions"):
        datasets.list_images(photos)


def test_a_large_photograph_gives_the_same_square_as_its_slow_decoding(tmp_path):
    y, x = np.mgrid[:1200, :1600]
    pixels = np.stack([x / 1600, y / 1200, (x + y) / 2800], -1) * 255
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "a.jpg", quality=95)
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "b.png")
    jpeg, png = (decode(tmp_path / name, 64)[0].astype(float) for name in ("a.jpg", "b.png"))
    assert jpeg.shape == (3, 64, 64) and np.abs(jpeg - png).mean() < 2


def test_links_in_a_circle_and_odd_names_are_no_trouble(photos, tmp_path, capsys):
    (photos / "again").symlink_to(photos)
    (photos / "gone.jpg").symlink_to(photos / "nowhere.jpg")
    (photos / "roll 1" / os.fsdecode(b"caf\xe9.png")).write_bytes(b"from an old archive")
    assert run(photos, tmp_path / "out", "-k", "3") == 0
    data, _ = page_data(tmp_path / "out")
    assert data["total"] == 36 and data["about"]["skipped"] == ["clip.mp4", "gone.jpg", "roll 0/x.heic", "roll 1/caf?.png"]


def test_more_clusters_than_readable_images_is_one_sentence(photos, tmp_path, capsys):
    for path in sorted(photos.rglob("*.png"))[5:]:
        path.write_bytes(b"no image")
    assert run(photos, tmp_path / "out", "-k", "6") == 2
    assert "k=6 clusters were asked for 5 readable images: choose k from 2 to 5." in capsys.readouterr().err


def test_labels_that_the_prior_saw_are_not_scored(photos, tmp_path, capsys):
    (photos / "roll 0").rename(photos / "n01443537")  # a class of Tiny-ImageNet
    assert run(photos, tmp_path / "out", "-k", "3", "--labels") == 2
    assert "cannot be scored with class-name, which saw labels of its classes" in capsys.readouterr().err
    assert run(photos, tmp_path / "out", "-k", "3") == 0  # without scores it may


def test_a_folder_with_unreadable_classes_keeps_its_names_in_place(photos, tmp_path):
    for path in (photos / "roll 0").rglob("*.png"):
        path.write_bytes(b"no image")
    for i, path in enumerate(sorted((photos / "roll 1").rglob("*.png"))):
        (photos / f"roll {2 + i % 2}").mkdir(exist_ok=True)
        path.rename(photos / f"roll {2 + i % 2}" / path.name)
    assert run(photos, tmp_path / "out", "-k", "3", "--labels") == 0
    scores = page_data(tmp_path / "out")[0]["about"]["scores"]
    assert scores["classes"] == ["roll 2", "roll 3"] and len(scores["confusion"]) == 2


def test_a_page_of_many_images_shows_the_ends_of_every_cluster(monkeypatch):
    monkeypatch.setattr(clustering, "MAP_IMAGES", 120)
    clusters, distance = np.repeat([0, 1, 2], [500, 5, 100]), np.random.default_rng(0).random(605)
    shown = clustering._shown(clusters, distance)
    assert len(shown) == 120 and {500, 501, 502, 503, 504} <= set(shown)
    own = np.flatnonzero(clusters == 0)
    assert {own[distance[own].argmin()], own[distance[own].argmax()]} <= set(shown)


def test_a_stopped_training_of_other_images_starts_again(photos, tmp_path, monkeypatch, capsys):
    fit = clustering.fit

    def stopped(*arguments, **named):
        fit(*arguments, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr(clustering, "fit", stopped)
    assert run(photos, tmp_path / "out", "-k", "3") == 130
    monkeypatch.setattr(clustering, "fit", fit)
    shutil.copy(photos / "roll 0" / "deep" / "00-0.png", photos / "one more.png")
    assert run(photos, tmp_path / "out", "-k", "3") == 0
    assert "the head is trained from its start" in capsys.readouterr().err
    assert page_data(tmp_path / "out")[0]["total"] == 37


def test_copies_of_one_picture_are_no_clusters(tmp_path, capsys):
    for i in range(6):
        (tmp_path / "same").mkdir(exist_ok=True)
        Image.new("RGB", (40, 40), (200, 30, 30)).save(tmp_path / "same" / f"{i}.png")
    assert run(tmp_path / "same", tmp_path / "out", "-k", "2") == 2
    assert "has 1 images that differ, the others are copies or look alike, which cannot be clustered" in capsys.readouterr().err


def test_an_output_inside_the_folder_hides_no_file_of_the_users(photos, capsys):
    for _ in range(2):
        assert run(photos, photos, "-k", "3") == 0
        assert "Skipped, as they are no images this can read: (2) clip.mp4" in capsys.readouterr().err


def test_a_line_end_in_a_name_stays_in_its_row(photos, tmp_path):
    shutil.copy(photos / "roll 0" / "deep" / "00-0.png", photos / "a\rb.png")
    assert run(photos, tmp_path / "out", "-k", "3") == 0
    with (tmp_path / "out" / "clusters.csv").open(newline="") as stream:
        assert "a\rb.png" in [row["file"] for row in csv.DictReader(stream)]


def test_instability_is_no_merit_where_clusters_are_not_apart():
    rows = [{"k": 2, "silhouette": -0.1, "one_cloud": 0.0, "stability": 1.0},
            {"k": 3, "silhouette": -0.2, "one_cloud": 0.0, "stability": 0.0}]  # fmt: skip
    assert max(rows, key=worth)["k"] == 2


def test_the_guess_sees_four_groups_where_a_silhouette_alone_sees_two():
    draw, axes = np.random.default_rng(0), np.eye(16)
    centres = [2 * axes[0] + 0.8 * s * axes[1] + 0.6 * t * axes[2] for s in (1, -1) for t in (1, -1)]  # a rectangle
    rows = guess_k(np.repeat(centres, 80, 0) + 0.2 * draw.standard_normal((320, 16)))
    assert max(rows, key=lambda row: row["silhouette"] * row["stability"])["k"] == 2
    assert max(rows, key=worth)["k"] == 4


def test_one_cloud_has_no_number_that_stands_out():
    rows = guess_k(np.random.default_rng(0).standard_normal((300, 16)))
    assert max(worth(row)[0] for row in rows) < 0.01


def test_a_page_tells_no_more_of_where_somebody_lives_than_it_must(tmp_path):
    for name in ("photos", "here/pages", "there/deep"):
        (tmp_path / name).mkdir(parents=True)
    photos = tmp_path / "photos"
    assert clustering._beside(photos, tmp_path / "photos-clusters") == "../photos"
    assert clustering._beside(photos, photos) == "." and clustering._beside(tmp_path / "here/pages", tmp_path / "here") == "pages"
    assert clustering._beside(photos, tmp_path / "here" / "pages") == ""


@pytest.mark.parametrize("k", [3, 6])
def test_the_guess_finds_as_many_clouds_as_there_are(k):
    draw = np.random.default_rng(0)
    points = np.repeat(2 * np.eye(16)[:k], 60, 0) + 0.4 * draw.standard_normal((60 * k, 16))
    assert max(guess_k(points), key=worth)["k"] == k
