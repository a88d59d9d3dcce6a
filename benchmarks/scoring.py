"""The whole scoring of a run, 5 k-means seeds of 20 starts each and the exemplars: one process beside the pool.

    python -m benchmarks.scoring --images 30000 --workers 2

All ways run in turn in one process: `before` clusters once more for the exemplars, in one process; `once` takes the
exemplars from the same fits, in one process; `pool` does the same with the starts shared among processes. Their
numbers must be equal. Features are clusters that overlap on the sphere, of the length of pGJR's: this is about time.
Where there is a GPU, `torch` runs there, all starts of a seed at once. `others` is the number of cores that the rest
of the machine kept busy during a turn of a way, on Linux: the pool needs its cores free. Writes
benchmarks/results/scoring.json.
"""

import argparse
import os
import statistics
import time
from itertools import combinations
from pathlib import Path

import numpy as np
from joblib import cpu_count

from pgjr_book.provenance import provenance
from pgjr_lib import evaluation
from pgjr_lib.devices import default_device
from pgjr_lib.storage import write_json

SEEDS, STARTS, EXEMPLARS, DIM = 5, 20, 12, 128
RESULT = Path(__file__).parent / "results" / "scoring.json"


def problem(images: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, 128) and labels (N,)."""
    rng = np.random.default_rng(0)
    centres, labels = evaluation.normalise(rng.standard_normal((k, DIM))), rng.integers(0, k, images)
    return evaluation.normalise(centres[labels] + 0.35 * rng.standard_normal((images, DIM))), labels


def before(features, labels, k):
    scores = evaluation.kmeans_scores(features, labels, k, SEEDS, STARTS)
    return scores, evaluation.exemplars(features, labels, EXEMPLARS, k)


def once(features, labels, k, **where):
    fits = evaluation.kmeans_fits(features, k, SEEDS, STARTS, **where)
    return evaluation.scores_of(fits, labels), evaluation.exemplars_of(fits[0], features, labels, EXEMPLARS)


def busy_seconds() -> float:
    """Return the core-seconds that all processes have used since the machine started; nan where the kernel says nothing."""
    try:
        user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    except OSError:
        return float("nan")
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def own_seconds() -> float:
    """Return the core-seconds of this process and of its children, the pool's processes among them."""
    total, mine = 0, {os.getpid()}
    for status in sorted(Path("/proc").glob("[0-9]*/stat"), key=lambda path: int(path.parent.name)):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:  # it ended in the meantime
            continue
        pid, parent = int(status.parent.name), int(fields[1])
        if pid in mine or parent in mine:
            mine.add(pid)
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=30_000)
    parser.add_argument("--clusters", type=int, default=10)
    parser.add_argument("--workers", type=int, default=cpu_count(only_physical_cores=True))
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    work, device = (*problem(options.images, options.clusters), options.clusters), default_device()
    ways = {
        "before": lambda: before(*work),
        "once": lambda: once(*work),
        "pool": lambda: once(*work, workers=options.workers),
    }
    if device != "cpu":
        ways["torch"] = lambda: once(*work, device=device)
    seconds, others, results = {name: [] for name in ways}, {name: [] for name in ways}, {}
    began = time.perf_counter()
    ways["pool"]()
    pool_started = time.perf_counter() - began  # the warm-up: its processes had to start
    for _ in range(options.turns):
        for name, way in ways.items():
            began, busy, own = time.perf_counter(), busy_seconds(), own_seconds()
            results[name] = way()
            taken = time.perf_counter() - began
            seconds[name].append(taken)
            others[name].append(round((busy_seconds() - busy - (own_seconds() - own)) / taken, 2))
    if not results["before"] == results["once"] == results["pool"]:
        raise SystemExit("The scores or exemplars differ between one process and the pool.")
    ratios = {
        f"{slow}/{fast}": statistics.median(a / b for a, b in zip(seconds[slow], seconds[fast], strict=True))
        for slow, fast in combinations(ways, 2)
    }
    for name, taken in seconds.items():
        nmi = statistics.mean(results[name][0]["nmi"])
        print(f"{name:>6}: {statistics.median(taken):.2f} s, NMI {nmi:.4f}, others kept {others[name]} cores busy")
    print(f"pool, from its start: {pool_started:.2f} s")
    print(", ".join(f"{name} {ratio:.2f}x" for name, ratio in ratios.items()))
    setting = {name: getattr(options, name) for name in ("images", "clusters", "workers", "turns")}
    setting |= {"seeds": SEEDS, "starts": STARTS, "exemplars": EXEMPLARS, "dim": DIM}
    nmi = {name: results[name][0]["nmi"] for name in ways}
    result = {
        "setting": setting, "seconds": seconds, "others": others, "first_pool_seconds": pool_started,
        "time_ratios": ratios, "nmi": nmi, "provenance": provenance(device, ""),
    }  # fmt: skip
    write_json(RESULT, result)


if __name__ == "__main__":
    main()
