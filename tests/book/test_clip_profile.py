"""The notebook that runs profile ``clip``, end to end at tiny sizes, from an empty folder and a server on this machine."""

import functools
import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from pgjr_book.records import read_record
from pgjr_lib.data.sets import SETS

HERE = Path(__file__).parents[2]
CLIP_SETS = ("cifar10", "cifar20", "stl10", "tiny-imagenet")
IMAGES = 20


def archive_of(name: str) -> bytes:
    """Return a zip of class folders with a few images, each class around its own grey."""
    rng, buffer = np.random.default_rng(0), io.BytesIO()
    labels = SETS[name].class_names or ("a", "b")
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, label in enumerate(labels):
            for i in range(max(2, IMAGES // len(labels))):
                pixels = np.clip(60 + 120 * number / len(labels) + 40 * rng.standard_normal((32, 32, 3)), 0, 255)
                image = io.BytesIO()
                Image.fromarray(pixels.astype(np.uint8)).save(image, "PNG")
                archive.writestr(f"{name}/test/{label}/{i}.png", image.getvalue())
    return buffer.getvalue()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def clone(tmp_path, copy_repository, save_random_clip):
    """A copy of the repository whose profile ``clip`` is small and whose archives lie on a server of this machine."""
    clone, served = tmp_path / "clone", tmp_path / "served"
    copy_repository(clone)
    served.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=served))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    table = {}
    for name in CLIP_SETS:
        content = archive_of(name)
        (served / f"{name}.zip").write_bytes(content)
        table[name] = {"address": f"http://127.0.0.1:{server.server_port}/{name}.zip", "md5": hashlib.md5(content).hexdigest(),
                       "size": len(content), "unpacked": len(content), "layout": name, "wanted": ["test"]}  # fmt: skip
    (clone / "pgjr_lib" / "data" / "archives.json").write_text(json.dumps(table))
    manifest = yaml.safe_load((clone / "experiments.yaml").read_text())
    clip = manifest["profiles"]["clip"]
    clip["seeds"] = {"head": 2, "cnn": 2}
    clip["common"] |= {"image_size": 64, "kmeans_seeds": 2}
    clip["methods"] = {
        "pixels": {"image_size": 32}, "prior": {"views": 1, "image_size": 64}, "pgjr": {"views": 1, "epochs": 1},
        "idfd": {**clip["methods"]["idfd"], "epochs": 1, "image_size": 32},
        "gjr": {**clip["methods"]["gjr"], "epochs": 1, "image_size": 32},
    }  # fmt: skip
    for entry in manifest["experiments"].values():
        for variant in entry["variants"].values():
            variant["run"] |= {extra: 1 for extra in ("landscape", "snapshots", "exemplars") if extra in variant["run"]}
            variant["run"] |= {"views": 1} if "views" in variant["run"] else {}
    (clone / "experiments.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False))
    save_random_clip(tmp_path / "weights")
    environment = {name: value for name, value in os.environ.items() if name not in ("PGJR_DATA", "http_proxy", "HTTP_PROXY")}
    environment |= {"PGJR_WEIGHTS": str(tmp_path / "weights"), "PGJR_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(clone),
                    "PYTHONWARNINGS": "ignore", "HF_HUB_OFFLINE": "1"}  # fmt: skip
    yield clone, environment
    server.shutdown()


@pytest.mark.slow
def test_the_notebook_goes_from_nothing_to_a_zip_of_records(clone):
    folder, environment = clone
    command = [sys.executable, "-m", "pgjr_book", "notebook", "run-on-a-gpu", "--profile", "clip"]
    refused = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    if refused.returncode:  # a machine without a GPU has to be asked for
        assert "needs a GPU, and there is none" in refused.stderr and 'device = "cpu"' in refused.stderr
        done = subprocess.run([*command, "-p", "device", "cpu"], cwd=folder, env=environment, capture_output=True, text=True,
                              timeout=1500)  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    build = folder / "build" / "clip"
    records = [read_record(path) for path in (build / "runs").glob("*.json")]
    assert {record["data"]["name"] for record in records} == set(CLIP_SETS)
    assert {record["config"]["precision"] for record in records if record["config"]["method"] == "gjr"} == {"half"}
    assert sorted(path.name for path in (folder / "notebooks" / "data").glob("[!.]*")) == sorted(CLIP_SETS)  # no archive is left
    packed = zipfile.ZipFile(build / "records-clip.zip")
    assert len(packed.namelist()) == len(records) > 50
    page = (build / "notebooks" / "run-on-a-gpu.ipynb").read_text()
    for part in ("The claims ledger", "Figure 4.", "Figure 5.", "Table 2.", "Table 5.", "profile clip", "runs computed"):
        assert part in page
    ledger = (build / "notebooks" / "ledger.ipynb").read_text()
    assert "2 of 10 runs, not finished" in ledger  # in the column of CLIP beside a short CNN
