"""The rules: the five claims, the comparisons that decide each, and the verdicts that records allow.

A comparison on one set with one prior is a cell. A cell is decided when every planned seed has landed: equivalent, gain,
harm or open (``stats.outcome``). A claim holds if all its cells are gains, fails if all are equivalent or harm, is mixed if they
are decided differently, and is open otherwise. NMI decides; ACC and ARI are analysed alike. Records are matched by the
id of their variant. Results are numbers, which ``show`` puts into words.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from math import log
from typing import Literal

import numpy as np

from pgjr_book.races import SHARES, Clock, arrival, clock, end
from pgjr_book.run_config import ON_PRIOR
from pgjr_book.scored import ScoredSet, Setting, score, scored_set, setting
from pgjr_book.stats import LEVEL, Interval, Outcome, matched, outcome, paired_interval, welch_interval
from pgjr_lib.errors import PGJRError

SEEDS = 10  # runs a side that a cell needs
FIRST_SEED = 100  # smaller seeds chose settings and decide nothing
MARGIN_HEAD, MARGIN_CNN = 0.5, 1.0  # NMI points: an effect within the margin counts as none
MARGIN_RATIO = log(1.1)  # the same for the logarithm of a ratio of seconds
COMPETITIVE = 1.0  # NMI points below a number of the literature that still count as level with it
METRICS = ("nmi", "acc", "ari")  # the first decides
PRIORS: dict[Setting, tuple[str, ...]] = {  # the priors of experiments.yaml that a column of the ledger judges
    "paper": ("clip",), "clip": ("clip",), "stand-in": ("class-name", "imagenet-labels"),
}  # fmt: skip

Verdict = Literal["holds", "fails", "mixed", "open", "not run"]


# ---- cells ----


@dataclass(frozen=True)
class Comparison:
    """A planned comparison: variant minus baseline, on one set with one prior.

    Attributes:
        name: what it compares, in words; for claim 2 the method whose jigsaw it is.
        experiment, variant, baseline: whose records.
        dataset: the set; its split and folds are the experiment's.
        prior: id of the prior in experiments.yaml; "" where none is involved.
        margin: an effect within it counts as none.
        paired: seeds (or folds) pair the runs; else Welch.
    """

    name: str
    experiment: str
    variant: str
    baseline: str
    dataset: str
    prior: str = ""
    margin: float = MARGIN_HEAD
    paired: bool = True


@dataclass(frozen=True)
class Cell:
    """A comparison with what the records say of it.

    Attributes:
        comparison: what was planned.
        where: the set, None where no records are there.
        runs: pairs of runs, or the smaller number of runs on a side.
        outcome: None until every planned seed has landed.
        interval: level -> interval of the difference, in points; None with fewer than two runs.
        others: the outcomes for ACC and ARI.
        note: why an effect that points one way does not count, in a word; "" where it counts.
    """

    comparison: Comparison
    where: ScoredSet | None = None
    runs: int = 0
    outcome: Outcome | None = None
    interval: Callable[[float], Interval] | None = None
    others: dict[str, Outcome] = field(default_factory=dict)
    note: str = ""


Records = dict[str, list[dict]]  # experiment -> its records


def runs_of(records: Iterable[dict], variant: str, dataset: str | None = None) -> dict[tuple[ScoredSet, int], dict]:
    """Return the records of a variant by set and seed.

    Raises:
        PGJRError: two records claim one variant, set and seed.
    """
    runs: dict[tuple[ScoredSet, int], dict] = {}
    for record in records:
        if record["variant"] == variant and dataset in (None, record["config"]["dataset"]):
            place = where, seed = scored_set(record), record["config"]["seed"]
            if place in runs:
                raise PGJRError(
                    f"records {runs[place]['key']} and {record['key']} both claim variant {variant} on {where.dataset} "
                    f"({where.split}), seed {seed}: remove one of them, or give their variants different ids."
                )
            runs[place] = record
    return runs


def pairs(records: list[dict], first: str, second: str) -> dict[ScoredSet, list[tuple[dict, dict]]]:
    """Return the runs of variant ``first`` with those of ``second`` on the same set and seed, by set.

    Raises:
        PGJRError: as :func:`runs_of`.
    """
    by_set = defaultdict(list)
    for (where, _), pair in matched(runs_of(records, first), runs_of(records, second)).items():
        by_set[where].append(pair)
    return dict(by_set)


def _fresh(records: Records, comparison: Comparison, variant: str) -> dict[int, dict]:
    """Return the records of one side of a comparison by seed: this code's, with seeds that chose nothing."""
    runs = runs_of(records.get(comparison.experiment, []), variant, comparison.dataset)
    return {seed: record for (where, seed), record in runs.items() if seed >= FIRST_SEED and not where.earlier}


def differences(records: Records, comparison: Comparison, metric: str = "nmi") -> Callable[[float], Interval] | None:
    """Return level -> interval of a comparison's difference in points; None with fewer than two runs on a side."""
    first, second = (_fresh(records, comparison, v) for v in (comparison.variant, comparison.baseline))
    if comparison.paired:
        values = [score(a, metric) - score(b, metric) for a, b in matched(first, second).values()]
        return partial(paired_interval, values) if len(values) > 1 else None
    sides = [[score(record, metric) for record in side.values()] for side in (first, second)]
    return partial(welch_interval, *sides) if min(map(len, sides)) > 1 else None


def cell(records: Records, comparison: Comparison) -> Cell:
    """Judge one comparison of scores."""
    first, second = (_fresh(records, comparison, v) for v in (comparison.variant, comparison.baseline))
    runs = len(first.keys() & second.keys()) if comparison.paired else min(len(first), len(second))
    intervals = {metric: differences(records, comparison, metric) for metric in METRICS}
    where = scored_set(next(iter(first.values()))) if first else None
    if runs < SEEDS:
        return Cell(comparison, where, runs, None, intervals["nmi"])
    outcomes = {metric: outcome(interval, comparison.margin) for metric, interval in intervals.items()}
    decided = outcomes.pop("nmi")
    return Cell(comparison, where, runs, decided, intervals["nmi"], outcomes)


# ---- claims ----


@dataclass(frozen=True)
class Finding:
    """The verdict on a claim in one setting, and its cells."""

    verdict: Verdict
    cells: tuple[Cell, ...] = ()

    @property
    def level(self) -> float:
        """Level of the intervals to show: corrected for the number of cells where the claim is mixed."""
        return 1 - (1 - LEVEL) / len(self.cells) if self.verdict == "mixed" else LEVEL


def verdict(cells: Iterable[Cell], good: tuple[Outcome, ...] = ("gain",)) -> Verdict:
    """Return the verdict on a claim from its cells; ``good`` are the outcomes that speak for it."""
    cells = list(cells)
    if not any(cell.runs for cell in cells):
        return "not run"
    outcomes = [cell.outcome for cell in cells]
    decided = {found in good for found in outcomes if found not in (None, "open")}
    if None not in outcomes and "open" not in outcomes and len(decided) == 1:
        return "holds" if decided.pop() else "fails"
    return "mixed" if None not in outcomes and len(decided) == 2 else "open"


@dataclass(frozen=True)
class Claim:
    """A claim: its statement, its test in words, the page with the evidence, and the experiments whose runs it judges."""

    number: int
    statement: str
    test: str
    page: str
    experiments: tuple[str, ...]


CLAIMS = (
    Claim(
        1,
        "The pretrained prior makes convergence far faster.",
        "On CIFAR-10, the logarithm of GJR's seconds divided by pGJR's, each until 95 % of the method's own end, one cell for "
        "each prior (Welch). A cell is a gain only if pGJR also ends at or above GJR. pGJR's seconds include its encodings.",
        "figure-4",
        ("convergence", "timing"),
    ),
    Claim(
        2,
        "The jigsaw module improves clustering.",
        "NMI with the learned jigsaw minus NMI without it, paired by seed or fold: GJR on CIFAR-10 and STL-10; pGJR with the "
        "class-name prior on both, and with the ImageNet-label prior on CIFAR-10.",
        "table-5",
        ("attribution", "heads"),
    ),
    Claim(
        3,
        "pGJR is competitive with the literature.",
        "Mean NMI minus the best number of the literature on the same set and split with the same backbone; a cell speaks for "
        f"the claim if the difference is not below -{COMPETITIVE:g} points. Needs CLIP.",
        "table-2",
        ("main",),
    ),
    Claim(
        4,
        "Which of GJR and pGJR wins depends on the data, or on what the prior knows of them.",
        "NMI of pGJR minus NMI of GJR for each set and prior (Welch): the claim holds if one cell is a gain and one is harm, and "
        "fails if all are decided and none, or all of them, favour one side.",
        "table-6",
        ("winner",),
    ),
    Claim(
        5,
        "The jigsaw uses structure (our claim, not the paper's).",
        "On generated images whose classes share their pieces and differ in how these are arranged: NMI with the jigsaw on the "
        "pieces minus NMI with the same jigsaw permuted, shifted by half a block, and frozen, at two levels of difficulty.",
        "structure",
        ("structure",),
    ),
)


def comparisons(number: int, column: Setting) -> tuple[Comparison, ...]:
    """Return the comparisons that decide claim 1, 2, 4 or 5 in a column of the ledger."""
    priors = PRIORS[column]
    if number == 1:
        return tuple(
            Comparison("pGJR against GJR", "convergence", f"{prior}/pgjr", "gjr", "cifar10", prior, MARGIN_RATIO, False)
            for prior in priors
        )
    if number == 2:
        sets = ("cifar10",) if column == "clip" else ("cifar10", "stl10")  # the short schedule trains CNNs on one set
        cnn = [Comparison("GJR", "attribution", "gjr", "idfd", s, "", MARGIN_CNN) for s in sets]
        # ImageNet's labels cover STL-10's images, so that prior is judged on CIFAR-10 alone
        places = [(p, s) for p in priors for s in ("cifar10", "stl10") if (p, s) != ("imagenet-labels", "stl10")]
        heads = [Comparison("pGJR", "heads", f"{p}/pgjr", f"{p}/off", s, p) for p, s in places]
        return (*cnn, *heads)
    if number == 4:
        known = ("random", "half-trained", *priors) if column == "stand-in" else priors
        places = [("cifar10", p) for p in known] + [("stl10", p) for p in priors if column != "clip"]
        return tuple(Comparison("pGJR against GJR", "winner", f"{p}/pgjr", "gjr", s, p, MARGIN_CNN, False) for s, p in places)
    return tuple(
        Comparison(f"the jigsaw against itself {kind}", "structure", "gjr", kind, pieces, "", MARGIN_CNN)
        for pieces in ("pieces", "pieces-hard")
        for kind in ("permuted", "shifted", "frozen")
    )


def attributions(
    column: Setting, controls: Iterable[str], more_sets: Iterable[str] = ()
) -> list[tuple[Comparison, str, Comparison]]:
    """Return, for every comparison of claim 2 and every control, (the comparison, the control, the jigsaw minus it).

    ``more_sets`` adds the same comparisons on other sets, which are shown and decide nothing.
    """
    against, planned = [], comparisons(2, column)
    for gain in dict.fromkeys([*planned, *(replace(gain, dataset=name) for name in more_sets for gain in planned)]):
        for control in controls:
            baseline = f"{gain.prior}/{control}" if gain.prior else control
            against.append((gain, control, replace(gain, baseline=baseline)))
    return against


# ---- claim 1 ----


@dataclass(frozen=True)
class Race:
    """One method on claim 1's set: its end and when it reaches shares of it.

    Attributes:
        variant: the method.
        ends: seed -> NMI at the end, in [0, 1].
        clock: None where no run was timed alone.
        seconds: (share of the end, whose end) -> seed -> seconds until then; whose is "own" or "gjr".
        epochs: the same for epochs.
        censored: the same for how many seeds never got there.
        before_training: the same for how many seeds were there before training.
    """

    variant: str
    ends: dict[int, float]
    clock: Clock | None
    seconds: dict[tuple[float, str], dict[int, float]]
    epochs: dict[tuple[float, str], dict[int, int]]
    censored: dict[tuple[float, str], int]
    before_training: dict[tuple[float, str], int]


def race(records: Records, variant: str, dataset: str, gjr_end: float | None = None) -> Race:
    """Return how ``variant`` converges on ``dataset``. ``gjr_end`` is GJR's mean end, None where there is none."""
    plan = Comparison("", "convergence", variant, variant, dataset)
    runs = _fresh(records, plan, variant)
    timed = runs_of(records.get("timing", []), variant, dataset)
    clocks = [found for (where, _), record in timed.items() if not where.earlier and (found := clock(record))]
    ends, ours = {seed: end(record) for seed, record in runs.items()}, clocks[0] if clocks else None
    seconds, epochs, censored, before = {}, {}, {}, {}
    for share in SHARES:
        for whose in ("own", "gjr"):
            if whose == "gjr" and gjr_end is None:
                continue
            arrivals = {s: arrival(r, share * (ends[s] if whose == "own" else gjr_end)) for s, r in runs.items()}
            place = share, whose
            epochs[place] = {seed: found.epoch for seed, found in arrivals.items()}
            seconds[place] = {seed: ours.seconds(found.epoch) for seed, found in arrivals.items()} if ours else {}
            censored[place] = sum(found.censored for found in arrivals.values())
            before[place] = sum(found.before_training for found in arrivals.values())
    return Race(variant, ends, ours, seconds, epochs, censored, before)


def judge_race(records: Records, comparison: Comparison) -> Cell:
    """Judge one prior of claim 1. The interval is of the logarithm of GJR's seconds divided by pGJR's."""
    gjr = race(records, comparison.baseline, comparison.dataset)
    pgjr = race(records, comparison.variant, comparison.dataset)
    runs = min(len(gjr.ends), len(pgjr.ends))
    place = (SHARES[-1], "own")
    logs = [np.log(list(found.seconds[place].values())) for found in (gjr, pgjr)]
    interval = partial(welch_interval, *logs) if min(map(len, logs)) > 1 else None
    where = next((scored_set(r) for r in _fresh(records, comparison, comparison.variant).values()), None)
    if runs < SEEDS or interval is None:
        return Cell(comparison, where, runs, None, interval)
    decided = outcome(interval, comparison.margin)
    if gjr.clock.machine != pgjr.clock.machine:
        return Cell(comparison, where, runs, "open", interval, note="timed on two machines")
    if pgjr.censored[place]:  # its seconds are lower bounds, so its lead may be smaller than it seems
        return Cell(comparison, where, runs, "open", interval, note="pGJR did not settle")
    if decided == "gain" and np.mean(list(pgjr.ends.values())) < np.mean(list(gjr.ends.values())):
        return Cell(comparison, where, runs, "harm", interval, note="pGJR ends below GJR")
    return Cell(comparison, where, runs, decided, interval)


# ---- the ledger ----


@dataclass(frozen=True)
class Published:
    """A number of the literature: NMI in points on a set and split, with a backbone."""

    dataset: str
    split: str
    backbone: str
    nmi: float


def judge_competitive(records: Records, literature: Iterable[Published]) -> Finding:
    """Judge claim 3 on pGJR's records of the main experiment, against the best number of each set, split and backbone."""
    best: dict[tuple[str, str, str], float] = {}
    for number in literature:
        place = number.dataset, number.split, number.backbone
        best[place] = max(best.get(place, 0.0), number.nmi)
    groups = defaultdict(list)
    for (where, seed), record in runs_of(records.get("main", []), "pgjr").items():
        if seed >= FIRST_SEED and not where.earlier:
            place = where.dataset, where.split, record["config"]["prior"].partition("/")[0]
            if place in best:
                groups[where, best[place]].append(score(record))
    cells = []
    for (where, number), values in groups.items():
        plan = Comparison("pGJR against the literature", "main", "pgjr", "literature", where.dataset, "clip", COMPETITIVE)
        interval = partial(paired_interval, [value - number for value in values]) if len(values) > 1 else None
        decided = outcome(interval, COMPETITIVE) if len(values) >= SEEDS else None
        cells.append(Cell(plan, where, len(values), decided, interval))
    return Finding(verdict(cells, ("gain", "equivalent")), tuple(cells))


def judge_winner(cells: tuple[Cell, ...]) -> Verdict:
    """Return the verdict on claim 4: it needs a cell that favours pGJR and one that favours GJR."""
    outcomes = [cell.outcome for cell in cells]
    if not any(cell.runs for cell in cells):
        return "not run"
    if None in outcomes:
        return "open"
    if {"gain", "harm"} <= set(outcomes):
        return "holds"
    return "open" if "open" in outcomes else "fails"


def judge(claim: Claim, records: Records, column: Setting, literature: Iterable[Published] = ()) -> Finding:
    """Judge a claim in one column of the ledger, on the records that belong to it."""
    own = {name: [r for r in records.get(name, []) if _belongs(r, column)] for name in claim.experiments}
    if claim.number == 3:
        return judge_competitive(own, literature) if column != "stand-in" else Finding("not run")
    if claim.number == 5 and column != "stand-in":  # its images are generated, whatever the setting
        return Finding("not run")
    judge_one = judge_race if claim.number == 1 else cell
    cells = tuple(judge_one(own, comparison) for comparison in comparisons(claim.number, column))
    return Finding(judge_winner(cells) if claim.number == 4 else verdict(cells), cells)


def _belongs(record: dict, column: Setting) -> bool:
    """Say whether a record may speak in a column: a short CNN never in the paper's, a stand-in only in its own."""
    own = setting(record)
    if column == "stand-in":
        return own == "stand-in" or record["config"]["method"] not in ON_PRIOR
    return own in ("paper", column)


@dataclass(frozen=True)
class LedgerRow:
    """A claim with its findings: column of the ledger -> finding."""

    claim: Claim
    findings: dict[Setting, Finding]

    @property
    def evidence(self) -> Finding:
        """The finding whose numbers pages show: of the first column that was run, else the stand-in's."""
        return next((f for f in self.findings.values() if f.verdict != "not run"), self.findings["stand-in"])


def ledger(records: Records, literature: Iterable[Published] = ()) -> list[LedgerRow]:
    """Judge every claim in every column. A claim reads its own experiments alone."""
    literature = tuple(literature)
    return [LedgerRow(claim, {column: judge(claim, records, column, literature) for column in PRIORS}) for claim in CLAIMS]
