"""Every stage, killed (SIGKILL) at random moments and then started again, ends in the same result and leaves nothing behind."""

import hashlib
import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

QUICK, MANY = 3, 30  # kills of a stage in `make test` and in `make test-all`
RUN = dict(method="gjr", dataset="digits", split="all", limit=96, image_size=8, backbone="thin", n=2, g=1, epochs=8,
           batch_size=16, kmeans_seeds=1, snapshots=2)  # fmt: skip
FEATURES = dict(dataset="digits", split="all", limit=700, prior="random:class-name", image_size=32, views=2)
ROOT = Path(__file__).parents[2]
TIMES = ("seconds", "evaluate_s", "plain_seconds", "images_per_second", "started")


def train(root):
    import torch

    from pgjr_book.make import run
    from pgjr_book.run_config import RunConfig
    from pgjr_lib import training

    training.CHECKPOINT_SECONDS = 0.0  # after every epoch, so that there is something to resume from
    torch.set_num_threads(1)
    run(RunConfig(**RUN), Path(root), device="cpu")


def trained(root):
    """What a run leaves behind, durations aside."""
    (path,) = (root / "runs").glob("*.json")
    record = json.loads(path.read_text())
    history = [{k: v for k, v in row.items() if k not in TIMES} for row in record["history"]]
    assert not list((root / "checkpoints").glob("*"))
    return path.name, history, record["scores"], record["snapshots"]


def encode(root):
    import torch

    from pgjr_lib.priors import cache

    torch.set_num_threads(1)
    cache.extract(FEATURES, root, device="cpu")


def encoded(root):
    """The bytes of every tensor file and what the manifest says of them."""
    manifest = json.loads(next(root.glob("manifest-*.json")).read_text())
    return manifest["files"], {p.name: p.read_bytes() for p in root.glob("*.safetensors")}


def write(root):
    """Write a record over and over, each time with another number in every place."""
    from pgjr_book.records import write_record

    for number in range(40):
        write_record(a_record(number), Path(root) / "runs" / "0123456789abcdef.json")


def a_record(number):
    whole = {part: {} for part in ("config", "scores", "data")}
    provenance = {"config_hash": "x", "started": "y"}
    return {**whole, "key": "0123456789abcdef", "results_version": number, "history": [number] * 4_000, "provenance": provenance}


def written(root):
    from pgjr_book.records import read_record

    return read_record(root / "runs" / "0123456789abcdef.json")


def fetch(root, address, md5, size):
    from pgjr_lib.data import fetch as module

    archive = module.Archive(f"{address}/toy.tar.gz", md5, size, 10_000_000, "toy", ("train", "test"))
    module.ARCHIVES["cifar10"] = archive
    module.available = lambda name, split, root: (root / "toy").is_dir()
    module.BLOCK = 1 << 14  # as if the files were large
    module.fetch("cifar10", Path(root))


def fetched(root):
    return {path.name: path.read_bytes() for path in root.rglob("*") if path.is_file() and not path.name.endswith(".lock")}


def execute(root):
    from pgjr_book.execution import execute_notebook

    execute_notebook(Path(root).parent / "a.ipynb", Path(root) / "a.ipynb", {"steps": 21})


def executed(root):
    from pgjr_book.execution import read_executed

    return [cell.get("outputs") for cell in read_executed(root / "a.ipynb")["cells"]]


def build(root):
    import os

    from pgjr_book.book import build

    os.chdir(root)
    build("published")


def built(root):
    pages = root / "build" / "published" / "html"
    assert not (root / "build" / "published" / "_build").exists()
    return sorted(path.relative_to(pages) for path in pages.rglob("*.html"))


def cluster(root):
    import torch

    from pgjr_lib import training
    from pgjr_lib.photos.cluster import ClusterOptions, cluster_folder

    training.CHECKPOINT_SECONDS = 0.0
    torch.set_num_threads(1)
    cluster_folder(Path(root).parent / "photos", Path(root), ClusterOptions(k=3, prior="class-name", head="pgjr", epochs=2))


def clustered(root):
    assert not (root / "checkpoint.safetensors").exists()
    page = (root / "index.html").read_text()
    return (root / "clusters.csv").read_bytes(), (root / "features.safetensors").read_bytes(), page


@pytest.fixture
def survives(go, leftovers, tally, tmp_path):
    """A function that kills a stage so many times, starts it again after each, and compares what it leaves."""

    def check(stage, work, result, kills, arguments=(), prepare=lambda root: root.mkdir(), check_killed=None):
        def fresh(name):
            root = tmp_path / name
            prepare(root)
            return root

        assert go(work, str(fresh("warm")), *arguments)[0] == 0
        code, whole_s = go(work, str(fresh("whole")), *arguments)
        assert code == 0
        whole, draw, killed = result(tmp_path / "whole"), random.Random(0), 0
        while killed < kills:
            moment = draw.uniform(0.02, 0.98) * whole_s
            root = fresh("killed")
            code, _ = go(work, str(root), *arguments, seconds=moment)
            if check_killed:
                check_killed(root)
            assert go(work, str(root), *arguments)[0] == 0
            held = result(root) == whole and not leftovers(root)
            if code == -9:  # else it had ended before its moment came
                killed += 1
                tally(f"kill: {stage}", held)
            assert held, (moment, leftovers(root))
            shutil.rmtree(root)

    return check


def often():
    """The same test with few kills, and with many as a slow one."""
    return pytest.mark.parametrize("kills", [pytest.param(QUICK, id="few"), pytest.param(MANY, id="many", marks=pytest.mark.slow)])


@often()
def test_record_writing(survives, kills):
    def whole_or_absent(root):
        if (path := root / "runs" / "0123456789abcdef.json").exists():
            record = written(root)
            assert record["history"] == [record["results_version"]] * 4_000, path

    survives("record writing", write, written, kills, check_killed=whole_or_absent)


@often()
def test_fetch(survives, kills, slow_server):
    survives("fetch", fetch, fetched, kills, slow_server)


@pytest.mark.slow
def test_extraction(survives):
    survives("extraction", encode, encoded, MANY)


@often()
def test_training(survives, kills):
    survives("training", train, trained, kills)


@pytest.mark.slow
def test_notebook_execution(survives, tmp_path):
    cells = [{"cell_type": "code", "execution_count": None, "outputs": [], "source": source, "id": name,
              "metadata": {"tags": ["parameters"]} if name == "p" else {}}
             for name, source in (("p", "steps = 3"), ("b", "print(steps * 2)"))]  # fmt: skip
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    text = json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5})
    (tmp_path / "a.ipynb").write_text(text)
    survives("notebook execution", execute, executed, MANY)


@pytest.mark.slow
def test_book_build(survives):
    def clone(root):
        for folder in ("book", "tests", "pgjr_lib", "results"):
            (root / folder).mkdir(parents=True)
        shutil.copy(ROOT / "experiments.yaml", root)
        (root / "_config.yml").write_text("title: a book\nexecute: {execute_notebooks: 'off'}\n")
        toc = {"format": "jb-book", "root": "book/intro", "chapters": [{"file": "book/status"}]}
        (root / "_toc.yml").write_text(yaml.safe_dump(toc))
        (root / "book" / "status.md").write_text("# Status\n\n<!-- status -->\n")
        (root / "book" / "intro.md").write_text("# Front\n")
        (root / "tests" / "test_theorems.py").write_text("")

    survives("book build", build, built, MANY, prepare=clone)


@pytest.mark.slow
def test_pgjr_cluster(survives, tmp_path):
    draw = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for i in range(24):
        base = np.array([(220, 40, 40), (40, 200, 60), (30, 60, 220)][i % 3]) + 15 * draw.standard_normal((40, 50, 3))
        Image.fromarray(base.clip(0, 255).astype(np.uint8)).save(tmp_path / "photos" / f"{i:02d}.png")
    survives("pgjr cluster", cluster, clustered, MANY)


@pytest.fixture
def slow_server():
    """Serve a small archive in small pieces: its address, MD5 and size."""
    import io
    import tarfile
    import threading
    import time
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name in ("train", "test"):
            content = random.Random(name).randbytes(3_000_000)
            info = tarfile.TarInfo(f"toy/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    content = buffer.getvalue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            for place in range(start, len(content), 1 << 18):
                try:
                    self.wfile.write(content[place : place + (1 << 18)])
                except OSError:  # the reader was killed
                    return
                time.sleep(0.005)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", hashlib.md5(content).hexdigest(), len(content)
    server.shutdown()
