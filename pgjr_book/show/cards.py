"""The claims on the front page: one card a claim, with its verdicts, what the records show, and the numbers."""

from markupsafe import Markup

from pgjr_book import ledger as ledgers
from pgjr_book import verdicts
from pgjr_book.show.sentences import COLUMNS, evidence_lines, summary, verdict
from pgjr_book.show.sets import explained
from pgjr_book.show.templates import fill


def cards(records: verdicts.Records, literature: list[verdicts.Published]) -> str:
    """Return one card a claim as HTML, from the records of each experiment."""
    rows, places = [], set()
    for row in ledgers.ledger(records, literature):
        findings, whole = ledgers.shown(row), ledgers.together(row)
        places |= {cell.where for cell in whole.cells if cell.where}
        rows.append({
            "number": row.claim.number, "statement": row.claim.statement,
            "verdicts": {name: verdict(row.findings[column], column) for column, name in COLUMNS.items()},
            "observation": summary(whole),
            "evidence": [line for finding in findings.values() for line in evidence_lines(row.claim.number, finding)],
        })  # fmt: skip
    return fill("cards.html", cards=rows, marks=Markup(explained(places, (line for row in rows for line in row["evidence"]))))
