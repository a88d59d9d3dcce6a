"""The front page's cards say what the ledger says, and what the records show."""

from pgjr_book import verdicts
from pgjr_book.show.cards import cards
from pgjr_book.show.sentences import on_paper, on_stand_in


def test_a_card_for_every_claim_with_both_verdicts(synthetic):
    page = cards({"components": synthetic.paired(3.0, 5)})
    assert page.count('<div class="claim">') == len(verdicts.CLAIMS)
    for row in verdicts.ledger({"components": synthetic.paired(3.0, 5)}):
        assert f"our stand-in: <strong>{on_stand_in(row.stand_in)}</strong>" in page
        assert f"the paper’s setting: <strong>{on_paper(row.paper)}</strong>" in page
    assert "With the jigsaw GJR gains on digits †." in page and "With the jigsaw pGJR gains on digits †." in page
    assert "† development set" in page and "‡" not in page


def test_the_numbers_of_a_card_are_the_evidence_line_by_line(synthetic):
    page = cards({"convergence": synthetic.race(3, 2.0, 0.1)})
    assert "<li>digits: 3 pairs, GJR takes" in page and "needed to decide</li>" in page
    assert "our claim, not the paper&#39;s" in page  # escaped


def test_without_records_cards_say_not_run():
    page = cards({})
    assert page.count("<strong>not run</strong>") == 2 * len(verdicts.CLAIMS) and "†" not in page
