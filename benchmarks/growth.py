"""How the cost of pGJR's head grows: with images, with views, with the clusters that k-means looks for.

    python -m benchmarks.growth                       # the curves: about half an hour on two quiet cores
    python -m benchmarks.growth --curves million      # a million embeddings, ten epochs, sampled negatives: as long again

Every point is a process of its own: random embeddings of 512 numbers in files, mapped into memory as the feature cache maps them;
pGJR's head on the embedding map, one epoch with all negatives (up to 100,000 images) or with 4,096 sampled ones; and scikit-learn's
k-means as the protocol scores. Peaks are of the process's resident set, which counts pages of the files that the system could drop at
any time. The exponent is the slope of a line through the upper half of a curve, in logarithms of both. Writes
benchmarks/results/growth.json, or growth-million.json for the million alone.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.turns import save
from pgjr_book.memory import peak_mb, reset_peak
from pgjr_lib.evaluation import kmeans_fits
from pgjr_lib.options import HEAD_TRAINING, HeadOptions
from pgjr_lib.storage import load_tensors, save_tensors
from pgjr_lib.training import FeatureSource, train_head

DIM, NEGATIVES = 512, 4096
IMAGES = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
EXACT = 100_000  # images up to which all negatives are taken
CLUSTERS, CLUSTERED = (10, 30, 100, 300, 1000), 10_000
VIEWS, VIEWED = (1, 2, 4, 8, 16, 32), 10_000
CURVES = {
    "images, all negatives": [{"images": n, "views": 4} for n in IMAGES if n <= EXACT],
    "images, sampled negatives": [{"images": n, "views": 1, "negatives": NEGATIVES} for n in IMAGES],
    "views": [{"images": VIEWED, "views": k} for k in VIEWS],
    "clusters": [{"images": CLUSTERED, "clusters": k} for k in CLUSTERS],
    "million": [{"images": 1_000_000, "views": 2, "negatives": NEGATIVES, "epochs": 10}],
}
GROWING = {"views": "views", "clusters": "clusters"}  # curve -> what grows; images elsewhere


def features(folder: Path, images: int, views: int) -> FeatureSource:
    """Write random embeddings, plain and of each view, and map them into memory. The head on this map reads no prior's map."""
    parts = []
    for part in range(1 + views):
        path = folder / f"{part}.safetensors"
        rows = torch.empty(images, DIM, dtype=torch.float16)
        for block in rows.split(50_000):
            block.normal_()
        save_tensors(path, {"embedding": rows, "map": torch.zeros(images, 1, 1, 1, dtype=torch.float16)})
        del rows
        parts.append(load_tensors(path)[0])
    plain, *rest = parts
    return FeatureSource(plain["embedding"], plain["map"], [v["embedding"] for v in rest], [v["map"] for v in rest])


def point(images: int, views: int = 1, negatives: int | None = None, epochs: int = 1, clusters: int = 0) -> dict[str, float]:
    """Measure one point: seconds and peak memory of training, or of scoring where ``clusters`` are asked for."""
    torch.manual_seed(0)
    if clusters:
        points = torch.nn.functional.normalize(torch.randn(images, 128), dim=1).numpy()
        reset_peak("cpu")
        began = time.perf_counter()
        kmeans_fits(points, clusters, 1, workers=1)
        return {"seconds": time.perf_counter() - began, "peak_mib": peak_mb("cpu")}
    with tempfile.TemporaryDirectory(dir=".") as folder:
        source = features(Path(folder), images, views)
        reset_peak("cpu")
        began = time.perf_counter()
        train_head(source, HeadOptions(map="embedding", n=2, g=2), replace(HEAD_TRAINING, epochs=epochs, negatives=negatives))
        return {"seconds": time.perf_counter() - began, "peak_mib": peak_mb("cpu")}


def exponent(sizes: list[int], values: list[float]) -> float:
    """Return the slope of log values against log sizes over the upper half of a curve, where fixed costs matter least."""
    half = len(sizes) // 2
    return float(np.polyfit(np.log(sizes[half:]), np.log(values[half:]), 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curves", nargs="+", choices=list(CURVES), default=[name for name in CURVES if name != "million"])
    parser.add_argument("--largest", type=int, default=max(IMAGES), help="leave out points with more images")
    parser.add_argument("--point", help=argparse.SUPPRESS)  # how this script calls itself
    options = parser.parse_args()
    if options.point:
        print(json.dumps(point(**json.loads(options.point))))
        return
    result = {}
    for name in options.curves:
        points = []
        for setting in (s for s in CURVES[name] if s["images"] <= options.largest):
            command = [sys.executable, "-m", "benchmarks.growth", "--point", json.dumps(setting)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            points.append(setting | json.loads(done.stdout.splitlines()[-1]))
            print(f"{name}: {points[-1]}", flush=True)
        result[name] = {"points": points}
        if len(points) > 3:
            sizes = [p[GROWING.get(name, "images")] for p in points]
            result[name]["exponent"] = {v: exponent(sizes, [p[v] for p in points]) for v in ("seconds", "peak_mib")}
            print(f"{name}: time grows with the power {result[name]['exponent']['seconds']:.2f}")
    name = "growth-million" if options.curves == ["million"] else "growth"
    save(name, {"setting": {"dim": DIM, "exact": EXACT, "threads": torch.get_num_threads()}, "curves": result})


if __name__ == "__main__":
    main()
