"""The five claims, the test of each in words and in code, and the verdicts that records allow.

A verdict on the paper's setting needs CLIP, the full CNN and the paper's sets at full size. Runs on anything less are
judged apart. Records are matched by the id of their variant; results are numbers, which ``show`` puts into words.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from pgjr_book.run_config import CNNS, RESULTS_VERSION
from pgjr_book.stats import decide, holm_levels, matched, p_value, paired_interval
from pgjr_lib.data.sets import PAPER_SETS
from pgjr_lib.errors import PGJRError

SEEDS_HEAD, SEEDS_CNN = 10, 5  # pages show fewer seeds, too, but fewer decide nothing
MARGIN = 0.5  # NMI points: an effect below it counts as none
IDFD_EPOCHS = 2000  # the schedule of IDFD's published code, which the paper's CNNs are taken to follow


@dataclass(frozen=True)
class Claim:
    """A claim, its test in words, the page with the evidence and the experiment whose runs it judges."""

    number: int
    statement: str
    test: str
    page: str
    experiment: str


CLAIMS = (
    Claim(
        1,
        "The pretrained prior makes convergence far faster.",
        "Seconds until NMI reaches 0.95 of the lower of the two final NMIs, GJR against pGJR, paired by seed; pGJR's "
        "seconds include encoding all views. Inconclusive where the last tenth of training, or what follows the last point "
        "before it, still gains a point.",
        "figure-4",
        "convergence",
    ),
    Claim(
        2,
        "The jigsaw module improves clustering.",
        "NMI with the jigsaw minus NMI without it, paired by seed, for GJR and for pGJR, Holm over sets.",
        "table-5",
        "components",
    ),
    Claim(
        3,
        "pGJR is competitive with the literature.",
        "Mean NMI against literature numbers of the same set and split; needs CLIP.",
        "table-2",
        "main",
    ),
    Claim(
        4,
        "Which of GJR and pGJR wins depends on the data.",
        "NMI of pGJR minus NMI of GJR, paired by seed, Holm over sets: one set decided each way.",
        "table-2",
        "main",
    ),
    Claim(
        5,
        "The jigsaw uses structure (our claim, not the paper's).",
        "Interaction (with minus without jigsaw) x (grids in order or permuted) on a generated set whose classes share "
        "their pieces and differ in arrangement.",
        "structure",
        "structure",
    ),
)


# ---- records ----


@dataclass(frozen=True, order=True)
class ScoredSet:
    """A data set and the split of it that a run used. Every number belongs to one.

    What earlier code made stands apart from what this code made, and is never paired with it.
    """

    dataset: str
    split: str
    earlier: bool = False


def scored_set(record: dict) -> ScoredSet:
    """Return the data set and the split of a record, and whether earlier code made it."""
    return ScoredSet(record["config"]["dataset"], record["config"]["split"], record["results_version"] < RESULTS_VERSION)


def score(record: dict, metric: str = "nmi") -> float:
    """Return a run's score in points: 100 times the mean over its k-means seeds, on plain features."""
    return 100 * float(np.mean(record["scores"]["plain"][metric]))


def timed_alone(record: dict) -> bool:
    """Return whether a run had its device to itself, so that its seconds can be compared."""
    return record["timings"].get("alone", True)


def departures(record: dict) -> frozenset[str]:
    """Return in what a record departs from the paper's setting: "data", "prior", "backbone", "epochs".

    The paper's setting is a set of the paper, whole and as published, with a CLIP of OpenAI, or with ResNet-18 for as
    many epochs as IDFD's code trains.
    """
    config, departs = record["config"], set()
    if config["dataset"] not in PAPER_SETS or config["limit"] is not None or record["data"]["note"]:
        departs.add("data")
    if config["method"] in ("prior", "pgjr") and not _is_clip(str(config["prior"])):
        departs.add("prior")
    if config["method"] in CNNS and config["backbone"] != "resnet18":
        departs.add("backbone")
    if config["method"] in CNNS and config["epochs"] < IDFD_EPOCHS:
        departs.add("epochs")
    return frozenset(departs)


def _is_clip(prior: str) -> bool:
    return prior.endswith("/openai") and not prior.startswith(("random:", "file:"))


def on_papers_setting(record: dict) -> bool:
    """Return whether a record is a training run in the paper's setting."""
    return record["config"]["method"] in ("pgjr", *CNNS) and not departures(record)


def pairs(records: list[dict], first: str, second: str) -> dict[ScoredSet, list[tuple[dict, dict]]]:
    """Return the runs of variant ``first`` with those of ``second`` on the same set, split and seed, by set.

    Raises:
        PGJRError: two records claim one variant, set, split and seed.
    """
    by_set = defaultdict(list)
    for (where, _), pair in matched(_runs_of(records, first), _runs_of(records, second)).items():
        by_set[where].append(pair)
    return dict(by_set)


def _runs_of(records: list[dict], variant: str) -> dict[tuple[ScoredSet, int], dict]:
    """Return the records of a variant by set and seed."""
    runs: dict[tuple[ScoredSet, int], dict] = {}
    for record in records:
        if record["variant"] == variant:
            place = where, seed = scored_set(record), record["config"]["seed"]
            if place in runs:
                raise PGJRError(
                    f"records {runs[place]['key']} and {record['key']} both claim variant {variant} on {where.dataset} "
                    f"({where.split}), seed {seed}: remove one of them, or give their variants different ids."
                )
            runs[place] = record
    return runs


# ---- findings ----


@dataclass(frozen=True)
class Finding:
    """The outcome of a claim's test on some records.

    Attributes:
        verdict: "yes", "no", "inconclusive" or "not run".
        cells: the numbers behind it, one element a comparison: ``RaceCell`` for claim 1, ``Difference`` for claims 2
            and 4, ``Interaction`` for claim 5.
    """

    verdict: str
    cells: tuple = ()


@dataclass(frozen=True)
class Contrast:
    """Two variants to compare by seed, and the number of pairs that a verdict needs."""

    variant: str
    baseline: str
    needed: int


JIGSAW = (Contrast("gjr", "idfd", SEEDS_CNN), Contrast("pgjr", "pgjr-no-jigsaw", SEEDS_HEAD))  # with and without it


@dataclass(frozen=True)
class Difference:
    """A paired comparison on one set, in NMI points; its interval has Holm's level."""

    variant: str
    baseline: str
    where: ScoredSet
    verdict: str
    mean: float
    low: float
    high: float
    pairs: int


def differences(records: list[dict], contrast: Contrast) -> list[Difference]:
    """Compare two variants on every set with at least two pairs, at Holm's levels over these sets."""
    by_set = {
        where: [score(a) - score(b) for a, b in both]
        for where, both in pairs(records, contrast.variant, contrast.baseline).items()
        if len(both) > 1
    }
    levels = holm_levels({where: p_value(d) for where, d in by_set.items()})
    return [
        Difference(
            contrast.variant, contrast.baseline, where, decide(d, contrast.needed, MARGIN, levels[where]),
            *paired_interval(d, levels[where]), len(d),
        )
        for where, d in by_set.items()
    ]  # fmt: skip


def _agreed(verdicts) -> str:
    """Return the verdict that all cells share; cells that disagree leave a claim inconclusive."""
    different = set(verdicts)
    return different.pop() if len(different) == 1 else "inconclusive"


# ---- claim 1 ----


@dataclass(frozen=True)
class Race:
    """One pair of GJR and pGJR: when each first reaches the target. pGJR's seconds include encoding all views."""

    where: ScoredSet
    seed: int
    target: float  # NMI, in [0, 1]
    gjr_epoch: int
    gjr_seconds: float
    pgjr_epoch: int
    pgjr_seconds: float
    still_gaining: bool  # at the end of training, one or both
    same_machine: bool


@dataclass(frozen=True)
class RaceCell:
    """Claim 1 on one set.

    Attributes:
        ratio: median over pairs of GJR's seconds divided by pGJR's.
        obstacle: why the set decides nothing: "still gaining", "machines" or "seeds"; "" where it may decide.
    """

    where: ScoredSet
    verdict: str
    pairs: int
    ratio: float
    obstacle: str


def convergence(records: list[dict]) -> list[Race]:
    """Return claim 1's numbers, one element a pair. Runs that shared their device are left out."""
    races = []
    for where, both in pairs([record for record in records if timed_alone(record)], "gjr", "pgjr").items():
        for gjr, pgjr in both:
            target = 0.95 * min(curve(record)[-1]["nmi"] for record in (gjr, pgjr))
            reached = (*first_at(gjr, target), *first_at(pgjr, target))
            gains = still_gaining(gjr) or still_gaining(pgjr)
            same_machine = all(gjr["provenance"][part] == pgjr["provenance"][part] for part in ("device", "host_cpu"))
            races.append(Race(where, gjr["config"]["seed"], target, *reached, gains, same_machine))
    return races


def curve(record: dict) -> list[dict]:
    """Return the scored epochs of a record's history."""
    return [row for row in record["history"] if "nmi" in row]


def first_at(record: dict, target: float) -> tuple[int, float]:
    """Return the first (epoch, seconds) at which NMI is at or above ``target``; encoding the views counts.

    Raises:
        ValueError: the curve never gets there.
    """
    for row in curve(record):
        if row["nmi"] >= target:
            return row["epoch"], row["seconds"] + record["timings"]["extract_s"]
    raise ValueError(f"record {record['key']} never reaches an NMI of {target:.3f}.")


def still_gaining(record: dict) -> bool:
    """Return whether the last tenth of training still gains a point of NMI."""
    rows = curve(record)
    before = [row["nmi"] for row in rows if row["epoch"] <= 0.9 * rows[-1]["epoch"]]
    return rows[-1]["nmi"] - before[-1] > 0.01


def judge_convergence(records: list[dict]) -> Finding:
    """Judge claim 1 set by set; sets that disagree leave it inconclusive."""
    by_set = defaultdict(list)
    for race in convergence(records):
        by_set[race.where].append(race)
    cells = tuple(_race_cell(where, races) for where, races in by_set.items())
    return Finding(_agreed(cell.verdict for cell in cells), cells) if cells else Finding("not run")


def _race_cell(where: ScoredSet, races: list[Race]) -> RaceCell:
    ratios = [race.gjr_seconds / race.pgjr_seconds for race in races if race.pgjr_seconds > 0]
    verdict, obstacle = "inconclusive", ""
    if any(race.still_gaining for race in races):
        obstacle = "still gaining"
    elif not all(race.same_machine for race in races):
        obstacle = "machines"
    elif len(races) < SEEDS_CNN:
        obstacle = "seeds"
    elif min(ratios) <= 0:  # the untrained CNN is at the target already
        verdict = "no"
    else:
        verdict = decide(np.log(ratios), SEEDS_CNN, margin=0.0)
    return RaceCell(where, verdict, len(races), float(np.median(ratios)), obstacle)


# ---- claims 2, 4 and 5 ----


def judge_jigsaw(records: list[dict]) -> Finding:
    """Judge claim 2: GJR against IDFD and pGJR against itself without jigsaw; one of them alone decides nothing."""
    by_contrast = [differences(records, contrast) for contrast in JIGSAW]
    cells = tuple(cell for group in by_contrast for cell in group)
    if not cells:
        return Finding("not run")
    return Finding(_agreed(cell.verdict for cell in cells) if all(by_contrast) else "inconclusive", cells)


def judge_winner(records: list[dict]) -> Finding:
    """Judge claim 4: a set on which pGJR wins and a set on which GJR wins. Cells are pGJR minus GJR."""
    ahead = tuple(differences(records, Contrast("pgjr", "gjr", SEEDS_CNN)))
    if len(ahead) < 2:
        return Finding("not run", ahead)
    behind = differences(records, Contrast("gjr", "pgjr", SEEDS_CNN))
    pgjr_wins, gjr_wins = {cell.verdict for cell in ahead}, {cell.verdict for cell in behind}
    if "yes" in pgjr_wins and "yes" in gjr_wins:
        return Finding("yes", ahead)
    return Finding("no" if {"yes"} in (pgjr_wins, gjr_wins) else "inconclusive", ahead)


@dataclass(frozen=True)
class Interaction:
    """What the jigsaw gains on the generated set in order and permuted, and the difference of the two, in NMI points."""

    ordered: float
    permuted: float
    mean: float
    low: float
    high: float
    pairs: int


def judge_structure(records: list[dict]) -> Finding:
    """Judge claim 5: the jigsaw's gain where grids are in order, minus its gain where they are not, by seed."""
    gains: dict[str, dict[int, float]] = {
        where.dataset: {a["config"]["seed"]: score(a) - score(b) for a, b in both}
        for where, both in pairs(records, "gjr", "idfd").items()
    }
    ordered, permuted = gains.get("pieces", {}), gains.get("pieces-permuted", {})
    interaction = [a - b for a, b in matched(ordered, permuted).values()]
    if len(interaction) < 2:
        return Finding("not run")
    means = (float(np.mean(list(gain.values()))) for gain in (ordered, permuted))
    cell = Interaction(*means, *paired_interval(interaction), len(interaction))
    return Finding(decide(interaction, SEEDS_CNN, MARGIN), (cell,))


# ---- the ledger ----

JUDGES = {1: judge_convergence, 2: judge_jigsaw, 4: judge_winner, 5: judge_structure}  # claim 3 has no test yet


@dataclass(frozen=True)
class LedgerRow:
    """A claim with its findings on the paper's setting and on everything else."""

    claim: Claim
    paper: Finding
    stand_in: Finding

    @property
    def evidence(self) -> Finding:
        """The finding whose numbers pages show: the paper's setting where it was run, else the stand-in."""
        return self.stand_in if self.paper.verdict == "not run" else self.paper


def judge(claim: Claim, records: list[dict]) -> Finding:
    """Judge a claim on records of its experiment; a claim without a test is not run."""
    return JUDGES[claim.number](records) if claim.number in JUDGES else Finding("not run")


def ledger(records: dict[str, list[dict]]) -> list[LedgerRow]:
    """Judge every claim.

    Args:
        records: experiment -> its records. A claim is judged on its own experiment alone, so that the variants of a
            sensitivity study are never taken for the method.
    """
    rows = []
    for claim in CLAIMS:
        own = records.get(claim.experiment, [])
        whole = [record for record in own if on_papers_setting(record)]
        rest = [record for record in own if not on_papers_setting(record)]
        rows.append(LedgerRow(claim, judge(claim, whole), judge(claim, rest)))
    return rows
