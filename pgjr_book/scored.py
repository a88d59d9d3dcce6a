"""What a record says of one run: its set, its score, and how far it is from the paper's setting."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pgjr_book.run_config import CNNS, ON_PRIOR, RESULTS_VERSION
from pgjr_lib.data.sets import PAPER_SETS

IDFD_EPOCHS = 2000  # the schedule of IDFD's published code, which the paper's CNNs are taken to follow

Setting = Literal["paper", "clip", "stand-in"]


@dataclass(frozen=True, order=True)
class ScoredSet:
    """A data set and the part of it that a run used. Every number belongs to one.

    ``folds`` is the size of disjoint random subsets of which each seed saw another, 0 where all seeds saw the same images.
    ``subset`` is the size of one random subset that all seeds saw, 0 where they saw all images or folds.
    What earlier code made stands apart from what this code made, and is never paired with it. So does a ``series``, which
    has runs of the same variants with other settings.
    """

    dataset: str
    split: str
    folds: int = 0
    earlier: bool = False
    subset: int = 0
    series: str = ""


def scored_set(record: dict) -> ScoredSet:
    """Return the data set of a record with its split, folds and whether earlier code made it."""
    config = record["config"]
    limit = config["limit"] or 0
    folds, subset = (limit, 0) if config.get("fold") is not None else (0, limit)
    earlier = record["results_version"] < RESULTS_VERSION
    return ScoredSet(config["dataset"], config["split"], folds, earlier, subset, record.get("series", ""))


def score(record: dict, metric: str = "nmi", features: str = "plain") -> float:
    """Return a run's score in points: 100 times the mean over its k-means seeds, on ``features``."""
    return 100 * float(np.mean(record["scores"][features][metric]))


def own_seconds(record: dict) -> float:
    """Return the seconds that a run took for training and scoring. Its encodings, which other runs share, are not its own."""
    return record["timings"]["train_s"] + record["timings"]["evaluate_s"]


def departures(record: dict) -> frozenset[str]:
    """Return in what a record departs from the paper's setting: "data", "prior", "backbone", "epochs".

    The paper's setting is a set of the paper, whole and as published, with a CLIP of OpenAI, or with ResNet-18 for as
    many epochs as IDFD's code trains.
    """
    config, departs = record["config"], set()
    if config["dataset"] not in PAPER_SETS or config["limit"] is not None or record["data"]["note"]:
        departs.add("data")
    if config["method"] in ON_PRIOR and not used_clip(record):
        departs.add("prior")
    if config["method"] in CNNS and config["backbone"] != "resnet18":
        departs.add("backbone")
    if config["method"] in CNNS and config["epochs"] < IDFD_EPOCHS:
        departs.add("epochs")
    return frozenset(departs)


def setting(record: dict) -> Setting:
    """Return the ledger's column that a record belongs to: the paper's setting, CLIP with short CNNs, or a stand-in."""
    departs = departures(record)
    return "stand-in" if departs - {"epochs"} else "clip" if departs else "paper"


def used_clip(record: dict) -> bool:
    """Say whether a run used a CLIP of OpenAI as its prior."""
    config, prior = record["config"], str(record["config"]["prior"])
    return config["method"] in ON_PRIOR and prior.endswith("/openai") and not prior.startswith(("random:", "file:"))
