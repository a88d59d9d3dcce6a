"""What the records teach, in a few sentences: numbers of the ledger in, plain text out."""

import html
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pandas as pd

from pgjr_book import ledger as ledgers
from pgjr_book import verdicts
from pgjr_book.races import SHARES, curve
from pgjr_book.scored import Setting, score, used_clip
from pgjr_book.show import numbers
from pgjr_book.show.groups import by_set, heads_beside_priors
from pgjr_book.show.sentences import CONTROLS, PRIOR_NAMES, begun, compared, disagreeing, joined, prior_name, with_level
from pgjr_book.show.sets import marked, title
from pgjr_book.stats import EQUIVALENCE_LEVEL, LEVEL
from pgjr_book.verdicts import Cell, Finding, Records
from pgjr_lib.data.sets import PAPER_SETS

LEADS = {  # claim -> verdict -> the clause that opens its sentence; claim 2 counts instead
    1: {
        "holds": "pGJR reaches its own end faster than GJR reaches its own, encodings included",
        "fails": "pGJR reaches its own end no faster than GJR reaches its own, encodings included",
        "mixed": "whether pGJR reaches its own end faster than GJR reaches its own depends on the prior",
        "open": "whether pGJR reaches its own end faster than GJR reaches its own is open",
    },
    4: {
        "holds": "whether GJR or pGJR wins depends on the set or on the prior",
        "fails": "one of GJR and pGJR is never behind the other",
        "open": "whether GJR or pGJR wins is open for some sets and priors",
    },
    5: {
        "holds": "the jigsaw uses structure",
        "fails": "the jigsaw does not use structure",
        "mixed": "on generated images (pieces and hard pieces) the tests of whether the jigsaw uses structure disagree",
        "open": "whether the jigsaw uses structure is open",
    },
}
BY_PRIOR = "which of GJR and pGJR wins depends on the prior; no prior has another winner on another of these sets"
CNN, HEAD = numbers.setting(verdicts.MARGIN_CNN), numbers.setting(verdicts.MARGIN_HEAD)
WITHIN = f"by a {100 * EQUIVALENCE_LEVEL:.0f} % interval any effect is within the margin (±{CNN} for a CNN, ±{HEAD} for a head)"
SIDES = {  # outcome -> how a sentence calls it, by claim where that differs
    "gain": {1: "faster", 2: "it helps", 4: "pGJR wins", 5: "it does better"},
    "harm": {1: "not faster", 2: "it harms", 4: "GJR wins", 5: "it does worse"},
    "equivalent": {1: "equally fast", 2: WITHIN, 4: "they differ by less than the margin", 5: "it does no better"},
    "open": {1: "open", 2: "open", 4: "open", 5: "open whether it does better"},
    None: {1: "not finished", 2: "not finished", 4: "not finished", 5: "not finished: whether it does better"},
}
AGAINST_ITSELF = {  # baseline of claim 5 -> the end of a clause
    "permuted": "than on permuted positions", "shifted": "than with its blocks shifted by half",
    "frozen": "than frozen at its start",
}  # fmt: skip


@dataclass(frozen=True)
class Lesson:
    """One sentence of the chapter "What we learned".

    Attributes:
        number: the claim that it speaks of.
        lead: a clause that stands alone.
        detail: the cells behind it.
        column: of the ledger, whose verdict it tells.
    """

    number: int
    lead: str
    detail: str = ""
    column: Setting = "stand-in"

    @property
    def sentence(self) -> str:
        """The lead and the detail as one sentence."""
        text = f"{self.lead}: {self.detail}" if self.detail else self.lead
        return f"{begun(text)}."


def lessons(records: Records) -> list[Lesson]:
    """Return what the records say of claims 1, 2 (the effect, then its controls), 4 and 5; claims without runs are left out.

    Args:
        records: experiment -> its records.
    """
    rows = {row.claim.number: row for row in ledgers.ledger(records)}
    said = []
    for number in (1, 2, 4, 5):
        column, whole = ledgers.leading(rows[number]), ledgers.together(rows[number])
        if whole.verdict != "not run":
            finding, own = rows[number].findings[column], ledgers.of_column(records, column)
            lead = jigsaw_lead(whole) if number == 2 else LEADS[number][finding.verdict]
            lead = BY_PRIOR if number == 4 and finding.verdict == "holds" and _by_prior_alone(finding) else lead
            lead += _head_start(own, finding) if number == 1 else ""
            said.append(Lesson(number, lead, _by_outcome(number, whole), column))
            if number == 2 and (controls := _controls(own, column, finding)):
                said.append(controls)
    return said


def _by_prior_alone(finding: Finding) -> bool:
    """Say whether no prior has different winners on different sets."""
    winners = {(cell.comparison.prior, cell.outcome) for cell in finding.cells}
    return not any({(prior, "gain"), (prior, "harm")} <= winners for prior, _ in winners)


def as_html(said: list[Lesson]) -> str:
    """Return lessons as a numbered list; "not run" where there are none."""
    items = "".join(f"<li>{html.escape(lesson.sentence)}</li>" for lesson in said)
    return f"<ol>{items}</ol>" if items else "<p><em>Not run: this profile has no records of these claims.</em></p>"


def in_short(records: Records) -> str:
    """Return the front page's sentences: what was run, one on speed, one on the jigsaw and its controls, one on k-means.

    Where neither claim 1 nor claim 2 was run, the first of the other claims speaks. "" without runs.
    """
    clip = any(used_clip(record) for group in records.values() for record in group)
    learned = lessons(records)
    first = [lesson for lesson in learned if lesson.number in (1, 2)] or learned[:1]
    by_claim = groupby(first, key=lambda lesson: lesson.number)
    sentences = [f"{begun('; '.join(lesson.lead for lesson in group))}." for _, group in by_claim]
    claims = {lesson.number for lesson in first}
    columns = {column for row in ledgers.ledger(records) if row.claim.number in claims for column in ledgers.shown(row)}
    if learned and not clip:
        sentences.insert(0, "No run here used CLIP: supervised encoders stand in for it, and the CNNs trained for minutes.")
    elif "stand-in" in columns:
        sentences.insert(0, "Some of this was seen with stand-ins for CLIP, which are supervised.")
    return " ".join([*sentences, *beside_kmeans(records["main"] if "main" in records else [])])


def beside_kmeans(records: list[dict]) -> list[str]:
    """Say how far pGJR is above k-means on the same prior's features, as ranges over priors and sets; [] without both.

    Sets that are not the paper's count only where no other was run.

    Args:
        records: of the main experiment.
    """
    gaps = {"nmi": [], "acc": []}
    pairs = list(heads_beside_priors([record for record in records if not record.get("series")]))
    pairs = [pair for pair in pairs if pair[0].dataset in PAPER_SETS] or pairs
    for _, heads, priors in pairs:
        for metric, found in gaps.items():
            ours, theirs = (np.mean([score(run, metric) for run in side]) for side in (heads, priors))
            found.append(ours - theirs)
    if not gaps["nmi"]:
        return []
    ranges = [f"{numbers.signed(min(found))} to {numbers.signed(max(found))} points of {name.upper()}" for name, found in gaps.items()]
    where = joined(list(dict.fromkeys(title(where.dataset) for where, *_ in pairs)))
    return [f"On {where}, pGJR minus k-means on the same frozen features is {' and '.join(ranges)}."]


def cnn_level(records: list[dict], published: pd.DataFrame) -> str:
    """Say where our IDFD ends and where the literature's does; "" where no set has both.

    Args:
        records: of the main experiment.
        published: as :func:`pgjr_book.show.literature.read` returns it.
    """
    theirs = published[published["method"] == "IDFD"].groupby("dataset")["nmi"].max()
    ends = {}
    for where, group in by_set([r for r in records if r["variant"] == "idfd"]).items():
        if where.dataset in theirs and not where.series and not where.earlier:
            mean = np.mean([score(record) for record in group])
            ends[where.dataset] = (title(where.dataset), numbers.fixed(mean), numbers.fixed(theirs[where.dataset]))
    if not ends:
        return ""
    ours = joined([f"{end} on {name}" for name, end, _ in ends.values()])
    return f"Our IDFD ends at an NMI of {ours}, the literature’s at {joined([other for *_, other in ends.values()])}."


def jigsaw_lead(finding: Finding) -> str:
    """Count the comparisons of claim 2 in which the jigsaw helps."""
    done = [cell for cell in finding.cells if cell.outcome]
    helps, rest = sum(cell.outcome == "gain" for cell in done), len(finding.cells) - len(done)
    unfinished = f" ({rest} {'has' if rest == 1 else 'have'} no outcome yet)" if rest else ""
    left = sum(cell.outcome == "gain" and cell.interval(finding.level)[1] > 0 for cell in done)
    corrected = f", and in {left or 'none'} once corrected for their number" if left < helps else ""
    return f"the jigsaw improves clustering in {helps} of {len(done)} comparisons{unfinished}{corrected}"


def _controls(records: Records, column: Setting, finding: Finding) -> Lesson | None:
    """Say what does as well as the learned jigsaw where that gains; None without a gain."""
    gains = [cell for cell in finding.cells if cell.outcome == "gain"]
    if not gains:
        return None
    planned, details, explained, unsettled = verdicts.attributions(column, CONTROLS), [], 0, 0
    for gain in gains:
        cells = {control: verdicts.cell(records, c) for comparison, control, c in planned if comparison == gain.comparison}
        as_well = [CONTROLS[name] for name, cell in cells.items() if cell.outcome in ("equivalent", "harm")]
        open_ = [CONTROLS[name] for name, cell in cells.items() if cell.runs and cell.outcome in ("open", None)]
        explained += bool(as_well)
        unsettled += bool(open_) and not as_well
        parts = [f"{joined(as_well)} {'does' if len(as_well) == 1 else 'do'} as well"] if as_well else []
        parts += [f"the comparison with {joined(open_)} is open"] if open_ else []
        details.append(f"{_where(2, gain)} {', and '.join(parts) or 'every control is worse'}")
    if explained == len(gains):
        lead = "where it helps, a control does as well"
    elif unsettled:
        lead = "whether a control does as well where it helps is open"
    else:
        some = f"a control does as well in {explained} of {len(gains)} gains"
        lead = some if explained else "where it helps, no control does as well"
    return Lesson(2, lead, "; ".join(details), column)


def _head_start(records: Records, finding: Finding) -> str:
    """Say where pGJR's untrained head stands beside GJR's end, where it is nearly there or above; "" where it is not.

    Claim 1 asks when each method reaches its own end, which hides that.
    """
    starts, places, ends = {}, [], []
    for comparison in (cell.comparison for cell in finding.cells if cell.runs):
        gjr = verdicts.race(records, comparison.baseline, comparison.dataset)
        goal = float(np.mean(list(gjr.ends.values()))) if gjr.ends else None
        pgjr = verdicts.race(records, comparison.variant, comparison.dataset, goal)
        if goal is not None and pgjr.ends and pgjr.before_training[SHARES[-1], "gjr"] == len(pgjr.ends):
            places.append(title(comparison.dataset))
            curves = [curve(run) for run in verdicts.runs_of(records["convergence"], comparison.variant, comparison.dataset).values()]
            starts[PRIOR_NAMES[comparison.prior]] = numbers.fixed(100 * float(np.mean([points[0][1] for points in curves])))
            ends.append(numbers.fixed(100 * goal))
    if not starts:
        return ""
    start = joined([f"{value} with {prior}" for prior, value in starts.items()])
    there = joined(list(dict.fromkeys(places)))
    return f"; but before any training its head has on {there} an NMI of {start}, and GJR ends at {ends[0]}"


def _by_outcome(number: int, finding: Finding) -> str:
    sides: dict[str, list[str]] = {}
    for cell in finding.cells:
        name = SIDES[cell.outcome][number] if cell.runs else "not run"
        sides.setdefault(name, []).append(f"{_where(number, cell)}{_size(number, cell)}")
    return "; ".join(f"{side} {joined(cells)}" for side, cells in sides.items())


def _where(number: int, cell: Cell) -> str:
    """Name a cell as the end of a clause: claims 1 and 4 compare the same methods in all of them, the others do not."""
    where = marked(cell.where) if cell.where else title(cell.comparison.dataset)
    if number in (1, 4):
        return f"with {prior_name(cell.comparison, cell.where)} on {where}"
    name = compared(cell.comparison, cell.where)
    return f"for {name} on {where}" if number == 2 else f"{AGAINST_ITSELF[cell.comparison.baseline]} on {where}"


def _size(number: int, cell: Cell) -> str:
    if not (cell.interval and cell.outcome):
        return ""
    mean, low, high = cell.interval(LEVEL)
    note = f", but {cell.note}" if cell.note else ""
    if number == 1:
        return f" (it takes {numbers.fixed(np.exp(-mean), 1)} times GJR’s seconds{note})"
    if cell.outcome == "equivalent":
        return f" ({numbers.signed(mean)}, {with_level(cell, EQUIVALENCE_LEVEL)}{disagreeing(cell)})"
    return f" ({numbers.signed(mean)} [{numbers.signed(low)}, {numbers.signed(high)}]{disagreeing(cell)})"
