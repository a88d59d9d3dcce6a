"""The profile for Kubernetes submits what Kubernetes takes, and follows it; kubectl is a stand-in that runs the Job here."""

import importlib.util
import os
import subprocess
import sys

import pytest
import yaml

# creates: starts the Job's command, keeps its manifest and names it; gets: says what became of it, as the template does
KUBECTL = """#!{python}
import pathlib, subprocess, sys, yaml
folder = pathlib.Path({folder!r})
if sys.argv[1] == "create":
    job = yaml.safe_load(sys.stdin.read())
    name = f"job.batch/pgjr-{{len(list(folder.glob('*.yaml')))}}"
    stem = folder / name.rpartition("/")[2]
    stem.with_suffix(".yaml").write_text(yaml.safe_dump(job))
    container = job["spec"]["template"]["spec"]["containers"][0]
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    command = ["sh", "-c", '"$@"; echo $? > "$0"', stem.with_suffix(".end"), *container["command"]]
    subprocess.Popen(command, cwd=container["workingDir"], **quiet)
    print(name)
elif sys.argv[1] == "get" and sys.argv[2].startswith("--output=go-template="):
    end = folder / (sys.argv[3].rpartition("/")[2] + ".end")
    print("running" if not end.exists() or not end.read_text() else "success" if end.read_text().strip() == "0" else "failed")
else:
    sys.exit(f"unexpected: {{sys.argv}}")
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("snakemake_executor_plugin_cluster_generic") is None,
        reason="Snakemake cannot submit by a command: install the extra [cluster]",
    ),
]


def test_the_profile_submits_jobs_and_follows_them(tmp_path, copy_repository):
    clone, tools, kept = tmp_path / "clone", tmp_path / "bin", tmp_path / "jobs"
    copy_repository(clone)
    tools.mkdir()
    kept.mkdir()
    (tools / "kubectl").write_text(KUBECTL.format(python=sys.executable, folder=str(kept)))
    (tools / "kubectl").chmod(0o755)
    variables = {
        "PATH": f"{tools}:{os.environ['PATH']}", "PGJR_CLAIM": "claim", "PGJR_VOLUME": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(clone), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }  # fmt: skip
    command = [sys.executable, "-m", "snakemake", "--profile", "profiles/kubernetes", "--", "build/embedded/notebooks/figure-1.ipynb"]
    done = subprocess.run(command, cwd=clone, env={**os.environ, **variables}, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (clone / "build" / "embedded" / "notebooks" / "figure-1.ipynb").exists()

    (manifest,) = (yaml.safe_load(path.read_text()) for path in kept.glob("*.yaml"))
    assert (manifest["apiVersion"], manifest["kind"]) == ("batch/v1", "Job")
    pod = manifest["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"] == {
        "requests": {"cpu": "1", "memory": "6000M"}, "limits": {"memory": "6000M", "nvidia.com/gpu": 0},
    }  # fmt: skip
    assert pod["activeDeadlineSeconds"] == 3600
    assert container["volumeMounts"] == [{"name": "shared", "mountPath": str(tmp_path)}]
    assert pod["volumes"] == [{"name": "shared", "persistentVolumeClaim": {"claimName": "claim"}}]
