"""The front page's cards say what the ledger says, and what the records show."""

from pgjr_book import verdicts
from pgjr_book.show.cards import cards
from pgjr_book.show.sentences import COLUMNS, verdict


def test_a_card_for_every_claim_with_the_verdict_of_every_column(synthetic):
    experiments = {"attribution": synthetic.jigsaw(3), "heads": synthetic.heads(3)}
    page = cards(experiments, [])
    assert page.count('<div class="claim">') == len(verdicts.CLAIMS)
    for row in verdicts.ledger(experiments):
        for column, name in COLUMNS.items():
            assert f"{name}: <strong>{verdict(row.findings[column], column)}</strong>" in page
    assert "Gain: GJR on CIFAR-10 (test) ‡;" in page
    assert "† development set" in page and "‡ its labels" in page


def test_the_numbers_of_a_card_are_the_evidence_line_by_line(synthetic):
    page = cards(synthetic.race(10, 4), [])
    assert "<li>pGJR with the class-name prior against GJR on CIFAR-10 (test) ‡: GJR takes" in page and "; pGJR is faster</li>" in page
    assert "our claim, not the paper&#39;s" in page  # escaped


def test_without_records_cards_say_not_run():
    page = cards({}, [])
    assert page.count("<strong>not run</strong>") == len(COLUMNS) * len(verdicts.CLAIMS) and "†" not in page
