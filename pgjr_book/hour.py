"""The profiles that need a GPU, from nothing to a zip of records: what they need, one bar over all runs, and what to pass on.

``notebooks/run-on-a-gpu.ipynb`` calls these steps one after another, and so can any script.
"""

import os
import shutil
import subprocess
import zipfile
from contextlib import contextmanager
from pathlib import Path

from pgjr_book import make
from pgjr_book.manifest import Profile, known, load_manifest
from pgjr_lib.data.fetch import fetch as fetch_set
from pgjr_lib.data.loading import available
from pgjr_lib.data.readers import BUILT_IN
from pgjr_lib.errors import PGJRError
from pgjr_lib.progress import progress

CARDS = {"T4": "t4", "L4": "l4", "A100": "a100", "H100": "h100", "H200": "h100"}  # a part of a GPU's name -> card
KEPT = "runs"  # of build/<profile>: the records; features and checkpoints are large, and made again in minutes
MEMORY_GB = 6.0  # of main memory that a profile may take; benchmarks/memory.py measures it
MOUNTED = Path("/content/drive/MyDrive")  # Google Drive on Colab


def gpu() -> str | None:
    """Return the name of the first GPU as its driver gives it; None without one. Imports no torch."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    names = done.stdout.splitlines() if done.returncode == 0 else []
    return names[0].strip() if names else None


def card(name: str | None) -> str:
    """Return the card of experiments.yaml whose rates a plan takes for a GPU of this name: the slowest where none fits."""
    if name is None:
        return "cpu"
    return next((card for part, card in CARDS.items() if part in name), "t4")


def check_machine(profile: str, device: str | None = None) -> None:
    """Refuse a machine on which a profile would take days unasked, or has too little memory.

    Args:
        profile: its name.
        device: "cpu" where somebody asked for it.

    Raises:
        PGJRError: no GPU, or none that torch sees, and ``device`` is not "cpu"; or too little memory.
    """
    settings = _profile(profile)
    if settings.needs_gpu and device != "cpu" and gpu() is None:
        hours = make.cost(make.plan(profile), "cpu").hours if make.rated_on_cards(settings) else None
        long = "days" if hours is None else f"about {hours:.0f} hours"
        raise PGJRError(
            f"Profile {profile} needs a GPU, and there is none: on two CPU cores it takes {long}."
            " Choose a machine with a GPU, or ask for the CPU with --device cpu (in the notebook: device = \"cpu\")."
        )
    if settings.needs_gpu and device != "cpu":
        _check_torch()
    free = free_memory_gb()
    if settings.needs_gpu and free is not None and free < MEMORY_GB:
        raise PGJRError(f"Profile {profile} needs about {MEMORY_GB:.0f} GB of memory, and {free:.1f} GB are free: close what uses it.")


def free_memory_gb() -> float | None:
    """Return the memory that is free for new work; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) / 1e6 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None


def keep_on_drive(profile: str, drive: Path = MOUNTED) -> Path | None:
    """Let the records of a profile lie on a mounted drive, so that they outlive the machine.

    Returns:
        Their folder there; None where nothing is mounted.
    """
    if not drive.is_dir():
        return None
    here, kept = make.build_root(profile) / KEPT, drive / "pgjr" / profile / KEPT
    kept.mkdir(parents=True, exist_ok=True)
    if here.is_symlink():  # perhaps to a drive that is no longer there
        here.unlink()
    elif here.is_dir():
        for path in here.iterdir():
            shutil.copy(path, kept / path.name)
        shutil.rmtree(here)
    here.parent.mkdir(parents=True, exist_ok=True)
    here.symlink_to(kept)
    return kept


def fetch(profile: str, root: Path) -> list[str]:
    """Fetch the sets and priors of a profile that are not here. Returns the names of what was fetched.

    Raises:
        PGJRError: as :func:`pgjr_lib.data.fetch.fetch` and :func:`pgjr_book.make.fetch`.
    """
    os.environ.setdefault("PGJR_DATA", str(root))
    fetched = []
    for name, choice in _profile(profile).sets.items():
        dataset = choice.dataset or name
        if dataset not in BUILT_IN and not available(dataset, choice.split, root):
            fetch_set(dataset, root)
            fetched.append(dataset)
    return fetched + make.fetch(profile)


def run(profile: str, device: str | None = None) -> int:
    """Compute the missing runs of a profile under one bar, whose minutes are those of the plan. Returns their number.

    Timed runs come first, then what fewer hours finish, so that a machine that is lost early leaves whole tables.

    Raises:
        PGJRError: as :func:`check_machine` and :func:`pgjr_book.make.run`.
    """
    check_machine(profile, device)
    plan, rates = make.plan(profile), load_manifest().cards[card(gpu())]  # only the bar's minutes rest on these rates
    plan.refuse_incomplete()
    root, todo = make.build_root(profile), []
    for entry in plan.experiments.values():
        for run, path in entry.paths.items():
            if path in entry.own and not path.exists():
                todo.append((run, 60 * make.run_hours(run, rates.rates) + rates.scoring_s / 60, entry.experiment.timed))
    order = sorted(todo, key=lambda item: (not item[2], item[1]))
    with progress(None, f"profile {profile}", "min", sum(m for _, m, _ in order)) as bar, _bars_hidden():
        bar.bar_format = "{desc} {percentage:3.0f}%|{bar}| about {remaining} left"
        for number, (run, minutes, timed) in enumerate(order, 1):
            bar.set_description_str(f"run {number} of {len(order)}: {run.method} on {run.dataset}")
            make.run(run, root, device, alone=timed)
            bar.update(minutes)
    return len(order)


def _check_torch() -> None:
    """Refuse a torch that does not see the GPU of its machine."""
    from pgjr_lib.devices import default_device

    if default_device() == "cpu":
        raise PGJRError("This torch sees no GPU, though the machine has one: install a torch for CUDA (https://pytorch.org).")


def pack(profile: str) -> Path:
    """Zip the records of a profile, for a pull request. Returns the zip.

    Raises:
        PGJRError: there are none.
    """
    root = make.build_root(profile)
    paths = sorted((root / "runs").glob("*.json"))
    if not paths:
        raise PGJRError(f"{root / 'runs'} holds no records: run the profile first.")
    target = root / f"records-{profile}.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            archive.write(path, f"results/{path.name}")
    return target


def _profile(name: str) -> Profile:
    return known(load_manifest().profiles, name, "profile")


@contextmanager
def _bars_hidden():
    """Hide the bars of single runs below the one over all of them."""
    before = os.environ.get("PGJR_PROGRESS")
    os.environ["PGJR_PROGRESS"] = "off"
    try:
        yield
    finally:
        os.environ.pop("PGJR_PROGRESS")
        if before is not None:
            os.environ["PGJR_PROGRESS"] = before
