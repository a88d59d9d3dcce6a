"""The feature cache beside the bare forward pass: images a second, on the device at hand.

    python -m benchmarks.features --images 2560 --views 8

The bare pass feeds ready batches to the frozen encoder and keeps nothing. The cache draws the views, encodes,
projects the maps and writes checksummed files. They run in turn. Writes benchmarks/results/features.json.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path

import torch

from pgjr_book.provenance import provenance
from pgjr_lib.augment import plain
from pgjr_lib.devices import default_device
from pgjr_lib.priors.cache import _make
from pgjr_lib.priors.chunks import Encoder
from pgjr_lib.priors.config import CHUNK, FeatureConfig, part_names
from pgjr_lib.priors.encoder import load_prior
from pgjr_lib.storage import write_json

RESULT = Path(__file__).parent / "results" / "features.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prior", default="class-name")
    parser.add_argument("--images", type=int, default=10 * CHUNK, help="32x32 images (random pixels)")
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    device = default_device()
    prior = load_prior(options.prior, device)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (options.images, 3, 32, 32), dtype=torch.uint8, generator=generator)
    config = FeatureConfig(dataset="digits", prior=options.prior, views=options.views)
    encoder = Encoder(config, prior, images, torch.zeros(len(images), dtype=torch.int64), CHUNK)
    encoder.pca = encoder.fit_pca()
    ready = plain(images[:CHUNK], prior.image_size).to(device)
    chunks = torch.arange(options.images).split(CHUNK)
    encodings = options.images * (1 + options.views)

    def wait() -> None:
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize()

    def bare() -> None:
        for _ in range(encodings // CHUNK):
            prior.encode(ready)
        wait()

    def cache() -> None:
        with tempfile.TemporaryDirectory() as folder:
            for part, (c, rows) in product(part_names(options.views), enumerate(chunks)):
                _make(Path(folder) / f"{part}-{c}.safetensors", {}, partial(encoder.chunk, part, c, rows), True)
        wait()

    rates = {"cache": [], "bare_forward": []}
    for turn in range(options.turns + 1):
        for name, way in (("cache", cache), ("bare_forward", bare)):
            began = time.perf_counter()
            way()
            if turn:  # the first is a warm-up
                rates[name].append(encodings / (time.perf_counter() - began))
    in_turn = [ours / theirs for ours, theirs in zip(rates["cache"], rates["bare_forward"], strict=True)]
    for name, values in rates.items():
        print(f"{name}: {statistics.median(values):.0f} images/s")
    print(f"cache / bare forward: {statistics.median(in_turn):.3f} (turns: {min(in_turn):.3f} to {max(in_turn):.3f})")
    setting = {"prior": options.prior, "images": options.images, "views": options.views, "turns": options.turns,
               "image_size": prior.image_size, **asdict(prior.encoding)}  # fmt: skip
    write_json(RESULT, {"setting": setting, "images_per_second": rates, "ratio_to_bare": statistics.median(in_turn),
                        "provenance": provenance(device, "")})  # fmt: skip


if __name__ == "__main__":
    main()
