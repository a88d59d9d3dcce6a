"""The ledger: every claim judged in every column, each column on the records that may speak there.

The rules themselves are in :mod:`pgjr_book.verdicts`. A series (``experiments.yaml``) holds other runs of variants with the
same ids on the same images, such as a larger CNN beside CLIP. So it never enters the column of the stand-ins.
"""

from collections.abc import Iterable
from dataclasses import replace

from pgjr_book import verdicts
from pgjr_book.scored import Setting
from pgjr_book.verdicts import CLAIMS, PRIORS, Finding, LedgerRow, Published, Records


def ledger(records: Records, literature: Iterable[Published] = ()) -> list[LedgerRow]:
    """Judge every claim in every column. A claim reads its own experiments alone.

    Raises:
        PGJRError: two records claim one variant, set and seed.
    """
    literature = tuple(literature)
    return [
        LedgerRow(claim, {c: verdicts.judge(claim, of_column(records, c), c, literature) for c in PRIORS}) for claim in CLAIMS
    ]


def shown(row: LedgerRow) -> dict[Setting, Finding]:
    """Return the findings of a claim that pages show: of every column that was run, else of the stand-ins'."""
    run = {column: finding for column, finding in row.findings.items() if finding.verdict != "not run"}
    return run or {"stand-in": row.findings["stand-in"]}


def judged(number: int, records: Records) -> dict[Setting, Finding]:
    """Judge one claim and return the findings that pages show, as :func:`shown`."""
    return next(shown(row) for row in ledger(records) if row.claim.number == number)


def leading(row: LedgerRow) -> Setting:
    """Return the column that the story of a claim follows: the first of which every cell was begun, else the last that was run."""
    run = shown(row)
    begun = (column for column, finding in run.items() if all(cell.runs for cell in finding.cells))
    return next(begun, list(run)[-1])


def together(row: LedgerRow) -> Finding:
    """Return the finding of the leading column, with the decided cells of the other columns after its own."""
    lead = leading(row)
    others = [cell for column, finding in shown(row).items() if column != lead for cell in finding.cells if cell.outcome]
    return replace(row.findings[lead], cells=(*row.findings[lead].cells, *others))


def of_column(records: Records, column: Setting) -> Records:
    """Return the records that may speak in a column: those that the rules let in, and no series beside the stand-ins."""
    return {
        name: [r for r in group if verdicts._belongs(r, column) and not (column == "stand-in" and r.get("series"))]
        for name, group in records.items()
    }  # fmt: skip


def by_series(records: Records) -> list[Records]:
    """Split records by series, the one without a name first; each part has all experiments."""
    names = sorted({record.get("series", "") for group in records.values() for record in group})
    return [{e: [r for r in group if r.get("series", "") == name] for e, group in records.items()} for name in names]
