"""Check a record that comes from another machine: its key, configuration, provenance and the bounds of its numbers.

A record says itself what its key hashes, so neither the images nor the weights are needed. The check finds records that were
edited, cut, or made by other code. It cannot find one that was invented with care.
"""

import math
from pathlib import Path

from pydantic import ValidationError

from pgjr_book.provenance import HASH
from pgjr_book.records import key_of, read_record
from pgjr_book.run_config import RESULTS_VERSION, RunConfig
from pgjr_lib.data.sets import SETS
from pgjr_lib.errors import PGJRError

LOWEST = {"nmi": 0.0, "acc": 0.0, "ari": -0.5}  # a score is 1 at most
SLACK = 1e-9  # rounding may lift a perfect score over 1
NEEDED = ("torch", "scikit-learn", "numpy")  # versions that a record names


def check_record(path: Path) -> list[str]:
    """Check a record.

    Returns:
        What a maintainer should know of a record that is whole, in words; [] in the common case.

    Raises:
        PGJRError: the first thing that is wrong, in a sentence.
    """
    record = read_record(path)
    try:
        run = RunConfig.model_validate(record["config"])
        if mistake := run.mistake():
            raise PGJRError(f"{path}: {mistake}.")
        _check_key(path, record, run)
        _check_provenance(path, record, run)
        _check_data(path, record, run)
        _check_numbers(path, record, run)
    except (ValidationError, LookupError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise PGJRError(f"{path} is no record of a run of this code ({type(error).__name__}: {reason}): leave it out.") from None
    notes = ["made by code that differs from its commit"] if record["provenance"]["dirty"] else []
    return notes + (["made by an earlier version"] if record["results_version"] < RESULTS_VERSION else [])


def _check_key(path: Path, record: dict, run: RunConfig) -> None:
    if record["results_version"] > RESULTS_VERSION:
        raise PGJRError(f"{path} was made by a later version of the code ({record['results_version']}): update this clone.")
    if record["results_version"] < RESULTS_VERSION:  # keys of earlier code had other parts
        return
    features = (record["weights"]["checksum"], record["feature_format"]) if run.features() else None
    if record["key"] != key_of(run, record["data"]["checksum"], features):
        raise PGJRError(f"{path} does not have the key of its configuration, data and weights: it was changed; leave it out.")


def _check_provenance(path: Path, record: dict, run: RunConfig) -> None:
    provenance = record["provenance"]
    if not HASH.fullmatch(str(provenance["commit"])):
        raise PGJRError(f"{path} names no commit of the code that made it: make it in a git clone.")
    if missing := [name for name in NEEDED if not provenance["versions"].get(name)]:
        raise PGJRError(f"{path} does not name the version of {missing[0]}: make it again with this code.")
    if record["results_version"] == RESULTS_VERSION and provenance["config_hash"] != run.hash():
        raise PGJRError(f"{path} does not belong to its configuration: it was changed; leave it out.")


def _check_data(path: Path, record: dict, run: RunConfig) -> None:
    info, count = SETS.get(run.dataset), record["data"]["count"]
    if info is None:
        return
    whole = info.count(run.split)
    expected = min(whole, run.limit or whole)
    if not info.generated and count != expected and not record["data"]["note"]:
        raise PGJRError(f"{path} has {count:,} images of {run.dataset} ({run.split}), which has {expected:,}: leave it out.")


def _check_numbers(path: Path, record: dict, run: RunConfig) -> None:
    for features, scores in record["scores"].items():
        count = 1 if features == "argmax" else run.kmeans_seeds
        for metric, lowest in LOWEST.items():
            values = scores[metric]
            if len(values) != count or not all(_within(value, lowest, 1.0) for value in values):
                raise PGJRError(f"{path} has {values} as {metric.upper()} of {features}: {count} from {lowest:g} to 1 are possible.")
    history = record["history"]
    epochs, seconds = ([row[name] for row in history] for name in ("epoch", "seconds"))
    if history and (epochs != list(range(run.epochs + 1)) or seconds != sorted(seconds) or seconds[0] < 0):
        raise PGJRError(f"{path} has no history of epochs 0 to {run.epochs} with rising seconds: leave it out.")
    if not all(_within(record["timings"][name], 0.0, math.inf) for name in ("train_s", "evaluate_s", "total_s")):
        raise PGJRError(f"{path} has seconds below zero: leave it out.")


def _within(value, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high + SLACK
