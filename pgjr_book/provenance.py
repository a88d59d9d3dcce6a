"""Where a number comes from: code, versions, machine and time."""

import platform
import re
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HASH = re.compile("[0-9a-f]{7,64}")
PACKAGES = ("torch", "torchvision", "open_clip_torch", "timm", "openvino", "scikit-learn", "numpy", "scipy")
ROOT = Path(__file__).resolve().parents[1]
# a change of these files can change a number (the Snakefile sets the threads of a run, and so its seconds); a change
# of any other only changes how numbers are shown
NUMBERS = ("pgjr_lib", ":!pgjr_lib/photos", ":!pgjr_lib/cli.py", "pgjr_book/run_config.py", "pgjr_book/train.py",
           "pgjr_book/make.py", "pgjr_book/manifest.py", "pgjr_book/snapshots.py", "pgjr_book/memory.py", "pgjr_book/baselines.py",
           "experiments.yaml", "Snakefile")  # fmt: skip


def git(folder: Path, *arguments: str) -> str | None:
    """Return what git prints in ``folder``; None where git fails or is not installed."""
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@dataclass(frozen=True)
class RulesHistory:
    """Of ``records`` records, how many were made under the current rules, under others, and at unknown commits."""

    records: int
    current: int
    other: int
    unknown: int


def rules_history(rules: Path, commits: list[str | None]) -> RulesHistory:
    """Compare the file ``rules`` with what it was at ``commits``, one commit for each record."""
    now, name = rules.read_text().strip(), f"./{rules.name}"  # of git's current folder
    then = {c: git(rules.parent, "show", f"{c}:{name}") if HASH.fullmatch(c or "") else None for c in set(commits)}
    current = sum(then[c] == now for c in commits)
    unknown = sum(then[c] is None for c in commits)
    return RulesHistory(len(commits), current, len(commits) - current - unknown, unknown)


def versions() -> dict[str, str]:
    """Return the installed versions of the packages that a result depends on."""
    installed = {}
    for name in PACKAGES:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            continue
    return installed


def cpu_name() -> str:
    """Return the processor's name where the system gives it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def checkout() -> dict:
    """Return the code's commit (None outside a git checkout) and whether files that can change a number differ from it."""
    dirty = git(ROOT, "status", "--porcelain", "--untracked-files=no", "--", *NUMBERS)
    return {"commit": git(ROOT, "rev-parse", "HEAD"), "dirty": bool(dirty)}


def provenance(device, config_hash: str) -> dict:
    """Return what a record says about its making."""
    import torch

    device = torch.device(device)
    return {
        **checkout(),
        "config_hash": config_hash,
        "python": platform.python_version(),
        "versions": versions(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        # with the vector instructions: of two machines with one name, one may lack some of them
        "host_cpu": f"{cpu_name()}, {torch.backends.cpu.get_cpu_capability()}",
        "threads": torch.get_num_threads(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
