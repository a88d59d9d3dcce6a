"""Reading, near-duplicates, neighbours, names and search."""

import csv
import io
from concurrent.futures import Future

import numpy as np
import pytest
from joblib.externals import loky
from PIL import Image, ImageFilter

from pgjr_lib.cli import main
from pgjr_lib.data import folders
from pgjr_lib.data.decoding import register_heif
from pgjr_lib.errors import PGJRError
from pgjr_lib.photos import duplicates, names
from pgjr_lib.photos.neighbours import nearest
from pgjr_lib.photos.plane import place, project
from pgjr_lib.photos.reading import perceptual_hash, read_photo, read_photos
from pgjr_lib.photos.tree import parts_of


def scene(seed: int, side=(240, 180)) -> Image.Image:
    """Make a picture of soft shapes."""
    draw = np.random.default_rng(seed)
    small = Image.fromarray(draw.integers(0, 255, (6, 8, 3), dtype=np.uint8))
    return small.resize(side, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(2))


def differing(a: Image.Image, b: Image.Image) -> int:
    return ((perceptual_hash(a) ^ perceptual_hash(b)) & (2**64 - 1)).bit_count()


def recompressed(image, quality):
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream)


def test_the_perceptual_hash_knows_copies_and_tells_others_apart():
    pictures = [scene(seed) for seed in range(12)]
    for picture in pictures:
        for copy in (picture.resize((80, 60)), recompressed(picture, 40), picture.point(lambda v: min(255, int(v * 1.1)))):
            assert differing(picture, copy) <= duplicates.BITS
    assert min(differing(a, b) for i, a in enumerate(pictures) for b in pictures[:i]) > duplicates.BITS


def test_copies_are_grouped_with_the_best_first(tmp_path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(6):
        scene(seed).save(folder / f"{seed}.png")
    scene(2).resize((120, 90)).save(folder / "small.jpg", quality=60)
    scene(2).resize((480, 360)).save(folder / "large.jpg", quality=90)
    (folder / "again.png").write_bytes((folder / "2.png").read_bytes())
    options = ["--prior", "class-name", "--head", "kmeans", "-k", "2", "--out", str(tmp_path / "out")]
    assert main(["cluster", str(folder), *options]) == 0
    with (tmp_path / "out" / "duplicates.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["file"] for row in rows] == ["large.jpg", "2.png", "again.png", "small.jpg"]
    assert [row["best"] for row in rows] == ["yes", "no", "no", "no"] and {row["group"] for row in rows} == {"1"}
    assert [(row["width"], row["height"]) for row in rows] == [("480", "360"), ("240", "180"), ("240", "180"), ("120", "90")]
    assert [row["same bytes as another"] for row in rows] == ["no", "yes", "yes", "no"]
    assert int(rows[1]["bytes"]) == (folder / "2.png").stat().st_size

    capsys.readouterr()  # search by a file that is not in the folder
    scene(2).resize((200, 150)).save(tmp_path / "example.webp")
    assert main(["search", str(tmp_path / "out"), "--like", str(tmp_path / "example.webp"), "-n", "4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[1] for line in lines} == {"large.jpg", "2.png", "again.png", "small.jpg"}
    scores = [float(line.split()[0]) for line in lines]
    assert scores == sorted(scores, reverse=True) and scores[0] > 0.9
    assert main(["search", str(tmp_path / "out"), "--text", "a dog"]) == 2
    assert "was taught the names of 200 classes only, so it cannot compare photographs with a text" in capsys.readouterr().err
    assert main(["search", str(tmp_path / "out"), "--like", str(tmp_path / "none.jpg")]) == 2
    assert main(["search", str(folder), "--like", str(tmp_path / "example.webp")]) == 2
    assert "holds no finished run of `pgjr cluster`" in capsys.readouterr().err


def test_pictures_of_one_tone_are_no_duplicates_of_each_other():
    index, cosine = nearest(np.ones((3, 4)))
    look = np.array([perceptual_hash(Image.new("RGB", (40, 40), colour)) for colour in ("red", "blue", "white")])
    assert len(duplicates.similar_pairs(look, index, cosine)) == 0


def test_neighbours_are_the_nearest_by_angle(monkeypatch):
    monkeypatch.setattr("pgjr_lib.photos.neighbours._ROWS", 7)
    points = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)
    index, cosine = nearest(points, 5)
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    near = unit @ unit.T
    np.fill_diagonal(near, -2)
    assert index.tolist() == np.argsort(-near, axis=1)[:, :5].tolist()
    np.testing.assert_allclose(cosine, -np.sort(-near, axis=1)[:, :5], atol=1e-5)
    assert nearest(points[:3])[0].shape == (3, 2)


def test_a_point_is_placed_between_those_it_resembles():
    points = np.repeat(4 * np.eye(5, dtype=np.float32), 6, axis=0)
    plane = np.repeat(np.arange(5, dtype=np.float32), 6)[:, None].repeat(2, 1)
    placed = place(np.concatenate([points, points[[0, 29]]]), np.arange(30), plane)
    np.testing.assert_allclose(placed[30:], [[0, 0], [4, 4]], atol=1e-3)
    assert project(points).shape == (30, 2) and project(points).min() >= 0 and project(points).max() <= 1


def test_only_clusters_with_clear_parts_are_split():
    draw = np.random.default_rng(0)
    two = np.repeat([[5, 0, 0, 1], [5, 0, 0, -1]], 40, 0) + 0.1 * draw.standard_normal((80, 4))
    cloud = [0, 5, 0, 0] + 0.3 * draw.standard_normal((80, 4))
    few = [0, 0, 5, 0] + draw.standard_normal((10, 4))
    parts = parts_of(np.concatenate([two, cloud, few]), np.repeat([0, 1, 2], [80, 80, 10]), 0)
    assert set(parts[:40]) != set(parts[40:80]) and set(parts[:80]) == {0, 1} and set(parts[80:]) == {-1}


# ---- reading ----


def test_a_pool_reads_in_order(tmp_path):
    paths = []
    for i in range(40):
        paths.append(tmp_path / f"{i:02d}.png")
        Image.new("RGB", (30 + i, 20), (i, 0, 0)).save(paths[-1])
    paths[7].write_bytes(b"no image")
    readings = list(read_photos(paths, 16, 2))
    assert [r.width for i, r in enumerate(readings) if i != 7] == [30 + i for i in range(40) if i != 7]
    assert readings[7].error.startswith("UnidentifiedImageError") and readings[7].digest and readings[7].pixels is None
    assert all(r.pixels.shape == (3, 16, 16) for i, r in enumerate(readings) if i != 7)


class CrashingPool:
    """A pool without processes, which breaks as one does where a process dies at a file called 03.png."""

    def submit(self, function, what, size):
        future = Future()
        if any(path.name == "03.png" for path in (what if isinstance(what, list) else [what])):
            future.set_exception(loky.BrokenProcessPool())
        else:
            future.set_result(function(what, size))
        return future

    def shutdown(self, kill_workers):
        self.ended = kill_workers


def test_a_decoder_that_crashes_costs_one_file(tmp_path, monkeypatch):
    for i in range(40):
        Image.new("RGB", (30 + i, 20), (i, 0, 0)).save(tmp_path / f"{i:02d}.png")
    pool = CrashingPool()
    monkeypatch.setattr(loky, "get_reusable_executor", lambda processes: pool)
    readings = list(read_photos(sorted(tmp_path.iterdir()), 16, 2))
    assert [i for i, r in enumerate(readings) if r.error] == [3] and "makes the decoder crash" in readings[3].error
    assert [r.width for i, r in enumerate(readings) if i != 3] == [30 + i for i in range(40) if i != 3] and pool.ended


def test_a_photo_is_upright_and_its_size_is_that_of_the_file(tmp_path):
    image = Image.new("RGB", (1600, 1200), "red")
    image.paste("blue", (0, 0, 800, 1200))
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    image.save(tmp_path / "turned.jpg", exif=exif)
    found = read_photo(tmp_path / "turned.jpg", 64)
    assert (found.width, found.height) == (1200, 1600) and found.pixels.shape == (3, 64, 64)
    top, bottom = found.pixels[:, 4].mean(1), found.pixels[:, -4].mean(1)
    assert top.argmax() == 2 and bottom.argmax() == 0  # blue above red
    assert Image.open(io.BytesIO(found.thumbnail)).size == (96, 96)


@pytest.mark.parametrize(
    "data", [b"", b"\x00" * 50, b"\xff\xd8\xff\xe0" + b"\x00" * 40, b"GIF89a" + b"\xff" * 30, b"BM" + b"\xff" * 60]
)
def test_a_hostile_file_is_damaged_and_nothing_more(tmp_path, data):
    (tmp_path / "x.jpg").write_bytes(data)
    found = read_photo(tmp_path / "x.jpg", 16)
    assert found.error and found.pixels is None and "\n" not in found.error


def test_heic_is_read_where_its_reader_is_installed(tmp_path):
    pytest.importorskip("pillow_heif")
    assert register_heif() and ".heic" in folders.readable_suffixes()
    scene(1).save(tmp_path / "a.heic", quality=90)
    found = read_photo(tmp_path / "a.heic", 64)
    assert not found.error and (found.width, found.height) == (240, 180)


def test_raw_files_are_skipped_and_counted(photos, tmp_path, capsys):
    for name in ("a.CR2", "b.dng"):
        (photos / name).write_bytes(b"raw")
    options = ["--prior", "class-name", "--head", "kmeans", "-k", "3", "--out", str(tmp_path / "out")]
    assert main(["cluster", str(photos), *options]) == 0
    err = capsys.readouterr().err
    assert "Skipped RAW files; export them, for example as JPEG, to include them (2): a.CR2, b.dng." in err


# ---- names ----


def test_names_are_suggested_by_what_sets_a_cluster_apart():
    words, features = ["photo", "rose", "grass"], np.eye(3, dtype=np.float32)
    embedding = np.array([[3, 1, 0]] * 4 + [[3, 0, 1]] * 4, dtype=np.float32)  # all are photos; half are roses
    found = names.suggest(embedding, np.array([5] * 4 + [-1] + [2] * 3), words, features)
    assert set(found) == {5, 2} and found[5][0][0] == "rose" and found[2][0][0] == "grass"
    assert found[5][0][1] == pytest.approx(10**-0.5 / 2, abs=2e-3)


def test_a_list_of_words_is_checked(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("\ufeffrose\n\n grass \nrose\n", encoding="utf-8")
    assert names.read_words(path) == ["rose", "grass"]
    wrong = {b"": "holds no words", b"\xff\xfe": "is not UTF-8", b"a\x1b[2J": "is no word", b"x" * 99: "is no word"}
    for text, sentence in wrong.items():
        path.write_bytes(text)
        with pytest.raises(PGJRError, match=sentence):
            names.read_words(path)
    assert len(names.read_words(None)) > 900
    with pytest.raises(PGJRError, match="knows no words"):
        names.refuse_text("imagenet-labels")


def test_words_need_clip(photos, tmp_path, capsys):
    (tmp_path / "words.txt").write_text("rose\n")
    options = ["--prior", "class-name", "--words", str(tmp_path / "words.txt"), "--out", str(tmp_path / "out")]
    assert main(["cluster", str(photos), *options]) == 2
    assert "cannot compare photographs with a text" in capsys.readouterr().err


def test_words_are_encoded_once(tmp_path, monkeypatch):
    monkeypatch.setattr(names, "prior_checksum", lambda prior: "x")
    asked = []

    def encode(sentences):
        asked.append(sentences)
        import torch

        return torch.eye(len(sentences))

    first = names.word_features("clip", ["rose", "grass"], tmp_path, "cpu", encode)
    assert first.shape == (2, 4) and asked[0][:2] == ["a photo of a rose.", "a photo of the rose."] and len(asked[0]) == 4
    assert np.array_equal(names.word_features("clip", ["rose", "grass"], tmp_path, "cpu", encode), first) and len(asked) == 1
