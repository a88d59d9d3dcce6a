"""Run records: their keys, where they lie, and the only place that reads and writes them.

A run's key hashes what its result depends on: the fields its method reads, the checksums of data and weights, the
format of the features, and ``RESULTS_VERSION``. A run is computed once and found again by its key; a run that fails leaves no record.
Nothing here imports torch or uses a network.
"""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from pgjr_book.run_config import RESULTS_VERSION, RunConfig, digest
from pgjr_lib import data
from pgjr_lib.errors import PGJRError
from pgjr_lib.priors.config import FORMAT, FeatureConfig, feature_key
from pgjr_lib.priors.names import at_hand, prior_checksum
from pgjr_lib.storage import read_sealed, write_sealed

PARTS = ("key", "config", "results_version", "history", "scores", "provenance", "data")  # what every reader relies on
OTHERS = ("feature_format", "timings", "kmeans", "landscape", "exemplars", "snapshots", "jigsaw", "weights", "peak_memory_mb")


def key(run: RunConfig) -> str:
    """Return the run's key, 16 hexadecimal digits.

    Raises:
        PGJRError: data or weights are not here, so that their checksums are unknown.
    """
    return key_of(run, data_digest(run), (prior_digest(run.prior), FORMAT) if run.features() else None)


def key_of(run: RunConfig, data_checksum: str, features: tuple[str, int] | None) -> str:
    """Return the key that the run has with these data and features: (checksum of the prior's weights, format), or None."""
    return digest(run.relevant(), data_checksum, features, RESULTS_VERSION)


def record_path(run: RunConfig, root: Path) -> Path:
    """Return where the run's record lies below ``root``. Raises as :func:`key`."""
    return root / "runs" / f"{key(run)}.json"


def feature_folder(config: FeatureConfig, root: Path) -> Path:
    """Return where the features lie below ``root``. Raises as :func:`key`."""
    return root / "features" / feature_key(config, data_digest(config), prior_digest(config.prior))


def checkpoint_path(run_key: str, root: Path) -> Path:
    """Return where the checkpoint of an unfinished run lies below ``root``."""
    return root / "checkpoints" / f"{run_key}.safetensors"


def lock_path(run_key: str, root: Path) -> Path:
    """Return the file below ``root`` that is locked while a process computes the run."""
    return root / "locks" / f"{run_key}.lock"


def data_digest(run: RunConfig | FeatureConfig) -> str:
    """Return the checksum of a run's data. Raises PGJRError where the data is not here."""
    whole = _whole_checksum(run.dataset, run.split, os.environ.get("PGJR_DATA"))
    return data.checksum_of_part(*whole, run.limit, run.fold)


def prior_digest(prior: str) -> str:
    """Return the checksum of a prior's weights. Raises PGJRError where they are not here."""
    return _prior_digest(prior, os.environ.get("PGJR_WEIGHTS"))


@lru_cache  # a plan asks for the same few sets many times, and listing 50,000 files takes seconds
def _whole_checksum(dataset: str, split: str, _data_root: str | None) -> tuple[str, int]:
    return data.whole_checksum(dataset, split)


@lru_cache
def _prior_digest(prior: str, _weights_root: str | None) -> str:
    return prior_checksum(prior)


def write_record(record: dict, path: Path) -> None:
    """Write a record with its seal, atomically."""
    write_sealed(path, record)


def read_record(path: Path) -> dict:
    """Read a record and check that it has the parts that every reader relies on.

    Raises:
        PGJRError: not JSON, no record, or one that was changed after it was written.
    """
    record = read_sealed(path, (*PARTS, *OTHERS))
    missing = [part for part in PARTS if part not in record]
    if not missing:
        provenance = record["provenance"] if isinstance(record["provenance"], dict) else {}
        missing = [part for part in ("config_hash", "started") if part not in provenance]
    if missing or record["key"] != path.stem:
        reason = f"it lacks {', '.join(missing)}" if missing else f"its key is {record['key']}"
        raise PGJRError(f"{path} is not the run record of that name ({reason}): restore it, or move it away.")
    return record


@dataclass(frozen=True)
class Published:
    """What a page must know of a committed record before it shows it.

    Attributes:
        path: its file.
        place: dataset, split, limit and fold of its images.
        prior: name of its prior; None for methods that read pixels.
        data, weights: checksums.
        version: ``RESULTS_VERSION`` of the code that made it.
        feature_format: FORMAT of its features; None for methods that read pixels, and before records had it.
        started: time, as ISO 8601.
    """

    path: Path
    place: tuple[str, str, int | None, int | None]
    prior: str | None
    data: str
    weights: str | None
    version: int
    feature_format: int | None
    started: str

    @property
    def age(self) -> tuple[int, str]:
        """Sort key: newer code first decides, then time."""
        return self.version, self.started


def published_records(folder: Path) -> dict[str, list[Published]]:
    """Return the committed records in ``folder`` by the identity of their configuration.

    Raises:
        PGJRError: a file in the folder is no record.
    """
    return _published(folder, folder.stat().st_mtime_ns) if folder.is_dir() else {}


@lru_cache(maxsize=1)
def _published(folder: Path, _changed: int) -> dict[str, list[Published]]:
    index: dict[str, list[Published]] = {}
    for path in sorted(folder.glob("*.json")):
        record = read_record(path)
        try:
            config = RunConfig.model_validate(record["config"])
            reads = config.features() is not None
            entry = Published(
                path, (config.dataset, config.split, config.limit, config.fold), config.prior if reads else None,
                record["data"]["checksum"], record["weights"]["checksum"] if reads else None, record["results_version"],
                record.get("feature_format"), record["provenance"]["started"],
            )  # fmt: skip
        except (ValidationError, LookupError, TypeError) as error:
            raise PGJRError(f"{path} is no record of a run of this code ({type(error).__name__}): move it away.") from None
        index.setdefault(config.identity(), []).append(entry)
    return index


def _is_gone(prior: str) -> bool:
    """Say whether a prior is a file that only the machine of its records has, such as one trained for a study."""
    return prior.startswith("file:") and not Path(os.path.expanduser(prior.removeprefix("file:"))).is_file()


class Comparable:
    """Choose the committed record that a page shows for a run, or none.

    Records of one page must be comparable. So all records of a set are made from the same data, all of a prior with the
    same weights (this machine's, where they are here), and records of this version of the code precede earlier ones.
    """

    def __init__(self, folder: Path):
        self.published = published_records(folder)
        entries = sorted((entry for group in self.published.values() for entry in group), key=lambda entry: entry.age)
        self.data = {entry.place: entry.data for entry in entries}  # of the newest record
        self.weights = {entry.prior: entry.weights for entry in entries}
        self.weights |= {prior: prior_digest(prior) for prior in self.weights if prior and at_hand(prior) and not _is_gone(prior)}

    def record(self, run: RunConfig) -> Path | None:
        """Return the file of the newest comparable record of ``run``."""
        fitting = [entry for entry in self.published.get(run.identity(), ()) if self._fits(entry)]
        return max(fitting, key=lambda entry: entry.age).path if fitting else None

    def _fits(self, entry: Published) -> bool:
        current = entry.version == RESULTS_VERSION
        formats = (FORMAT,) if current and entry.prior else (None, entry.feature_format)
        return (
            entry.data == self.data[entry.place]
            and entry.weights == self.weights[entry.prior]
            and entry.feature_format in formats
        )
