"""The peak memory of training pGJR's head at full size: 60,000 images, plain and in 8 views, with ViT-B/32's shapes.

    python -m benchmarks.memory

The features are random numbers on disk, as the feature cache holds them, and mapped into memory. The peak is that of the
process's resident set, so it counts pages of these files that the system could drop at any time. Writes
benchmarks/results/memory.json.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from pgjr_book.memory import peak_mb, reset_peak
from pgjr_book.provenance import provenance
from pgjr_lib.options import HEAD_TRAINING, HeadOptions
from pgjr_lib.storage import load_tensors, save_tensors, write_json
from pgjr_lib.training import FeatureSource, train_head

DIM, SHAPE = 512, (64, 7, 7)  # ViT-B/32's embedding, and its map's 64 principal components
RESULT = Path(__file__).parent / "results" / "memory.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=1)
    options = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory(dir=".") as folder:
        paths = [Path(folder, f"{part}.safetensors") for part in range(1 + options.views)]
        for path in paths:
            maps = torch.empty(options.images, *SHAPE, dtype=torch.float16).normal_()
            save_tensors(path, {"embedding": torch.randn(options.images, DIM).half(), "map": maps})
        size = sum(path.stat().st_size for path in paths)
        del maps
        reset_peak("cpu")
        began = time.perf_counter()
        plain, *views = [load_tensors(path)[0] for path in paths]
        source = FeatureSource(plain["embedding"].float(), plain["map"], [v["embedding"] for v in views], [v["map"] for v in views])
        train_head(source, HeadOptions(map="spatial", n=2, g=1), replace(HEAD_TRAINING, epochs=options.epochs))
        seconds, peak = time.perf_counter() - began, peak_mb("cpu")
    print(f"{options.images:,} images, {1 + options.views} parts of {size / 1e9:.1f} GB: peak {peak:,.0f} MiB, {seconds:.0f} s")
    setting = {name: getattr(options, name) for name in ("images", "views", "epochs")}
    result = {"setting": setting, "features_gb": size / 1e9, "peak_mib": peak, "seconds": seconds}
    write_json(RESULT, {**result, "provenance": provenance("cpu", "")})


if __name__ == "__main__":
    main()
