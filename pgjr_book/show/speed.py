"""Results of the benchmarks in, data frames out: the tables of the pages on performance and on scale."""

from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pandas as pd

from pgjr_book.manifest import Card
from pgjr_lib.storage import read_json

# bytes an image: ViT-B/32's embedding and projected map in half precision, and its row of the bank in full
EMBEDDING, MAP, BANK = 2 * 512, 2 * 64 * 7 * 7, 4 * 128
VIEWS, EPOCHS = 4, 20  # of the plan for large sets
SIZES = {"CIFAR-10": 60_000, "ImageNet-1k": 1_281_167, "a hundred million images": 100_000_000}


@dataclass(frozen=True)
class Goal:
    """What a benchmark compares: ours, what stands beside it, the name of the ratio, and how many times as fast ours should be.

    ``limit`` is how many times as fast anything could be: 1 where what stands beside is a part of the work. Elsewhere the
    benchmark may have measured it; NaN if not.
    """

    file: str
    ratio: str
    work: str
    beside: str
    times: float
    limit: float = float("nan")


GOALS = (
    Goal("step", "bf16", "a training step of ResNet-18, in bf16", "IDFD written plainly, in fp32", 2.6),
    Goal("step-gpu", "bf16", "a training step of ResNet-18, in bf16", "IDFD written plainly, in fp32", 6),
    Goal("head", "ours", "training pGJR’s head", "the head written plainly", 2),
    Goal("head-gpu", "ours", "training pGJR’s head", "the head written plainly", 2),
    Goal("head", "sampled, beside k-means", "training pGJR’s head, sampled negatives", "KMeans(n_init=20) on the features", 1),
    Goal("loss", "N = 60,000", "the instance loss and its gradient, N = 60,000", "all logits at once", 2),
    Goal("loss", "N = 1,280,000", "the instance loss and its gradient, N = 1,280,000", "all logits at once", 1 / 0.3),
    Goal("loss", "N = 60,000, beside torch's chunks", "the same, N = 60,000", "torch’s linear_cross_entropy, in chunks", 1),
    Goal("loss", "N = 1,280,000, beside torch's chunks", "the same, N = 1,280,000", "torch’s linear_cross_entropy, in chunks", 1),
    Goal("loss-gpu", "N = 60,000", "the instance loss and its gradient, N = 60,000", "all logits at once", 2),
    Goal("loss-gpu", "N = 1,280,000", "the instance loss and its gradient, N = 1,280,000", "all logits at once", 1 / 0.3),
    Goal("features", "bare forward", "features into the cache, views and all", "the bare forward pass", 0.95, limit=1),
    Goal("features", "plain loop", "features into the cache, views and all", "a loop of torch in fp32, written plainly", 3),
    Goal("features-gpu", "bare forward", "features into the cache, views and all", "the bare forward pass", 0.95, limit=1),
    Goal("encoding", "class-name, openvino bf16", "encoding by OpenVINO, class-name prior", "torch in fp32", 3),
    Goal("encoding", "imagenet-labels, openvino bf16", "encoding by OpenVINO, ImageNet-label prior", "torch in fp32", 3),
    Goal("scoring", "pool", "scoring a run, in two processes", "one process", 1.8),
    Goal("augment", "slice, 32 to 32", "the augmentation of a batch, 32 pixels", "kornia, images cut out", 2),
    Goal("photos", "by hand", "pgjr cluster on 2,000 photographs", "reading, torch in fp32 and KMeans by hand", 1),
    Goal("photos", "encoding", "pgjr cluster on 2,000 photographs", "reading and encoding alone", 0.8, limit=1),
    Goal("opening", "again", "opening a feature folder again", "reading, hashing and joining it", 100),
)


def machine(provenance: dict) -> str:
    """Name the machine of a result: its GPU, or its processor with the threads."""
    device, threads = provenance["device"], provenance["threads"]
    return f"{provenance['host_cpu']}, {threads} thread{'s' * (threads > 1)}" if device == "cpu" else device


def read(folder: Path) -> dict[str, dict]:
    """Return the results of the benchmarks in a folder, by the name of their files.

    Raises:
        PGJRError: a file is not JSON.
    """
    return {path.stem: read_json(path) for path in sorted(folder.glob("*.json"), key=lambda path: path.stem)}


def beside(results: dict[str, dict]) -> pd.DataFrame:
    """Tabulate how many times as fast ours is as what stands beside it, with the range over turns, the goal, and the limit.

    A row that no result has is left out.
    """
    rows = []
    for goal in GOALS:
        result = results.get(goal.file, {})
        if ratio := result.get("ratios", {}).get(goal.ratio):
            provenance = result.get("provenance") or result["speed"]["provenance"]  # one benchmark has parts
            rows.append({
                "work": goal.work, "beside": goal.beside, "times as fast": ratio["median"], "range over turns low": ratio["least"],
                "range over turns high": ratio["most"], "goal": goal.times, "reached": ratio["median"] >= goal.times,
                "limit": result.get("limits", {}).get(goal.ratio, goal.limit),
                "machine": machine(provenance),
            })  # fmt: skip
    return pd.DataFrame(rows)


RUNS = {"pgjr cluster": "the first", "again": "again, with nothing new"}  # of the benchmark of photographs -> in words


def photographs(results: dict[str, dict]) -> pd.DataFrame:
    """Tabulate what `pgjr cluster` takes for folders of several sizes: median seconds and the highest peak of memory."""
    rows = []
    for result in (result for name, result in results.items() if name.startswith("photos")):
        for run, words in RUNS.items():
            taken = result["taken"][run]
            rows.append({
                "photographs": result["setting"]["photos"], "run": words, "seconds": median(turn["seconds"] for turn in taken),
                "peak, GB": max(turn["peak_mib"] for turn in taken) * 2**20 / 1e9, "machine": machine(result["provenance"]),
            })  # fmt: skip
    return pd.DataFrame(rows).astype({"photographs": "float"} if rows else {})


def counted(rows: pd.DataFrame) -> str:
    """Say how many rows of :func:`beside` reach their goal, and how many are ahead at all; "" without rows."""
    if rows.empty:
        return ""
    ahead = (rows["times as fast"] >= 1).sum()
    reached = f"Of {len(rows)} rows, {rows['reached'].sum()} reach their goal"
    return f"{reached}, and {ahead} are at least as fast as what stands beside them."


CURVES = {"million": "none: ten epochs, sampled negatives"}  # of the benchmark of growth, where its name says too little -> in words


def growth(results: dict[str, dict]) -> pd.DataFrame:
    """Tabulate the curves of the benchmark of growth: the power that time and memory grow with, and the largest point."""
    rows = []
    for result in (result for name, result in results.items() if name.startswith("growth")):
        for curve, values in result["curves"].items():
            last, powers = values["points"][-1], values.get("exponent", {})
            rows.append({
                "what grows": CURVES.get(curve, curve), "largest": last[curve if curve in last else "images"],
                "seconds": last["seconds"], "peak, GB": last["peak_mib"] * 2**20 / 1e9,
                "time’s power": powers.get("seconds", float("nan")), "memory’s power": powers.get("peak_mib", float("nan")),
                "machine": machine(result["provenance"]),
            })  # fmt: skip
    return pd.DataFrame(rows).astype({"largest": "float"} if rows else {})


def scale(card: Card, head: dict) -> pd.DataFrame:
    """Tabulate what sets of several sizes need, by arithmetic: disk, memory of the bank, and hours at the rates of a card.

    The hours of encoding and of the head are those of one card. The head takes sampled negatives, whose time is
    proportional to the images; with all negatives it would grow with their square.

    Args:
        card: whose rate of encoding counts.
        head: the result of the benchmark of the head on a GPU, whose rate with sampled negatives counts.
    """
    rows, passes = [], head["setting"]["images"] * head["setting"]["epochs"]
    sampled = passes / median(head["seconds"]["sampled"])
    for name, images in SIZES.items():
        encodings = images * (1 + VIEWS)
        encoding, training = encodings / card.rates.prior / 3600, images * EPOCHS / sampled / 3600
        rows.append({
            "images of": name, "number": images, "embeddings, GB": encodings * EMBEDDING / 1e9, "maps, GB": encodings * MAP / 1e9,
            "bank, GB": images * BANK / 1e9, "encoding, h": encoding, "head, h": training, "card hours": encoding + training,
        })  # fmt: skip
    return pd.DataFrame(rows).astype({"number": "float"})
