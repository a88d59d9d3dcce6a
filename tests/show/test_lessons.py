"""The sentences of "What we learned" follow the ledger."""


import pandas as pd
import pytest

from pgjr_book import verdicts
from pgjr_book.show.lessons import Lesson, as_html, beside_kmeans, cnn_level, in_short, jigsaw_lead, lessons
from pgjr_book.stats import LEVEL
from pgjr_book.verdicts import Cell, Finding


@pytest.fixture
def everything(synthetic):
    """Records by which GJR gains on both sets, the blur as much, and pGJR nothing."""
    controls = [r for s in ("cifar10", "stl10") for v, m in (("frozen", 20), ("permuted", 20), ("blur", 23))
                for r in synthetic.side(v, m, s)]  # fmt: skip
    strong = [{**r, "variant": f"imagenet-labels/{kind}"} for kind in ("pgjr", "off")
              for r in synthetic.heads(0, sets=("cifar10",)) if r["variant"] == f"class-name/{kind}"]  # fmt: skip
    return {**synthetic.race(10, 4), "attribution": [*synthetic.jigsaw(3), *controls], "heads": [*synthetic.heads(0), *strong]}


def test_there_is_a_sentence_for_every_claim_with_runs(everything):
    speed, jigsaw, controls = (lesson.sentence for lesson in lessons(everything))
    assert speed.startswith("Whether pGJR reaches its own end faster than GJR reaches its own is open: faster with the class-name ")
    assert "(it takes 0.1 times GJR’s seconds); not run with the ImageNet-label prior on CIFAR-10." in speed
    assert jigsaw.startswith("The jigsaw improves clustering in 2 of 5 comparisons: it helps for GJR on CIFAR-10 (test) ‡ (+3.1 [")
    within = "; by a 90 % interval any effect is within the margin (±1 for a CNN, ±0.5 for a head) for pGJR"
    assert f"{within} with the class-name prior on CIFAR-10 (train, folds of 5,000) ‡ (" in jigsaw
    assert controls.startswith("Where it helps, a control does as well: for GJR on CIFAR-10 (test) ‡ a blur without blocks does as")
    assert lessons({}) == [] and in_short({}) == ""


def test_a_head_start_is_said_beside_the_speed(synthetic):
    race = synthetic.race(10, 4)
    ahead = {**race, "convergence": [
        {**r, "history": [{**row, "nmi": row["nmi"] + 0.4} for row in r["history"]]} if "pgjr" in r["variant"] else r
        for r in race["convergence"]]}  # fmt: skip
    (speed,) = lessons(ahead)
    settled = "whether pGJR reaches its own end faster than GJR reaches its own is open"
    head_start = r"but before any training its head has on CIFAR-10 an NMI of 40.0 with the class-name prior, and GJR ends at 30.0"
    assert speed.lead == f"{settled}; {head_start}"
    (slow,) = lessons(race)
    assert "before any" not in slow.sentence


def test_a_gain_without_an_equal_control_is_said(everything):
    worse = {**everything, "attribution": [r for r in everything["attribution"] if r["variant"] != "blur"]}
    *_, controls = lessons(worse)
    assert controls.sentence.startswith("Where it helps, no control does as well: for GJR on CIFAR-10 (test) ‡ every control is worse")
    few = [r for r in everything["attribution"] if r["variant"] != "blur" or r["config"]["seed"] < 103]
    *_, controls = lessons({**worse, "attribution": few})
    assert "the comparison with a blur without blocks is open" in controls.sentence
    assert controls.lead == "whether a control does as well where it helps is open"


def test_claims_4_and_5_name_winners_and_forms_of_the_jigsaw(synthetic):
    folds = {"split": "train", "limit": 5000}
    runs = [r for v, m, method in (("gjr", 20, "gjr"), ("random/pgjr", 10, "pgjr"), ("class-name/pgjr", 30, "pgjr"))
            for r in synthetic.side(v, m, method=method, **folds)]  # fmt: skip
    pieces = [r for v, m in (("gjr", 50), ("permuted", 20), ("frozen", 50)) for r in synthetic.side(v, m, "pieces", split="all")]
    winner, structure = (lesson.sentence for lesson in lessons({"winner": runs, "structure": pieces}))
    assert "GJR wins with random weights on CIFAR-10 (train, 5,000 images) ‡ (-" in winner
    assert "; pGJR wins with the class-name prior on CIFAR-10 (train, 5,000 images) ‡ (+" in winner
    assert "it does better than on permuted positions on pieces (+" in structure
    assert "it does no better than frozen at its start on pieces" in structure


@pytest.mark.parametrize(("on_stl10", "lead"), [
    (40, "which of GJR and pGJR wins depends on the prior; no prior has another winner on another of these sets"),
    (10, "whether GJR or pGJR wins depends on the set or on the prior"),
])  # fmt: skip
def test_who_wins_is_put_down_to_the_prior_where_no_set_speaks_against_it(synthetic, on_stl10, lead):
    means = {"gjr": 20, "random/pgjr": 10, "half-trained/pgjr": 30, "class-name/pgjr": 30, "imagenet-labels/pgjr": 30}
    elsewhere = {"gjr": 20, "class-name/pgjr": on_stl10, "imagenet-labels/pgjr": 40}
    sets = ((means, {"split": "train", "limit": 5000}), (elsewhere, {"dataset": "stl10"}))
    runs = [r for scores, where in sets for v, m in scores.items() for r in synthetic.side(v, m, method=v.split("/")[-1], **where)]
    (winner,) = lessons({"winner": runs})
    assert winner.lead == lead


def test_without_a_gain_there_is_no_control_to_speak_of(synthetic):
    flat = {"attribution": synthetic.jigsaw(0), "heads": []}
    (only,) = lessons(flat)
    assert only.lead == "the jigsaw improves clustering in 0 of 2 comparisons (3 have no outcome yet)"


def test_a_series_never_enters_the_controls_of_the_stand_ins(everything):
    large = [{**r, "key": f"{r['key']} b", "series": "profile clip",
              "config": {**r["config"], "backbone": "resnet18"}, "scores": {"plain": {k: [0.9] * 2 for k in r["scores"]["plain"]}}}
             for r in everything["attribution"] if r["variant"] == "gjr" and r["config"]["dataset"] == "cifar10"]  # fmt: skip
    mixed = {**everything, "attribution": [*everything["attribution"], *large]}
    ours, theirs = lessons(mixed), lessons(everything)
    assert [lesson.sentence for lesson in ours if "control" in lesson.lead] == [theirs[2].sentence]
    assert {lesson.column for lesson in ours} == {"stand-in"}  # of the column with CLIP, one cell of three was begun


def test_the_front_page_says_what_was_run_and_what_was_found(everything):
    text = in_short(everything)
    assert text.startswith("No run here used CLIP: ")
    assert ". Whether pGJR reaches its own end faster than GJR reaches its own is open. The jigsaw" in text
    assert text.endswith("; where it helps, a control does as well.")


def test_the_front_page_says_how_far_pgjr_is_from_kmeans(everything):
    pgjr = [r for r in everything["heads"] if r["variant"] == "class-name/pgjr" and r["config"]["dataset"] == "cifar10"]

    def below(points, **data):
        """The same runs as pGJR's, and as k-means' with lower scores, on a set."""
        config = {"dataset": data["name"]} if data else {}
        sides = [{**r, "data": {**r["data"], **data}, "config": {**r["config"], **config}} for r in pgjr]
        less = [{m: [x - points / 100 for x in r["scores"]["plain"][m]] for m in ("nmi", "acc")} for r in pgjr]
        lower = [{**r, "variant": "prior", "scores": {"plain": plain}} for r, plain in zip(sides, less, strict=True)]
        return [*({**r, "variant": "pgjr"} for r in sides), *lower]

    (sentence,) = beside_kmeans([*below(2), *below(9, name="digits")])  # digits are not the paper's
    both = "+2.0 to +2.0 points of NMI and +2.0 to +2.0 points of ACC"
    assert sentence == f"On CIFAR-10, pGJR minus k-means on the same frozen features is {both}."
    (sentence,) = beside_kmeans(below(9, name="digits"))
    assert sentence.startswith("On digits, ") and "+9.0 to +9.0 points of NMI" in sentence
    assert beside_kmeans(pgjr) == beside_kmeans([]) == []


def test_a_gain_that_a_correction_takes_back_is_not_counted_twice():
    def interval(level):
        return (1.0, 0.2, 1.8) if level == LEVEL else (1.0, -0.1, 2.1)

    gain, same = (Cell(None, None, 10, outcome, interval=interval) for outcome in ("gain", "equivalent"))
    assert jigsaw_lead(Finding("mixed", (gain, same))).endswith("in 1 of 2 comparisons, and in none once corrected for their number")
    assert jigsaw_lead(Finding("holds", (gain,))).endswith("in 1 of 1 comparisons")


def test_every_verdict_has_its_lead():
    from pgjr_book.show.lessons import LEADS

    for number, leads in LEADS.items():
        assert set(leads) == {"holds", "fails", "open"} | ({"mixed"} if number != 4 else set()), number
    assert {claim.number for claim in verdicts.CLAIMS} - set(LEADS) == {2, 3}


def test_a_sentence_begins_with_a_capital_but_for_pgjr():
    assert [Lesson(1, lead).sentence for lead in ("the jigsaw", "pGJR settles")] == ["The jigsaw.", "pGJR settles."]


def test_the_list_is_escaped():
    assert as_html([Lesson(1, "a <b> and c", "d")]) == "<ol><li>A &lt;b&gt; and c: d.</li></ol>" and "Not run" in as_html([])


def test_the_level_of_the_cnns_stands_beside_the_literatures(synthetic):
    published = pd.DataFrame({"method": ["IDFD", "IDFD", "TCL"], "dataset": ["cifar10", "stl10", "cifar10"], "nmi": [71.1, 64, 82]})
    ours = [r for r in synthetic.jigsaw(3) if r["config"]["dataset"] == "cifar10"]
    assert cnn_level(ours, published) == "Our IDFD ends at an NMI of 20.9 on CIFAR-10, the literature’s at 71.1."
    assert cnn_level([], published) == ""
