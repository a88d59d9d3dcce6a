"""The workflow scatters the encoding of a set over jobs and gathers the same bytes that one job makes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pgjr_lib.storage import read_json


@pytest.fixture(scope="module")
def clone(tmp_path_factory, copy_repository):
    """A copy of the repository whose default profile encodes few digits."""
    clone = tmp_path_factory.mktemp("workflow") / "clone"
    copy_repository(clone)
    manifest = yaml.safe_load((clone / "experiments.yaml").read_text())
    manifest["profiles"]["embedded"]["sets"]["digits"] = {"split": "all", "limit": 700}
    (clone / "experiments.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False))
    return clone


def encoded(clone: Path, shards: int) -> tuple[dict, dict]:
    """Encode by the workflow; return what the manifest says of its files, and the bytes of all of them."""
    shutil.rmtree(clone / "build", ignore_errors=True)
    plan = "from pgjr_book import make; print(*make.plan('embedded').features)"
    run = {"cwd": clone, "env": {**os.environ, "PYTHONPATH": str(clone)}, "capture_output": True, "text": True, "timeout": 600}
    (target,) = subprocess.run([sys.executable, "-c", plan], **run, check=True).stdout.split()
    # a job of one shard has one thread; sums, and so the last bit of the principal axes, depend on the number of threads
    flags = ["--cores", "2" if shards > 1 else "1", "--keep-incomplete", "--rerun-triggers", "mtime", "input"]
    command = [sys.executable, "-m", "snakemake", os.path.relpath(target, clone), *flags, "--config", f"shards={shards}"]
    done = subprocess.run(command, **run)
    assert done.returncode == 0, done.stderr[-2000:]
    files = {path.name: path.read_bytes() for path in Path(target).parent.glob("*.safetensors")}
    return read_json(Path(target))["files"], files


@pytest.mark.slow
def test_three_shards_make_the_bytes_of_one(clone):
    (listed, one), (again, three) = encoded(clone, 1), encoded(clone, 3)
    assert listed == again and one == three
    marks = sorted(path.name.partition("-")[2] for path in (clone / "build" / "embedded" / "shards").iterdir())
    assert marks == ["0-of-3", "1-of-3", "2-of-3"]
