"""Run ways of doing the same work in turn, so that whatever else the machine does meets all of them, and keep every time."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from pgjr_book.provenance import provenance
from pgjr_lib.storage import write_json

RESULTS = Path(__file__).parent / "results"


def wait(device) -> None:
    """Wait until an accelerator has done what it was given."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def in_turn(
    ways: dict[str, Callable[[], object]], turns: int, device="cpu", *, warm_up: dict[str, Callable[[], object]] | None = None
) -> dict[str, list[float]]:
    """Return the seconds of each way, one number a turn. A first turn warms up and does not count.

    Args:
        ways: what to time. A way that returns a number has timed itself, and that number counts.
        turns: how often.
        device: what the ways run on.
        warm_up: shorter work of the same kinds for the first turn; None takes the ways themselves.
    """
    taken = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, way in (ways if turn or warm_up is None else warm_up).items():
            began = time.perf_counter()
            own = way()
            wait(device)
            if turn:
                taken[name].append(own if isinstance(own, float) else time.perf_counter() - began)
    return taken


def ratios(slow: list[float], fast: list[float]) -> dict[str, float]:
    """Return how many times faster the second is: the median of the turns' ratios, with the smallest and the largest."""
    in_turns = [a / b for a, b in zip(slow, fast, strict=True)]
    return {"median": statistics.median(in_turns), "least": min(in_turns), "most": max(in_turns)}


def save(name: str, result: dict, device="cpu") -> Path:
    """Write a result with its provenance to ``benchmarks/results``, of a GPU to a file of its own, and return the path.

    The page on performance reads ``ratios``: name -> how many times faster ours is than what stands beside it, as
    :func:`ratios` gives it; and ``limits``, where they were measured: name -> how many times faster anything could be there.
    """
    path = RESULTS / f"{name}{'' if torch.device(device).type == 'cpu' else '-gpu'}.json"
    write_json(path, {**result, "provenance": provenance(device, "")})
    return path
