"""An extraction and a training run, killed (SIGKILL) at ten random moments each, end in the same results."""

import json
import multiprocessing
import random
import time
from pathlib import Path

import pytest

RUN = dict(method="gjr", dataset="digits", split="all", limit=96, image_size=8, backbone="thin", n=2, g=1, epochs=8,
           batch_size=16, kmeans_seeds=1, snapshots=2)  # fmt: skip
FEATURES = dict(dataset="digits", split="all", limit=700, prior="random:class-name", image_size=32, views=2)
MOMENTS = 10
pytestmark = pytest.mark.slow
# children are forked from a server that has imported the library already, so that they die at work, not at import
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["pgjr_book.train", "pgjr_book.make"])


def train(root):
    import torch

    from pgjr_book.make import run
    from pgjr_book.run_config import RunConfig
    from pgjr_lib import training

    training.CHECKPOINT_SECONDS = 0.0  # after every epoch, so that there is something to resume from
    torch.set_num_threads(1)
    run(RunConfig(**RUN), Path(root), device="cpu")


def encode(root):
    import torch

    from pgjr_lib.priors import cache

    torch.set_num_threads(1)
    cache.extract(FEATURES, root, device="cpu")


def trained(root):
    """What a run leaves behind, durations aside."""
    (path,) = (root / "runs").glob("*.json")
    record = json.loads(path.read_text())
    history = [{k: v for k, v in row.items() if k not in ("seconds", "evaluate_s")} for row in record["history"]]
    assert not list((root / "checkpoints").glob("*.safetensors"))
    return path.name, history, record["scores"], record["snapshots"]


def encoded(root):
    """The bytes of every tensor file and what the manifest says of them."""
    manifest = json.loads(next(root.glob("manifest-*.json")).read_text())
    return manifest["files"], {p.name: p.read_bytes() for p in root.glob("*.safetensors")}


def go(work, root, seconds=None):
    """Run ``work`` in a child, killed after ``seconds`` if it still runs; returns the exit code."""
    child = SERVER.Process(target=work, args=(str(root),))
    child.start()
    child.join(seconds)
    if child.is_alive():
        child.kill()
        child.join()
    return child.exitcode


@pytest.mark.parametrize(("work", "result"), [(train, trained), (encode, encoded)], ids=["training", "extraction"])
def test_killed_at_ten_random_moments_it_ends_the_same(work, result, tmp_path):
    assert go(work, tmp_path / "warm") == 0
    began = time.perf_counter()
    assert go(work, tmp_path / "whole") == 0
    whole_s, whole = time.perf_counter() - began, result(tmp_path / "whole")
    draw, killed = random.Random(0), 0
    for moment in range(MOMENTS):
        root = tmp_path / str(moment)
        killed += go(work, root, draw.uniform(0.05, 0.95) * whole_s) == -9
        assert go(work, root) == 0
        assert result(root) == whole
    assert killed  # else nothing was tested
