"""From a profile to its records: the plan and its cost, what must be fetched, and the runs themselves.

This is the only module that knows both records and training. Planning imports no torch and uses no network.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pgjr_book import manifest as manifests
from pgjr_book import records
from pgjr_book.manifest import Card, Experiment, Manifest, Rates, VariantRun, home, known, load_manifest, variant_runs
from pgjr_book.provenance import provenance
from pgjr_book.run_config import RESULTS_VERSION, RunConfig
from pgjr_lib import data
from pgjr_lib.data.sets import SETS
from pgjr_lib.errors import PGJRError
from pgjr_lib.priors.config import FORMAT, FeatureConfig, manifest_name
from pgjr_lib.priors.names import at_hand
from pgjr_lib.priors.supervision import refuse_seen
from pgjr_lib.storage import exclusive

# seconds of a baseline on 8,000 embeddings of 1,280 numbers with one thread, for the plan; the scoring is left out, as everywhere
BASELINE_SECONDS = {"joint": 0, "untrained": 1, "spherical": 30, "spectral": 50, "turtle": 210, "temi": 1250}
BASELINE_IMAGES = 8000
CARDS_CNN = "resnet18"  # whose rates the manifest's cards give
FEATURE_VALUES = 512 + 64 * 49  # numbers of an embedding and of a PCA-64 map of 7x7, for the estimate of disk
_unavailable: set[str] = set()  # optional priors that this process failed to fetch, so that each is tried once


@dataclass(frozen=True)
class PlannedExperiment:
    """An experiment of a profile, with where its records lie.

    Attributes:
        experiment: what it is, with its runs.
        paths: run -> path of its record, for the runs whose data and weights are here.
        own: the paths of the runs that no earlier or timed experiment computes.
        committed: the files of the committed records that its pages show.
        features: the manifests of the features that the runs read.
        left_out: whether it is optional and lacks a prior. Nothing is computed for it until that prior is fetched.
    """

    experiment: Experiment
    paths: dict[RunConfig, Path] = field(default_factory=dict)
    own: list[Path] = field(default_factory=list)
    committed: list[Path] = field(default_factory=list)
    features: list[Path] = field(default_factory=list)
    left_out: bool = False


@dataclass(frozen=True)
class Plan:
    """Everything that a profile computes.

    Attributes:
        profile: its name.
        experiments: name -> experiment, in the manifest's order.
        features: manifest of a feature folder -> what it lists.
        to_fetch: names of priors that are not here and can be fetched.
        required: those of ``to_fetch`` that an experiment needs which is not optional.
        missing: sentences on data, and on priors that cannot be fetched, that the profile needs and that are not here.
    """

    profile: str
    experiments: dict[str, PlannedExperiment]
    features: dict[Path, FeatureConfig]
    to_fetch: list[str]
    required: list[str]
    missing: list[str]

    def refuse_missing(self) -> None:
        """Refuse to start while data are missing.

        Raises:
            PGJRError: the first sentence of ``missing``.
        """
        if self.missing:
            raise PGJRError(self.missing[0])

    def refuse_incomplete(self) -> None:
        """Refuse to start while data or a required prior are missing.

        Raises:
            PGJRError: what is missing, and how to get it.
        """
        self.refuse_missing()
        if self.required:
            command = f"python -m pgjr_book fetch --profile {self.profile}"
            raise PGJRError(f"{self.required[0]} is not on this machine: fetch it with `{command}`.")


def build_root(profile: str) -> Path:
    """Return build/<profile> in the repository."""
    return home() / "build" / profile


def plan(profile: str, root: Path | None = None, only: Sequence[str] = ()) -> Plan:
    """Plan ``profile`` below ``root`` (build/<profile>). Missing data and weights are listed, never fetched.

    Args:
        profile: its name.
        root: where its records lie; None takes build/<profile>.
        only: the experiments to plan; empty for all.

    Raises:
        PGJRError: no such profile or experiment, or a manifest with a mistake.
    """
    manifest = load_manifest()
    chosen = [known(manifest.experiments, name, "experiment") and name for name in only] or list(manifest.experiments)
    rendered = known(manifest.profiles, profile, "profile").records
    root = root or build_root(profile)
    entries, features, owned, to_fetch, required, missing = {}, {}, set(), {}, {}, {}
    # a run that several experiments show belongs to the timed one, so that it runs alone
    for name in sorted(chosen, key=lambda n: not manifest.experiments[n].timed):
        experiment = manifests.experiment(manifest, profile, name)
        committed_runs = _committed_runs(manifest, profile, name)
        committed = [path for _, path in committed_runs]
        if rendered:
            entries[name] = PlannedExperiment(experiment, {run.config: path for run, path in committed_runs}, committed=committed)
            continue
        lacking = {run.config.prior for run in experiment.runs if run.config.features() and not at_hand(run.config.prior)}
        to_fetch |= dict.fromkeys(sorted(lacking))
        if experiment.optional and lacking:
            entries[name] = PlannedExperiment(experiment, committed=committed, left_out=True)
            continue
        required |= dict.fromkeys(sorted(lacking))
        paths, manifests_read = {}, {}
        for run in experiment.runs:
            config = run.config.features()
            try:
                if config and run.config.prior in lacking:  # no key without its weights, but its data may be missing too
                    records.data_digest(run.config)
                    continue
                paths[run.config] = records.record_path(run.config, root)
                if config:
                    manifests_read[records.feature_folder(config, root) / manifest_name(config.views)] = config
            except PGJRError as error:  # data or weights are not here, so the key is not known yet
                missing[str(error)] = None
        own = [path for path in dict.fromkeys(paths.values()) if path not in owned]
        owned.update(own)
        features |= manifests_read
        entries[name] = PlannedExperiment(experiment, paths, own, committed, list(manifests_read))
    experiments = {name: entries[name] for name in manifest.experiments if name in entries}
    return Plan(profile, experiments, features, list(to_fetch), list(required), list(missing))


def fetch(profile: str) -> list[str]:
    """Fetch the priors that ``profile`` needs and that are not here. Returns their names.

    Raises:
        PGJRError: data are missing, in which case nothing is fetched, or a required prior cannot be had. Experiments
            whose optional prior cannot be had are left out.
    """
    needs = plan(profile)
    needs.refuse_missing()  # an hour of downloads would not help
    return [prior for prior in needs.to_fetch if _fetch_prior(prior, optional=prior not in needs.required)]


def image_count(run: RunConfig) -> int:
    """Return how many images a run reads, by the table of sets, or counted in a folder of the user's own."""
    if (info := SETS.get(run.dataset)) is None:
        count = len(data.list_images(Path(os.path.expanduser(run.dataset.partition(":")[2])))[0])
    else:
        count = info.count(run.split)
    return min(count, run.limit or count)


def run_hours(run: RunConfig, rates: Rates) -> float:
    """Return the hours of one run's training at assumed rates (images a second)."""
    if run.method in ("pixels", "prior"):
        return 0.0
    if run.method == "baseline":
        return BASELINE_SECONDS[run.baseline] * image_count(run) / BASELINE_IMAGES / 3600
    return image_count(run) * run.epochs / (rates.head if run.method == "pgjr" else rates.cnn) / 3600


@dataclass(frozen=True)
class ExperimentCost:
    """What an experiment costs: its runs, those that no experiment above has, hours, and minutes of the longest run."""

    name: str
    optional: bool
    runs: int
    new: int
    hours: float
    longest_minutes: float


@dataclass(frozen=True)
class Cost:
    """What a profile costs before anything starts, at its assumed rates in images a second.

    Optional experiments count, because ``make book`` computes them where it can fetch their priors.
    """

    experiments: list[ExperimentCost]
    runs: int
    recorded: int
    folders: int
    encodings: int
    encoding_hours: float
    disk_bytes: int
    rates: Rates
    card: Card | None = None

    @property
    def hours(self) -> float:
        """Hours of encoding and of every run that is not recorded yet, with as many runs side by side as the card takes."""
        runs = sum(experiment.hours for experiment in self.experiments)
        return self.encoding_hours + runs / (self.card.jobs if self.card else 1)


def rated_on_cards(profile: manifests.Profile) -> bool:
    """Say whether the cards' rates are those of the CNN that a profile trains."""
    return profile.methods.get("gjr", {}).get("backbone") == CARDS_CNN


def cost(plan: Plan, card: str | None = None) -> Cost:
    """Estimate what a plan costs, at the profile's rates or at those of a card, which count the scoring too.

    Raises:
        PGJRError: no such card, a profile without rates, or one whose CNNs are not those that the cards' rates are of.
    """
    manifest = load_manifest()
    profile, machine = manifest.profiles[plan.profile], known(manifest.cards, card, "card") if card else None
    rates = machine.rates if machine else profile.rates
    if rates is None:
        place = f"{manifests.FILE}: profiles.{plan.profile}"
        raise PGJRError(f"{place} has no rates: add cnn, prior and head, in images a second.")
    if machine and not rated_on_cards(profile):
        raise PGJRError(f"The rates of cards are of {CARDS_CNN}, which profile {plan.profile} does not train: leave the card out.")
    scoring = machine.scoring_s / 3600 if machine else 0.0
    rows, hashes, recorded, images = [], set(), 0, {}
    for name, entry in plan.experiments.items():
        new = [run.config for run in entry.experiment.runs]
        new = [run for run in dict.fromkeys(new) if run.hash() not in hashes]
        hashes |= {run.hash() for run in new}
        on_disk = {run for run in new if run in entry.paths and entry.paths[run].exists()}
        recorded += len(on_disk)
        hours = {run: run_hours(run, rates) + scoring for run in new}
        remaining = sum(hours[run] for run in new if run not in on_disk)
        longest = 60 * max(hours.values(), default=0.0)
        rows.append(ExperimentCost(name, entry.experiment.optional, len(entry.experiment.runs), len(new), remaining, longest))
        images |= {config: image_count(run) for run in new if (config := run.features())}
    encodings = sum(count * (1 + config.views) for config, count in images.items())
    disk = 2 * FEATURE_VALUES * encodings
    encoding = encodings / rates.prior / 3600
    return Cost(rows, len(hashes), recorded, len(images), encodings, encoding, disk, rates, machine)


def run(config: RunConfig, root: Path, device: str | None = None, alone: bool = True) -> dict:
    """Compute a run, write its record below ``root`` and return it. A killed run resumes from its last epoch.

    Where another process computes the same run, this one waits and reads its record.

    Args:
        config: the run.
        root: build/<profile>, or any folder.
        device: where to train; None takes a GPU where there is one.
        alone: whether the run has its device to itself, so that its seconds may be compared.

    Raises:
        PGJRError: missing or damaged data, weights or features, a prior that saw the labels, or a loss that is no
            longer finite. Nothing is recorded then.
    """
    from pgjr_lib.devices import default_device  # torch: reading records does without it

    device = device or default_device()
    if config.features():
        _fetch_prior(config.prior)
        refuse_seen(config.prior, config.dataset)
    run_key, path = records.key(config), records.record_path(config, root)
    before = path.exists()
    with exclusive(records.lock_path(run_key, root), f"run {run_key}"):
        if path.exists() and not before:  # the process that had the lock made it
            return records.read_record(path)
        return _compute(config, run_key, root, device, alone)


def _compute(config: RunConfig, run_key: str, root: Path, device: str, alone: bool) -> dict:
    """Compute a run and write its record, as :func:`run` does where no other process works on it."""
    from pgjr_book import train
    from pgjr_lib.priors import cache

    origin = provenance(device, config.hash())
    if (features := config.features()) is not None:
        inputs = cache.extract(features, records.feature_folder(features, root), device=device, alone=alone)
        refuse_seen(config.prior, config.dataset, inputs.class_names)
        images = {**inputs.manifest["data"], "classes": len(inputs.class_names)}
        weights = inputs.manifest["weights"]
        plain_s, extract_s = inputs.manifest["plain_seconds"], inputs.manifest["seconds"]
    else:
        inputs = train.load_images(config)
        images = {"name": inputs.name, "split": inputs.split, "count": len(inputs.labels),
                  "classes": len(inputs.class_names), "checksum": inputs.checksum, "note": inputs.note}  # fmt: skip
        weights, plain_s, extract_s = None, 0.0, 0.0
    checkpoint = records.checkpoint_path(run_key, root)
    alone = alone and not checkpoint.exists()  # whatever stopped the run, its seconds are no longer those of one machine
    result = train.compute(config, inputs, device=device, checkpoint=checkpoint, identity=run_key)
    record = {
        "key": run_key, "config": config.model_dump(), "results_version": RESULTS_VERSION,
        "feature_format": FORMAT if features else None, **result,
        "data": {name: images[name] for name in ("name", "split", "count", "classes", "checksum", "note")},
        "weights": weights, "provenance": origin,
    }  # fmt: skip
    timings = record["timings"]
    timings |= {"alone": alone, "plain_s": plain_s, "extract_s": extract_s}
    timings["total_s"] = extract_s + timings["train_s"] + timings["evaluate_s"]
    records.write_record(record, records.record_path(config, root))
    checkpoint.unlink(missing_ok=True)
    return record


def run_missing(
    profile: str, only: Sequence[str] = (), *, seed: int | None = None, shard: tuple[int, int] = (0, 1),
    own: bool = False, alone: bool = True, device: str | None = None,
) -> int:  # fmt: skip
    """Compute the records of a profile that are missing; a profile that renders records has none to compute.

    Args:
        profile: its name.
        only: these experiments; empty for all.
        seed: only the runs of this seed; None takes all.
        shard: (i, n) takes runs i, i + n, i + 2n, ..., for processes side by side.
        own: leave runs that an earlier or a timed experiment shows to that one.
        alone, device: as :func:`run`.

    Returns:
        The number of runs computed.

    Raises:
        PGJRError: an unknown name, or as :func:`run`.
    """
    manifest, root = load_manifest(), build_root(profile)
    for name in only:
        known(manifest.experiments, name, "experiment")
    if known(manifest.profiles, profile, "profile").records:
        return 0
    names = list(only) or list(manifest.experiments)
    alone = alone and shard[1] == 1  # the other parts run beside this one
    for name in names:
        entry = manifests.experiment(manifest, profile, name)
        for prior in dict.fromkeys(run.config.prior for run in entry.runs if run.config.features()):
            _fetch_prior(prior, optional=entry.optional)
    entries, configs = plan(profile).experiments, {}
    for entry in (entries[name] for name in names):
        for config in (run.config for run in entry.experiment.runs if not entry.left_out):
            path = records.record_path(config, root)  # says what is missing, where the plan has no path
            if not own or path in entry.own:
                configs[path] = config
    part, parts = shard
    todo = [(config, path) for path, config in configs.items() if seed is None or config.seed == seed]
    count = 0
    for config, path in todo[part::parts]:
        if not path.exists():
            run(config, root, device=device, alone=alone)
            count += 1
        records.checkpoint_path(path.stem, root).unlink(missing_ok=True)  # of a run that was killed as it ended
    return count


def ensure(name: str, profile: str, root: Path | None = None) -> list[dict]:
    """Return the records of an experiment: read where they exist, computed where they do not.

    A profile that renders committed records computes nothing. A run without a committed record is left out, and a set
    that several of its profiles ran is shown as the first of them ran it. A profile that shows others ``also`` has their
    committed records before its own.

    Returns:
        The records in the manifest's order, each with its ``variant`` (the id), ``label``, ``panel`` and ``value``.

    Raises:
        PGJRError: no such profile or experiment, or as :func:`run`.
    """
    manifest = load_manifest()
    experiment, settings = manifests.experiment(manifest, profile, name), manifest.profiles[profile]
    rows = [run.described(records.read_record(path)) for run, path in _committed_runs(manifest, profile, name)]
    if settings.records:
        return rows
    priors = {run.config.prior for run in experiment.runs if run.config.features()}
    if experiment.optional and not all(map(at_hand, priors)):  # as plan decides; make book has tried to fetch them
        return rows
    root = root or build_root(profile)
    for variant in experiment.runs:
        path = records.record_path(variant.config, root)
        if not path.exists():
            run(variant.config, root, alone=experiment.timed)
        rows.append(variant.described(records.read_record(path), settings.made_here or variant.series))
    return rows


def to_reproduce(profile: str) -> list[tuple[VariantRun, Path]]:
    """Return the runs of a profile that are committed, with their files. Runs that several experiments show count once.

    Raises:
        PGJRError: no such profile, or a file in ``results/`` that is no record.
    """
    manifest, comparable, found = load_manifest(), records.Comparable(home() / "results"), {}
    known(manifest.profiles, profile, "profile")
    for name in manifest.experiments:
        for variant in variant_runs(manifest, profile, name):
            if committed := comparable.record(variant.config):
                found.setdefault(committed, variant)
    return [(variant, path) for path, variant in found.items()]


def reproductions(profile: str, root: Path | None = None) -> list[tuple[dict, dict]]:
    """Return each committed run of a profile that was computed here too: (this machine's record, the committed one).

    Raises:
        PGJRError: as :func:`to_reproduce`.
    """
    if known(load_manifest().profiles, profile, "profile").records:
        return []
    root, pairs = root or build_root(profile), []
    for variant, committed in to_reproduce(profile):
        if (here := records.record_path(variant.config, root)).exists():
            pairs.append((variant.described(records.read_record(here)), records.read_record(committed)))
    return pairs


def records_for(notebook: str, profile: str) -> dict[str, list[dict]]:
    """Return what a notebook reads: experiment -> its records, as :func:`ensure` returns them.

    Raises:
        PGJRError: the manifest does not name the notebook, or as :func:`ensure`.
    """
    return {name: ensure(name, profile) for name in load_manifest().reads(notebook)}


def profile_records(profile: str, without: tuple[str, ...] = ()) -> list[dict]:
    """Return every record that a profile's book shows, apart from those that only the experiments ``without`` show."""
    shown = [entry for name, entry in plan(profile).experiments.items() if name not in without]
    paths = {path for entry in shown for path in [*entry.paths.values(), *entry.committed]}
    return [records.read_record(path) for path in sorted(paths) if path.exists()]


def _fetch_prior(prior: str, optional: bool = False) -> bool:
    """Fetch a prior unless it is here; return False where it is optional and cannot be had."""
    if at_hand(prior):
        return True
    if optional and prior in _unavailable:
        return False
    from pgjr_lib.priors.fetch import fetch as fetch_weights  # torch: a plan does without it

    try:
        fetch_weights(prior)
    except PGJRError:
        if not optional:
            raise
        _unavailable.add(prior)
        return False
    return True


def _committed_runs(manifest: Manifest, profile: str, name: str) -> list[tuple[VariantRun, Path]]:
    """Return the runs of the profiles shown that have a committed record, with its file; of each set, one profile's only."""
    pairs, owners, shown, comparable = [], {}, {}, records.Comparable(home() / "results")
    settings = manifest.profiles[profile]
    for source in (*settings.records, *settings.also):
        for run in variant_runs(manifest, source, name):
            path = comparable.record(run.config)
            if path and shown.setdefault(path, source) != source:
                continue  # k-means on pixels, say, is the same run in every profile
            if path and owners.setdefault((run.config.dataset, run.config.split, run.series), source) == source:
                pairs.append((run, path))
    return pairs
