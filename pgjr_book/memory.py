"""The peak memory of one run."""

from pathlib import Path

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def reset_peak(device) -> None:
    """Start measuring: the peak before this call does not count."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        _clear()


def peak_mb(device) -> float | None:
    """Return the peak since :func:`reset_peak` in MiB: of torch's allocator on a GPU, else of the process's memory.

    None where the system cannot measure it, as outside Linux.
    """
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return None
    return int(line.split()[1]) / 1024 if _clear() else None


def _clear() -> bool:
    """Set the process's peak memory to what it uses now; False where that is not possible."""
    try:
        CLEAR.write_text("5")  # see proc(5)
    except OSError:
        return False
    return True
