"""Run records: their keys, where they lie, and the only place that reads and writes them.

A run's key hashes what its result depends on: the fields its method reads, the checksums of data and weights, and
``RESULTS_VERSION``. A run is computed once and found again by its key; a run that fails leaves no record.
Nothing here imports torch or uses a network.
"""

import os
from functools import lru_cache
from pathlib import Path

from pgjr_book.run_config import RESULTS_VERSION, RunConfig, digest
from pgjr_lib import data
from pgjr_lib.errors import PGJRError
from pgjr_lib.priors.config import FeatureConfig, feature_key
from pgjr_lib.priors.names import prior_checksum
from pgjr_lib.storage import read_json, write_json

PARTS = ("key", "config", "history", "scores", "provenance", "data")  # what every reader relies on


def key(run: RunConfig) -> str:
    """Return the run's key, 16 hexadecimal digits.

    Raises:
        PGJRError: data or weights are not here, so that their checksums are unknown.
    """
    weights = prior_digest(run.prior) if run.features() else None
    return digest(run.relevant(), data_digest(run), weights, RESULTS_VERSION)


def record_path(run: RunConfig, root: Path) -> Path:
    """Return where the run's record lies below ``root``. Raises as :func:`key`."""
    return root / "runs" / f"{key(run)}.json"


def feature_folder(config: FeatureConfig, root: Path) -> Path:
    """Return where the features lie below ``root``. Raises as :func:`key`."""
    return root / "features" / feature_key(config, data_digest(config), prior_digest(config.prior))


def checkpoint_path(run_key: str, root: Path) -> Path:
    """Return where the checkpoint of an unfinished run lies below ``root``."""
    return root / "checkpoints" / f"{run_key}.safetensors"


def data_digest(run: RunConfig | FeatureConfig) -> str:
    """Return the checksum of a run's data. Raises PGJRError where the data is not here."""
    return _data_digest(run.dataset, run.split, run.limit, os.environ.get("PGJR_DATA"))


def prior_digest(prior: str) -> str:
    """Return the checksum of a prior's weights. Raises PGJRError where they are not here."""
    return _prior_digest(prior, os.environ.get("PGJR_WEIGHTS"))


@lru_cache  # a plan asks for the same few sets many times
def _data_digest(dataset: str, split: str, limit: int | None, _data_root: str | None) -> str:
    return data.checksum(dataset, split, limit=limit)


@lru_cache
def _prior_digest(prior: str, _weights_root: str | None) -> str:
    return prior_checksum(prior)


def write_record(record: dict, path: Path) -> None:
    """Write a record, atomically."""
    write_json(path, record)


def read_record(path: Path) -> dict:
    """Read a record and check that it has the parts that every reader relies on.

    Raises:
        PGJRError: not JSON, or no record.
    """
    record = read_json(path)
    missing = [part for part in PARTS if part not in record]
    if not missing:
        provenance = record["provenance"] if isinstance(record["provenance"], dict) else {}
        missing = [part for part in ("config_hash", "started") if part not in provenance]
    if missing or record["key"] != path.stem:
        reason = f"it lacks {', '.join(missing)}" if missing else f"its key is {record['key']}"
        raise PGJRError(f"{path} is not the run record of that name ({reason}): restore it, or move it away.")
    return record


def published_records(folder: Path) -> dict[str, Path]:
    """Return the committed records in ``folder``: hash of a run's config -> file, the newest where there are several.

    Raises:
        PGJRError: a file in the folder is no record.
    """
    return dict(_published(folder, folder.stat().st_mtime_ns)) if folder.is_dir() else {}


@lru_cache(maxsize=1)
def _published(folder: Path, _changed: int) -> dict[str, Path]:
    provenances = [(read_record(path)["provenance"], path) for path in folder.glob("*.json")]
    newest_last = sorted(provenances, key=lambda pair: pair[0]["started"])
    return {provenance["config_hash"]: path for provenance, path in newest_last}
