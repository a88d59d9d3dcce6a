"""Records in, data frames of numbers out: the tables of the book, which ``render`` writes as HTML and CSV.

Scores are in points (0 to 100). A run that failed has no record and no row. Columns come in groups that belong together:
"X" and "X sd" are a mean and its standard deviation (NaN for one value), "X low" and "X high" the ends of an interval.
A column "set" holds a :class:`pgjr_book.scored.ScoredSet`. Without records a frame is empty.
"""

import numpy as np
import pandas as pd

from pgjr_book import ledger as ledgers
from pgjr_book import scored, verdicts
from pgjr_book.run_config import CNNS, EXTRAS, RunConfig
from pgjr_book.scored import Setting
from pgjr_book.show import numbers
from pgjr_book.show.groups import by_set, by_set_and_variant, by_variant, grouped, heads_beside_priors
from pgjr_book.show.sentences import (
    COLUMNS,
    CONTROLS,
    OUTCOMES,
    PRIOR_NAMES,
    compared,
    evidence,
    state,
    verdict,
    worded,
)
from pgjr_book.show.sets import class_names, method_name, title
from pgjr_book.stats import EQUIVALENCE_LEVEL, LEVEL, paired_interval
from pgjr_lib.data.sets import SETS

METRICS = ("nmi", "acc", "ari")
AGAINST = "NMI against "  # begins the name of the column that compares with a study's default
ALSO_SCORED = {  # a record's other features, and how tables call them
    "standardised": "the same, standardised", "view_mean": "the same, mean over views", "bank": "the same, memory bank",
}  # fmt: skip


def mean_sd(name: str, values) -> dict[str, float]:
    """Return the mean and the standard deviation of ``values`` as the columns ``name`` and "``name`` sd"."""
    values = np.asarray(list(values), dtype=float)
    return {name: float(values.mean()), f"{name} sd": float(values.std(ddof=1)) if len(values) > 1 else float("nan")}


def scores(records: list[dict], metrics=METRICS) -> dict[str, float]:
    """Return mean and standard deviation over records of some scores, as columns."""
    columns = {}
    for metric in metrics:
        columns |= mean_sd(metric.upper(), [scored.score(record, metric) for record in records])
    return columns


def components(records: list[dict]) -> pd.DataFrame:
    """Tabulate every variant's scores: mean and sd over training seeds, and the spread over k-means seeds apart.

    Below a variant stand the other features that its runs scored: standardised, mean over views, memory bank. "trained
    epochs" are there where variants differ in them.
    """
    rows, trained = [], {r["config"]["epochs"] for r in records if r["config"]["method"] in ("pgjr", *CNNS)}
    for (where, _), group in by_set_and_variant(records).items():
        for features, name in {"plain": method_name(group[0]), **ALSO_SCORED}.items():
            runs = [record["scores"][features] for record in group if features in record["scores"]]
            if runs:
                row = {"set": where, "variant": name}
                if len(trained) > 1:
                    trains = group[0]["config"]["method"] in ("pgjr", *CNNS)
                    row["trained epochs"] = group[0]["config"]["epochs"] if trains else float("nan")
                for metric in METRICS:
                    row |= mean_sd(metric.upper(), [100 * np.mean(run[metric]) for run in runs])
                spread = float(np.mean([100 * np.std(run["nmi"], ddof=1) for run in runs]))
                rows.append({**row, "k-means sd": spread, "seeds": len(runs)})
    return pd.DataFrame(rows)


def data_sets(records: list[dict]) -> pd.DataFrame:
    """Tabulate the sets of the protocol, and what of them the records used.

    "images" holds split -> count, "used here" a list of (split, count), "note" a list of notes.
    """
    used: dict[str, dict[tuple[str, int], str]] = {}
    for record in records:
        data = record["data"]
        used.setdefault(data["name"], {})[data["split"], data["count"]] = data["note"]
    priors = {record["config"]["prior"] for record in records}
    rows = []
    for name, info in SETS.items():
        parts = used.get(name, {})
        refused = not priors.isdisjoint(info.seen_by)
        rows.append({
            "set": info.title, "classes": info.classes, "side": info.side or "varies",
            "images": dict(zip(info.splits, info.counts, strict=True)), "used here": list(parts),
            "note": ["prior saw these labels"] if refused else list(dict.fromkeys(filter(None, parts.values()))),
        })  # fmt: skip
    return pd.DataFrame(rows)


def distributions(records: list[dict]) -> pd.DataFrame:
    """Tabulate NMI at the first and the last of Figure 5's moments, one row a record."""
    rows = []
    for record in records:
        first, last = record["history"][0], record["history"][-1]
        rows.append({
            "set": scored.scored_set(record), "method": record["label"], "epochs": last["epoch"],
            "NMI at the start": 100 * first["nmi"], "NMI at the end": 100 * last["nmi"],
        })  # fmt: skip
    return pd.DataFrame(rows)


def ends(records: list[dict]) -> pd.DataFrame:
    """Tabulate NMI at both ends of the curves, mean and sd over seeds, one row a set and variant."""
    rows = []
    for (where, variant), group in by_set_and_variant(records).items():
        row = {"set": where, "variant": variant, "method": group[0]["label"]}
        for name, position in (("NMI at the start", 0), ("NMI at the end", -1)):
            row |= mean_sd(name, [100 * record["history"][position]["nmi"] for record in group])
        rows.append(row)
    return pd.DataFrame(rows)


def confused(records: list[dict]) -> pd.DataFrame:
    """Tabulate Figure 6: each record's best recovered class, and the two classes that share most of a cluster.

    "found best share" is the share of the class in its own cluster, "mixed share" the smaller of the two classes' shares in the
    cluster they have in common.
    """
    rows = []
    for record in records:
        names = class_names(record)
        share = np.array(record["exemplars"]["confusion"], dtype=float)
        share = share / share.sum(1, keepdims=True)
        together = np.minimum(share[:, None], share[None]).max(2)  # in the cluster that two classes share most of
        np.fill_diagonal(together, 0)
        first, second = np.unravel_index(together.argmax(), together.shape)
        own = np.diag(share[:, : len(share)])
        rows.append({
            "set": scored.scored_set(record), "method": record["label"],
            "found best": names[own.argmax()], "found best share": float(own.max()),
            "mixed most": names[first], "mixed with": names[second], "mixed share": float(together.max()),
        })  # fmt: skip
    return pd.DataFrame(rows)


def sensitivity(records: list[dict], default: str) -> pd.DataFrame:
    """Tabulate a sensitivity study: one row a panel and value, with the paired difference from variant ``default``."""
    rows = []
    variants = by_variant(records)
    reference = variants[default][0]["label"] if default in variants else default
    for variant, group in variants.items():
        if group[0]["panel"] is not None:
            paired = _differences(records, variant, default)
            differs = float(np.mean(paired)) if len(paired) > 1 else float("nan")
            rows.append({"setting": group[0]["panel"], "value": group[0]["value"], **scores(group, ("nmi", "acc")),
                         f"{AGAINST}{reference}": differs, "seeds": len(group)})  # fmt: skip
    return pd.DataFrame(rows)


def extremes(records: list[dict]) -> pd.DataFrame:
    """Tabulate which variants of a study have the lowest and the highest mean NMI, one row a set.

    "settings" counts the different configurations, as one of them may stand in several panels.
    """
    rows = []
    for where, group in by_set(records).items():
        means = {
            runs[0]["label"]: float(np.mean([scored.score(r) for r in runs])) for runs in by_variant(group).values()
        }
        worst, best = min(means, key=means.get), max(means, key=means.get)
        settings = len({RunConfig.model_validate({**record["config"], "seed": 0}).identity() for record in group})
        rows.append({"set": where, "worst": worst, "NMI low": means[worst], "best": best, "NMI high": means[best],
                     "settings": settings})  # fmt: skip
    return pd.DataFrame(rows)


def extremes_by_prior(records: list[dict]) -> dict[str, pd.DataFrame]:
    """Return :func:`extremes` for each prior of a study by the prior's name."""
    return {prior: extremes(group) for prior, group in grouped(records, lambda record: record["config"]["prior"]).items()}


def landscapes(records: list[dict]) -> pd.DataFrame:
    """Tabulate the ACC, in points, that single k-means starts reach on the same features.

    "within 1 % of it" is the range of ACC over the starts whose inertia is within one per cent of the lowest.
    """
    rows = []
    for record in records:
        inertia, acc = (np.array(record["landscape"][name]) for name in ("inertia", "acc"))
        near = acc[inertia <= 1.01 * inertia.min()]
        rows.append({
            "set": scored.scored_set(record), "features": record["label"], "starts": len(acc),
            "lowest": 100 * acc.min(), "highest": 100 * acc.max(), "at the lowest inertia": 100 * acc[inertia.argmin()],
            "within 1 % of it low": 100 * near.min(), "within 1 % of it high": 100 * near.max(), "starts within 1 %": len(near),
        })  # fmt: skip
    return pd.DataFrame(rows)


def costs(records: list[dict]) -> pd.DataFrame:
    """Tabulate scores beside the seconds of encoding all views and of training, means over seeds.

    A column "device" stands there where runs used several.
    """
    rows = []
    for (where, _), group in by_set_and_variant(records).items():
        row = {"set": where, "method": method_name(group[0]), **scores(group)}
        for name, part in (("encoding, s", "extract_s"), ("training, s", "train_s")):
            row[name] = float(np.mean([record["timings"][part] for record in group]))
        rows.append({**row, "device": group[0]["provenance"]["device"], "seeds": len(group)})
    table = pd.DataFrame(rows)
    one_device = rows and table["device"].nunique() == 1  # then the provenance box names it
    return table.drop(columns="device") if one_device else table


def comparisons(records: list[dict], compared: list[tuple[str, str]], corrected: bool = False) -> pd.DataFrame:
    """Tabulate paired differences in NMI points, same set and seed, with Student-t intervals.

    Args:
        records: of one experiment, or of several that share no variant on a set.
        compared: pairs of variant ids; a pair that has fewer than two seeds on a set has no row for it.
        corrected: widen the intervals for the number of ``compared`` (Bonferroni), so that all of them hold at once in
            95 of 100 repetitions on a set.
    """
    rows, level = [], 1 - (1 - LEVEL) / len(compared) if corrected and compared else LEVEL
    for first, second in compared:
        for where, both in verdicts.pairs(records, first, second).items():
            if difference := _difference(both, level):
                comparison = f"{method_name(both[0][0])} − {method_name(both[0][1])}"
                rows.append({"set": where, "comparison": comparison, **difference})
    return pd.DataFrame(rows)


def against_prior(records: list[dict]) -> pd.DataFrame:
    """Tabulate pGJR beside k-means on its prior: on the embedding plain and standardised, and on its mean over views."""
    rows = []
    for where, head, prior in heads_beside_priors(records):
        own = method_name(prior[0])
        for runs, features, name in ((head, "plain", method_name(head[0])), (prior, "plain", own),
                                     (prior, "standardised", f"{own} (standardised)"),
                                     (prior, "view_mean", f"{own} (mean over views)")):  # fmt: skip
            parts = [record["scores"][features] for record in runs if features in record["scores"]]
            if parts:
                nmi, acc = (mean_sd(m.upper(), [100 * np.mean(run[m]) for run in parts]) for m in ("nmi", "acc"))
                rows.append({"set": where, "features": name, **nmi, **acc})
    return pd.DataFrame(rows)


STEPS = {  # of a head, from k-means on the prior on: name -> (variant, baseline), for each temperature
    "linear head": ("linear-{tau1}", "prior"),
    "embedding map": ("embedding-off-{tau1}", "linear-{tau1}"),
    "jigsaw on the embedding map": ("embedding-{tau1}", "embedding-off-{tau1}"),
    "spatial map": ("spatial-off-{tau1}", "linear-{tau1}"),
    "jigsaw on the spatial map": ("spatial-{tau1}", "spatial-off-{tau1}"),
}


def strength(records: list[dict]) -> pd.DataFrame:
    """Tabulate what each part of a head adds to its prior, paired by fold, beside the prior's own score.

    Returns:
        One row a set, prior, temperature "τ1" and "part": "NMI of the prior", and the difference that the part makes.
    """
    rows = []
    for where, group in by_set(records).items():
        variants = by_variant(group)
        for name in [variant for variant in variants if variant.endswith("/prior")]:
            prior = name.removesuffix("/prior")
            own = float(np.mean([scored.score(record) for record in variants[name]]))
            for tau1 in (0.1, 1.0):
                for part, (first, second) in STEPS.items():
                    ids = (f"{prior}/{variant.format(tau1=numbers.setting(tau1))}" for variant in (first, second))
                    if difference := _difference(verdicts.pairs(group, *ids).get(where, [])):
                        rows.append({"set": where, "prior": PRIOR_NAMES[prior], "NMI of the prior": own, "τ1": tau1, "part": part,
                                     **difference})  # fmt: skip
    return pd.DataFrame(rows)


def _difference(
    both: list[tuple[dict, dict]], level: float = LEVEL, metric: str = "nmi", interval: str = "95 % interval"
) -> dict[str, float]:
    """Return what the first of each pair has more than the second, as columns; nothing for fewer than two pairs."""
    differences = [scored.score(a, metric) - scored.score(b, metric) for a, b in both]
    if len(differences) < 2:
        return {}
    mean, low, high = paired_interval(differences, level)
    return {f"{metric.upper()} difference": mean, f"{interval} low": low, f"{interval} high": high, "pairs": len(differences)}


def head_over_prior(records: list[dict]) -> pd.DataFrame:
    """Tabulate what pGJR (the embedding map, with the jigsaw) has more than k-means on its prior, paired by fold.

    Args:
        records: of the experiment ``strength``.

    Returns:
        One row a set, prior and temperature "τ1", with the differences in NMI and ACC and their 95 % intervals.
    """
    rows = []
    for where, group in by_set(records).items():
        for name in (variant for variant in by_variant(group) if variant.endswith("/prior")):
            prior = name.removesuffix("/prior")
            for tau1 in TEMPERATURES:
                both = verdicts.pairs(group, f"{prior}/embedding-{tau1}", name).get(where, [])
                nmi, acc = (_difference(both, metric=m, interval=f"{m.upper()}’s 95 % interval") for m in ("nmi", "acc"))
                if nmi:
                    pairs = nmi.pop("pairs")
                    rows.append({"set": where, "prior": PRIOR_NAMES[prior], "τ1": tau1, **nmi, **acc, "pairs": pairs})
    return pd.DataFrame(rows)


HEADS = {  # of the strength study, without a temperature
    "linear": "a linear head", "embedding-off": "the embedding map, no jigsaw", "embedding": "the embedding map and the jigsaw",
    "spatial-off": "the spatial map, no jigsaw", "spatial": "the spatial map and the jigsaw",
}  # fmt: skip
TEMPERATURES = ("0.1", "1")
CHOICES = {  # what somebody who builds on a prior decides -> pairs of variants that differ in that alone, and all else in words
    "the temperature: 1, not 0.1": [(f"{head}-1", f"{head}-0.1", words) for head, words in HEADS.items()],
    "a linear head, not the prior itself": [(f"linear-{tau1}", "prior", f"τ1 {tau1}") for tau1 in TEMPERATURES],
    "the spatial map, not the embedding map": [
        (f"spatial{off}-{tau1}", f"embedding{off}-{tau1}", f"τ1 {tau1}, {words}")
        for off, words in (("-off", "no jigsaw"), ("", "the jigsaw")) for tau1 in TEMPERATURES
    ],
    "the jigsaw, not none": [
        (f"{kind}-{tau1}", f"{kind}-off-{tau1}", f"τ1 {tau1}, the {kind} map")
        for kind in ("embedding", "spatial") for tau1 in TEMPERATURES
    ],
}  # fmt: skip


def choices(records: list[dict]) -> pd.DataFrame:
    """Tabulate by how much each choice moves NMI, all else equal: a row for each prior and pair of variants, paired by fold.

    Args:
        records: of the experiment ``strength``.

    Returns:
        "set", "choice", "prior", "with" (what both have in common), "NMI difference", its interval, and "pairs".
    """
    rows = []
    for where, group in by_set(records).items():
        priors = [variant.removesuffix("/prior") for variant in by_variant(group) if variant.endswith("/prior")]
        for choice, compared_pairs in CHOICES.items():
            for prior in priors:
                for first, second, common in compared_pairs:
                    both = verdicts.pairs(group, f"{prior}/{first}", f"{prior}/{second}").get(where, [])
                    if difference := _difference(both):
                        rows.append({"set": where, "choice": choice, "prior": PRIOR_NAMES[prior], "with": common, **difference})
    return pd.DataFrame(rows)


def races(records: verdicts.Records) -> pd.DataFrame:
    """Tabulate claim 1's numbers: one row a set, method and target, medians over seeds.

    Args:
        records: of the experiments ``convergence`` and ``timing``.

    Returns:
        "target" names a share of the method's own end or of GJR's; "epochs" and "seconds" are NaN where most seeds never
        got there, "seconds" also where nothing was timed alone, and
        so is "seconds before training", the plain encoding that the untrained head needs;
        "from nothing" adds the prior's own training, and is NaN where its seconds are not known;
        "never" and "before training" count the seeds that never got there, or were there before training.
    """
    rows, everything = [], ledgers.by_series(records)
    for records, (where, group) in ((part, found) for part in everything for found in by_set(part["convergence"]).items()):
        variants, gjr_end = by_variant(group), None
        if "gjr" in variants and not where.earlier:
            gjr_end = float(np.mean(list(verdicts.race(records, "gjr", where.dataset).ends.values()) or [np.nan]))
        for variant, runs in variants.items():
            race = verdicts.race(records, variant, where.dataset, gjr_end)
            for share, whose in race.epochs if race.ends else ():
                epochs, seconds, never = race.epochs[share, whose], race.seconds[share, whose], race.censored[share, whose]
                most = 2 * never > len(epochs)  # then the median is but a lower bound
                rows.append({
                    "set": where, "method": method_name(runs[0]),
                    **mean_sd("NMI at the end", [100 * value for value in race.ends.values()]),
                    "target": f"{100 * share:.0f} % of {'its own end' if whose == 'own' else 'GJR’s end'}",
                    "epochs": float("nan") if most else float(np.median(list(epochs.values()))),
                    "seconds": (needed := float(np.median(list(seconds.values()))) if seconds and not most else float("nan")),
                    "seconds before training": race.clock.seconds(0) if race.clock else float("nan"),
                    "from nothing": needed + (race.clock.prior_s if race.clock else float("nan")),
                    "never": never, "before training": race.before_training[share, whose],
                    "seeds": len(epochs),
                })  # fmt: skip
    return pd.DataFrame(rows)


def cells(findings: dict[Setting, verdicts.Finding]) -> pd.DataFrame:
    """Tabulate the cells of a claim: the difference in NMI points with its intervals, and the outcomes for all metrics.

    The intervals that decide have 90 and 95 %; those of a higher level hold at once for all cells of a mixed claim.

    Args:
        findings: of the ledger's columns (:func:`pgjr_book.ledger.shown`). Several have a column that names theirs.
    """
    rows = []
    for column, finding in findings.items():
        where = {"column of the ledger": COLUMNS[column]} if len(findings) > 1 else {}
        levels = sorted({EQUIVALENCE_LEVEL, LEVEL, finding.level})
        for cell in finding.cells if finding.verdict != "not run" else ():
            intervals = {level: cell.interval(level) if cell.interval else (float("nan"),) * 3 for level in levels}
            rows.append({
                "set": cell.where or title(cell.comparison.dataset), "comparison": compared(cell.comparison, cell.where),
                **where, "NMI difference": intervals[LEVEL][0],
                **{f"{100 * level:.3g} % interval {end}": interval[i]
                   for level, interval in intervals.items() for i, end in ((1, "low"), (2, "high"))},
                "outcome": state(cell),
                **{f"by {metric.upper()}": worded(cell.comparison, found) for metric, found in cell.others.items()}, "runs": cell.runs,
            })  # fmt: skip
    return pd.DataFrame(rows)


def attribution(records: verdicts.Records) -> pd.DataFrame:
    """Tabulate the learned jigsaw minus each control: GJR's and pGJR's with each prior of our stand-ins, on every set.

    Only sets that claim 2 judges have enough runs for an outcome.

    Args:
        records: of the experiments ``attribution`` and ``heads``.
    """
    rows, records = [], ledgers.of_column(records, "stand-in")
    datasets = {record["config"]["dataset"] for group in records.values() for record in group}
    for gain, control, comparison in verdicts.attributions("stand-in", CONTROLS, sorted(datasets)):
        cell = verdicts.cell(records, comparison)
        if cell.interval:
            mean, low, high = cell.interval(LEVEL)
            rows.append({
                "set": cell.where, "method": compared(gain, cell.where), "control": CONTROLS[control], "NMI difference": mean,
                "95 % interval low": low, "95 % interval high": high, "outcome": OUTCOMES[cell.outcome], "runs": cell.runs,
            })  # fmt: skip
    return pd.DataFrame(rows)


def effects(records: verdicts.Records) -> pd.DataFrame:
    """Tabulate what every variant of Table 5 adds to the same method without a jigsaw, paired by seed or fold.

    Args:
        records: of the experiments ``attribution``, ``attribution_more`` and ``heads``.

    Returns:
        One row a set, method and variant, methods one after another, with the margin within which an effect counts as none.
    """
    rows, parts = [], []
    for part in ledgers.by_series(records):
        cnns = [*part.get("attribution", []), *part.get("attribution_more", [])]
        parts += [(cnns, "idfd", verdicts.MARGIN_CNN), (part.get("heads", []), "off", verdicts.MARGIN_HEAD)]
    for group, off, margin in parts:
        for (where, variant), runs in by_set_and_variant(group).items():
            prior = next((name for name in PRIOR_NAMES if variant.startswith(f"{name}/")), "")
            baseline = f"{prior}/{off}" if prior else off
            if variant in (baseline, f"{prior}/prior") or where.earlier:
                continue
            plan = verdicts.Comparison("", "", variant, baseline, where.dataset, prior, margin)
            if interval := verdicts.differences({"": group}, plan):
                mean, low, high = interval(LEVEL)
                rows.append({
                    "set": where, "prior": PRIOR_NAMES.get(prior, ""), "comparison": method_name(runs[0]), "NMI difference": mean,
                    "95 % interval low": low, "95 % interval high": high, "margin": margin, "runs": len(runs),
                })  # fmt: skip
    frame = pd.DataFrame(rows)
    return frame.sort_values("prior", kind="stable", ignore_index=True) if rows else frame


def baselines(records: list[dict]) -> pd.DataFrame:
    """Tabulate the clusterings that see the same features: their own assignment beside the protocol's k-means.

    "own NMI" and "own ACC" score the assignment of the method itself, which a head does not make; NMI and ACC score k-means on
    what the method makes of the features. Rows run from the highest NMI to the lowest, prior by prior.
    """
    rows = []
    for (where, _), group in by_set_and_variant(records).items():
        own = [record["scores"]["argmax"] for record in group if "argmax" in record["scores"]]
        row = {"set": where, "method": method_name(group[0])}
        for metric in ("nmi", "acc"):
            row |= mean_sd(f"own {metric.upper()}", [100 * np.mean(s[metric]) for s in own] or [float("nan")])
        row |= scores(group, ("nmi", "acc"))
        rows.append({**row, "seeds": len(group), "prior": group[0]["config"]["prior"]})
    if not rows:
        return pd.DataFrame(rows)
    places = {where: number for number, where in enumerate(by_set(records))}
    frame = pd.DataFrame(rows).assign(place=lambda table: table["set"].map(places))
    frame = frame.sort_values(["place", "prior", "NMI"], ascending=[True, True, False], ignore_index=True)
    return frame.drop(columns=["place", "prior"])


def rank_of_pgjr(records: list[dict]) -> pd.DataFrame:
    """Tabulate where pGJR stands among the clusterings that see the same features, by mean NMI.

    Args:
        records: of the experiment ``baselines``.

    Returns:
        One row a set and prior: the "best" method with its "NMI", that of "pGJR", its "rank", and the number of "methods".
    """
    rows = []
    for where, group in by_set(records).items():
        variants = by_variant(group)
        for ours in (variant for variant in variants if variant.endswith("/pgjr")):
            prior = ours.removesuffix("/pgjr")
            means = {variant: np.mean([scored.score(run) for run in runs]) for variant, runs in variants.items()
                     if variant.startswith(f"{prior}/")}  # fmt: skip
            order = sorted(means, key=means.get, reverse=True)
            rows.append({
                "set": where, "prior": PRIOR_NAMES.get(prior, prior), "best": method_name(variants[order[0]][0]),
                "NMI": means[order[0]], "pGJR": means[ours], "rank": order.index(ours) + 1, "methods": len(order),
            })  # fmt: skip
    return pd.DataFrame(rows)


AGREE = {"cnn": 5.0, "head": 1.0}  # NMI points by which runs of one seed on two machines may differ (the protocol page says why)


def reproduced(pairs: list[tuple[dict, dict]]) -> pd.DataFrame:
    """Tabulate runs of this machine beside the committed runs of the same configuration and seed.

    Args:
        pairs: (this machine's record, the committed one), as ``make.reproductions`` returns them.

    Returns:
        One row a set and configuration: mean NMI of both, the largest difference between two runs of one seed, the tolerance,
        and whether it holds.
    """
    rows = []
    for (where, _), group in grouped(pairs, lambda pair: (scored.scored_set(pair[0]), _without_seed(pair[0]))).items():
        here, committed = ([scored.score(pair[side]) for pair in group] for side in (0, 1))
        largest = float(np.abs(np.subtract(here, committed)).max())
        tolerance = AGREE["cnn" if group[0][0]["config"]["method"] in CNNS else "head"]
        rows.append({
            "set": where, "method": method_name(group[0][0]), "NMI committed": float(np.mean(committed)),
            "NMI here": float(np.mean(here)), "largest difference": largest, "tolerance": tolerance,
            "agrees": "✓" if largest <= tolerance else "no", "seeds": len(group),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _without_seed(record: dict) -> str:
    return RunConfig.model_validate({**record["config"], "seed": 0, **dict.fromkeys(EXTRAS, 0)}).identity()


def hours(experiments: verdicts.Records, items: dict[str, str]) -> pd.DataFrame:
    """Tabulate what the records cost: runs and hours by experiment and machine; a run counts where it stands first.

    Hours are of training and scoring. Rows of encodings follow, which runs share: each encoding counts once.

    Args:
        experiments: experiment -> its records.
        items: experiment -> the item of the book that shows it, in words.
    """
    rows, counted, encodings = [], set(), set()
    for name, group in experiments.items():
        own = {record["key"]: record for record in group if record["key"] not in counted}
        counted |= set(own)
        for machine, runs in grouped(own.values(), _machine).items():
            seconds = sum(map(scored.own_seconds, runs))
            rows.append({"item": items[name], "machine": machine, "runs": len(runs), "hours": seconds / 3600})
            encodings |= {(machine, record["timings"]["extract_s"]) for record in runs if record["weights"]}
    for machine, of_machine in grouped(sorted(encodings), lambda pair: pair[0]).items():
        seconds = sum(encoding_s for _, encoding_s in of_machine)
        rows.append({"item": "Encodings", "machine": machine, "runs": 0, "hours": seconds / 3600})
    if rows:
        whole = {"item": "all", "machine": "", "runs": sum(r["runs"] for r in rows), "hours": sum(r["hours"] for r in rows)}
        rows.append(whole)
    return pd.DataFrame(rows)


def _machine(record: dict) -> str:
    """Name the machine that a run was made on: its GPU, or its processor."""
    provenance = record["provenance"]
    return provenance["host_cpu"] if provenance["device"] == "cpu" else provenance["device"]


def ledger(records: verdicts.Records, literature: list[verdicts.Published]) -> pd.DataFrame:
    """Tabulate the claims with their verdicts in every column and the evidence in words."""
    rows = ledgers.ledger(records, literature)
    columns = {name: [verdict(row.findings[column], column) for row in rows] for column, name in COLUMNS.items()}
    return pd.DataFrame({
        "claim": [f"{row.claim.number}. {row.claim.statement}" for row in rows], **columns,
        "evidence": [evidence(row.claim.number, ledgers.shown(row)) for row in rows],
    })  # fmt: skip


def tests() -> pd.DataFrame:
    """Tabulate the claims and their tests in words."""
    claims = verdicts.CLAIMS
    return pd.DataFrame({"claim": [claim.statement for claim in claims], "test": [claim.test for claim in claims]})


def _differences(records: list[dict], first: str, second: str) -> list[float]:
    """Return the paired differences in NMI points of two variants on the first set that has both."""
    by_place = verdicts.pairs(records, first, second)
    return [scored.score(a) - scored.score(b) for a, b in next(iter(by_place.values()), [])]
