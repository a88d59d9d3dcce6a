"""PROFILE=paper end to end, at tiny sizes: six generated folders, a random ViT-B-32-quickgelu checkpoint."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from pgjr_book.hour import gpu
from pgjr_book.records import read_record
from pgjr_lib.data.sets import SETS

HERE = Path(__file__).parents[2]
GENERATED = tuple(name for name, info in SETS.items() if info.generated)
PAPER = tuple(name for name, info in SETS.items() if info.paper)


@pytest.fixture(scope="module")
def clone(tmp_path_factory, copy_repository, save_random_clip):
    """A copy of the repository whose paper profile is small, with data and weights beside it."""
    root = tmp_path_factory.mktemp("paper")
    clone = root / "clone"
    copy_repository(clone)
    manifest = yaml.safe_load((clone / "experiments.yaml").read_text())
    paper = manifest["profiles"]["paper"]
    paper["seeds"] = {"head": 2, "cnn": 1}
    paper["common"] |= {"image_size": 64, "kmeans_seeds": 2, "views": 1}
    paper["methods"] = {
        "pixels": {"image_size": 32},
        "pgjr": {"epochs": 1},
        "idfd": {"epochs": 1, "image_size": 32},
        "gjr": {"epochs": 1, "image_size": 32},
    }
    for name in GENERATED:
        paper["sets"][name] = {"split": "all", "limit": 40, "cnn": {"epochs": 1}}
    for name, entry in manifest["experiments"].items():
        if name not in ("main", "structure") and "paper" in entry["sets"]:
            entry["sets"]["paper"] = entry["sets"]["paper"][:1]
        entry["seeds"] = {"paper": 1, "published": 1}
        for variant in entry["variants"].values():
            variant["run"] |= {extra: 1 for extra in ("landscape", "snapshots") if extra in variant["run"]}
    manifest["experiments"]["heads"]["seeds"] = {"paper": 2}
    few = {"sensitivity": ("start", "tau1-2", "map-embedding"), "gjr_temperature": ("gjr-tau1-1", "gjr-tau1-2"),
           "places": ("idfd", "layer4")}  # fmt: skip
    for name, kept in few.items():
        variants = manifest["experiments"][name]["variants"]
        manifest["experiments"][name]["variants"] = {variant: variants[variant] for variant in kept}
    (clone / "experiments.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False))
    rng = np.random.default_rng(0)
    for name in PAPER:
        for split in ("train", "test"):
            labels = SETS[name].class_names or ("a", "b")
            for label in labels:
                base = 60 + 120 * labels.index(label) / len(labels)
                folder = root / "data" / name / split / label
                folder.mkdir(parents=True)
                for i in range(max(2, 18 // len(labels))):
                    side = (32, 32) if SETS[name].side else (40 + i % 3, 36)  # ImageNet's vary
                    pixels = np.clip(base + 40 * rng.standard_normal((*side, 3)), 0, 255).astype(np.uint8)
                    Image.fromarray(pixels).save(folder / f"{i}.png")
    save_random_clip(root / "weights")
    environment = {**os.environ, "PGJR_DATA": str(root / "data"), "PGJR_WEIGHTS": str(root / "weights"),
                   "PGJR_CACHE": str(root / "cache"), "PYTHONPATH": str(clone),
                   "PYTHONWARNINGS": "ignore", "HF_HUB_OFFLINE": "1"}  # fmt: skip
    return clone, environment


def snakemake(clone, environment, *options, profile="paper"):
    # one thread a job: tiny jobs spend their time on imports, which two of them do side by side
    flags = ("--rerun-triggers", "mtime", "input", "--keep-incomplete", "--rerun-incomplete", "--max-threads", "1")
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *flags, *options, "--config", f"profile={profile}", "device=cpu"]
    return subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, timeout=900)


@pytest.mark.slow
def test_the_paper_profile_runs_from_images_to_book(clone):
    folder, environment = clone
    done = snakemake(folder, environment)
    assert done.returncode == 0, done.stderr[-3000:]
    records = [read_record(path) for path in (folder / "build" / "paper" / "runs").glob("*.json")]
    assert {record["data"]["name"] for record in records} == {*PAPER, *GENERATED}
    assert {record["config"]["method"] for record in records} == {"pixels", "prior", "pgjr", "idfd", "gjr", "baseline"}
    # the priors of clip_priors cannot be had here, which leaves that experiment out and nothing else
    priors = {r["weights"]["name"] for r in records if r["config"]["method"] == "pgjr"}
    assert priors == {"ViT-B-32-quickgelu/openai"}
    page = (folder / "build" / "paper" / "html" / "notebooks" / "table-2.html").read_text()
    assert all(SETS[name].title in page for name in PAPER)

    again = snakemake(folder, environment)
    assert again.returncode == 0 and "Nothing to be done" in again.stdout + again.stderr


@pytest.mark.slow
def test_a_changed_experiment_reruns_only_what_hangs_on_it(clone):
    folder, environment = clone
    manifest = yaml.safe_load((folder / "experiments.yaml").read_text())
    manifest["experiments"]["heads"]["variants"]["frozen"]["run"]["tau1"] = 0.2
    (folder / "experiments.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False))
    done = snakemake(folder, environment, "--dry-run")
    output = done.stdout + done.stderr
    own = "computing the missing runs of heads"
    for job in (own, "executing table-5", "executing ledger", "building the book"):
        assert job in output
    for job in ("runs of main", "runs of convergence", "executing figure-4", "executing table-2", "encoding"):
        assert job not in output


def test_missing_data_stops_before_anything_starts(clone, tmp_path):
    folder, environment = clone
    done = snakemake(folder, {**environment, "PGJR_DATA": str(tmp_path)})
    assert done.returncode != 0
    assert "error: cifar10 (train) was not found: looked for" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_cluster_is_given_work_from_a_machine_without_a_gpu(clone):
    """There the jobs ask for the GPU, and each seed of an experiment is one."""
    folder, environment = clone
    plan = [sys.executable, "-m", "snakemake", "--dry-run", "--forceall", "--cores", "2"]
    run = {"cwd": folder, "env": environment, "capture_output": True, "text": True, "timeout": 300}
    done = subprocess.run([*plan, "--config", "profile=paper", "cluster=true"], **run)
    assert done.returncode == 0, done.stderr[-3000:]
    for seed in (100, 101):
        assert f"computing the missing runs of heads, seed {seed}" in done.stdout + done.stderr
    if gpu() is None:
        refused = subprocess.run([*plan, "--config", "profile=paper"], **run)
        assert refused.returncode != 0 and "needs a GPU, and there is none" in refused.stderr + refused.stdout
