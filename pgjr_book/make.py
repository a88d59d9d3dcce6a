"""From a profile to its records: the plan and its cost, what must be fetched, and the runs themselves.

This is the only module that knows both records and training. Planning imports no torch and uses no network.
"""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from pgjr_book import manifest as manifests
from pgjr_book import records
from pgjr_book.manifest import Experiment, Manifest, VariantRun, home, known, load_manifest, variant_runs
from pgjr_book.provenance import provenance
from pgjr_book.run_config import RESULTS_VERSION, RunConfig
from pgjr_lib import data
from pgjr_lib.data.sets import SETS
from pgjr_lib.errors import PGJRError
from pgjr_lib.priors.config import FORMAT, FeatureConfig, manifest_name
from pgjr_lib.priors.names import at_hand
from pgjr_lib.priors.supervision import refuse_seen

# seconds of a baseline on 8,000 embeddings of 1,280 numbers with one thread, for the plan; the scoring is left out, as everywhere
BASELINE_SECONDS = {"joint": 0, "untrained": 1, "spherical": 30, "spectral": 50, "turtle": 210, "temi": 1250}
BASELINE_IMAGES = 8000
FEATURE_VALUES = 512 + 64 * 49  # numbers of an embedding and of a PCA-64 map of 7x7, for the estimate of disk


@dataclass(frozen=True)
class PlannedExperiment:
    """An experiment of a profile, with where its records lie.

    Attributes:
        experiment: what it is, with its runs.
        paths: run -> path of its record, for the runs whose data and weights are here.
        own: the paths of the runs that no earlier or timed experiment computes.
        features: the manifests of the features that the runs read.
    """

    experiment: Experiment
    paths: dict[RunConfig, Path] = field(default_factory=dict)
    own: list[Path] = field(default_factory=list)
    features: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class Plan:
    """Everything that a profile computes.

    Attributes:
        profile: its name.
        experiments: name -> experiment, in the manifest's order.
        features: manifest of a feature folder -> what it lists.
        to_fetch: names of priors that are not here and can be fetched.
        missing: sentences on data and priors that the profile needs and that are not here.
    """

    profile: str
    experiments: dict[str, PlannedExperiment]
    features: dict[Path, FeatureConfig]
    to_fetch: list[str]
    missing: list[str]


def build_root(profile: str) -> Path:
    """Return build/<profile> in the repository."""
    return home() / "build" / profile


def plan(profile: str, root: Path | None = None) -> Plan:
    """Plan ``profile`` below ``root`` (build/<profile>). Missing data and weights are listed, never fetched.

    Raises:
        PGJRError: no such profile, or a manifest with a mistake.
    """
    manifest = load_manifest()
    chosen = known(manifest.profiles, profile, "profile")
    root = root or build_root(profile)
    planned, features, claimed, to_fetch, missing = {}, {}, set(), {}, {}
    # a run that several experiments show belongs to the timed one, so that it runs alone
    for name in sorted(manifest.experiments, key=lambda n: not manifest.experiments[n].timed):
        experiment = manifests.experiment(manifest, profile, name)
        if chosen.records:
            paths = {run.config: path for run, path in _committed(manifest, profile, name)}
            planned[name] = PlannedExperiment(experiment, paths)
            continue
        absent = {run.config.prior for run in experiment.runs if run.config.features() and not at_hand(run.config.prior)}
        to_fetch |= dict.fromkeys(sorted(absent))
        if experiment.optional and absent:
            planned[name] = PlannedExperiment(replace(experiment, runs=[]))
            continue
        paths, needed = {}, {}
        for run in experiment.runs:
            try:
                paths[run.config] = records.record_path(run.config, root)
                if config := run.config.features():
                    needed[records.feature_folder(config, root) / manifest_name(config.views)] = config
            except PGJRError as error:  # data or weights are not here, so the key is not known yet
                missing[str(error)] = None
        own = [path for path in dict.fromkeys(paths.values()) if path not in claimed]
        claimed.update(own)
        features |= needed
        planned[name] = PlannedExperiment(experiment, paths, own, list(needed))
    return Plan(profile, {name: planned[name] for name in manifest.experiments}, features, list(to_fetch), list(missing))


def fetch(profile: str) -> list[str]:
    """Fetch the priors that ``profile`` needs and that are not here. Returns their names.

    Raises:
        PGJRError: a prior cannot be had. Optional experiments are left out instead, and the plan says so.
    """
    manifest, optional = load_manifest(), set()
    for name in manifest.experiments:
        experiment = manifests.experiment(manifest, profile, name)
        optional |= {run.config.prior for run in experiment.runs if experiment.optional}
    fetched = []
    for prior in plan(profile).to_fetch:
        from pgjr_lib.priors.fetch import fetch as fetch_prior  # torch: a plan does without it

        try:
            fetch_prior(prior)
        except PGJRError:
            if prior not in optional:
                raise
            continue
        fetched.append(prior)
    return fetched


def image_count(run: RunConfig) -> int:
    """Return how many images a run reads, by the table of sets, or counted in a folder of the user's own."""
    if (info := SETS.get(run.dataset)) is None:
        count = len(data.list_images(Path(os.path.expanduser(run.dataset.partition(":")[2])))[0])
    else:
        count = sum(n for split, n in zip(info.splits, info.counts, strict=True) if run.split in (split, "all"))
    return min(count, run.limit or count)


def run_hours(run: RunConfig, rates: dict) -> float:
    """Return the hours of one run's training at the profile's assumed rates (images a second)."""
    if run.method in ("pixels", "prior"):
        return 0.0
    if run.method == "baseline":
        return BASELINE_SECONDS[run.baseline] * image_count(run) / BASELINE_IMAGES / 3600
    return image_count(run) * run.epochs / rates["head" if run.method == "pgjr" else "cnn"] / 3600


@dataclass(frozen=True)
class ExperimentCost:
    """What an experiment costs: its runs, those that no experiment above has, hours, and minutes of the longest run."""

    name: str
    runs: int
    new: int
    hours: float
    longest_minutes: float


@dataclass(frozen=True)
class Cost:
    """What a profile costs before anything starts, at its assumed rates in images a second."""

    experiments: list[ExperimentCost]
    runs: int
    recorded: int
    folders: int
    encodings: int
    encoding_hours: float
    disk_bytes: int

    @property
    def hours(self) -> float:
        """Hours of encoding and of every run that is not recorded yet."""
        return self.encoding_hours + sum(experiment.hours for experiment in self.experiments)


def cost(planned: Plan) -> Cost:
    """Estimate what a plan costs.

    Raises:
        PGJRError: the profile lacks a rate.
    """
    rates = load_manifest().profiles[planned.profile].rates
    if absent := [kind for kind in ("cnn", "prior", "head") if kind not in rates]:
        place = f"{manifests.FILE}: profiles.{planned.profile}.rates"
        raise PGJRError(f"{place} lacks {', '.join(absent)}: add it, in images a second.")
    rows, counted, recorded, encoded = [], set(), 0, {}
    for name, entry in planned.experiments.items():
        new = [run.config for run in entry.experiment.runs]
        new = [run for run in dict.fromkeys(new) if run.hash() not in counted]
        counted |= {run.hash() for run in new}
        done = {run for run in new if run in entry.paths and entry.paths[run].exists()}
        recorded += len(done)
        hours = {run: run_hours(run, rates) for run in new}
        unfinished = sum(hours[run] for run in new if run not in done)
        longest = 60 * max(hours.values(), default=0.0)
        rows.append(ExperimentCost(name, len(entry.experiment.runs), len(new), unfinished, longest))
        encoded |= {config: image_count(run) for run in new if (config := run.features())}
    encodings = sum(count * (1 + config.views) for config, count in encoded.items())
    disk = 2 * FEATURE_VALUES * encodings
    return Cost(rows, len(counted), recorded, len(encoded), encodings, encodings / rates["prior"] / 3600, disk)


def run(config: RunConfig, root: Path, device: str | None = None, alone: bool = True) -> dict:
    """Compute a run, write its record below ``root`` and return it. A killed run resumes from its last epoch.

    Args:
        config: the run.
        root: build/<profile>, or any folder.
        device: where to train; None takes a GPU where there is one.
        alone: whether the run has its device to itself, so that its seconds may be compared.

    Raises:
        PGJRError: missing or damaged data, weights or features, a prior that saw the labels, or a loss that is no
            longer finite. Nothing is recorded then.
    """
    from pgjr_book import train  # torch: reading records does without it
    from pgjr_lib.devices import default_device
    from pgjr_lib.priors import cache

    device = device or default_device()
    if config.features():
        _fetched(config.prior)
        refuse_seen(config.prior, config.dataset)
    run_key, origin = records.key(config), provenance(device, config.hash())
    if (features := config.features()) is not None:
        inputs = cache.extract(features, records.feature_folder(features, root), device=device, alone=alone)
        refuse_seen(config.prior, config.dataset, inputs.class_names)
        described = {**inputs.manifest["data"], "classes": len(inputs.class_names)}
        weights = inputs.manifest["weights"]
        plain_s, extract_s = inputs.manifest["plain_seconds"], inputs.manifest["seconds"]
    else:
        inputs = train.load_images(config)
        described = {"name": inputs.name, "split": inputs.split, "count": len(inputs.labels),
                     "classes": len(inputs.class_names), "checksum": inputs.checksum, "note": inputs.note}  # fmt: skip
        weights, plain_s, extract_s = None, 0.0, 0.0
    checkpoint = records.checkpoint_path(run_key, root)
    alone = alone and not checkpoint.exists()  # whatever stopped the run, its seconds are no longer those of one machine
    result = train.compute(config, inputs, device=device, checkpoint=checkpoint, identity=run_key)
    record = {
        "key": run_key, "config": config.model_dump(), "results_version": RESULTS_VERSION,
        "feature_format": FORMAT if features else None, **result,
        "data": {name: described[name] for name in ("name", "split", "count", "classes", "checksum", "note")},
        "weights": weights, "provenance": origin,
    }  # fmt: skip
    timings = record["timings"]
    timings |= {"alone": alone, "plain_s": plain_s, "extract_s": extract_s}
    timings["total_s"] = extract_s + timings["train_s"] + timings["evaluate_s"]
    records.write_record(record, records.record_path(config, root))
    checkpoint.unlink(missing_ok=True)
    return record


def run_missing(
    profile: str, experiment: str | None = None, *, seed: int | None = None, shard: tuple[int, int] = (0, 1),
    own: bool = False, alone: bool = True,
) -> int:  # fmt: skip
    """Compute the records of a profile that are missing; a profile that renders records has none to compute.

    Args:
        profile: its name.
        experiment: only this one; None takes all.
        seed: only the runs of this seed; None takes all.
        shard: (i, n) takes runs i, i + n, i + 2n, ..., for processes side by side.
        own: leave runs that an earlier or a timed experiment shows to that one.
        alone: as :func:`run`.

    Returns:
        The number of runs computed.

    Raises:
        PGJRError: an unknown name, or as :func:`run`.
    """
    manifest, root = load_manifest(), build_root(profile)
    if experiment:
        known(manifest.experiments, experiment, "experiment")
    if known(manifest.profiles, profile, "profile").records:
        return 0
    names = [experiment] if experiment else list(manifest.experiments)
    alone = alone and shard[1] == 1  # the other parts run beside this one
    for name in names:
        entry = manifests.experiment(manifest, profile, name)
        for prior in dict.fromkeys(run.config.prior for run in entry.runs if run.config.features()):
            _fetched(prior, optional=entry.optional)
    planned, wanted = plan(profile).experiments, {}
    for name in names:
        for config in (run.config for run in planned[name].experiment.runs):
            path = records.record_path(config, root)  # says what is missing, where the plan has no path
            if not own or path in planned[name].own:
                wanted[path] = config
    part, parts = shard
    todo = [(config, path) for path, config in wanted.items() if seed is None or config.seed == seed]
    computed = 0
    for config, path in todo[part::parts]:
        if not path.exists():
            run(config, root, alone=alone)
            computed += 1
    return computed


def ensure(name: str, profile: str, root: Path | None = None) -> list[dict]:
    """Return the records of an experiment: read where they exist, computed where they do not.

    A profile that renders committed records computes nothing. A run without a committed record is left out, and a set
    that several of its profiles ran is shown as the first of them ran it.

    Returns:
        The records in the manifest's order, each with its ``variant`` (the id), ``label``, ``panel`` and ``value``.

    Raises:
        PGJRError: no such profile or experiment, or as :func:`run`.
    """
    manifest = load_manifest()
    experiment = manifests.experiment(manifest, profile, name)
    if manifest.profiles[profile].records:
        return [run.described(records.read_record(path)) for run, path in _committed(manifest, profile, name)]
    priors = {run.config.prior for run in experiment.runs if run.config.features()}
    if experiment.optional and not all(map(at_hand, priors)):  # as plan decides; make book has tried to fetch them
        return []
    root, described = root or build_root(profile), []
    for variant in experiment.runs:
        path = records.record_path(variant.config, root)
        if not path.exists():
            run(variant.config, root)
        described.append(variant.described(records.read_record(path)))
    return described


def records_for(notebook: str, profile: str) -> dict[str, list[dict]]:
    """Return what a notebook reads: experiment -> its records, as :func:`ensure` returns them.

    Raises:
        PGJRError: the manifest does not name the notebook, or as :func:`ensure`.
    """
    return {name: ensure(name, profile) for name in load_manifest().reads(notebook)}


def profile_records(profile: str, without: tuple[str, ...] = ()) -> list[dict]:
    """Return every record that a profile's book shows, apart from those that only the experiments ``without`` show."""
    planned = plan(profile).experiments
    paths = {path for name, entry in planned.items() if name not in without for path in entry.paths.values()}
    return [records.read_record(path) for path in sorted(paths) if path.exists()]


def _fetched(prior: str, optional: bool = False) -> bool:
    """Fetch a prior that is not here; False where it cannot be had and is optional."""
    if at_hand(prior):
        return True
    from pgjr_lib.priors.fetch import fetch as fetch_prior

    try:
        fetch_prior(prior)
    except PGJRError:
        if not optional:
            raise
        return False
    return True


def _committed(manifest: Manifest, profile: str, name: str) -> list[tuple[VariantRun, Path]]:
    """Return an experiment's runs that have a committed record, with its file; of each set, one profile's only."""
    pairs, owners, shown = [], {}, records.Shown(home() / "results")
    for source in manifest.profiles[profile].records:
        for run in variant_runs(manifest, source, name):
            path = shown.record(run.config)
            if path and owners.setdefault((run.config.dataset, run.config.split), source) == source:
                pairs.append((run, path))
    return pairs
