"""The command line as a user meets it: exit codes, one sentence for a mistake, and whole files."""

import csv
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pgjr_lib.cli import main
from pgjr_lib.errors import PGJRError
from pgjr_lib.photos.cluster import ClusterOptions, cluster_folder
from pgjr_lib.priors.names import BUNDLED
from pgjr_lib.storage import read_sealed


def last_error(capsys) -> str:
    """Return the last line that the command printed on stderr, where there must be no traceback and no usage."""
    lines = capsys.readouterr().err.strip().splitlines()
    assert not any(line.startswith(("Traceback", "usage:")) for line in lines)
    assert lines[-1].startswith("error: ")
    return lines[-1]


@pytest.fixture
def photos(tmp_path):
    """Make two classes of 12 images each."""
    rng = np.random.default_rng(0)
    for label, base in (("dark", 40), ("light", 200)):
        folder = tmp_path / "photos" / label
        folder.mkdir(parents=True)
        for i in range(12):
            pixels = np.clip(base + 20 * rng.standard_normal((32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{i:02d}.png")
    return tmp_path / "photos"


def test_cluster_writes_a_row_for_every_image(photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["cluster", str(photos), "-k", "2", "--epochs", "2", "--out", str(out)]) == 0
    rows = list(csv.DictReader((out / "clusters.csv").open()))
    assert [row["file"] for row in rows] == sorted(p.relative_to(photos).as_posix() for p in photos.rglob("*.png"))
    assert {row["cluster"] for row in rows} == {"0", "1"}
    assert main(["verify", str(out / "features.safetensors"), str(out)]) == 0
    (part,) = (out / "features").glob("*/part-*.safetensors")
    part.write_bytes(b"")
    assert main(["verify", str(out)]) == 2
    assert "part-00000.safetensors is truncated" in last_error(capsys)


def test_verify_recognises_files_by_their_content(photos, tmp_path, capsys):
    out = tmp_path / "features"
    command = ["extract", "--dataset", f"images:{photos}", "--split", "all", "--views", "1", "--out", str(out)]
    assert main(command) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.suffix != ".lock"}
    for name in before:  # parts, their notes, the manifest
        assert main(["verify", str(out / name)]) == 0
    for name in ("manifest-1.json", "pca.json", "view-0.json"):
        (out / name).write_text("{}")
        assert main(["verify", str(out / name)]) == 2
        assert "nothing was checked" in (sentence := last_error(capsys)) and "delete" not in sentence
    assert main(["verify", str(out)]) == 2
    assert main(command) == 0 and main(["verify", str(out)]) == 0  # an empty note counts as none
    assert all((out / name).read_bytes() == data for name, data in before.items() if name.endswith(".safetensors"))
    note = read_sealed(out / "pca.json")
    (out / "pca.json").write_text(json.dumps({**note, "checksum": "0"}))
    assert main(["verify", str(out / "pca.safetensors")]) == 2
    assert "is not the file that pca.json describes" in last_error(capsys)


@pytest.mark.parametrize("k", [1, 25])
def test_cluster_refuses_a_k_that_cannot_be(photos, tmp_path, capsys, k):
    with pytest.raises(PGJRError, match=f"k={k} clusters were asked for 24 images: choose k from 2 to 24"):
        cluster_folder(photos, tmp_path / "out", ClusterOptions(k=k))
    assert main(["cluster", str(photos), "-k", str(k), "--out", str(tmp_path / "out")]) == 2
    assert ("argument -k: 1 is too small" if k == 1 else "k=25 clusters were asked for 24 images") in last_error(capsys)
    assert not (tmp_path / "out").exists()


def test_cluster_leaves_damaged_images_out_and_names_them(photos, tmp_path, capsys):
    (photos / "dark" / "05.png").write_bytes(b"no image")
    (photos / "light" / "07.png").write_bytes(b"")
    assert main(["cluster", str(photos), "-k", "2", "--epochs", "1", "--out", str(tmp_path / "out")]) == 0
    assert "Left out damaged images (2): dark/05.png, light/07.png." in capsys.readouterr().err
    assert len((tmp_path / "out" / "clusters.csv").read_text().splitlines()) == 23
    assert "light/07.png" in (tmp_path / "out" / "index.html").read_text()


def test_extract_names_a_corrupt_image_and_skips_it_only_on_request(photos, tmp_path, capsys):
    (photos / "dark" / "05.png").write_bytes(b"no image")
    command = [
        "extract",
        "--dataset",
        f"images:{photos}",
        "--split",
        "all",
        "--views",
        "1",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(command) == 2
    assert "05.png" in (sentence := last_error(capsys)) and "--skip-corrupt" in sentence
    assert main([*command, "--skip-corrupt"]) == 0
    assert "features of 23 images" in capsys.readouterr().out


def test_cluster_overwrites_only_its_own_files(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["cluster", str(photos), "-k", "2", "--epochs", "1"]
    assert main(command) == 0 and main(command) == 0
    assert (tmp_path / "photos-clusters" / "index.html").is_file()
    shutil.copytree(photos, tmp_path / "others")
    page = (tmp_path / "photos-clusters" / "index.html").read_bytes()
    capsys.readouterr()
    assert main(["cluster", "others", "-k", "2", "--epochs", "1", "--out", "photos-clusters"]) == 2
    sentence = "photos-clusters holds clusters.csv, which as far as pgjr knows was not made from others: choose another"
    assert sentence in last_error(capsys)
    assert (tmp_path / "photos-clusters" / "index.html").read_bytes() == page
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("mine")
    assert main([*command, "--out", "site"]) == 2 and (tmp_path / "site" / "index.html").read_text() == "mine"


def test_cluster_of_an_empty_folder_and_of_too_few_images(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert main(["cluster", str(tmp_path / "empty"), "-k", "2"]) == 2
    assert "holds no images" in last_error(capsys)
    Image.new("RGB", (8, 8)).save(tmp_path / "empty" / "a.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "empty" / "b.png")
    assert main(["cluster", str(tmp_path / "empty"), "-k", "2", "--labels"]) == 2
    assert "a.png lies in no class folder" in last_error(capsys)
    assert main(["cluster", str(tmp_path / "empty"), "--out", str(tmp_path / "out")]) == 2
    assert "holds 2 readable images: at least three" in last_error(capsys)
    assert main(["cluster", str(tmp_path / "nowhere")]) == 2
    assert "nowhere is not a folder" in last_error(capsys)


def test_cluster_suggests_the_model_that_was_meant(photos, tmp_path, capsys):
    assert main(["cluster", str(photos), "-k", "2", "--prior", "ViT-B-23/openai", "--out", str(tmp_path / "o")]) == 2
    assert "no model 'ViT-B-23': did you mean ViT-B-32" in last_error(capsys)


def test_verify_refuses_a_pickle_without_opening_it(tmp_path, capsys):
    class Bomb:
        def __reduce__(self):
            return open, (str(tmp_path / "fired"), "w")

    path = tmp_path / "weights.safetensors"
    path.write_bytes(pickle.dumps(Bomb()))
    assert main(["verify", str(path)]) == 2
    assert "is a pickle" in last_error(capsys)
    assert not (tmp_path / "fired").exists()


def test_missing_data_says_where_it_looked_and_how_to_get_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PGJR_DATA", str(tmp_path))
    assert main(["extract", "--dataset", "cifar10", "--out", str(tmp_path / "out")]) == 2
    sentence = last_error(capsys)
    assert str(tmp_path / "cifar10") in sentence and "cs.toronto.edu" in sentence


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "the following arguments are required: COMMAND: see `pgjr --help`"),
        (["train"], "invalid choice: 'train'"),
        (["extract", "--dataset", "digits"], "the following arguments are required: --out: see `pgjr extract --help`"),
        (["extract", "--out", "x"], "the following arguments are required: --dataset"),
        (
            ["extract", "--dataset", "digits", "--out", "x", "--shard", "3/2"],
            "part 3 does not exist, parts count from 0 to 1",
        ),
        (["extract", "--dataset", "digits", "--out", "x", "--shard", "0/0"], "0/0 has no parts"),
        (["extract", "--dataset", "digits", "--out", "x", "--shard", "1"], "--shard: '1' is not of the form i/n"),
        (["extract", "--dataset", "digits", "--out", "x", "--split", "val"], "--split: invalid choice: 'val'"),
        (["extract", "--dataset", "digits", "--out", "x", "--views", "-1"], "--views: -1 is too small, give 0 or more"),
        (["cluster", ".", "-k", "two"], "-k: 'two' is not an integer"),
        (["verify", "nowhere"], "nowhere does not exist"),
        (["fetch"], "Nothing to fetch: name image sets, or a prior with --prior, or see `pgjr fetch --list`."),
    ],
)
def test_wrong_arguments_are_one_sentence(arguments, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert sentence in last_error(capsys) and not list(tmp_path.iterdir())


def test_extract_in_shards(photos, tmp_path, capsys):
    pieces = [photos / "dark", photos / "light"]
    for i in range(12, 150):  # more images than a chunk takes
        for folder in pieces:
            shutil.copy(folder / f"{i % 12:02d}.png", folder / f"{i}.png")
    command = ["extract", "--dataset", f"folder:{photos}", "--views", "0", "--out", str(tmp_path / "out"), "--shard"]
    assert main([*command, "1/2"]) == 0 and "others are missing" in capsys.readouterr().out
    assert main(["verify", str(tmp_path / "out")]) == 2 and "holds neither features nor clusters" in last_error(capsys)
    assert main([*command, "0/2"]) == 0 and "features of 300 images" in capsys.readouterr().out
    assert main(["verify", str(tmp_path / "out")]) == 0


def test_the_installed_command_exits_with_2_and_one_line(tmp_path):
    command = [sys.executable, "-m", "pgjr_lib.cli", "cluster", "nosuch"]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: nosuch is not a folder: ")
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--epochs", "0"], "--epochs: 0 is too small, give 1 or more"),
        (["--seed", "-1"], "--seed: -1 is too small, give 0 or more"),
        (["--seed", str(2**32)], "seed is 4294967296, but"),
    ],
)
def test_cluster_names_a_number_that_cannot_be(photos, tmp_path, capsys, more, sentence):
    assert main(["cluster", str(photos), "-k", "2", "--out", str(tmp_path / "out"), *more]) == 2
    assert sentence in last_error(capsys)


def test_a_file_where_a_folder_should_be_is_one_sentence(photos, tmp_path, capsys):
    (tmp_path / "out").write_text("a file")
    assert main(["cluster", str(photos), "-k", "2", "--epochs", "1", "--out", str(tmp_path / "out")]) == 2
    assert str(tmp_path / "out") in last_error(capsys)


@pytest.mark.parametrize(
    ("name", "text"),
    [("record.json", '{"config": {}, "scores": {}, "provenance": 5}'),
     ("note.json", "5"), ("note.json", '{"stamp": 1}'),
     ("manifest-0.json", '{"files": [1], "config": {}, "class_names": []}'),
     ("manifest-0.json", '{"files": {}, "config": {"views": 0}, "class_names": []}')],
)  # fmt: skip
def test_verify_reports_any_damage_in_one_sentence(name, text, tmp_path, capsys):
    (tmp_path / name).write_text(text)
    assert main(["verify", str(tmp_path / name)]) == 2
    assert Path(name).stem in last_error(capsys)


def test_a_prior_verifies_against_the_file_beside_it(capsys, tmp_path):
    assert main(["verify", str(BUNDLED), str(BUNDLED.with_suffix(".json"))]) == 0
    capsys.readouterr()
    copy = tmp_path / "x.safetensors"
    copy.write_bytes(BUNDLED.read_bytes()[:-8] + bytes(8))
    copy.with_suffix(".json").write_bytes(BUNDLED.with_suffix(".json").read_bytes())
    assert main(["verify", str(copy)]) == 2
    assert "does not match the checksum" in last_error(capsys)


@pytest.mark.parametrize("command", ["fetch", "extract", "cluster"])
def test_the_help_names_every_kind_of_prior(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for kind in ("class-name", "imagenet-labels", "<open_clip model>/<tag>", "file:", "random:"):
        assert kind in text, kind
