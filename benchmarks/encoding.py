"""Ways of encoding on a CPU: images a second, cosine to torch in float32, and what half precision does to k-means.

    python -m benchmarks.encoding                                # everything; needs CIFAR-10 and STL-10 in $PGJR_DATA
    python -m benchmarks.encoding --parts speed extraction       # what needs no k-means
    python -m benchmarks.encoding --parts nmi --images 4000      # NMI alone, on a random part of each set

Rates: the ways run in turn in one process, so that what else the machine does meets all; medians. Cosines: the smallest
over the same images of CIFAR-10's test set, of embeddings and of maps. Extraction: a chunk of the feature cache, its
images plain and in eight views, from pixels to projected features, in encodings a second. NMI: k-means on the plain
embeddings by the book's protocol, the mean over five seeds, for priors that have learned something.
pgjr_lib/priors/backends.py takes half precision where NMI stays within TOLERANCE of float32's on both sets. Writes
benchmarks/results/encoding.json.
"""

import argparse
import statistics
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.turns import in_turn, ratios
from pgjr_book.provenance import provenance
from pgjr_lib import data
from pgjr_lib.augment import plain
from pgjr_lib.evaluation import kmeans_scores
from pgjr_lib.priors.chunks import Encoder
from pgjr_lib.priors.config import FeatureConfig, part_names
from pgjr_lib.priors.encoder import Prior, load_prior
from pgjr_lib.storage import read_json, write_json

WAYS = tuple((backend, precision) for backend in ("torch", "openvino") for precision in ("fp32", "bf16"))
TRAINED = ("class-name", "imagenet-labels")
BLOCKS = {**dict.fromkeys(TRAINED, 256), "random:ViT-B-32-quickgelu/openai": 32}  # prior -> images of a measurement
SETS = ("cifar10", "stl10")
EXTRACTED = 64  # images of a measured chunk
TOLERANCE = 0.3  # points of NMI
PARTS = ("speed", "extraction", "nmi")
RESULT = Path(__file__).parent / "results" / "encoding.json"


def encode(prior: Prior, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Encode uint8 images in batches, as the feature cache does: embeddings (N, D) and flat maps (N, C * H * W)."""
    pairs = [prior.encode(plain(batch, prior.image_size)) for batch in images.split(256)]
    embeddings, maps = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    return embeddings, maps.flatten(1)


def speed(turns: int) -> list[dict]:
    """Measure every prior in every way: rates, and the smallest cosines to torch in float32."""
    rows = []
    for name, block in BLOCKS.items():
        priors = {way: load_prior(name, backend=way[0], precision=way[1]) for way in WAYS}
        images = torch.from_numpy(data.load("cifar10", "test", limit=block).images)
        ready = plain(images, priors[WAYS[0]].image_size)
        taken = in_turn({way: partial(prior.encode, ready) for way, prior in priors.items()}, turns)
        rates = {way: [block / seconds for seconds in taken[way]] for way in WAYS}
        exact = encode(priors[WAYS[0]], images)
        print(name)
        for way, prior in priors.items():
            pairs = zip(encode(prior, images), exact, strict=True)
            embedding, maps = (float(torch.cosine_similarity(a, b).min()) for a, b in pairs)
            ratio = ratios(taken[WAYS[0]], taken[way])
            rows.append({
                "prior": name, "backend": way[0], "precision": way[1], "image_size": prior.image_size,
                "images_per_second": rates[way], "ratio_to_torch_fp32": ratio,
                "smallest_cosine": {"embedding": embedding, "map": maps},
            })  # fmt: skip
            print(f"  {' '.join(way):14s} {statistics.median(rates[way]):7.1f} images/s ({ratio['median']:.2f}x), "
                  f"cosine {embedding:.4f}, of maps {maps:.4f}")  # fmt: skip
    return rows


def extraction(turns: int) -> list[dict]:
    """Time a small chunk of the feature cache, of every trained prior in every way."""
    rows, chunk = [], torch.arange(EXTRACTED)
    images = torch.from_numpy(data.load("cifar10", "test", limit=EXTRACTED).images)
    for name in TRAINED:
        encoders = {}
        for way in WAYS:
            config = FeatureConfig(dataset="cifar10", prior=name)
            prior = load_prior(name, backend=way[0], precision=way[1])
            encoders[way] = Encoder(config, prior, images, torch.zeros(EXTRACTED, dtype=torch.int64), EXTRACTED)
            encoders[way].pca = encoders[way].fit_pca()

        def chunk_of(encoder: Encoder, views: int = config.views) -> None:
            for part in part_names(views):
                encoder.chunk(part, 0, chunk)

        taken = in_turn({way: partial(chunk_of, encoder) for way, encoder in encoders.items()}, turns)
        rates = {way: [EXTRACTED * (1 + config.views) / seconds for seconds in taken[way]] for way in WAYS}
        print(f"{name}, plain and {config.views} views")
        for way in WAYS:
            rows.append({"prior": name, "backend": way[0], "precision": way[1], "encodings_per_second": rates[way]})
            print(f"  {' '.join(way):14s} {statistics.median(rates[way]):7.1f} encodings/s")
    return rows


def nmi(limit: int | None) -> list[dict]:
    """Score k-means on the embeddings of every trained prior in every way."""
    rows = []
    for name in TRAINED:
        for dataset in SETS:
            image_set = data.load(dataset, "test", limit=limit)
            images = torch.from_numpy(image_set.images)
            print(f"{name} on {len(images):,} test images of {dataset}")
            found = []  # torch in float32 is the first
            for backend, precision in WAYS:
                prior = load_prior(name, backend=backend, precision=precision)
                values = kmeans_scores(encode(prior, images)[0].numpy(), image_set.labels)["nmi"]
                row = {"prior": name, "set": dataset, "images": len(images), "note": image_set.note,
                       "backend": backend, "precision": precision, "nmi": [100 * value for value in values]}  # fmt: skip
                found.append(row)
                row["difference"] = float(np.mean(row["nmi"]) - np.mean(found[0]["nmi"]))
                print(f"  {backend:8s} {precision}  NMI {np.mean(row['nmi']):.2f} ({row['difference']:+.2f})", flush=True)
            rows += found
    for name in TRAINED:
        for backend in ("torch", "openvino"):
            half = [r for r in rows if (r["prior"], r["backend"], r["precision"]) == (name, backend, "bf16")]
            within = all(abs(row["difference"]) <= TOLERANCE for row in half)
            print(f"{name} by {backend}: {'bf16' if within else 'fp32'}")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--turns", type=int, default=5, help="measurements of each rate")
    parser.add_argument("--images", type=int, help="images of each set for NMI (default: all)")
    options = parser.parse_args()
    parts = {
        "speed": lambda: speed(options.turns), "extraction": lambda: extraction(options.turns),
        "nmi": lambda: nmi(options.images),
    }  # fmt: skip
    result = read_json(RESULT) if RESULT.exists() else {}  # parts that are not measured now stay
    for part in options.parts:
        rows = parts[part]()
        result[part] = {"rows": rows, "provenance": provenance("cpu", "")}
    if "speed" in options.parts:
        rows = result["speed"]["rows"]
        beside = {f"{row['prior']}, {row['backend']} {row['precision']}": row["ratio_to_torch_fp32"] for row in rows}
        result["ratios"] = beside
    write_json(RESULT, {"setting": {"blocks": BLOCKS, "extracted": EXTRACTED, "tolerance": TOLERANCE}, **result})


if __name__ == "__main__":
    main()
