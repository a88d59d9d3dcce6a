"""Where a number comes from: code, versions, machine, time."""

import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HASH = re.compile("[0-9a-f]{7,64}")
PACKAGES = ("torch", "torchvision", "open_clip_torch", "timm", "kornia", "scikit-learn", "numpy", "scipy")


def git(folder: Path, *arguments: str) -> str | None:
    """What git says in ``folder``; None where it fails or there is none."""
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def made_under(rules: Path, commits: list[str | None]) -> str:
    """How many of the records made at ``commits`` were made when the file ``rules`` read as it does now, in a sentence."""
    now = rules.read_text().strip()
    name = f"./{rules.name}"  # of git's current folder
    then = {c: git(rules.parent, "show", f"{c}:{name}") if HASH.fullmatch(c or "") else None for c in set(commits)}
    same = sum(then[c] == now for c in commits)
    unknown = sum(then[c] is None for c in commits)
    told = f"{same} of {len(commits)} records were made when {rules.name} read as it does now"
    if unknown < len(commits):
        told += f", {len(commits) - same - unknown} under another version of it"
    return f"{told}, {unknown} at a commit that cannot be looked up here." if unknown else f"{told}."


def versions() -> dict[str, str]:
    """Installed versions of the packages a result depends on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def cpu_name() -> str:
    """The processor's own name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def checkout() -> dict:
    """The commit the code is from, None outside a git checkout, and whether the library was changed since."""
    here = Path(__file__).parent
    dirty = git(here, "status", "--porcelain", "--untracked-files=no", "--", here.parent.as_posix())
    return {"commit": git(here, "rev-parse", "HEAD"), "dirty": bool(dirty)}


def provenance(device, config_hash: str) -> dict:
    """What a record says about its making."""
    import torch

    device = torch.device(device)
    return {
        **checkout(),
        "config_hash": config_hash,
        "python": platform.python_version(),
        "versions": versions(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "host_cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
