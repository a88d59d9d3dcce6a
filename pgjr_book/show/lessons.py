"""What the records teach, in a few sentences: numbers of the ledger in, plain text out."""

import html
from dataclasses import dataclass

import numpy as np

from pgjr_book import ledger as ledgers
from pgjr_book import verdicts
from pgjr_book.races import SHARES
from pgjr_book.scored import Setting
from pgjr_book.show import numbers
from pgjr_book.show.sentences import PRIOR_NAMES, begun, compared, joined
from pgjr_book.show.sets import set_name, title
from pgjr_book.stats import LEVEL
from pgjr_book.verdicts import Cell, Finding, Records

CONTROLS = {  # of claim 2 -> how a sentence calls the control
    "frozen": "the same jigsaw frozen at its start", "permuted": "the jigsaw on permuted positions",
    "blur": "a blur without blocks", "dense": "a dense layer",
}  # fmt: skip
LEADS = {  # claim -> verdict -> the clause that opens its sentence; claim 2 counts instead
    1: {
        "holds": "pGJR settles sooner than GJR, with its encodings counted",
        "fails": "pGJR does not settle sooner than GJR when its encodings are counted",
        "mixed": "whether pGJR settles sooner than GJR depends on the prior",
        "open": "whether pGJR settles sooner than GJR is open",
    },
    4: {
        "holds": "which of GJR and pGJR wins depends on the data and on what the prior knows of them",
        "fails": "one of GJR and pGJR is never behind the other",
        "open": "whether GJR or pGJR wins is open for some sets and priors",
    },
    5: {
        "holds": "the jigsaw uses structure",
        "fails": "the jigsaw does not use structure",
        "mixed": "the jigsaw uses some of the structure",
        "open": "whether the jigsaw uses structure is open",
    },
}
SIDES = {  # outcome -> how a sentence calls it, by claim where that differs
    "gain": {1: "sooner", 2: "it helps", 4: "pGJR wins", 5: "it does better"},
    "harm": {1: "not sooner", 2: "it harms", 4: "GJR wins", 5: "it does worse"},
    "equivalent": {1: "as soon", 2: "it changes nothing", 4: "both are as good", 5: "it does no better"},
    "open": {1: "open", 2: "open", 4: "open", 5: "open whether it does better"},
    None: {1: "not finished", 2: "not finished", 4: "not finished", 5: "not finished: whether it does better"},
}
AGAINST_ITSELF = {  # baseline of claim 5 -> the end of a clause
    "permuted": "than on permuted positions", "shifted": "than with its blocks shifted by half",
    "frozen": "than frozen at its start",
}  # fmt: skip


@dataclass(frozen=True)
class Lesson:
    """One sentence of the chapter "What we learned": a clause that stands alone, the cells behind it, and the ledger's column."""

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
            lead += _head_start(own, finding) if number == 1 else ""
            said.append(Lesson(lead, _by_outcome(number, whole), column))
            if number == 2 and (controls := _controls(own, column, finding)):
                said.append(controls)
    return said


def as_html(said: list[Lesson]) -> str:
    """Return lessons as a numbered list; "not run" where there are none."""
    items = "".join(f"<li>{html.escape(lesson.sentence)}</li>" for lesson in said)
    return f"<ol>{items}</ol>" if items else "<p><em>Not run: this profile has no records of these claims.</em></p>"


def in_short(records: Records) -> str:
    """Return the front page's sentences: the leads of :func:`lessons`, two to a sentence, and what they were seen with.

    "" without runs.
    """
    first = lessons(records)[:4]
    sentences = [f"{begun(', and '.join(lesson.lead for lesson in first[i : i + 2]))}." for i in range(0, len(first), 2)]
    columns = {lesson.column for lesson in first}
    if columns == {"stand-in"}:
        sentences.append("We saw this with stand-ins for CLIP.")
    elif "stand-in" in columns:
        sentences.append("Some of it was seen with stand-ins for CLIP.")
    return " ".join(sentences)


def jigsaw_lead(finding: Finding) -> str:
    """Count the comparisons of claim 2 in which the jigsaw helps."""
    done = [cell for cell in finding.cells if cell.outcome]
    helps, rest = sum(cell.outcome == "gain" for cell in done), len(finding.cells) - len(done)
    unfinished = f" ({rest} {'is' if rest == 1 else 'are'} not finished)" if rest else ""
    return f"the jigsaw improves clustering in {helps} of {len(done)} comparisons{unfinished}"


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
        lead = "a control explains every gain"
    elif unsettled:
        lead = "whether a control explains every gain is open"
    else:
        lead = f"a control explains {explained} of {len(gains)} gains" if explained else "no control explains a gain"
    return Lesson(lead, "; ".join(details), column)


def _head_start(records: Records, finding: Finding) -> str:
    """Say that pGJR is at GJR's end before any training, and with which priors; "" where it is with none.

    Claim 1 asks when each method reaches its own end, which hides that.
    """
    ahead = []
    for comparison in (cell.comparison for cell in finding.cells if cell.runs):
        gjr = verdicts.race(records, comparison.baseline, comparison.dataset)
        goal = float(np.mean(list(gjr.ends.values()))) if gjr.ends else None
        pgjr = verdicts.race(records, comparison.variant, comparison.dataset, goal)
        if goal is not None and pgjr.ends and pgjr.before_training[SHARES[-1], "gjr"] == len(pgjr.ends):
            ahead.append(PRIOR_NAMES[comparison.prior])
    if not ahead:
        return ""
    every = len(ahead) == sum(cell.runs > 0 for cell in finding.cells)
    where = "" if every else f"with {joined(ahead)} "
    return f", but {where}its untrained head is at GJR’s end already"


def _by_outcome(number: int, finding: Finding) -> str:
    sides: dict[str, list[str]] = {}
    for cell in finding.cells:
        name = SIDES[cell.outcome][number]
        sides.setdefault(name, []).append(f"{_where(number, cell)}{_size(number, cell)}")
    return "; ".join(f"{side} {joined(cells)}" for side, cells in sides.items())


def _where(number: int, cell: Cell) -> str:
    """Name a cell as the end of a clause: claims 1 and 4 compare the same methods in all of them, the others do not."""
    where = set_name(cell.where) if cell.where else title(cell.comparison.dataset)
    if number in (1, 4):
        return f"with {PRIOR_NAMES[cell.comparison.prior]} on {where}"
    name = compared(cell.comparison, cell.where)
    return f"for {name} on {where}" if number == 2 else f"{AGAINST_ITSELF[cell.comparison.baseline]} on {where}"


def _size(number: int, cell: Cell) -> str:
    if not (cell.interval and cell.outcome):
        return ""
    mean = cell.interval(LEVEL).mean
    note = f", but {cell.note}" if cell.note else ""
    return f" ({numbers.fixed(np.exp(mean), 1)} times{note})" if number == 1 else f" ({numbers.signed(mean)})"
