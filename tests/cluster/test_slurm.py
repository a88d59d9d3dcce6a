"""On a real SLURM of two nodes, of which one is lost in mid-run, the workflow makes the records of one machine."""

import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).parent
NEEDED = ("slurmctld", "slurmd", "munged", "unshare")
EXPERIMENT = "main"
SHORT = {"prior": {"views": 1}, "pgjr": {"views": 1, "epochs": 3}, "idfd": {"epochs": 2}, "gjr": {"epochs": 2}}
SECONDS = 1800  # until the test gives up


def why_not() -> str | None:
    """Say what this machine lacks for a SLURM of its own; None where it lacks nothing."""
    if missing := [name for name in NEEDED if not shutil.which(name)]:
        return f"no {', '.join(missing)}: install slurm-wlm and munge"
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        return "Snakemake cannot submit to SLURM: install the extra [cluster]"
    if os.geteuid():
        return "only root can start a SLURM"
    if subprocess.run(["unshare", "--pid", "--mount", "--fork", "true"], capture_output=True).returncode:
        return "this system allows no namespaces, in which the nodes live"
    return None


pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(reason := why_not()), reason=str(reason))]


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """The folder of a running SLURM."""
    folder = tmp_path / "slurm"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    subprocess.run([HERE / "start.sh", folder, str(port)], check=True, timeout=120)
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    yield folder
    subprocess.run([HERE / "stop.sh", folder], check=True, timeout=60)


@pytest.fixture
def clones(tmp_path, copy_repository):
    """Two copies of the repository whose default profile has few digits and short runs."""
    for name in ("here", "there"):
        copy_repository(tmp_path / name)
        manifest = yaml.safe_load((tmp_path / name / "experiments.yaml").read_text())
        embedded = manifest["profiles"]["embedded"]
        embedded["sets"]["digits"] = {"split": "all", "limit": 800}  # four chunks, so that each shard has one
        embedded["seeds"] = {"head": 2, "cnn": 2}
        embedded["common"] |= {"kmeans_seeds": 2}
        for method, short in SHORT.items():
            embedded["methods"][method] |= short
        for variant in manifest["experiments"][EXPERIMENT]["variants"].values():
            variant["run"] |= {"landscape": 3} if "landscape" in variant["run"] else {}
        (tmp_path / name / "experiments.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False))
    return tmp_path / "here", tmp_path / "there"


def environment(clone: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(clone), *filter(None, [os.environ.get("PYTHONPATH")])])}


def command(clone: Path, *flags: str) -> dict:
    """What subprocess needs to make an experiment's records by the workflow of a clone."""
    code = f"from pgjr_book import make; print(*make.plan('embedded', only=['{EXPERIMENT}']).experiments['{EXPERIMENT}'].own)"
    run = {"cwd": clone, "env": environment(clone), "text": True}
    records = subprocess.run([sys.executable, "-c", code], **run, capture_output=True, check=True, timeout=120).stdout.split()
    targets = [os.path.relpath(record, clone) for record in records]
    return {"args": [sys.executable, "-m", "snakemake", *flags, "--", *targets], **run}


def results(clone: Path) -> tuple[dict, dict]:
    """Return every record's history and scores without the seconds, and the bytes of every feature file."""
    root, records = clone / "build" / "embedded", {}
    for path in (root / "runs").glob("*.json"):
        record = json.loads(path.read_text())
        history = [{k: v for k, v in row.items() if k not in ("seconds", "evaluate_s")} for row in record["history"]]
        records[path.name] = (history, record["scores"], record["data"], record["weights"], record["provenance"]["threads"])
    return records, {path.name: path.read_bytes() for path in (root / "features").rglob("*.safetensors")}


def jobs() -> list[dict[str, str]]:
    """Return what SLURM knows of every job."""
    lines = subprocess.run(["scontrol", "show", "job", "--oneliner"], capture_output=True, text=True, check=True).stdout
    return [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in lines.splitlines() if line.startswith("JobId=")]


def trains(clone: Path, node: str) -> bool:
    """Say whether a node trains for a clone at this moment; another cluster may be on the same machine."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words, variables = ((process / name).read_bytes().split(b"\0") for name in ("cmdline", "environ"))
            at = (process / "cwd").readlink()
        except OSError:  # it has ended
            continue
        if at == clone and {b"pgjr_book", b"run"} <= set(words) and f"SLURMD_NODENAME={node}".encode() in variables:
            return True
    return False


def test_two_nodes_of_which_one_is_lost_make_the_records_of_one_machine(slurm, clones):
    here, there = clones
    done = subprocess.run(**command(here, "--cores", "1", "--keep-incomplete"), capture_output=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr[-2000:]

    flags = ["--profile", "profiles/slurm", "--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2"]
    started = time.monotonic()
    with open(slurm / "snakemake.log", "w") as log:
        work = subprocess.Popen(**command(there, *flags), stdout=log, stderr=log)
        try:
            while not trains(there, "node2"):
                assert work.poll() is None and time.monotonic() < started + SECONDS, (slurm / "snakemake.log").read_text()[-4000:]
                time.sleep(0.2)
            time.sleep(1)
            os.kill(int((slurm / "node2.pid").read_text()), signal.SIGKILL)
            assert work.wait(SECONDS) == 0, (slurm / "snakemake.log").read_text()[-4000:]
        finally:
            work.kill()

    finished = jobs()
    rules = sorted(job["Comment"].removeprefix("rule_") for job in finished)
    shards = [rule for rule in rules if rule.startswith("shard_")]
    assert [rule[-2:] for rule in shards] == ["_0", "_1", "_2", "_3"]
    seeds = [rule for rule in rules if rule.startswith(f"runs_{EXPERIMENT}_")]
    assert len(seeds) == len(set(seeds)) > 1
    assert {job["JobState"] for job in finished} == {"COMPLETED"}
    assert any(int(job["Restarts"]) for job in finished)  # those that the lost node had
    assert all(job["TimeLimit"] != "UNLIMITED" and int(job["MinMemoryNode"].rstrip("M")) >= 1000 for job in finished)

    records, features = results(there)
    assert records and features
    assert (records, features) == results(here)
    assert not list((there / "build").rglob("*.chunk-*")) and not list((there / "build").rglob("checkpoints/*.safetensors"))
