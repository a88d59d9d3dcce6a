"""``python -m pgjr_book`` as a user meets it: exit codes, one sentence for a mistake, and whole files."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pgjr_book.__main__ import main
from pgjr_lib.priors.names import BUNDLED

ROOT = Path(__file__).parents[2]


def last_error(capsys) -> str:
    """Return the last line that the command printed on stderr, where there must be no traceback."""
    lines = capsys.readouterr().err.strip().splitlines()
    assert not any(line.startswith("Traceback") for line in lines)
    return lines[-1]


def test_missing_data_says_where_it_looked_and_how_to_get_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PGJR_DATA", str(tmp_path))
    assert main(["train", "method=gjr", "dataset=cifar10", "epochs=1", "--out", str(tmp_path)]) == 2
    sentence = last_error(capsys)
    assert str(tmp_path / "cifar10") in sentence and "cs.toronto.edu" in sentence


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("epoch=1", "unknown key epoch: did you mean epochs"),
        ("epochs=many", "epochs is 'many'"),
        ("epochs", "'epochs' is not of the form FIELD=VALUE"),
        ("dataset=[x", "'dataset=[x' cannot be read as YAML"),
        ("method=[1]", "method is [1], but"),
        ("method=pgjr", "method=pgjr needs a prior: add for example prior=class-name"),
        ("method=prior", "method=prior needs a prior"),
        ("image_size=null", "method=gjr needs the size of its images"),
    ],
)
def test_train_refuses_settings_that_do_not_exist(setting, sentence, capsys):
    assert main(["train", "method=gjr", "dataset=digits", setting]) == 2
    assert sentence in last_error(capsys)


def test_train_prints_scores_and_writes_a_record_that_verifies(tmp_path, capsys):
    settings = ["method=idfd", "dataset=digits", "split=all", "limit=64", "image_size=8", "backbone=thin", "epochs=1"]
    assert main(["train", *settings, "lr=1e-3", "weight_decay=5e-4", "--out", str(tmp_path)]) == 0
    assert "ACC" in capsys.readouterr().out
    (record,) = (tmp_path / "runs").glob("*.json")
    assert main(["verify", str(record)]) == 0 and json.loads(record.read_text())["config"]["lr"] == 0.001
    record.write_text("5")
    assert main(["verify", str(record)]) == 2
    assert "holds a JSON int instead of an object" in last_error(capsys)


@pytest.mark.parametrize("profile", ["embedded", "paper", "published"])
def test_plan_prints_runs_hours_and_disk_even_without_the_data(profile, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PGJR_DATA", str(tmp_path))
    assert main(["plan", "--profile", profile]) == 0
    text = capsys.readouterr().out
    assert f"profile {profile}" in text
    if profile == "published":
        assert "trains nothing" in text
    else:
        assert "hours" in text and "GiB" in text and "convergence" in text
    assert ("cifar10 (train) was not found" in text) == (profile == "paper")


def test_the_module_exits_with_2_and_one_line():
    command = [sys.executable, "-m", "pgjr_book", "plan", "--profile", "nosuch"]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: there is no profile 'nosuch': known are embedded, ")
    assert len(done.stderr.strip().splitlines()) == 1


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
    assert sentence in last_error(capsys) and not list(tmp_path.rglob("*.json"))


def test_train_names_the_field_that_is_missing(capsys):
    assert main(["train", "method=gjr"]) == 2
    assert "dataset is missing: add it" in last_error(capsys)


def test_a_last_batch_of_one_image_is_no_trouble(tmp_path):
    settings = "method=idfd dataset=digits split=all image_size=8 epochs=1 limit=65 batch_size=64 backbone=thin".split()
    assert main(["train", *settings, "--out", str(tmp_path)]) == 0


def test_verify_reports_a_damaged_record(tmp_path, capsys):
    whole = dict.fromkeys(("key", "config", "history", "scores", "data"), {})
    for content in ({"config": {}, "scores": {}, "provenance": 5}, {**whole, "key": "record", "provenance": 5}):
        (tmp_path / "record.json").write_text(json.dumps(content))
        assert main(["verify", str(tmp_path / "record.json")]) == 2
        assert "record.json" in last_error(capsys)


def test_verify_takes_a_folder_of_records(tmp_path, capsys):
    for path in sorted((ROOT / "results").glob("*.json"))[:3]:
        shutil.copy(path, tmp_path)
    assert main(["verify", str(tmp_path)]) == 0
    next(tmp_path.glob("*.json")).write_text("{}")
    assert main(["verify", str(tmp_path)]) == 2


def test_verify_takes_what_the_library_writes(capsys):
    assert main(["verify", str(BUNDLED), str(BUNDLED.with_suffix(".json"))]) == 0


def test_a_prior_is_not_scored_on_classes_it_was_trained_on_under_any_name(tmp_path, capsys):
    draw = np.random.default_rng(0)
    for name in ("n01443537", "light"):  # the first is a class of Tiny-ImageNet
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(12):
            pixels = draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i:02d}.png")
    settings = [
        "method=prior",
        f"dataset=folder:{tmp_path / 'photos'}",
        f"prior=file:{BUNDLED}",
        "views=0",
        "split=all",
    ]
    assert main(["train", *settings, "--out", str(tmp_path / "runs")]) == 2
    assert "which saw labels of its classes: use another prior" in last_error(capsys)
