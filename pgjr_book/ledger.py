"""The ledger: every claim judged in every column, each column on the records that may speak there.

The rules themselves are in :mod:`pgjr_book.verdicts`. A series (``experiments.yaml``) holds other runs of variants with the
same ids on the same images, such as a larger CNN beside CLIP. So it never enters the column of the stand-ins.
"""

from collections.abc import Iterable

from pgjr_book import verdicts
from pgjr_book.scored import Setting
from pgjr_book.verdicts import CLAIMS, PRIORS, LedgerRow, Published, Records


def ledger(records: Records, literature: Iterable[Published] = ()) -> list[LedgerRow]:
    """Judge every claim in every column. A claim reads its own experiments alone.

    Raises:
        PGJRError: two records claim one variant, set and seed.
    """
    literature = tuple(literature)
    return [
        LedgerRow(claim, {c: verdicts.judge(claim, of_column(records, c), c, literature) for c in PRIORS}) for claim in CLAIMS
    ]


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
