"""A disk that fills up and a folder that may not be written end in one sentence; nothing half-written stays, and room is enough."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from pgjr_lib.cli import CommandParser, main, run_command
from pgjr_lib.storage import atomic_write, read_sealed, save_tensors, write_sealed


@pytest.fixture
def disk(tmp_path):
    """A function that mounts a file system of so many bytes in memory."""
    mounted = []

    def mount(size: int) -> Path:
        folder = tmp_path / f"disk-{size}"
        folder.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", folder], check=True)


WRITERS = {
    "text": lambda path: atomic_write(path, "new" * 50_000),
    "record": lambda path: write_sealed(path, {"numbers": list(range(40_000))}),
    "tensors": lambda path: save_tensors(path, {"a": torch.zeros(40_000)}),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_full_disk_leaves_the_old_file_and_its_error_names_it(disk, kind, tally):
    folder = disk(128 << 10)
    atomic_write(folder / "x", "old")
    with pytest.raises(OSError) as caught:
        WRITERS[kind](folder / "x")
    held = (folder / "x").read_text() == "old" and os.listdir(folder) == ["x"] and caught.value.filename == str(folder / "x")
    tally("disk full: one file", held)
    assert held and caught.value.strerror == "No space left on device"


def test_an_extraction_on_a_full_disk_is_one_sentence_and_goes_on_where_there_is_room(disk, monkeypatch, capsys, tmp_path, tally):
    from pgjr_lib.priors import cache

    monkeypatch.setattr(cache, "CHUNK", 24)  # nine small files a part
    config = {"dataset": "digits", "split": "all", "limit": 216, "prior": "random:class-name", "image_size": 32, "views": 0}
    cache.extract(config, tmp_path / "whole", device="cpu")
    largest = (tmp_path / "whole" / "plain.safetensors").stat().st_size
    folder = disk((tmp_path / "whole" / "pca.safetensors").stat().st_size + largest // 2 + (64 << 10))
    parser = CommandParser()
    parser.set_defaults(command=lambda _: cache.extract(config, folder / "features", device="cpu"))
    assert run_command(parser, []) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    held = last.startswith(f"error: {folder}/features/") and last.endswith(": No space left on device.")
    held = held and not [path for path in folder.rglob("*") if path.name.endswith(".draft")]
    finished = sorted(folder.rglob("*.chunk-*.json"))
    assert held and finished, last
    for path in finished:  # they are whole
        read_sealed(path)
    subprocess.run(["mount", "-o", f"remount,size={64 << 20}", folder], check=True)
    assert run_command(parser, []) == 0
    held = all((folder / "features" / p.name).read_bytes() == p.read_bytes() for p in (tmp_path / "whole").glob("*.safetensors"))
    tally("disk full: extraction", held)
    assert held


def test_a_table_on_a_full_disk_is_one_sentence(disk, tally, photographs):
    from pgjr_lib.photos.output import OutputFolder

    folder = disk(64 << 10)
    (folder / "photos").mkdir()
    output = OutputFolder(folder / "out", folder / "photos")
    with pytest.raises(OSError) as caught:
        output.write_clusters(photographs(9000), {}, np.zeros((9000, 8), np.float32))
    held = str(caught.value.filename).startswith(str(folder / "out")) and sorted(os.listdir(folder / "out")) == ["made-from.json"]
    tally("disk full: pgjr cluster", held)
    assert held


@pytest.fixture
def read_only(disk):
    """A function that makes a mounted folder read-only; root may write everywhere else."""

    def lock(folder):
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)

    return lock


def test_a_read_only_folder_of_results_is_read_and_refuses_what_is_new(disk, read_only, capsys, tally):
    from pgjr_book import make
    from pgjr_book.run_config import RunConfig

    folder = disk(8 << 20)
    small = {"dataset": "digits", "split": "all", "limit": 24, "prior": "random:class-name", "image_size": 32, "views": 0}
    from pgjr_lib.priors.cache import extract

    features = extract(small, folder / "features", device="cpu")
    read_only(folder)
    again = extract(small, folder / "features", device="cpu")  # what is finished needs no lock
    held = torch.equal(features.embeddings, again.embeddings)
    run = RunConfig(method="pixels", dataset="digits", split="all", limit=24, kmeans_seeds=1)
    with pytest.raises(OSError) as caught:
        make.run(run, folder, device="cpu")
    held = held and caught.value.strerror == "Read-only file system"
    assert main(["cluster", str(Path(__file__).parents[2] / "book" / "_static"), "--out", str(folder / "out")]) == 2
    held = held and capsys.readouterr().err.splitlines()[-1].endswith("Read-only file system.")
    tally("read-only folder", held)
    assert held
