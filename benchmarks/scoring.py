"""The whole scoring of a run, 5 k-means seeds of 20 starts each and the exemplars: one process beside the pool.

    python -m benchmarks.scoring --images 30000 --workers 2

All ways run in turn in one process: `before` clusters once more for the exemplars, in one process; `once` takes the
exemplars from the same fits, in one process; `pool` does the same with the starts shared among processes. Their
numbers must be equal. Features are clusters that overlap on the sphere, of the length of pGJR's: this is about time.
Where there is a GPU, `torch` runs there, all starts of a seed at once. The pool needs its cores free, and a warm-up
starts its processes. The limit is what as many processes reach that share nothing: each does the whole in one process, at the
same time. Writes benchmarks/results/scoring.json, of a GPU scoring-gpu.json.
"""

import argparse
import statistics
import time
from functools import partial
from multiprocessing import get_context

import numpy as np
from joblib import cpu_count

from benchmarks.turns import in_turn, ratios, save
from pgjr_lib import evaluation
from pgjr_lib.devices import default_device

SEEDS, STARTS, EXEMPLARS, DIM = 5, 20, 12, 128


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


def alone_and_at_once(workers: int, images: int, clusters: int) -> float:
    """Return how many times the work of one process ``workers`` processes do in its time, each with data of its own."""
    with get_context("spawn").Pool(workers) as pool:
        work = (images, clusters)
        pool.starmap(timed, [work] * workers, chunksize=1)  # imports
        alone = pool.apply(timed, work)
        return workers * alone / statistics.mean(pool.starmap(timed, [work] * workers, chunksize=1))


def timed(images: int, clusters: int) -> float:
    """Return the seconds of scoring in one process."""
    features, labels = problem(images, clusters)
    began = time.perf_counter()
    once(features, labels, clusters)
    return time.perf_counter() - began


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
    results = {}

    def kept(name: str, way) -> None:
        results[name] = way()

    seconds = in_turn({name: partial(kept, name, way) for name, way in ways.items()}, options.turns, device)
    if not results["before"] == results["once"] == results["pool"]:
        raise SystemExit("The scores or exemplars differ between one process and the pool.")
    for name, taken in seconds.items():
        print(f"{name:>6}: {statistics.median(taken):.2f} s, NMI {statistics.mean(results[name][0]['nmi']):.4f}")
    beside = {name: ratios(seconds["once"], seconds[name]) for name in ways if name not in ("before", "once")}
    beside["once, beside before"] = ratios(seconds["before"], seconds["once"])
    for name, ratio in beside.items():
        print(f"{name}: {ratio['median']:.2f} times as fast (turns: {ratio['least']:.2f} to {ratio['most']:.2f})")
    limits = {"pool": alone_and_at_once(options.workers, options.images, options.clusters)}
    print(f"{options.workers} processes that share nothing do {limits['pool']:.2f} times the work of one")
    setting = {name: getattr(options, name) for name in ("images", "clusters", "workers", "turns")}
    setting |= {"seeds": SEEDS, "starts": STARTS, "exemplars": EXEMPLARS, "dim": DIM}
    nmi = {name: results[name][0]["nmi"] for name in ways}
    save("scoring", {"setting": setting, "seconds": seconds, "ratios": beside, "limits": limits, "nmi": nmi}, device)


if __name__ == "__main__":
    main()
