"""``pgjr cluster``: what it writes, what it skips, how it guesses k, and that a stopped run resumes."""

import csv
import json
import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from pgjr_lib import data as image_sets
from pgjr_lib import training
from pgjr_lib.cli import main
from pgjr_lib.data.decoding import decode
from pgjr_lib.errors import PGJRError
from pgjr_lib.photos import cluster as clustering
from pgjr_lib.photos import heads
from pgjr_lib.photos.choose_k import guess_k, worth
from pgjr_lib.photos.output import OutputFolder
from pgjr_lib.storage import load_tensors


def page_data(out):
    """Return the page's data, and the page itself."""
    text = (out / "index.html").read_text()
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1]), text


def sizes(data):
    """Return the number of images in each cluster of a page."""
    return np.bincount([row[1] for row in data["images"]]).tolist()


def run(photos, out, *more):
    small = ["--prior", "class-name", "--head", "linear", "--views", "1", "--epochs", "2"]
    return main(["cluster", str(photos), *small, "--out", str(out), *more])


def test_nested_folders_are_clustered_without_labels_and_skipped_files_are_listed(photos, tmp_path, capsys):
    assert run(photos, tmp_path / "out", "-k", "3") == 0
    assert "Skipped files that are not images of a readable format (2): clip.mp4, roll 0/x.heic." in (
        err := capsys.readouterr().err
    )
    assert "lets pgjr read HEIC images; or convert them to JPEG" in err and "training the head" in err
    rows = list(csv.DictReader((tmp_path / "out" / "clusters.csv").open()))
    kinds = {row["cluster"]: {name["file"][-5] for name in rows if name["cluster"] == row["cluster"]} for row in rows}
    assert len(rows) == 36 and sorted(map(len, kinds.values())) == [1, 1, 1]  # three colours, three clusters
    data, text = page_data(tmp_path / "out")
    assert sizes(data) == [12, 12, 12] and data["about"]["skipped"] == ["clip.mp4", "roll 0/x.heic"]
    assert {row[0] for row in data["images"]} == {row["file"] for row in rows}
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", text)  # the page needs no other file
    tensors, _ = load_tensors(tmp_path / "out" / "features.safetensors")
    assert tensors["features"].shape == (36, 128) and not (tmp_path / "out" / "checkpoint.safetensors").exists()


def test_without_k_the_number_is_guessed_and_called_a_guess(photos, tmp_path, capsys):
    assert run(photos, tmp_path / "out") == 0
    assert "the number of clusters is a guess" in capsys.readouterr().out
    data, _ = page_data(tmp_path / "out")
    assert [row["k"] for row in data["about"]["guess"]][:3] == [2, 3, 4]
    best = max(data["about"]["guess"], key=lambda row: (row["silhouette"] - row["one_cloud"]) * row["stability"])
    assert best["k"] == len(data["clusters"]) == 3


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


def trained_epochs(monkeypatch, stop_at=None) -> list[int]:
    """Collect the epochs that runs train from now on; the epoch ``stop_at`` is interrupted before it is saved."""
    train_head, epochs = training.train_head, []

    def watched(*arguments, on_epoch, **named):
        def watch(model, epoch, row):
            if epoch == stop_at:
                raise KeyboardInterrupt
            epochs.append(epoch)
            return on_epoch(model, epoch, row)

        return train_head(*arguments, on_epoch=watch, **named)

    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)  # after every epoch
    monkeypatch.setattr(heads, "train_head", watched)
    return epochs


def test_stopped_training_resumes(photos, tmp_path, monkeypatch, capsys):
    assert run(photos, tmp_path / "whole", "-k", "3") == 0
    trained_epochs(monkeypatch, stop_at=2)
    assert run(photos, tmp_path / "out", "-k", "3") == 130
    assert "resumes from the last finished part" in capsys.readouterr().err
    assert (tmp_path / "out" / "checkpoint.safetensors").exists()
    epochs = trained_epochs(monkeypatch)
    assert run(photos, tmp_path / "out", "-k", "3") == 0 and epochs == [2]  # the first epoch was not trained again
    assert "2/2" in capsys.readouterr().err
    assert (tmp_path / "out" / "clusters.csv").read_text() == (tmp_path / "whole" / "clusters.csv").read_text()


def test_stopped_training_with_other_settings_starts_again(photos, tmp_path, monkeypatch, capsys):
    trained_epochs(monkeypatch, stop_at=2)
    assert run(photos, tmp_path / "out", "-k", "3") == 130
    epochs = trained_epochs(monkeypatch)
    assert run(photos, tmp_path / "out", "-k", "3", "--seed", "1") == 0 and epochs == [0, 1, 2]
    assert "The images or settings have changed, so training starts again." in capsys.readouterr().err


def test_a_folder_that_may_not_be_read_is_named(photos, monkeypatch):
    def walk(base, onerror, followlinks):
        onerror(PermissionError(13, "Permission denied", f"{base}/locked"))

    monkeypatch.setattr(os, "walk", walk)  # root, who runs some test machines, may read everything
    with pytest.raises(PGJRError, match=r"locked cannot be read \(Permission denied\): change its permissions"):
        image_sets.list_images(photos)


def test_a_large_photograph_gives_the_same_square_as_its_slow_decoding(tmp_path):
    y, x = np.mgrid[:1200, :1600]
    pixels = np.stack([x / 1600, y / 1200, (x + y) / 2800], -1) * 255
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "a.jpg", quality=95)
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "b.png")
    jpeg, png = (decode(tmp_path / name, 64)[0].astype(float) for name in ("a.jpg", "b.png"))
    assert jpeg.shape == (3, 64, 64) and np.abs(jpeg - png).mean() < 2


def test_circular_links_and_names_that_are_not_text_are_no_obstacle(photos, tmp_path, capsys):
    (photos / "again").symlink_to(photos)
    (photos / "gone.jpg").symlink_to(photos / "nowhere.jpg")
    (photos / "roll 1" / os.fsdecode(b"caf\xe9.png")).write_bytes(b"from an old archive")
    assert run(photos, tmp_path / "out", "-k", "3") == 0
    data, _ = page_data(tmp_path / "out")
    assert len(data["images"]) == 36 and data["about"]["skipped"] == [
        "clip.mp4",
        "gone.jpg",
        "roll 0/x.heic",
        "roll 1/caf?.png",
    ]


def test_more_clusters_than_readable_images_are_refused_in_one_sentence(photos, tmp_path, capsys):
    for path in sorted(photos.rglob("*.png"))[5:]:
        path.write_bytes(b"no image")
    assert run(photos, tmp_path / "out", "-k", "6") == 2
    assert "k=6 clusters were asked for 5 readable images: choose k from 2 to 5." in capsys.readouterr().err


def test_labels_that_the_prior_saw_are_not_scored(photos, tmp_path, capsys):
    (photos / "roll 0").rename(photos / "n01443537")  # a class of Tiny-ImageNet
    assert run(photos, tmp_path / "out", "-k", "3", "--labels") == 2
    assert "cannot be scored with class-name, which saw labels of its classes" in capsys.readouterr().err
    assert run(photos, tmp_path / "out", "-k", "3") == 0  # clusters without scores are allowed


def test_a_folder_with_unreadable_classes_keeps_its_names_in_place(photos, tmp_path):
    for path in (photos / "roll 0").rglob("*.png"):
        path.write_bytes(b"no image")
    for i, path in enumerate(sorted((photos / "roll 1").rglob("*.png"))):
        (photos / f"roll {2 + i % 2}").mkdir(exist_ok=True)
        path.rename(photos / f"roll {2 + i % 2}" / path.name)
    assert run(photos, tmp_path / "out", "-k", "3", "--labels") == 0
    scores = page_data(tmp_path / "out")[0]["about"]["scores"]
    assert scores["classes"] == ["roll 2", "roll 3"] and len(scores["confusion"]) == 2


def test_stopped_training_on_other_images_starts_again(photos, tmp_path, monkeypatch, capsys):
    train_head = heads.train_head

    def stopped(*arguments, **named):
        train_head(*arguments, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr(heads, "train_head", stopped)
    assert run(photos, tmp_path / "out", "-k", "3") == 130
    monkeypatch.setattr(heads, "train_head", train_head)
    Image.new("RGB", (40, 40), "orange").save(photos / "one more.png")
    assert run(photos, tmp_path / "out", "-k", "3") == 0
    assert "so training starts again" in capsys.readouterr().err
    assert len(page_data(tmp_path / "out")[0]["images"]) == 37


def test_copies_of_one_image_are_no_clusters(tmp_path, capsys):
    for i in range(6):
        (tmp_path / "same").mkdir(exist_ok=True)
        Image.new("RGB", (40, 40), (200, 30, 30)).save(tmp_path / "same" / f"{i}.png")
    assert run(tmp_path / "same", tmp_path / "out", "-k", "2") == 2
    assert (
        "holds 1 distinct image, and the others are copies or look alike: add images that differ."
        in capsys.readouterr().err
    )


def test_an_output_among_the_images_hides_no_file_of_the_user(photos, capsys):
    for _ in range(2):
        assert run(photos, photos, "-k", "3") == 0
        assert "Skipped files that are not images of a readable format (2): clip.mp4" in capsys.readouterr().err


def test_a_line_end_in_a_file_name_stays_in_its_row(photos, tmp_path):
    shutil.copy(photos / "roll 0" / "deep" / "00-0.png", photos / "a\rb.png")
    assert run(photos, tmp_path / "out", "-k", "3") == 0
    with (tmp_path / "out" / "clusters.csv").open(newline="") as stream:
        assert "a\rb.png" in [row["file"] for row in csv.DictReader(stream)]


def test_instability_does_not_win_where_clusters_are_not_separated():
    rows = [{"k": 2, "silhouette": -0.1, "one_cloud": 0.0, "stability": 1.0},
            {"k": 3, "silhouette": -0.2, "one_cloud": 0.0, "stability": 0.0}]  # fmt: skip
    assert max(rows, key=worth)["k"] == 2


def test_the_guess_finds_four_groups_where_a_silhouette_alone_finds_two():
    draw, axes = np.random.default_rng(0), np.eye(16)
    centres = [2 * axes[0] + 0.8 * s * axes[1] + 0.6 * t * axes[2] for s in (1, -1) for t in (1, -1)]  # a rectangle
    rows = guess_k(np.repeat(centres, 80, 0) + 0.2 * draw.standard_normal((320, 16)))
    assert max(rows, key=lambda row: row["silhouette"] * row["stability"])["k"] == 2
    assert max(rows, key=worth)["k"] == 4


def test_the_ratings_do_not_depend_on_empty_axes():
    """Fewer points than axes are turned into fewer axes, which changes no distance."""
    draw = np.random.default_rng(0)
    points = np.repeat(np.eye(16)[:3], 20, 0) + 0.2 * draw.standard_normal((60, 16))
    wide = guess_k(np.pad(points, ((0, 0), (0, 84))), candidates=(2, 3, 4))
    for few, many in zip(guess_k(points, candidates=(2, 3, 4)), wide, strict=True):
        assert few["stability"] == many["stability"] and few["silhouette"] == pytest.approx(many["silhouette"], abs=1e-3)


def test_one_cloud_has_no_number_that_stands_out():
    rows = guess_k(np.random.default_rng(0).standard_normal((300, 16)))
    assert max(worth(row)[0] for row in rows) < 0.01


def test_a_page_links_to_its_images_only_where_the_path_reveals_little(tmp_path):
    for name in ("photos", "here/pages", "there/deep"):
        (tmp_path / name).mkdir(parents=True)
    photos, here = tmp_path / "photos", tmp_path / "here"
    assert OutputFolder(tmp_path / "photos-clusters", photos).link() == "../photos"
    assert OutputFolder(photos, photos).link() == "." and OutputFolder(here, here / "pages").link() == "pages"
    assert OutputFolder(here / "pages", photos).link() == ""


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [({"epochs": 0}, "epochs is 0, but"), ({"seed": -1}, "seed is -1, but"), ({"seed": 2**32}, "seed is 4294967296, but"),
     ({"k": 1}, "k=1 clusters were asked for 36 images: choose k from 2 to 36"),
     ({"views": 9}, "views is 9: give a number from 0 to 8"),
     ({"method": "guess"}, "There is no method 'guess': use kmeans or hdbscan"),
     ({"method": "hdbscan"}, "HDBSCAN finds the number of clusters itself: leave out -k"),
     ({"head": "big"}, "There is no head 'big': use kmeans, linear, pgjr"),
     ({"prior": "nosuch"}, "'nosuch' is no prior: use class-name")],
)  # fmt: skip
def test_a_setting_that_cannot_be_is_refused_in_one_sentence(photos, tmp_path, settings, sentence):
    with pytest.raises(PGJRError, match=sentence):
        clustering.cluster_folder(photos, tmp_path / "out", clustering.ClusterOptions(**{"k": 3, **settings}))


@pytest.mark.parametrize("k", [3, 6])
def test_the_guess_is_the_number_of_clouds(k):
    draw = np.random.default_rng(0)
    points = np.repeat(2 * np.eye(16)[:k], 60, 0) + 0.4 * draw.standard_normal((60 * k, 16))
    assert max(guess_k(points), key=worth)["k"] == k


def test_a_folder_whose_name_is_not_utf8_is_one_sentence(tmp_path, capsys):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "0.png")
    assert main(["cluster", str(folder), "--out", str(tmp_path / "out")]) == 2
    assert "is not UTF-8, as tables and pages need: rename the folder." in capsys.readouterr().err


def test_copies_are_counted_once_whatever_their_rounding():
    from pgjr_lib.photos.cluster import _count_distinct

    rng = np.random.default_rng(0)
    points = rng.standard_normal((3, 8)).astype(np.float32)
    copies = np.repeat(points, 5, axis=0) + 1e-6 * rng.standard_normal((15, 8)).astype(np.float32)
    assert [_count_distinct(copies, enough) for enough in (2, 3, 10)] == [2, 3, 3]
    assert _count_distinct(copies[:5], 2) == 1
