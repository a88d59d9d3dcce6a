"""The profiles that need a GPU: which machine they refuse, what outlives it, and their one progress bar."""

import os
import shutil
import zipfile
from pathlib import Path

import pytest
import yaml

from pgjr_book import hour, make
from pgjr_book.__main__ import main
from pgjr_lib.errors import PGJRError


@pytest.fixture
def small(manifest, tmp_path, monkeypatch):
    """A clone whose profile ``clip-class-name`` has two runs on digits, on a machine without a GPU."""
    monkeypatch.setattr(hour, "gpu", lambda: None)

    def edit(raw):
        head = {"method": "pgjr", "views": 0, "epochs": 1, "map": "embedding", "kmeans_seeds": 1, "n": 2, "g": 2}
        variant = {"label": "V", "run": head}
        clip = raw["profiles"]["clip"]
        clip.update(sets={"digits": {"split": "all", "limit": 60}}, seeds={"head": 1}, methods={"gjr": clip["methods"]["gjr"]})
        raw["experiments"] = {
            "slow": {"item": "a", "title": "a", "variants": {"long": {"label": "L", "run": {**head, "epochs": 2}}, "v": variant}},
            "seconds": {"item": "b", "title": "b", "timed": True, "variants": {"v": variant}},
        }
        raw["notebooks"] = {}

    return manifest(edit)


def test_a_machine_without_a_gpu_is_told_the_hours(small, monkeypatch):
    with pytest.raises(PGJRError, match=r"clip needs a GPU, and there is none: on two CPU cores it takes about 0 hours.*--device cpu"):
        hour.check_machine("clip")
    hour.check_machine("clip", "cpu")
    hour.check_machine("embedded")
    monkeypatch.setattr(hour, "gpu", lambda: "NVIDIA T4")
    monkeypatch.setattr("pgjr_lib.devices.default_device", lambda: "cuda")
    hour.check_machine("clip")
    monkeypatch.setattr(hour, "free_memory_gb", lambda: 2.0)
    with pytest.raises(PGJRError, match="needs about 6 GB of memory, and 2.0 GB are free"):
        hour.check_machine("clip")


def test_no_hours_are_named_for_a_cnn_that_nobody_timed(small):
    raw = yaml.safe_load(Path("experiments.yaml").read_text())
    raw["profiles"]["clip"]["methods"]["gjr"]["backbone"] = "thin"
    Path("experiments.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(PGJRError, match="clip needs a GPU, and there is none: on two CPU cores it takes days.*--device cpu"):
        hour.check_machine("clip")


def test_make_and_run_refuse_it_too(small, capsys):
    assert main(["run", "--profile", "clip-class-name"]) == 2 and "needs a GPU" in capsys.readouterr().err


def test_a_torch_without_cuda_is_named(small, monkeypatch):
    monkeypatch.setattr(hour, "gpu", lambda: "NVIDIA T4")
    monkeypatch.setattr("pgjr_lib.devices.default_device", lambda: "cpu")
    with pytest.raises(PGJRError, match="This torch sees no GPU, though the machine has one"):
        hour.run("clip-class-name")
    with pytest.raises(PGJRError, match="This torch sees no GPU"):
        hour.check_machine("clip")  # which make book and run call, too


def test_gpus_have_their_cards(monkeypatch, tmp_path):
    names = {"Tesla T4": "t4", "NVIDIA L4": "l4", "NVIDIA A100-SXM4-40GB": "a100", "NVIDIA H100 80GB HBM3": "h100", "GTX 1080": "t4"}
    assert {name: hour.card(name) for name in names} == names and hour.card(None) == "cpu"
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\necho 'Tesla T4'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert hour.gpu() == "Tesla T4"
    fake.write_text("#!/bin/sh\nexit 9\n")
    assert hour.gpu() is None


def test_all_runs_have_one_bar_and_timed_ones_come_first(small, tmp_path, capsys, monkeypatch):
    order = []
    real = make.run
    note = lambda run, *a, alone: order.append((run.epochs, alone)) or real(run, *a, alone)  # noqa: E731
    monkeypatch.setattr(make, "run", note)
    assert hour.run("clip-class-name", "cpu") == 2
    assert order == [(1, True), (2, False)]  # the run of both experiments belongs to the timed one
    err = capsys.readouterr().err
    assert "run 2 of 2: pgjr on digits" in err and "chunk" not in err and "epoch" not in err
    assert hour.run("clip-class-name", "cpu") == 0 and "PGJR_PROGRESS" not in os.environ
    packed = zipfile.ZipFile(hour.pack("clip-class-name"))
    assert len(packed.namelist()) == 2 and all(name.startswith("results/") for name in packed.namelist())


def test_without_records_there_is_nothing_to_pack(small):
    with pytest.raises(PGJRError, match="holds no records: run the profile first"):
        hour.pack("clip")


def test_records_outlive_the_machine_on_a_mounted_drive(small, tmp_path):
    drive = tmp_path / "drive"
    assert hour.keep_on_drive("clip", drive) is None
    make.build_root("clip").mkdir(parents=True)
    drive.mkdir()
    runs = make.build_root("clip") / "runs"
    runs.mkdir(parents=True)
    (runs / "before.json").write_text("{}")
    kept = hour.keep_on_drive("clip", drive)
    (runs / "after.json").write_text("{}")
    assert sorted(path.name for path in kept.iterdir()) == ["after.json", "before.json"]
    assert hour.keep_on_drive("clip", drive) == kept  # again, after an interruption
    shutil.rmtree(make.build_root("clip"))  # a new machine
    hour.keep_on_drive("clip", drive)
    assert sorted(path.name for path in runs.iterdir()) == ["after.json", "before.json"]
    shutil.rmtree(drive / "pgjr")  # the link leads nowhere now
    assert hour.keep_on_drive("clip", drive) == kept and list(runs.iterdir()) == []
