"""Sentences say what their numbers say."""

import pandas as pd
import pytest

from pgjr_book import verdicts
from pgjr_book.provenance import RulesHistory
from pgjr_book.show import sentences, tables
from pgjr_book.verdicts import ScoredSet

DIGITS = ScoredSet("digits", "all")


# ---- evidence ----


def test_evidence_of_claim_1_names_what_stands_in_the_way(synthetic):
    few = synthetic.race(3, 2.0, 0.1) + synthetic.race(3, 2.0, 0.1, dataset="stl10")
    finding = verdicts.judge_convergence(few)
    assert "digits: 3 pairs" in sentences.evidence(1, finding) and "5 seeds are needed to decide" in sentences.evidence(1, finding)
    gaining = synthetic.race(5, 2.0, 0.1)
    gaining[0]["history"][-1]["nmi"] += 0.05
    assert "still gains" in sentences.evidence(1, verdicts.judge_convergence(gaining))
    assert sentences.evidence(1, verdicts.judge_convergence([])) == "no pair of GJR and pGJR"


def test_an_obstacle_stays_in_the_line_of_its_set(synthetic):
    records = synthetic.race(5, 2.0, 0.1) + synthetic.race(5, 2.0, 0.1, dataset="stl10")
    records[0]["history"][-1]["nmi"] += 0.05
    first, second = sentences.evidence_lines(1, verdicts.judge_convergence(records))
    assert first.startswith("digits: ") and first.endswith("; training still gains at its end")
    assert second.startswith("stl10 (all): ") and ";" not in second


def test_evidence_of_claim_2_says_where_half_of_it_is_missing(synthetic):
    records = synthetic.paired(3.0, 5)
    lines = sentences.evidence_lines(2, verdicts.judge_jigsaw(records))
    assert len(lines) == 2 and lines[0].startswith("GJR on digits: +") and lines[0].endswith("NMI points, 5 seeds")
    cnns = [record for record in records if record["config"]["method"] != "pgjr"]
    assert sentences.evidence(2, verdicts.judge_jigsaw(cnns)).endswith("; the other of GJR and pGJR was not run")


def test_evidence_of_claims_4_and_5(synthetic):
    records = [synthetic.record(m, s, nmi * (1 + s / 100)) for s in range(5) for m, nmi in (("gjr", 50), ("pgjr", 60))]
    assert sentences.evidence(4, verdicts.judge_winner(records)) == "needs both methods on at least two sets, has 1"
    pieces = [
        synthetic.record(method, seed, nmi, dataset)
        for seed in range(5)
        for method, dataset, nmi in (("gjr", "pieces", 53 + seed / 50), ("idfd", "pieces", 50), ("gjr", "pieces-permuted", 50),
                                     ("idfd", "pieces-permuted", 50))
    ]  # fmt: skip
    text = sentences.evidence(5, verdicts.judge_structure(pieces))
    assert text.startswith("the jigsaw gains +3.0 in order, +0.0 permuted; interaction +3.0 [") and text.endswith("5 seeds")


# ---- observations ----


def test_sets_that_disagree_are_named_apart(synthetic):
    runs = synthetic.paired(3.0, 5) + synthetic.paired(-3.0, 5, dataset="stl10")
    runs += synthetic.paired(0.0, 5, noise=2.0, dataset="cifar20")
    assert "GJR gains on digits †, loses on stl10 (all) †, is open on cifar20 (all)." in sentences.observation(2, runs)


def test_few_seeds_decide_nothing_and_small_gains_are_named(synthetic):
    assert "GJR is open on digits †." in sentences.observation(2, synthetic.paired(3.0, 2))
    assert "GJR does not gain on digits †." in sentences.observation(2, synthetic.paired(0.0, 5, noise=0.1))
    scores = (("gjr", 50), ("pgjr", 60))
    one = [synthetic.record(m, s, nmi * (1 + s / 100)) for s in range(5) for m, nmi in scores]
    assert sentences.observation(4, one) == ""  # one set says nothing of what depends on the data
    two = one + [synthetic.record(m, s, (110 - nmi) * (1 + s / 100), "stl10") for s in range(5) for m, nmi in scores]
    assert sentences.observation(4, two) == "pGJR is ahead on digits †, is behind on stl10 (all) †."


def test_the_race_is_worded_with_its_mark_and_both_clocks(synthetic):
    runs = synthetic.race(2, 1.0, 0.1, extract=30.0)
    text, race = sentences.observation(1, runs), verdicts.convergence(runs)[0]
    assert f"On digits † the target is {100 * race.target:.0f} NMI points" in text
    assert f"pGJR reaches it after {race.pgjr_epoch:g} epochs, at {race.pgjr_seconds:.0f} s" in text
    assert f"GJR reaches it after {race.gjr_epoch:g} epochs, at {race.gjr_seconds:.0f} s" in text
    assert sentences._after(0.0) == "before any training"


def test_without_records_nothing_is_observed():
    assert [sentences.observation(number, []) for number in range(1, 6)] == [""] * 5


# ---- tables ----


def test_intervals_without_zero_are_named():
    rows = [("a − b", 0.1, 9.9), ("c − b", -7.0, -2.0), ("d − b", -1.0, 2.0)]
    paired = pd.DataFrame([
        {"set": DIGITS, "comparison": name, "95 % interval low": low, "95 % interval high": high} for name, low, high in rows
    ])  # fmt: skip
    assert sentences.intervals(paired) == (
        "The interval lies above zero for a − b on digits; below zero for c − b on digits; 1 of 3 intervals contains zero"
    )
    assert sentences.intervals(paired[2:]) == "1 of 1 intervals contains zero"
    assert sentences.intervals(paired[:1]) == "The interval lies above zero for a − b on digits; 0 of 1 intervals contain zero"
    assert sentences.intervals(paired[:0]) == "Not run"


def test_the_best_setting_of_a_study(study):
    assert sentences.best_setting(tables.extremes(study)) == (
        "on digits the means run from 39.0 (α = 0) to 45.0 (τ1 = 1) NMI points; the highest of 3 means is partly luck"
    )
    assert sentences.best_setting(tables.extremes([])) == "Not run"


def test_pgjr_stands_beside_its_prior(synthetic):
    prior = synthetic.record("prior", 0, 44, prior="class-name")
    heads = [synthetic.record("pgjr", seed, 40 + seed, prior="class-name") for seed in range(2)]
    assert sentences.against_prior(tables.against_prior([prior, *heads])) == (
        "on digits pGJR has NMI 40.5 ± 0.7 and ACC 40.5 ± 0.7, k-means on the prior has NMI 44.0 and ACC 44.0"
    )
    assert sentences.against_prior(tables.against_prior([])) == "not run"


def test_curves_have_their_ends_in_words(synthetic):
    assert sentences.ends(tables.ends(synthetic.race(2, 1.0, 1.0))) == (
        "on digits pGJR goes from 0.0 ± 0.0 to 60.0 ± 0.0, GJR from 0.0 ± 0.0 to 60.0 ± 0.0"
    )
    assert sentences.ends(tables.ends([])) == "not run"


# ---- settings, runs and rules ----


def test_the_prior_is_scored_on_the_sets_of_the_study(synthetic, study):
    priors = [synthetic.record("prior", 0, 44.04, prior="class-name"), synthetic.record("prior", 0, 30, "stl10", prior="x")]
    assert sentences.prior_scores(priors, study) == "44.0 on digits"
    assert sentences.prior_scores(priors, []) == "not been run"


def test_frozen_settings_are_those_of_photographs(synthetic):
    records = [synthetic.record("pgjr", 0, 40, tau1=0.5), synthetic.record("pgjr", 0, 40, "stl10", tau1=0.25)]
    assert sentences.frozen_settings(records).startswith("temperature 0.25, α 1.0, ")
    assert sentences.frozen_settings(records[:1]) == "Not run"


@pytest.mark.parametrize(("backbones", "text"), [(["thin"], "Only the thin ResNet was run"), (["thin", "resnet18"], ""), ([], "")])
def test_one_cnn_alone_is_named(synthetic, backbones, text):
    records = [synthetic.record("gjr", 0, 40, backbone=backbone) for backbone in backbones]
    assert sentences.only_one_cnn(records).startswith(text) and bool(sentences.only_one_cnn(records)) == bool(text)


def test_the_rules_of_the_records():
    assert sentences.rules(RulesHistory(records=6, current=2, other=1, unknown=3), "rules.py") == (
        "2 of 6 records were made under the current version of rules.py, 1 under another version, "
        "3 at commits that are unknown here or lack that file."
    )
    assert sentences.rules(RulesHistory(1, 1, 0, 0), "rules.py") == (
        "1 of 1 records were made under the current version of rules.py, 0 under another version."
    )
