"""The feature cache beside the bare forward pass: images a second, on the device at hand.

    python -m benchmarks.features --images 2560 --views 8

The bare pass feeds ready batches to the frozen encoder and keeps nothing. The cache draws the views, encodes,
projects the maps and writes checksummed files. The plain loop is what one would write with open_clip or torchvision: PIL
augmentation in a DataLoader with a worker for each core, and torch in float32; it keeps the embeddings. They run in turn.
Writes benchmarks/results/features.json, of a GPU features-gpu.json.
"""

import argparse
import statistics
import tempfile
from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from torchvision import transforms

from benchmarks.pictures import Pictures, augmented
from benchmarks.turns import in_turn, ratios, save
from pgjr_lib.augment import plain
from pgjr_lib.devices import default_device, workers
from pgjr_lib.priors.cache import _make
from pgjr_lib.priors.chunks import Encoder
from pgjr_lib.priors.config import CHUNK, FeatureConfig, part_names
from pgjr_lib.priors.encoder import Prior, load_prior

BATCH = 256  # of the plain loop


def plain_loop(prior: Prior, images: torch.Tensor, views: int) -> list[torch.Tensor]:
    """Encode the images and ``views`` views of each, with nothing of the library's but the network."""
    passes = []
    for steps in ([transforms.Resize(prior.image_size)], *[augmented(prior.image_size)] * views):
        loader = DataLoader(Pictures(images, [*steps, transforms.ToTensor()]), BATCH, num_workers=workers())
        passes.append(torch.cat([prior.encode(batch)[0].cpu() for batch, _ in loader]))
    return passes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prior", default="class-name")
    parser.add_argument("--images", type=int, default=10 * CHUNK, help="32x32 images (random pixels)")
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    device = default_device()
    prior, exact = load_prior(options.prior, device), load_prior(options.prior, device, backend="torch", precision="fp32")
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (options.images, 3, 32, 32), dtype=torch.uint8, generator=generator)
    config = FeatureConfig(dataset="digits", prior=options.prior, views=options.views)
    encoder = Encoder(config, prior, images, torch.zeros(len(images), dtype=torch.int64), CHUNK)
    encoder.pca = encoder.fit_pca()
    ready = plain(images[:CHUNK], prior.image_size).to(device)
    chunks = torch.arange(options.images).split(CHUNK)
    encodings = options.images * (1 + options.views)

    def bare() -> None:
        for _ in range(encodings // CHUNK):
            prior.encode(ready)

    def cache() -> None:
        with tempfile.TemporaryDirectory() as folder:
            for part, (c, rows) in product(part_names(options.views), enumerate(chunks)):
                _make(Path(folder) / f"{part}-{c}.safetensors", {}, partial(encoder.chunk, part, c, rows), encoder, True)

    ways = {"cache": cache, "bare_forward": bare, "plain_loop": lambda: plain_loop(exact, images, options.views)}
    taken = in_turn(ways, options.turns, device)
    rates = {name: [encodings / seconds for seconds in values] for name, values in taken.items()}
    for name, values in rates.items():
        print(f"{name}: {statistics.median(values):.0f} images/s")
    beside = {name.replace("_", " "): ratios(taken[name], taken["cache"]) for name in ("bare_forward", "plain_loop")}
    for name, ratio in beside.items():
        print(f"cache / {name}: {ratio['median']:.3f} (turns: {ratio['least']:.3f} to {ratio['most']:.3f})")
    setting = {"prior": options.prior, "images": options.images, "views": options.views, "turns": options.turns,
               "image_size": prior.image_size, **asdict(prior.encoding)}  # fmt: skip
    save("features", {"setting": setting, "images_per_second": rates, "ratios": beside}, device)


if __name__ == "__main__":
    main()
