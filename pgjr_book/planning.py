"""What a profile will cost, told before anything starts."""

import shutil
from pathlib import Path

from pgjr_book import runs
from pgjr_lib.data import loading as datasets
from pgjr_lib.errors import PGJRError
from pgjr_lib.priors.names import at_hand

FEATURE_VALUES = 512 + 64 * 49  # an embedding and a PCA-64 map of 7x7, at two bytes each


def _count(run: runs.RunConfig) -> int:
    if (info := datasets.SETS.get(run.dataset)) is None:  # a folder of one's own
        found = len(datasets.list_images(Path(run.dataset.partition(":")[2]).expanduser())[0])
        return min(found, run.limit or found)
    count = sum(n for split, n in zip(info.splits, info.counts, strict=True) if run.split in (split, "all"))
    return min(count, run.limit or count)


def run_hours(run: runs.RunConfig, rates: dict) -> float:
    """Hours of one run's training at the profile's assumed rates (images a second)."""
    if run.method in ("pixels", "prior"):
        return 0.0
    return _count(run) * run.epochs / rates["head" if run.method == "pgjr" else "cnn"] / 3600


def describe(profile: str) -> str:
    """The plan as text: runs, hours and disk an experiment, features, what is done already, what data is missing.

    Raises:
        PGJRError: no such profile.
    """
    manifest = runs.load_manifest()
    if profile not in manifest.profiles:
        raise PGJRError(f"there is no profile {profile!r}: known are {', '.join(manifest.profiles)}.")
    chosen = manifest.profiles[profile]
    lines = [f"profile {profile}: {chosen.about}", ""]
    if chosen.records:
        records = runs.published_records()
        for name in manifest.experiments:
            wanted = runs.experiment(profile, name).runs
            found = sum(run.hash() in records for run in wanted)
            lines.append(f"  {name:<14} {found} of {len(wanted)} records are committed")
        return "\n".join([*lines, "", "nothing is trained."])
    if absent := [kind for kind in ("cnn", "prior", "head") if kind not in chosen.rates]:
        raise PGJRError(f"experiments.yaml: profiles.{profile}.rates lacks {', '.join(absent)}: add it, in images a second.")
    hours, done, seen, encoded = 0.0, 0, {}, {}
    lines.append(f"  {'experiment':<14} {'runs':>5} {'new':>5} {'hours':>8} {'minutes a run':>14}")
    missing = {}
    for name in manifest.experiments:
        found = runs.experiment(profile, name)
        new = [run for run in found.runs if run.hash() not in seen]
        seen |= {run.hash(): run for run in new}
        cost, longest = 0.0, max((run_hours(run, chosen.rates) for run in new), default=0.0)
        for run in new:
            if run.features() and not at_hand(run.prior):
                missing[f"{run.prior} is not on this machine, and would be fetched."] = None
                finished = False
            elif datasets.available(run.dataset, run.split):
                try:
                    finished = runs.record_path(run, runs.build_root(profile)).exists()
                except PGJRError as error:
                    missing[str(error)] = None
                    finished = False
            else:
                missing[f"{run.dataset} ({run.split}) is not on this machine."] = None
                finished = False
            done += finished
            cost += 0.0 if finished else run_hours(run, chosen.rates)
            if (config := run.features()) is not None:
                encoded[config.model_dump_json()] = (config, _count(run))
        hours += cost
        lines.append(f"  {name:<14} {len(found.runs):>5} {len(new):>5} {cost:>8.2f} {longest * 60:>14.1f}")
    encoding = sum(count * (1 + config.views) for config, count in encoded.values())
    disk = sum(count * (1 + config.views) * FEATURE_VALUES * 2 for config, count in encoded.values())
    lines += [
        "",
        f"  features: {len(encoded)} folders, {encoding:,} encodings, {encoding / chosen.rates['prior'] / 3600:.2f} hours, "
        f"up to {disk / 2**30:.2f} GiB (free: {shutil.disk_usage(runs.home()).free / 2**30:.0f} GiB)",
        f"  runs: {len(seen)} different ones, {done} of them recorded already",
        f"  together about {hours + encoding / chosen.rates['prior'] / 3600:.2f} hours, at assumed rates of "
        + ", ".join(f"{name} {rate:,.0f}" for name, rate in chosen.rates.items())
        + " images a second",
    ]
    return "\n".join(lines + [f"  missing: {sentence}" for sentence in missing])
