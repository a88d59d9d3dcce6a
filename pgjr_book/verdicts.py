"""The five claims, the test of each in words and in code, and the verdicts that its records allow.

A verdict on the paper's setting needs CLIP, the full CNN and the paper's sets at full size. What was run on
anything less has a column of its own and never says more than "seen here".
"""

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from pgjr_lib.storage import file_sha256

PAPER_SETS = ("cifar10", "cifar20", "stl10", "imagenet-10", "imagenet-dogs", "tiny-imagenet")
SEEDS_HEAD, SEEDS_CNN = 10, 5  # fewer are shown, and never decide
MARGIN = 0.5  # NMI points: an effect below it is none
LEVEL = 0.95
PAPER_WORDS = {"yes": "supported", "no": "not supported"}
STAND_IN_WORDS = {"yes": "seen here", "no": "not seen here"}


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


@dataclass(frozen=True)
class Finding:
    """The outcome of a claim's test on some records."""

    verdict: str  # "yes", "no", "inconclusive" or "not run"
    evidence: str
    keys: tuple[str, ...] = field(default=())


def paired_interval(differences, level: float = LEVEL) -> tuple[float, float, float]:
    """Mean and Student-t interval of paired differences: (mean, low, high).

    Raises:
        ValueError: fewer than two differences.
    """
    d = np.asarray(differences, dtype=float)
    if len(d) < 2:
        raise ValueError(f"an interval needs at least two paired differences, got {len(d)}.")
    half = stats.t.ppf(0.5 + level / 2, len(d) - 1) * d.std(ddof=1) / np.sqrt(len(d))
    return float(d.mean()), float(d.mean() - half), float(d.mean() + half)


def holm_levels(p_values: dict) -> dict:
    """Interval level of each set after Holm, stepping down from the smallest p.

    The i-th smallest of m (from 0) gets 1 - 0.05 / (m - i), until one is not rejected: the rest keep its level.
    """
    ordered, levels, level, stopped = sorted(p_values, key=lambda name: p_values[name]), {}, LEVEL, False
    for i, name in enumerate(ordered):
        level = level if stopped else 1 - (1 - LEVEL) / (len(ordered) - i)
        levels[name], stopped = level, stopped or p_values[name] > 1 - level
    return levels


def decide(differences, seeds_needed: int, level: float = LEVEL, margin: float = MARGIN) -> str:
    """ "yes" if the interval's lower bound is above 0, "no" if its upper bound is below ``margin``, else open."""
    if len(differences) < max(2, seeds_needed):
        return "inconclusive"
    _, low, high = paired_interval(differences, level)
    return "yes" if low > 0 else "no" if high < margin else "inconclusive"


def score(record: dict, name: str = "nmi") -> float:
    """A run's score in points: 100 times the mean over its k-means seeds, on plain features."""
    return 100 * float(np.mean(record["scores"]["plain"][name]))


def set_name(record: dict) -> str:
    """The set with its split, which stand together beside every number: "cifar10 (test)"; "digits" has only one."""
    config = record["config"]
    whole = config["split"] == "all" and config["dataset"] not in PAPER_SETS
    return config["dataset"] if whole else f"{config['dataset']} ({config['split']})"


def pairs(records: list[dict], first, second) -> dict[str, list[tuple[dict, dict]]]:
    """Runs of the same set, split and seed, one chosen by ``first`` and one by ``second`` (record -> bool), by set."""
    chosen = []
    for picks in (first, second):
        chosen.append({(set_name(r), r["config"]["seed"]): r for r in records if picks(r)})
    found = defaultdict(list)
    for dataset, seed in sorted(set(chosen[0]) & set(chosen[1])):
        found[dataset].append((chosen[0][dataset, seed], chosen[1][dataset, seed]))
    return dict(found)


def is_pgjr(record: dict) -> bool:
    """The default pGJR: a pretrained prior, spatial map, supplementing branch, learned jigsaw."""
    trained = not str(record["config"]["prior"]).startswith("random:")
    return trained and _like(record, method="pgjr", map="spatial", branch="supplement", **LEARNED)


def is_pgjr_without(record: dict) -> bool:
    """The default pGJR with its jigsaw off."""
    return _like(record, method="pgjr", map="spatial", branch="supplement", jigsaw="off")


def is_gjr(record: dict) -> bool:
    """The default GJR: the jigsaw after layer3."""
    return _like(record, method="gjr", at="layer3", **LEARNED)


def is_idfd(record: dict) -> bool:
    """GJR without the jigsaw."""
    return _like(record, method="idfd")


LEARNED = {"jigsaw": "on", "mode": "surround", "combine": "residual"}


def _like(record: dict, **fields) -> bool:
    return all(record["config"][name] == value for name, value in fields.items())


def on_papers_setting(record: dict) -> bool:
    """Whether a record was made in the paper's setting: its sets, whole, CLIP, the full CNN."""
    config = record["config"]
    if config["dataset"] not in PAPER_SETS or config["limit"] is not None or record["data"]["note"]:
        return False
    if config["method"] == "pgjr":
        prior = str(config["prior"])
        return prior.endswith("/openai") and not prior.startswith(("random:", "file:"))
    return config["method"] in ("gjr", "idfd") and config["backbone"] == "resnet18" and config["epochs"] >= 2000


def seconds_to(record: dict, target: float) -> tuple[int, float] | None:
    """First (epoch, seconds) at which the curve's NMI reaches ``target`` in [0, 1]; encoding is included."""
    for row in record["history"]:
        if row.get("nmi", -1) >= target:
            return row["epoch"], row["seconds"] + record["timings"]["extract_s"]
    return None


def still_gaining(record: dict) -> bool:
    """Whether the last tenth of training still gains a point of NMI."""
    rows = [row for row in record["history"] if "nmi" in row]
    start = [row["nmi"] for row in rows if row["epoch"] <= 0.9 * rows[-1]["epoch"]]
    return rows[-1]["nmi"] - start[-1] > 0.01


def convergence(records: list[dict]) -> list[dict]:
    """Claim 1's numbers, one dict a pair: set, seed, target NMI, epochs and seconds of both, still gaining or not.

    Runs that shared their device with others have no seconds to compare, and are left out.
    """
    rows = []
    records = [record for record in records if record["timings"].get("alone", True)]
    for dataset, found in pairs(records, is_gjr, is_pgjr).items():
        for gjr, pgjr in found:
            ends = [[row["nmi"] for row in r["history"] if "nmi" in row][-1] for r in (gjr, pgjr)]
            target = 0.95 * min(ends)
            slow, fast = seconds_to(gjr, target), seconds_to(pgjr, target)
            rows.append({
                "dataset": dataset, "seed": gjr["config"]["seed"], "target": target,
                "gjr_epoch": slow[0], "gjr_seconds": slow[1], "pgjr_epoch": fast[0], "pgjr_seconds": fast[1],
                "still_gaining": still_gaining(gjr) or still_gaining(pgjr),
                "same_machine": all(gjr["provenance"][k] == pgjr["provenance"][k] for k in ("device", "host_cpu")),
            })  # fmt: skip
    return rows


def judge_convergence(records: list[dict]) -> Finding:
    """Claim 1, set by set; sets that disagree leave it inconclusive."""
    by_set = defaultdict(list)
    for row in convergence(records):
        by_set[row["dataset"]].append(row)
    if not by_set:
        return Finding("not run", "no pair of GJR and pGJR")
    verdicts, told = set(), []
    for name, rows in by_set.items():
        ratios = [row["gjr_seconds"] / row["pgjr_seconds"] for row in rows if row["pgjr_seconds"] > 0]
        note, verdict = "", "inconclusive"
        if any(row["still_gaining"] for row in rows):
            note = "; training still gains at its end"
        elif not all(row["same_machine"] for row in rows):
            note = "; not on one machine"
        elif len(rows) < SEEDS_CNN:
            note = f"; {SEEDS_CNN} seeds are needed to decide"
        elif min(ratios) <= 0:  # the untrained CNN is there already
            verdict = "no"
        else:
            verdict = decide(np.log(ratios), SEEDS_CNN, margin=0.0)
        verdicts.add(verdict)
        told.append(f"{name}: {len(rows)} pairs, GJR takes {np.median(ratios):.2f} times pGJR's seconds (median){note}")
    return Finding(verdicts.pop() if len(verdicts) == 1 else "inconclusive", "; ".join(told))


def judge_difference(records: list[dict], first, second, seeds_needed: int) -> dict[str, tuple]:
    """A paired comparison by set with Holm's levels: set -> (verdict, mean, low, high, pairs), in NMI points."""
    found = {name: [score(a) - score(b) for a, b in matched] for name, matched in pairs(records, first, second).items()}
    found = {name: d for name, d in found.items() if len(d) > 1}
    p = {name: stats.ttest_1samp(d, 0).pvalue if np.ptp(d) else float(d[0] == 0) for name, d in found.items()}
    levels = holm_levels(p)
    return {
        name: (decide(d, seeds_needed, levels[name]), *paired_interval(d, levels[name]), len(d))
        for name, d in found.items()
    }


def judge_jigsaw(records: list[dict]) -> Finding:
    """Claim 2: GJR against IDFD and pGJR against itself without jigsaw; one of them alone decides nothing."""
    results = {
        ("GJR", name): result for name, result in judge_difference(records, is_gjr, is_idfd, SEEDS_CNN).items()
    } | {
        ("pGJR", name): result
        for name, result in judge_difference(records, is_pgjr, is_pgjr_without, SEEDS_HEAD).items()
    }
    if not results:
        return Finding("not run", "no paired runs with and without the jigsaw")
    told = [f"{kind} on {name}: {mean:+.1f} [{low:+.1f}, {high:+.1f}] NMI points, {n} seeds"
            for (kind, name), (_, mean, low, high, n) in results.items()]  # fmt: skip
    verdicts = {result[0] for result in results.values()}
    if {kind for kind, _ in results} != {"GJR", "pGJR"}:
        verdicts.add("inconclusive")
        told.append("the other of GJR and pGJR was not run")
    return Finding(verdicts.pop() if len(verdicts) == 1 else "inconclusive", "; ".join(told))


def judge_winner(records: list[dict]) -> Finding:
    """Claim 4: a set on which pGJR wins and a set on which GJR does."""
    ahead = judge_difference(records, is_pgjr, is_gjr, SEEDS_CNN)
    if len(ahead) < 2:
        return Finding("not run", f"needs both methods on at least two sets, has {len(ahead)}")
    behind = judge_difference(records, is_gjr, is_pgjr, SEEDS_CNN)
    told = "; ".join(f"{name}: pGJR {r[1]:+.1f} [{r[2]:+.1f}, {r[3]:+.1f}]" for name, r in ahead.items())
    wins = {r[0] for r in ahead.values()}, {r[0] for r in behind.values()}
    if "yes" in wins[0] and "yes" in wins[1]:
        return Finding("yes", told)
    return Finding("no" if wins[0] == {"yes"} or wins[1] == {"yes"} else "inconclusive", told)


def judge_structure(records: list[dict]) -> Finding:
    """Claim 5: what the jigsaw gains on the set whose grids are in order, minus what it gains where they are not."""
    gains = {
        name: {a["config"]["seed"]: score(a) - score(b) for a, b in found}
        for name, found in pairs(records, is_gjr, is_idfd).items()
    }
    seeds = sorted(set(gains.get("pieces", ())) & set(gains.get("pieces-permuted", ())))
    if len(seeds) < 2:
        return Finding("not run", "needs GJR and IDFD on the generated set, in order and permuted")
    interaction = [gains["pieces"][s] - gains["pieces-permuted"][s] for s in seeds]
    mean, low, high = paired_interval(interaction)
    alone = ", ".join(f"{np.mean(list(gains[name].values())):+.1f} {told}" for name, told in
                      (("pieces", "in order"), ("pieces-permuted", "permuted")))  # fmt: skip
    told = f"the jigsaw gains {alone}; interaction {mean:+.1f} [{low:+.1f}, {high:+.1f}] NMI points, {len(seeds)} seeds"
    return Finding(decide(interaction, SEEDS_CNN), told)


TESTS = {1: judge_convergence, 2: judge_jigsaw, 4: judge_winner, 5: judge_structure}
NOT_RUN = {3: "needs CLIP's weights and the splits of the literature"}


def ledger(records: dict[str, list[dict]]) -> list[dict]:
    """One row a claim: number, statement, test, both verdicts, evidence, page.

    Args:
        records: experiment -> its records. A claim is judged on its own experiment only, so that the variants of a
            sensitivity study are never taken for the method.
    """
    rows = []
    for claim in CLAIMS:
        own = records.get(claim.experiment, [])
        whole = [record for record in own if on_papers_setting(record)]
        rest = [record for record in own if not on_papers_setting(record)]
        absent = lambda _, n=claim.number: Finding("not run", NOT_RUN[n])  # noqa: E731
        run = TESTS.get(claim.number, absent)
        paper, stand_in = run(whole), run(rest)
        rows.append({
            "number": claim.number, "statement": claim.statement, "test": claim.test, "page": claim.page,
            "paper": PAPER_WORDS.get(paper.verdict, paper.verdict),
            "stand_in": STAND_IN_WORDS.get(stand_in.verdict, stand_in.verdict),
            "evidence": stand_in.evidence if paper.verdict == "not run" else paper.evidence,
        })  # fmt: skip
    return rows


def source_hash() -> str:
    """SHA-256 of this file, which the ledger shows, so that a change of the rules shows too."""
    return file_sha256(__file__)
