"""The command line as a person uses it: exit codes, one sentence a mistake, files that are whole."""

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


def said(capsys) -> str:
    """What the last command printed on stderr: one line, no traceback."""
    text = capsys.readouterr().err.strip().splitlines()
    assert not any("Traceback" in line for line in text)
    return text[-1]


@pytest.fixture
def photos(tmp_path):
    """Two classes of 12 generated images each."""
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
    (out / "features" / "chunk-00000.safetensors").write_bytes(b"")
    assert main(["verify", str(out)]) == 2
    assert "chunk-00000.safetensors is truncated" in said(capsys)


def test_verify_tells_files_by_what_they_hold(photos, tmp_path, capsys):
    out = tmp_path / "features"
    command = ["extract", "--dataset", f"images:{photos}", "--split", "all", "--views", "1", "--out", str(out)]
    assert main(command) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for name in before:  # chunks, their notes, the manifest
        assert main(["verify", str(out / name)]) == 0
    for name in ("manifest.json", "pca.json", "chunk-00000.json"):
        (out / name).write_text("{}")
        assert main(["verify", str(out / name)]) == 2
        assert "nothing was checked" in (told := said(capsys)) and "delete" not in told
    assert main(["verify", str(out)]) == 2
    assert main(command) == 0 and main(["verify", str(out)]) == 0  # what says nothing counts as not there
    assert all((out / name).read_bytes() == data for name, data in before.items() if name.endswith(".safetensors"))
    note = json.loads((out / "pca.json").read_text())
    (out / "pca.json").write_text(json.dumps({**note, "checksum": "0"}))
    assert main(["verify", str(out / "pca.safetensors")]) == 2
    assert "is not the file that pca.json describes" in said(capsys)


@pytest.mark.parametrize("k", ["1", "25"])
def test_cluster_refuses_a_k_that_cannot_be(photos, tmp_path, capsys, k):
    assert main(["cluster", str(photos), "-k", k, "--out", str(tmp_path / "out")]) == 2
    assert f"k={k} clusters were asked for 24 images" in said(capsys)


def test_cluster_leaves_damaged_images_out_and_names_them(photos, tmp_path, capsys):
    (photos / "dark" / "05.png").write_bytes(b"no image")
    (photos / "light" / "07.png").write_bytes(b"")
    assert main(["cluster", str(photos), "-k", "2", "--epochs", "1", "--out", str(tmp_path / "out")]) == 0
    assert "Left out, as they are damaged: (2) dark/05.png, light/07.png." in capsys.readouterr().err
    assert len((tmp_path / "out" / "clusters.csv").read_text().splitlines()) == 23
    assert "light/07.png" in (tmp_path / "out" / "index.html").read_text()


def test_extract_names_a_corrupt_image_and_skips_it_only_when_told(photos, tmp_path, capsys):
    (photos / "dark" / "05.png").write_bytes(b"no image")
    command = ["extract", "--dataset", f"images:{photos}", "--split", "all", "--views", "1", "--out", str(tmp_path / "out")]
    assert main(command) == 2
    assert "05.png" in (sentence := said(capsys)) and "--skip-corrupt" in sentence
    assert main([*command, "--skip-corrupt"]) == 0


def test_cluster_writes_over_nothing_but_its_own(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["cluster", str(photos), "-k", "2", "--epochs", "1"]
    assert main(command) == 0 and main(command) == 0
    assert (tmp_path / "photos-clusters" / "index.html").is_file()
    shutil.copytree(photos, tmp_path / "others")
    page = (tmp_path / "photos-clusters" / "index.html").read_bytes()
    capsys.readouterr()
    assert main(["cluster", "others", "-k", "2", "--epochs", "1", "--out", "photos-clusters"]) == 2
    assert "photos-clusters holds clusters.csv, which as far as is known was not made from others: name another folder" in said(capsys)
    assert (tmp_path / "photos-clusters" / "index.html").read_bytes() == page
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("mine")
    assert main([*command, "--out", "site"]) == 2 and (tmp_path / "site" / "index.html").read_text() == "mine"


def test_cluster_of_an_empty_folder_and_of_too_few_images(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert main(["cluster", str(tmp_path / "empty"), "-k", "2"]) == 2
    assert "holds no images" in said(capsys)
    Image.new("RGB", (8, 8)).save(tmp_path / "empty" / "a.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "empty" / "b.png")
    assert main(["cluster", str(tmp_path / "empty"), "-k", "2", "--labels"]) == 2
    assert "a.png lies in no class folder" in said(capsys)
    assert main(["cluster", str(tmp_path / "empty"), "--out", str(tmp_path / "out")]) == 2
    assert "has 2 readable images: at least three" in said(capsys)
    assert main(["cluster", str(tmp_path / "nowhere")]) == 2
    assert "nowhere is not a folder" in said(capsys)


def test_cluster_suggests_the_model_that_was_meant(photos, tmp_path, capsys):
    assert main(["cluster", str(photos), "-k", "2", "--prior", "ViT-B-23/openai", "--out", str(tmp_path / "o")]) == 2
    assert "no model 'ViT-B-23': did you mean ViT-B-32" in said(capsys)


def test_missing_data_says_where_it_looked_and_how_to_get_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PGJR_DATA", str(tmp_path))
    assert main(["train", "method=gjr", "dataset=cifar10", "epochs=1", "--out", str(tmp_path)]) == 2
    sentence = said(capsys)
    assert str(tmp_path / "cifar10") in sentence and "cs.toronto.edu" in sentence


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("epoch=1", "unknown key epoch: did you mean epochs"),
        ("epochs=many", "epochs is 'many'"),
        ("epochs", "'epochs' is no FIELD=VALUE"),
        ("dataset=[x", "'dataset=[x' cannot be read as YAML"),
        ("method=[1]", "method is [1], but"),
        ("method=pgjr", "method=pgjr needs a prior: add for example prior=class-name"),
        ("method=prior", "method=prior needs a prior"),
        ("image_size=null", "method=gjr needs a size of its images"),
    ],
)
def test_train_refuses_settings_that_do_not_exist(setting, sentence, capsys):
    assert main(["train", "method=gjr", "dataset=digits", setting]) == 2
    assert sentence in said(capsys)


def test_train_prints_scores_and_writes_a_record_that_verifies(tmp_path, capsys):
    settings = ["method=idfd", "dataset=digits", "split=all", "limit=64", "image_size=8", "backbone=thin", "epochs=1"]
    assert main(["train", *settings, "lr=1e-3", "weight_decay=5e-4", "--out", str(tmp_path)]) == 0
    assert "ACC" in capsys.readouterr().out
    (record,) = (tmp_path / "runs").glob("*.json")
    assert main(["verify", str(record)]) == 0 and json.loads(record.read_text())["config"]["lr"] == 0.001
    record.write_text("5")
    assert main(["verify", str(record)]) == 2
    assert "holds no JSON object" in said(capsys)


def test_verify_refuses_a_pickle_without_opening_it(tmp_path, capsys):
    class Bomb:
        def __reduce__(self):
            return open, (str(tmp_path / "fired"), "w")

    path = tmp_path / "weights.safetensors"
    path.write_bytes(pickle.dumps(Bomb()))
    assert main(["verify", str(path)]) == 2
    assert "is a pickle" in said(capsys)
    assert not (tmp_path / "fired").exists()


def test_extract_needs_to_know_what_and_where(capsys):
    assert main(["extract", "--dataset", "digits"]) == 2
    assert "extract needs --dataset and --out" in said(capsys)
    assert main(["extract", "--dataset", "digits", "--out", "x", "--shard", "3/2"]) == 2
    assert "part 3 does not exist" in said(capsys)


@pytest.mark.parametrize("profile", ["embedded", "paper", "published"])
def test_plan_prints_runs_hours_and_disk_even_without_the_data(profile, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PGJR_DATA", str(tmp_path))
    assert main(["plan", "--profile", profile]) == 0
    text = capsys.readouterr().out
    assert f"profile {profile}" in text
    if profile == "published":
        assert "nothing is trained" in text
    else:
        assert "hours" in text and "GiB" in text and "convergence" in text
    assert ("cifar10 (train) is not on this machine" in text) == (profile == "paper")


def test_the_installed_command_exits_with_2_and_one_line(tmp_path):
    command = [sys.executable, "-m", "pgjr_lib.cli", "plan", "--profile", "nosuch"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONWARNINGS": "ignore"})
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: there is no profile 'nosuch': known are embedded, ")
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--epochs", "0"], "epochs is 0, but"),
        (["--seed", "-1"], "seed is -1, but"),
    ],
)
def test_cluster_names_a_number_that_cannot_be(photos, tmp_path, capsys, more, sentence):
    assert main(["cluster", str(photos), "-k", "2", "--out", str(tmp_path / "out"), *more]) == 2
    assert sentence in said(capsys)


def test_a_file_where_a_folder_should_be_is_one_sentence(photos, tmp_path, capsys):
    (tmp_path / "out").write_text("a file")
    assert main(["cluster", str(photos), "-k", "2", "--epochs", "1", "--out", str(tmp_path / "out")]) == 2
    assert str(tmp_path / "out") in said(capsys)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["method=idfd", "beta=1.0"], "beta=1.0 weights the jigsaw's own loss, but this run has no jigsaw"),
        (["method=gjr", "n=9", "g=3"], "n=9, g=3: GridJigsaw: a map of 2x2 is too small for blocks of 27x27"),
        (["method=gjr", "jigsaw=dense", "per_channel=true"], "jigsaw=dense mixes channels"),
        (["method=gjr", "g=1", "lr=1e6"], "not finite"),
        (["method=gjr", "seed=100000000000000"], "seed is 100000000000000, but"),
        (["method=gjr", "n=1000"], "n is 1000, but"),
    ],
)
def test_train_refuses_what_no_run_can_be(settings, sentence, tmp_path, capsys):
    common = ["dataset=digits", "split=all", "limit=64", "image_size=8", "backbone=thin", "epochs=1"]
    assert main(["train", *settings, *common, "--out", str(tmp_path)]) == 2
    assert sentence in said(capsys) and not list(tmp_path.rglob("*.json"))


def test_train_names_the_field_that_is_missing(capsys):
    assert main(["train", "method=gjr"]) == 2
    assert "dataset is missing: add it" in said(capsys)


def test_a_last_batch_of_one_image_is_no_trouble(tmp_path):
    settings = "method=idfd dataset=digits split=all image_size=8 epochs=1 limit=65 batch_size=64 backbone=thin".split()
    assert main(["train", *settings, "--out", str(tmp_path)]) == 0


@pytest.mark.parametrize(
    ("name", "text"),
    [("record.json", '{"config": {}, "scores": {}, "provenance": 5}'),
     ("manifest.json", '{"files": [1], "config": {}, "class_names": []}'),
     ("manifest.json", '{"files": {}, "config": {"views": 0}, "class_names": []}')],
)  # fmt: skip
def test_verify_judges_what_is_damaged_in_any_way(name, text, tmp_path, capsys):
    (tmp_path / name).write_text(text)
    assert main(["verify", str(tmp_path / name)]) == 2
    assert name in said(capsys)


def test_verify_takes_a_folder_of_records(tmp_path, capsys):
    results = Path(__file__).parents[2] / "results"
    for path in sorted(results.glob("*.json"))[:3]:
        shutil.copy(path, tmp_path)
    assert main(["verify", str(tmp_path)]) == 0
    next(tmp_path.glob("*.json")).write_text("{}")
    assert main(["verify", str(tmp_path)]) == 2


def test_a_prior_verifies_against_the_file_beside_it(capsys, tmp_path):
    from pgjr_lib.priors.names import BUNDLED

    assert main(["verify", str(BUNDLED), str(BUNDLED.with_suffix(".json"))]) == 0
    capsys.readouterr()
    copy = tmp_path / "x.safetensors"
    copy.write_bytes(BUNDLED.read_bytes()[:-8] + bytes(8))
    copy.with_suffix(".json").write_bytes(BUNDLED.with_suffix(".json").read_bytes())
    assert main(["verify", str(copy)]) == 2
    assert "does not match the checksum" in said(capsys)


def test_a_prior_is_not_scored_on_classes_it_was_taught_under_any_name(photos, tmp_path, capsys):
    from pgjr_lib.priors.names import BUNDLED

    (photos / "dark").rename(photos / "n01443537")  # a class of Tiny-ImageNet
    settings = ["method=prior", f"dataset=folder:{photos}", f"prior=file:{BUNDLED}", "views=0", "split=all"]
    assert main(["train", *settings, "--out", str(tmp_path / "runs")]) == 2
    assert "which saw labels of its classes: use another prior" in said(capsys)
