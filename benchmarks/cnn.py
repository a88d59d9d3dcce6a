"""The small ResNet beside the thin one: NMI of IDFD on CIFAR-10 against the processor seconds that training has used.

    python -m benchmarks.cnn                 # 15 epochs each, two seeds; needs CIFAR-10 in $PGJR_DATA

Both train as profile `local` does, on one thread, at a constant rate. Processor seconds count training alone, so other work on
the machine hardly matters. Writes benchmarks/results/cnn.json.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from pgjr_book.provenance import provenance
from pgjr_book.train import curve_scores
from pgjr_lib import data
from pgjr_lib.augment import Augment, plain
from pgjr_lib.losses import MemoryBank
from pgjr_lib.models import GJR
from pgjr_lib.options import TrainingOptions
from pgjr_lib.storage import write_json
from pgjr_lib.training import ImageSource, embed, fit

BACKBONES = ("thin", "small")
LAST = 3  # evaluations whose mean is an end, as in claim 1
SIDE = 32
RESULT = Path(__file__).parent / "results" / "cnn.json"


def curve(backbone: str, seed: int, epochs: int, images: data.ImageSet) -> list[dict]:
    """Train IDFD and return epoch, processor seconds so far and NMI in points."""
    torch.manual_seed(seed)
    model = GJR(backbone).to(memory_format=torch.channels_last)
    source = ImageSource(torch.from_numpy(images.images), Augment(SIDE, scale=(0.2, 1.0)), lambda x: plain(x, SIDE))
    rows, clock = [], {"used": 0.0, "since": time.process_time()}

    def on_epoch(model, epoch, row):
        clock["used"] += time.process_time() - clock["since"]
        nmi = 100 * curve_scores(embed(model, source).numpy(), images.labels)["nmi"]
        rows.append({"epoch": epoch, "cpu_seconds": round(clock["used"], 2), "nmi": nmi})
        print(f"{backbone}, seed {seed}, epoch {epoch}: {clock['used']:.0f} s, NMI {nmi:.1f}", flush=True)
        clock["since"] = time.process_time()
        return {}

    options = TrainingOptions(epochs, precision="bf16", seed=seed, schedule="constant")
    fit(model, source, MemoryBank(len(source), 128), options, on_epoch=on_epoch)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    images, curves, ratios = data.load("cifar10", "test"), {name: [] for name in BACKBONES}, []
    for seed in range(options.seeds):
        for backbone in BACKBONES:
            curves[backbone].append(curve(backbone, seed, options.epochs, images))
        thin, small = (curves[backbone][seed] for backbone in BACKBONES)
        target = float(np.mean([row["nmi"] for row in thin[-LAST:]]))
        reached = next((row["cpu_seconds"] for row in small if row["nmi"] >= target), float("nan"))
        ratios.append(reached / thin[-1]["cpu_seconds"])
        print(f"seed {seed}: the thin ResNet ends at {target:.1f}; the small one takes {ratios[-1]:.2f} of its seconds to get there")
    setting = {"epochs": options.epochs, "images": len(images.labels), "side": SIDE, "last": LAST}
    write_json(RESULT, {"setting": setting, "curves": curves, "share_of_seconds": ratios, "provenance": provenance("cpu", "")})


if __name__ == "__main__":
    main()
