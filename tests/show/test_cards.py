"""The front page's cards say what the ledger says, and what the records show."""

from test_verdicts import curve, paired, record

from pgjr_book import verdicts as claims
from pgjr_book.show import cards


def test_a_card_for_every_claim_with_both_verdicts():
    page = cards.cards({"components": paired(3.0, 5)})
    assert page.count('<div class="claim">') == len(claims.CLAIMS)
    rows = claims.ledger({"components": paired(3.0, 5)})
    for row in rows:
        assert f"our stand-in: <strong>{row['stand_in']}</strong>" in page
        assert f"the paper’s setting: <strong>{row['paper']}</strong>" in page
    assert "With the jigsaw GJR gains on digits †." in page and "With the jigsaw pGJR gains on digits †." in page
    assert "† development set" in page


def test_sets_that_disagree_are_told_apart():
    runs = paired(3.0, 5) + paired(-3.0, 5, dataset="stl10") + paired(0.0, 5, noise=2.0, dataset="cifar20")
    told = cards.seen(2, runs)
    assert "GJR gains on digits †, loses on stl10 (all) †, is open on cifar20 (all)." in told


def test_few_seeds_decide_nothing_and_small_gains_are_told():
    assert "GJR is open on digits †." in cards.seen(2, paired(3.0, 2))
    assert "GJR does not gain on digits †." in cards.seen(2, paired(0.0, 5, noise=0.1))
    one = [record(m, s, nmi + s / 10, prior=p) for s in range(5) for m, nmi, p in (("gjr", 50, None), ("pgjr", 60, "class-name"))]
    assert cards.seen(4, one) == ""  # one set says nothing of what depends on the data


def test_the_race_is_told_with_its_mark_and_both_clocks():
    runs = [record("gjr", s, 60, backbone="thin", history=curve(1.0)) for s in range(2)]
    runs += [record("pgjr", s, 60, prior="class-name", history=curve(0.1), extract=30.0) for s in range(2)]
    told = cards.seen(1, [{**r, "timings": {**r["timings"], "alone": True}} for r in runs])
    (row, _) = claims.convergence(runs)
    assert f"both must reach {100 * row['target']:.0f} NMI points" in told
    assert f"is {row['pgjr_seconds']:.0f} s; GJR has it after {row['gjr_epoch']:g} epochs" in told
    assert f"which is {row['gjr_seconds']:.0f} s" in told and cards._after(0.0) == "before any training"


def test_without_records_nothing_is_said():
    assert [cards.seen(number, []) for number in range(1, 6)] == [""] * 5
    assert cards._by_line("a: 1; still gains; b: 2") == ["a: 1; still gains", "b: 2"]
