"""Runs: from the manifest to one JSON record each.

A run is a frozen, validated :class:`RunConfig`. Its key is a hash of what its result depends on: the fields
its method reads, the checksums of data and weights, and ``RESULTS_VERSION``. It is computed once, recorded,
and found again by its key; a run that fails leaves no record.
"""

import os
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin

from pydantic import Field, ValidationError

from pgjr_book.run_config import EXTRAS, RESULTS_VERSION, RunConfig, Strict, digest
from pgjr_lib.data import loading as datasets
from pgjr_lib.errors import PGJRError
from pgjr_lib.priors.config import FeatureConfig, feature_key
from pgjr_lib.priors.names import prior_checksum
from pgjr_lib.storage import parse_yaml, read_json


class SetChoice(Strict):
    """A data set as a profile uses it; ``cnn`` holds settings of IDFD and GJR on it, ``dataset`` its name if another."""

    dataset: str | None = None
    split: Literal["train", "test", "all"] = "test"
    limit: int | None = Field(None, ge=2)
    cnn: dict[str, object] = {}


class Profile(Strict):
    """Sizes, sets and seeds of one way to make the book."""

    about: str
    sets: dict[str, SetChoice] = {}
    seeds: dict[Literal["head", "cnn"], int] = {}
    common: dict[str, object] = {}
    methods: dict[Literal["pixels", "prior", "pgjr", "idfd", "gjr"], dict[str, object]] = {}
    rates: dict[Literal["cnn", "prior", "head"], Annotated[float, Field(gt=0)]] = {}
    records: list[str] = []  # profiles whose committed records are rendered; such a profile trains nothing


class ExperimentEntry(Strict):
    """One item of the book and the variants it compares."""

    item: str
    title: str
    notebook: str
    sets: dict[str, list[str]] = {}  # profile -> the sets used there; all of the profile's where absent
    seeds: dict[str, int] = {}  # profile -> seeds, where they are not the profile's
    timed: bool = False  # its seconds are shown, so its runs have the machine to themselves
    optional: bool = False  # left out where its priors cannot be had
    variants: dict[str, dict[str, object]]


class Manifest(Strict):
    """experiments.yaml, validated."""

    methods: dict[Literal["pixels", "prior", "pgjr", "idfd", "gjr"], dict[str, object]]
    profiles: dict[str, Profile]
    experiments: dict[str, ExperimentEntry]


@dataclass(frozen=True)
class Experiment:
    """An experiment of one profile, with its runs and where their records lie."""

    name: str
    item: str
    title: str
    notebook: str
    timed: bool
    runs: list[RunConfig]
    record_paths: list[Path] = field(default_factory=list)
    own_record_paths: list[Path] = field(default_factory=list)
    feature_dirs: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class Plan:
    """All experiments of a profile and all features they need (folder -> config)."""

    profile: str
    experiments: dict[str, Experiment]
    features: dict[Path, FeatureConfig]


def home() -> Path:
    """The folder with experiments.yaml: the current folder or one above it, else the library's checkout."""
    for folder in (Path.cwd(), *Path.cwd().parents, Path(__file__).resolve().parents[1]):
        if (folder / "experiments.yaml").is_file():
            return folder
    raise PGJRError(
        f"experiments.yaml was not found in {Path.cwd()} or above it: change into a clone of the repository."
    )


def load_manifest(path: Path | None = None) -> Manifest:
    """Read and validate the manifest.

    Raises:
        PGJRError: no YAML, an unknown or repeated key, a wrong type, a profile or set that does not exist.
    """
    path = path or home() / "experiments.yaml"
    manifest = validated(Manifest, parse_yaml(path.read_bytes(), path.name), path.name)
    for name, profile in manifest.profiles.items():
        for source in profile.records:
            if _named(manifest.profiles, source, "profile", f"{path.name}: profiles.{name}.records: ").records:
                raise PGJRError(f"{path.name}: profiles.{name}.records: {source} has records itself: name one that trains.")
    for name, entry in manifest.experiments.items():
        for profile in (*entry.sets, *entry.seeds):
            _named(manifest.profiles, profile, "profile", f"{path.name}: experiments.{name}: ")
    for name in manifest.experiments:  # every run is checked now, not when its turn comes
        for profile in manifest.profiles:
            _runs(manifest, profile, name, path.name)
    return manifest


def validated(model: type[Strict], raw, where: str) -> Strict:
    """``model`` from ``raw``, or a PGJRError with the first mistake, its place and the known names."""
    try:
        made = model.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != "[key]")
        if first["type"] == "extra_forbidden":
            hint = _hint(first["loc"][-1], _model_at(model, first["loc"]).model_fields)
            raise PGJRError(f"{where}: unknown key {place}{hint}") from None
        if first["type"] == "missing":
            raise PGJRError(f"{where}: {place} is missing: add it.") from None
        raise PGJRError(f"{where}: {place or 'the file'} is {first['input']!r}, but: {first['msg']}.") from None
    if isinstance(made, RunConfig) and (mistake := made.mistake()):
        raise PGJRError(f"{where}: {mistake}.")
    return made


def _model_at(model: type[Strict], place: tuple) -> type[Strict]:
    """The model that the last key of ``place`` stands in, through fields and the names in dicts of models."""
    parts = iter(place[:-1])
    for part in parts:
        model = model.model_fields[part].annotation
        if get_origin(model) is dict:
            model, _ = get_args(model)[1], next(parts)
    return model


def _hint(name, known) -> str:
    near = get_close_matches(str(name), known, 3, 0.5)
    return f": did you mean {' or '.join(near)}?" if near else f": known are {', '.join(known)}."


def experiment(profile: str, name: str) -> Experiment:
    """The experiment ``name`` with its runs in ``profile``, without looking at any data.

    Raises:
        PGJRError: no such profile or experiment.
    """
    manifest = load_manifest()
    _named(manifest.profiles, profile, "profile")
    entry = _named(manifest.experiments, name, "experiment")
    chosen = _runs(manifest, profile, name, "experiments.yaml")
    return Experiment(name, entry.item, entry.title, entry.notebook, entry.timed, chosen)


def plan(profile: str, root: Path | None = None) -> Plan:
    """What ``profile`` computes and where it goes below ``root`` (build/<profile>).

    Raises:
        PGJRError: missing data or weights, told with where they were looked for.
    """
    manifest = load_manifest()
    root = root or build_root(profile)
    _named(manifest.profiles, profile, "profile")
    experiments, features, taken = {}, {}, set()
    # a run that several experiments show belongs to the timed one, so that it is timed alone
    for name in sorted(manifest.experiments, key=lambda n: not manifest.experiments[n].timed):
        found = experiment(profile, name)
        if manifest.profiles[profile].records:
            paths = [path for _, path in _committed(manifest, profile, name)]
            experiments[name] = Experiment(**{**vars(found), "record_paths": paths})
            continue
        found = found if _obtainable(manifest, found) else replace(found, runs=[])
        paths = [record_path(run, root) for run in found.runs]
        needed = {feature_folder(config, root): config for run in found.runs if (config := run.features())}
        features |= needed
        own = [path for path in dict.fromkeys(paths) if path not in taken]
        taken.update(own)
        experiments[name] = Experiment(
            **{**vars(found), "record_paths": paths, "own_record_paths": own, "feature_dirs": list(needed)}
        )
    return Plan(profile, {name: experiments[name] for name in manifest.experiments}, features)


def _obtainable(manifest: Manifest, found: Experiment) -> bool:
    """Whether the weights that an optional experiment needs are here or can be fetched."""
    try:
        for prior in {run.prior for run in found.runs if manifest.experiments[found.name].optional}:
            _cached_weights_checksum(prior, os.environ.get("PGJR_WEIGHTS"))
    except PGJRError:
        return False
    return True


def build_root(profile: str) -> Path:
    """build/<profile> in the repository."""
    return home() / "build" / profile


def key(run: RunConfig) -> str:
    """The run's key, 16 hexadecimal digits: config, data checksum, weights checksum, ``RESULTS_VERSION``."""
    data = _data_checksum(run.dataset, run.split, run.limit, os.environ.get("PGJR_DATA"))
    return digest(run.relevant(), data, _weights_checksum(run) if run.features() else None, RESULTS_VERSION)


def record_path(run: RunConfig, root: Path) -> Path:
    """Where the run's record lies below ``root``."""
    return root / "runs" / f"{key(run)}.json"


def feature_folder(config: FeatureConfig, root: Path) -> Path:
    """Where the features lie below ``root``."""
    data = _data_checksum(config.dataset, config.split, config.limit, os.environ.get("PGJR_DATA"))
    return root / "features" / feature_key(config, data, _weights_checksum(config))


@lru_cache
def _data_checksum(dataset: str, split: str, limit: int | None, _data_root: str | None) -> str:
    return datasets.checksum(dataset, split, limit=limit)  # once a process: a plan asks for the same few sets often


def _weights_checksum(run: RunConfig | FeatureConfig) -> str:
    return _cached_weights_checksum(run.prior, os.environ.get("PGJR_WEIGHTS"))


@lru_cache
def _cached_weights_checksum(prior: str, _weights_root: str | None) -> str:
    return prior_checksum(prior)


def published_records() -> dict[str, Path]:
    """The committed records: the hash of a run's config -> its file, the newest where a prior has changed since."""
    folder = home() / "results"
    return dict(_published(folder, folder.stat().st_mtime_ns)) if folder.is_dir() else {}


@lru_cache(maxsize=1)
def _published(folder: Path, _changed: int) -> dict[str, Path]:
    made = [(read_record(path)["provenance"], path) for path in folder.glob("*.json")]
    return {told["config_hash"]: path for told, path in sorted(made, key=lambda pair: pair[0]["started"])}


def ensure(name: str, profile: str, root: Path | None = None) -> list[dict]:
    """The records of an experiment: read where they exist, computed where they do not.

    ``published`` computes nothing: a run without a committed record is left out, and a set that several of its
    profiles ran is shown as the first of them ran it.

    Returns:
        The records in the manifest's order, each with ``label``, the variant's name.
    """
    manifest = load_manifest()
    found = experiment(profile, name)
    if manifest.profiles[profile].records:
        committed = _committed(manifest, profile, name)
        return [{**read_record(path), "label": run.label} for run, path in committed]
    records = []
    for run in found.runs if _obtainable(manifest, found) else ():
        path = record_path(run, root or build_root(profile))
        if not path.exists():
            from pgjr_book.train import execute  # torch: reading records does without it

            execute(run, root or build_root(profile))
        records.append({**read_record(path), "label": run.label})
    return records


def _committed(manifest: Manifest, profile: str, name: str) -> list[tuple[RunConfig, Path]]:
    """An experiment's runs that have a committed record, with its file; of each set, one profile's only."""
    found, owners, published = [], {}, published_records()
    for source in manifest.profiles[profile].records:
        for run in _runs(manifest, source, name, "experiments.yaml"):
            path = published.get(run.hash())
            if path and owners.setdefault((run.dataset, run.split), source) == source:
                found.append((run, path))
    return found


def read_record(path: Path) -> dict:
    """A record, checked for the parts every reader relies on.

    Raises:
        PGJRError: not JSON, or no record.
    """
    record = read_json(path)
    missing = [part for part in ("key", "config", "history", "scores", "provenance", "data") if part not in record]
    missing = missing or [part for part in ("config_hash", "started") if part not in record["provenance"]]
    if missing or record["key"] != path.stem:
        told = f"it lacks {', '.join(missing)}" if missing else f"its key is {record['key']}"
        raise PGJRError(f"{path} is no run record of this name ({told}): restore it, or move it away.")
    return record


def _runs(manifest: Manifest, profile: str, name: str, where: str) -> list[RunConfig]:
    """The runs of one experiment in one profile, seeds included."""
    chosen, entry, runs = manifest.profiles[profile], manifest.experiments[name], []
    for source in chosen.records:
        runs += _runs(manifest, source, name, where)
    for set_name in entry.sets.get(profile, chosen.sets):
        if set_name not in chosen.sets:
            hint = _hint(set_name, chosen.sets)
            raise PGJRError(f"{where}: experiments.{name}.sets.{profile} names {set_name}, which profile {profile} lacks{hint}")
        for label, variant in entry.variants.items():
            method = variant.get("method")
            kind = {"pgjr": "head", "idfd": "cnn", "gjr": "cnn"}.get(method)
            values = {
                **manifest.methods.get(method, {}),
                **chosen.sets[set_name].model_dump(exclude={"cnn"}),
                "dataset": chosen.sets[set_name].dataset or set_name,
                **chosen.common,
                **chosen.methods.get(method, {}),
                **(chosen.sets[set_name].cnn if kind == "cnn" else {}),
                **variant,
                "label": label,
            }
            if "$prior" in str(values.get("prior")):  # a control may wrap the profile's prior
                values["prior"] = values["prior"].replace("$prior", str(chosen.common.get("prior")))
            for seed in range(entry.seeds.get(profile, chosen.seeds.get(kind, 1)) if kind else 1):
                place = f"{where}: experiments.{name}.variants.{label} (profile {profile})"
                extras = {extra: 0 for extra in EXTRAS} if seed else {}  # the first seed's are enough
                runs.append(validated(RunConfig, {**values, **extras, "seed": seed}, place))
                if ":" not in runs[-1].dataset:  # else a folder of one's own
                    _named(datasets.SETS, runs[-1].dataset, "data set", f"{place}: ")
    return runs


def _named(known: dict, name: str, what: str, where: str = ""):
    if name not in known:
        raise PGJRError(f"{where}there is no {what} {name!r}{_hint(name, known)}")
    return known[name]
