"""The rules: cells, verdicts, the race, and the ledger's columns, on synthetic records."""

import re

import numpy as np
import pytest

from pgjr_book import scored, verdicts
from pgjr_book.run_config import RESULTS_VERSION
from pgjr_book.scored import ScoredSet
from pgjr_book.verdicts import Comparison, Published
from pgjr_lib.errors import PGJRError

FIRST = verdicts.FIRST_SEED


@pytest.fixture
def side(synthetic):
    return synthetic.side


PLAN = Comparison("", "attribution", "gjr", "idfd", "cifar10", "", verdicts.MARGIN_CNN)


@pytest.mark.parametrize(("gain", "found"), [(3, "gain"), (-3, "harm"), (0.2, "equivalent")])
def test_a_cell_has_the_outcome_of_its_differences(synthetic, gain, found):
    cell = verdicts.cell({"attribution": synthetic.jigsaw(gain)}, PLAN)
    assert cell.outcome == found and cell.runs == 10 and cell.where == ScoredSet("cifar10", "test")
    assert cell.interval(0.95).mean == pytest.approx(gain, abs=0.2) and cell.others == {"acc": found, "ari": found}


def test_nothing_is_decided_before_all_planned_seeds_have_landed(synthetic):
    for records in (synthetic.jigsaw(3)[:-1], synthetic.jigsaw(3, first=0), []):
        cell = verdicts.cell({"attribution": records}, Comparison("", "attribution", "gjr", "idfd", "stl10"))
        assert cell.outcome is None
    old = [{**record, "results_version": RESULTS_VERSION - 1} for record in synthetic.jigsaw(3)]
    assert verdicts.cell({"attribution": old}, PLAN).runs == 0  # what earlier code made decides nothing


def test_two_records_of_one_run_are_refused_with_both_names(synthetic):
    records = synthetic.jigsaw(3)
    twin = {**records[0], "key": "twin"}
    with pytest.raises(PGJRError, match=re.escape(f"{records[0]['key']} and twin both claim variant idfd")):
        verdicts.cell({"attribution": [*records, twin]}, PLAN)


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        ((3, 3, 3), "holds"), ((0, -3, 0), "fails"), ((3, -3, 3), "mixed"), ((3, 0, 3), "mixed"), ((0, 0, 0), "fails"),
    ],
)  # fmt: skip
def test_claim_2_needs_every_cell(synthetic, gains, expected):
    cnn, weak, strong = gains
    strong_prior = synthetic.heads(strong, "imagenet-labels", ("cifar10",))
    records = {"attribution": synthetic.jigsaw(cnn), "heads": synthetic.heads(weak) + strong_prior}
    finding = verdicts.ledger(records)[1].findings["stand-in"]
    assert finding.verdict == expected and len(finding.cells) == 5
    assert finding.level == (0.99 if expected == "mixed" else 0.95)
    assert finding.cells[2].where == ScoredSet("cifar10", "train", 5000)


def test_a_claim_with_an_unfinished_or_open_cell_is_open(synthetic):
    records = {"attribution": synthetic.jigsaw(3), "heads": synthetic.heads(3)}
    assert verdicts.ledger(records)[1].findings["stand-in"].verdict == "open"
    noisy = synthetic.heads(3) + synthetic.heads(0.6, "imagenet-labels", ("cifar10",))
    for i, record in enumerate(noisy):
        if record["variant"] == "imagenet-labels/pgjr":
            record["scores"]["plain"]["nmi"] = [value + 0.03 * (-1) ** i for value in record["scores"]["plain"]["nmi"]]
    finding = verdicts.ledger({"attribution": synthetic.jigsaw(3), "heads": noisy})[1].findings["stand-in"]
    assert finding.cells[-1].outcome == "open" and finding.verdict == "open"
    assert verdicts.ledger({})[1].findings["stand-in"].verdict == "not run"


# ---- claim 1 ----


def first_cell(records):
    return verdicts.ledger(records)[0].findings["stand-in"].cells[0]


def test_the_race_counts_epochs_times_the_timed_epoch_and_the_encodings(synthetic):
    records = synthetic.race(10, 4)
    found = verdicts.race(records, "class-name/pgjr", "cifar10", 0.3)
    assert found.seconds[0.95, "own"][FIRST] == 4 * 1.0 + 5.0 and found.epochs[0.5, "own"][FIRST] == 2
    assert found.seconds[0.95, "gjr"][FIRST] == 3 + 5.0  # 0.285 of 0.5 at epoch 3
    cell = first_cell(records)
    assert cell.outcome == "gain" and cell.interval(0.95).mean > np.log(8)


def test_the_race_the_other_way_and_a_prior_that_ends_below(synthetic):
    assert first_cell(synthetic.race(3, 12, gjr_s=1.0, pgjr_s=10.0)).outcome == "harm"
    low = first_cell(synthetic.race(10, 4, gjr_end=0.5, pgjr_end=0.3))
    assert low.outcome == "harm" and low.note == "pGJR ends below GJR"


def test_a_race_without_clocks_on_two_machines_or_without_arrival_decides_nothing(synthetic):
    records = synthetic.race(10, 4)
    assert first_cell({**records, "timing": []}).outcome is None
    moved = synthetic.race(10, 4)
    moved["timing"][0]["provenance"]["host_cpu"] = "y"
    assert (first_cell(moved).outcome, first_cell(moved).note) == ("open", "timed on two machines")
    late = synthetic.race(10, 4)
    for record in late["convergence"]:
        if record["variant"] == "class-name/pgjr":
            for row in record["history"]:
                row["nmi"] = 0.5 * 0.5 ** (15 - row["epoch"])  # doubles until the last epoch
    assert (first_cell(late).outcome, first_cell(late).note) == ("open", "pGJR did not settle")
    assert first_cell(synthetic.race(10, 4, count=9)).outcome is None


# ---- claims 3, 4 and 5, and the columns ----


def clip(side, mean, **fields):
    return side("pgjr", mean, method="pgjr", prior="ViT-B-32-quickgelu/openai", **{"split": "train", **fields})


@pytest.mark.parametrize(("mean", "expected"), [(79, "holds"), (85, "holds"), (60, "fails")])
def test_claim_3_compares_with_the_best_number_of_the_same_set_split_and_backbone(side, mean, expected):
    literature = [
        Published("cifar10", "train", "ViT-B-32-quickgelu", number) for number in (70, 80)
    ] + [Published("cifar10", "test", "ViT-B-32-quickgelu", 99), Published("cifar10", "train", "ViT-L-14", 99)]  # fmt: skip
    records = {"main": clip(side, mean)}
    assert verdicts.ledger(records, literature)[2].findings["paper"].verdict == expected
    stand_in = {"main": side("pgjr", 79, method="pgjr", split="train")}
    assert verdicts.ledger(stand_in, literature)[2].findings["paper"].verdict == "not run"
    assert verdicts.ledger(records)[2].findings["paper"].verdict == "not run"


def contest(side, margins):
    """GJR on both sets and pGJR that differs from it by ``margins``: (set, prior) -> points."""
    gjr = [r for s in ("cifar10", "stl10") for r in side("gjr", 30, s)]
    return {"winner": gjr + [r for (s, p), m in margins.items() for r in side(f"{p}/pgjr", 30 + m, s, "pgjr")]}


def test_claim_4_needs_a_cell_for_each_side(side):
    places = [(c.dataset, c.prior) for c in verdicts.comparisons(4, "stand-in")]
    assert len(places) == 6

    def found(*margins):
        return verdicts.ledger(contest(side, dict(zip(places, margins, strict=True))))[3].findings["stand-in"].verdict

    assert found(-9, -5, 5, 9, 5, 9) == "holds"
    assert found(9, 5, 5, 9, 5, 9) == "fails" and found(0, 0, 0, 0, 0, 0) == "fails"
    assert verdicts.ledger(contest(side, {places[0]: -9}))[3].findings["stand-in"].verdict == "open"
    assert verdicts.ledger({})[3].findings["stand-in"].verdict == "not run"


def test_claim_5_needs_every_control_at_both_levels(side):
    def records(aligned, control):
        variants = {"gjr": aligned, "permuted": control, "shifted": control, "frozen": control}
        return {"structure": [r for s in ("pieces", "pieces-hard") for v, m in variants.items() for r in side(v, m, s, split="all")]}

    assert verdicts.ledger(records(60, 50))[4].findings["stand-in"].verdict == "holds"
    assert verdicts.ledger(records(60, 60))[4].findings["stand-in"].verdict == "fails"
    assert verdicts.ledger(records(60, 50))[4].findings["paper"].verdict == "not run"


@pytest.mark.parametrize(
    ("fields", "departure"),
    [({"dataset": "digits"}, "data"), ({"limit": 1000}, "data"), ({"backbone": "small"}, "backbone"), ({"epochs": 100}, "epochs")],
)
def test_the_papers_setting_is_left_by_any_departure(synthetic, fields, departure):
    whole = {"dataset": "cifar10", "backbone": "resnet18", "epochs": scored.IDFD_EPOCHS, "split": "train"}
    assert scored.setting(synthetic.record("gjr", 0, 50, **whole)) == "paper"
    less = synthetic.record("gjr", 0, 50, **{**whole, **fields})
    assert scored.departures(less) == {departure}
    assert scored.setting(less) == ("clip" if departure == "epochs" else "stand-in")


def test_a_prior_that_is_no_clip_and_a_note_depart_too(synthetic):
    def make(prior):
        return synthetic.record("pgjr", 0, 50, "cifar10", prior=prior, split="train")

    assert scored.setting(make("ViT-B-32-quickgelu/openai")) == "paper"
    for prior in ("class-name", "random:ViT-B-32-quickgelu/openai", "file:/x/openai", "imagenet-labels"):
        assert scored.departures(make(prior)) == {"prior"}
    noted = make("ViT-B-32-quickgelu/openai")
    noted["data"]["note"] = "re-encoded"
    assert scored.departures(noted) == {"data"}


def test_a_short_cnn_with_clip_speaks_in_its_own_column(synthetic, side):
    short = synthetic.jigsaw(3, ("cifar10",), backbone="resnet18", epochs=120, split="train")
    pgjr = [r for v, m in (("clip/off", 50), ("clip/pgjr", 53)) for s in ("cifar10", "stl10")
            for r in side(v, m, s, "pgjr", prior="ViT-B-32-quickgelu/openai", split="train")]  # fmt: skip
    row = verdicts.ledger({"attribution": short, "heads": pgjr})[1]
    assert row.findings["clip"].verdict == "holds" and row.findings["paper"].verdict == "open"
    assert row.evidence is row.findings["paper"]


def test_attributions_ask_every_control_of_every_gain():
    found = verdicts.attributions("stand-in", ("frozen", "blur"))
    assert len(found) == 10 and found[0][2].baseline == "frozen" and found[-1][2].baseline == "imagenet-labels/blur"
    assert all((gain.variant, gain.margin) == (other.variant, other.margin) for gain, _, other in found)
