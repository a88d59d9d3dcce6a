"""Ten epochs of pGJR's head at N = 60,000 on the device at hand, with K views drawn from memory.

    python -m benchmarks.head --views 8

Two ways in turn: checkpoints by elapsed time, as runs save them, and one after every epoch. Features are random numbers of
the bundled prior's shapes: this is about time. Writes benchmarks/results/head.json.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from pgjr_book.provenance import provenance
from pgjr_lib.devices import default_device
from pgjr_lib.jigsaw import GridJigsaw
from pgjr_lib.losses import MemoryBank
from pgjr_lib.models import PGJR
from pgjr_lib.options import HEAD_TRAINING
from pgjr_lib.storage import write_json
from pgjr_lib.training import FeatureSource, fit

WAYS = {"by time": None, "every epoch": 0.0}  # seconds between checkpoints
RESULT = Path(__file__).parent / "results" / "head.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    device, dim, shape = default_device(), 256, (64, 4, 4)
    torch.manual_seed(0)
    draw = lambda *size: torch.randn(*size, device=device)  # noqa: E731
    views = (draw(options.views, options.images, dim).half(), draw(options.views, options.images, *shape).half())
    source = FeatureSource(draw(options.images, dim), draw(options.images, *shape), *views)
    seconds = {name: [] for name in WAYS}
    for turn in range(options.turns + 1):
        for name, interval in WAYS.items():
            model = PGJR(dim, shape, GridJigsaw(2, 1)).to(device)
            bank = MemoryBank(options.images, 128).to(device)
            settings = replace(HEAD_TRAINING, epochs=options.epochs)
            with tempfile.TemporaryDirectory() as folder:
                began = time.perf_counter()
                fit(model, source, bank, settings, checkpoint=Path(folder) / "c.safetensors", checkpoint_seconds=interval)
                taken = time.perf_counter() - began
            if turn:  # the first is a warm-up
                seconds[name].append(taken)
    for name, values in seconds.items():
        print(f"{options.epochs} epochs of {options.images:,} images, {name}: {statistics.median(values):.2f} s on {device}")
    ratio = statistics.median(a / b for a, b in zip(seconds["every epoch"], seconds["by time"], strict=True))
    setting = {name: getattr(options, name) for name in ("images", "views", "epochs", "turns")} | {"batch": 256}
    write_json(RESULT, {"setting": setting, "seconds": seconds, "time_ratio": ratio, "provenance": provenance(device, "")})


if __name__ == "__main__":
    main()
