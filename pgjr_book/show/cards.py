"""The claims on the front page: one card a claim, with both verdicts, what the records show, and the numbers."""

from markupsafe import Markup

from pgjr_book import verdicts
from pgjr_book.show.sentences import evidence_lines, observation, on_paper, on_stand_in
from pgjr_book.show.sets import explained
from pgjr_book.show.templates import fill


def cards(records: dict[str, list[dict]]) -> str:
    """Return one card a claim as HTML, from the records of each experiment."""
    rows, places = [], set()
    for row in verdicts.ledger(records):
        own = records.get(row.claim.experiment, [])
        basis = [record for record in own if verdicts.on_papers_setting(record)] or own
        text = observation(row.claim.number, basis)
        if text:
            places |= set(map(scored.scored_set, basis))
        rows.append({
            "number": row.claim.number, "statement": row.claim.statement,
            "verdicts": {"the paper’s setting": on_paper(row.paper), "our stand-in": on_stand_in(row.stand_in)},
            "observation": text, "evidence": evidence_lines(row.claim.number, row.evidence),
        })  # fmt: skip
    return fill("cards.html", cards=rows, marks=Markup(explained(places)))
