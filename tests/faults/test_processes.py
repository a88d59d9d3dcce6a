"""Two processes at one thing, a process whose helper dies, memory that runs out, and a clock that jumps back."""

import json
import os
import signal
import threading
import time
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np
import pytest
import torch

from pgjr_lib.errors import PGJRError
from pgjr_lib.storage import exclusive

RUN = dict(method="gjr", dataset="digits", split="all", limit=96, image_size=8, backbone="thin", n=2, g=1, epochs=3,
           batch_size=32, kmeans_seeds=1)  # fmt: skip
FEATURES = {"dataset": "digits", "split": "all", "limit": 48, "prior": "random:class-name", "image_size": 32, "views": 1}


@pytest.fixture
def side_by_side(children):
    """A function that runs ``work`` twice at once, each with its arguments; returns the exit codes."""

    def run(work, *arguments):
        processes = [children.Process(target=work, args=each) for each in arguments]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        return [process.exitcode for process in processes]

    return run


def compute(root, number):
    """Compute a run, and note how many times its training was entered."""
    from pgjr_book import make, train
    from pgjr_book.run_config import RunConfig

    original = train.compute

    def counted(*arguments, **named):
        Path(root, f"computed-{number}").touch()
        time.sleep(1)  # so that the other comes while this one works
        return original(*arguments, **named)

    train.compute = counted
    record = make.run(RunConfig(**RUN), Path(root), device="cpu")
    Path(root, f"record-{number}").write_text(json.dumps(record["scores"]))


def test_of_two_processes_on_one_run_one_computes_and_both_have_the_record(side_by_side, tmp_path, tally):
    assert side_by_side(compute, (str(tmp_path), 0), (str(tmp_path), 1)) == [0, 0]
    scores = [(tmp_path / f"record-{i}").read_text() for i in range(2)]
    held = scores[0] == scores[1] and len(list(tmp_path.glob("computed-*"))) == 1
    tally("two processes: one run", held)
    assert held


def encode(root, shard):
    from pgjr_lib.priors import cache

    torch.set_num_threads(1)
    cache.extract(FEATURES, root, device="cpu", shard=shard)


@pytest.mark.parametrize("shards", [((0, 1), (0, 1)), ((0, 2), (1, 2))], ids=["the same work", "two shards"])
def test_two_extractions_into_one_folder_end_in_the_bytes_of_one(side_by_side, leftovers, tmp_path, tally, shards):
    encode(str(tmp_path / "one"), (0, 1))
    assert side_by_side(encode, *((str(tmp_path / "both"), shard) for shard in shards)) == [0, 0]
    one, both = ({p.name: p.read_bytes() for p in (tmp_path / n).glob("*.safetensors")} for n in ("one", "both"))
    held = one == both and not leftovers(tmp_path) and (tmp_path / "both" / "manifest-1.json").exists()
    tally("two processes: one feature folder", held)
    assert held


@pytest.mark.slow
def test_two_processes_on_one_folder_of_photos_take_turns(side_by_side, leftovers, tmp_path, tally):
    from PIL import Image

    (tmp_path / "photos").mkdir()
    draw = np.random.default_rng(0)
    for i in range(12):
        Image.fromarray(draw.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(tmp_path / "photos" / f"{i}.png")
    arguments = (str(tmp_path / "photos"), str(tmp_path / "out"))
    assert side_by_side(photos, arguments, arguments) == [0, 0]
    held = (tmp_path / "out" / "index.html").is_file() and not leftovers(tmp_path)
    tally("two processes: one folder of photos", held)
    assert held


def photos(folder, out):
    from pgjr_lib.photos.cluster import ClusterOptions, cluster_folder

    torch.set_num_threads(1)
    cluster_folder(Path(folder), Path(out), ClusterOptions(k=3, prior="class-name", head="pgjr", epochs=1))


def test_the_second_process_says_that_it_waits_and_a_dead_one_holds_nothing(children, tmp_path, capfd, tally):
    holder = children.Process(target=hold, args=(str(tmp_path),))
    holder.start()
    while not (tmp_path / "held").exists():
        time.sleep(0.01)
    threading.Timer(0.5, lambda: os.kill(holder.pid, signal.SIGKILL)).start()
    with exclusive(tmp_path / ".lock", "the features in abc"):
        assert "another process works on the features in abc: waiting until it has finished." in capfd.readouterr().err
    holder.join()
    tally("two processes: the first dies")
    assert holder.exitcode == -9


def hold(root):
    with exclusive(Path(root) / ".lock", "something"):
        Path(root, "held").touch()
        time.sleep(600)


# ---- a helper that dies ----


def test_where_a_process_of_the_pool_dies_the_others_starts_are_computed_here(monkeypatch, tally):
    from pgjr_lib import kmeans as module

    points = np.random.default_rng(0).standard_normal((200, 5)).astype(np.float32)
    alone = module.kmeans(points, 4, [0, 1], 20)
    monkeypatch.setattr(module, "POOL_SECONDS", -1.0)  # a pool pays off at once
    here, single = os.getpid(), module._starts

    def dies(*arguments):
        if os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return single(*arguments)

    monkeypatch.setattr(module, "_starts", dies)
    pooled = module.kmeans(points, 4, [0, 1], 20, workers=2)  # several starts a task
    held = all((a.labels_ == b.labels_).all() and a.inertia_ == b.inertia_ for a, b in zip(alone, pooled, strict=True))
    tally("a helper process dies", held)
    assert held


# ---- memory that runs out ----


def starve(root, room):
    """Encode with so many bytes of address space above what the loaded prior takes."""
    import resource

    from pgjr_lib.priors import cache, chunks

    torch.set_num_threads(1)
    make = chunks.Encoder.fit_pca

    def limited(self):
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + room, resource.RLIM_INFINITY))
        return make(self)

    chunks.Encoder.fit_pca = limited
    with open(Path(root, "stderr.txt"), "w") as stream, redirect_stderr(stream):
        cache.extract({**FEATURES, "limit": 256, "image_size": 128, "views": 0}, root, device="cpu", backend="torch")


@pytest.mark.slow
def test_an_extraction_that_runs_out_of_memory_halves_its_batch_goes_on_and_says_so(children, tmp_path, tally):
    process = children.Process(target=starve, args=(str(tmp_path), 400 << 20))
    process.start()
    process.join()
    messages = (tmp_path / "stderr.txt").read_text()
    assert process.exitcode == 0, messages
    manifest = json.loads((tmp_path / "manifest-0.json").read_text())
    held = "out of memory: going on with 128 images at a time." in messages and max(manifest["batches"]) < 256
    tally("memory runs out", held)
    assert held


def failing(prior, above):
    """Make a prior fail as torch does where memory runs out, for batches larger than ``above``."""
    encode = prior.encode

    def limited(images):
        if len(images) > above:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: ...")
        return encode(images)

    prior.encode = limited
    return prior


def test_the_manifest_names_the_batches_that_memory_allowed(tmp_path, monkeypatch, capsys, tally):
    from pgjr_lib.priors import cache

    whole = cache.extract(FEATURES, tmp_path / "whole", device="cpu", backend="torch")
    load = cache.load_prior
    monkeypatch.setattr(cache, "load_prior", lambda *a, **k: failing(load(*a, **k), 20))
    small = cache.extract(FEATURES, tmp_path / "small", device="cpu", backend="torch")
    assert (whole.manifest["batches"], small.manifest["batches"]) == ([256], [16])
    assert "out of memory: going on with 16 images at a time." in capsys.readouterr().err
    held = torch.allclose(whole.embeddings, small.embeddings, atol=1e-5)
    tally("memory runs out", held)
    assert held
    monkeypatch.setattr(cache, "load_prior", lambda *a, **k: failing(load(*a, **k), 0))
    with pytest.raises(PGJRError, match=r"not enough memory to encode one image \(.*\): free some"):
        cache.extract(FEATURES, tmp_path / "none", device="cpu", backend="torch")


# ---- a clock that jumps back ----


def test_files_of_the_future_are_found_and_not_made_again(tmp_path, monkeypatch, tally):
    from pgjr_lib.priors import cache

    whole = cache.extract(FEATURES, tmp_path, device="cpu")
    for path in tmp_path.iterdir():
        os.utime(path, (time.time() + 1e6,) * 2)
    monkeypatch.setattr(cache, "load_prior", lambda *a, **k: pytest.fail("made again"))
    again = cache.extract(FEATURES, tmp_path, device="cpu")
    held = torch.equal(whole.embeddings, again.embeddings)
    tally("the clock jumps back", held)
    assert held


def test_a_clock_that_jumps_back_in_a_run_changes_no_seconds(tmp_path, monkeypatch, tally):
    from pgjr_book import make
    from pgjr_book.arrival import check_record
    from pgjr_book.records import record_path
    from pgjr_book.run_config import RunConfig

    clock = iter(range(10**9, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(clock)))
    run = RunConfig(**RUN)
    record = make.run(run, tmp_path, device="cpu")
    seconds = [row["seconds"] for row in record["history"]]
    held = seconds == sorted(seconds) and min(seconds) >= 0 and record["timings"]["total_s"] >= 0
    tally("the clock jumps back", held)
    assert held and (check_record(record_path(run, tmp_path)) or True)
