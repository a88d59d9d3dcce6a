"""Sentences say what their numbers say."""

import re

import numpy as np
import pandas as pd
import pytest

from pgjr_book import verdicts
from pgjr_book.provenance import RulesHistory
from pgjr_book.scored import ScoredSet
from pgjr_book.show import sentences, tables

DIGITS = ScoredSet("digits", "all")


# ---- evidence ----


def finding(records, number):
    return verdicts.ledger(records)[number - 1].findings["stand-in"]


def test_evidence_of_claim_1_is_a_ratio_of_seconds(synthetic):
    own = finding(synthetic.race(10, 4), 1)
    first, second = sentences.evidence_lines(1, own)
    start = "pGJR with the class-name prior against GJR on CIFAR-10 (test) ‡: GJR takes "
    assert first.startswith(start) and first.endswith(" times pGJR’s seconds; pGJR is faster")
    ratio = float(first[len(start) :].partition(" ")[0])
    assert ratio == pytest.approx(np.exp(own.cells[0].interval(0.95).mean), abs=0.01) and 9 < ratio < 12
    assert second == "pGJR with the ImageNet-label prior against GJR on CIFAR-10: not run"
    assert sentences.evidence(1, {"stand-in": finding({}, 1)}) == "No curves of GJR and pGJR on CIFAR-10"
    low = finding(synthetic.race(10, 4, gjr_end=0.5, pgjr_end=0.3), 1)
    assert sentences.evidence_lines(1, low)[0].endswith("; pGJR is not faster (pGJR ends below GJR)")


def test_evidence_of_claim_2_has_a_line_a_cell_and_says_where_metrics_disagree(synthetic):
    records = {"attribution": synthetic.jigsaw(3), "heads": synthetic.heads(0)}
    for record in records["attribution"]:
        record["scores"]["plain"]["acc"] = [0.5] * 2
    first, second, third, fourth, last = sentences.evidence_lines(2, finding(records, 2))
    assert first.startswith("GJR on CIFAR-10 (test) ‡: +3.1 NMI points, 95 % [") and "]; gain, but ACC says equi" in first
    assert third.startswith("pGJR with the class-name prior on CIFAR-10 (train, folds of 5,000) ‡: ")
    assert third.endswith("; equivalent") and last.endswith("not run")


def test_how_far_a_head_reaches_is_said_for_each_temperature(synthetic):
    means = {"prior": 30, "embedding-0.1": 25, "embedding-1": 31}
    weak = [r for v, m in means.items() for r in synthetic.side(f"class-name/{v}", m, method="pgjr", count=4)]
    strong = [r for v, m in {"prior": 50, "embedding-0.1": 56}.items()
              for r in synthetic.side(f"imagenet-labels/{v}", m, method="pgjr", count=4)]  # fmt: skip
    text = sentences.head_over_prior(tables.head_over_prior([*weak, *strong]))
    weak_to_strong = r"-[45].\d \(the class-name prior\) and \+[56].\d \(the ImageNet-label prior\)"
    assert re.match(rf"at τ1 0.1 between {weak_to_strong} and at τ1 1 between \+[01].\d", text)
    assert sentences.head_over_prior(tables.head_over_prior([])) == "not run"


def test_levels_are_said_set_by_set(synthetic):
    runs = [r for v, m in (("gjr", 50), ("idfd", 20), ("shifted", 10)) for r in synthetic.side(v, m, "pieces", split="all")]
    assert re.fullmatch(r"on pieces 2\d\.\d without a jigsaw and 5\d\.\d with it", sentences.levels(runs))
    assert sentences.levels([]) == "not run"


def test_the_summary_groups_cells_by_outcome(synthetic):
    text = sentences.summary(finding({"attribution": synthetic.jigsaw(3), "heads": synthetic.heads(0)}, 2))
    assert text.startswith("Gain: GJR on CIFAR-10 (test) ‡; GJR on STL-10 (test) †. ")
    assert ". Equivalent: pGJR" in text and ". Not run: " in text
    assert sentences.summary(finding({}, 2)) == ""


def test_a_prior_that_saw_labels_of_the_source_of_the_images_is_marked():
    strong = verdicts.Comparison("pGJR", "winner", "imagenet-labels/pgjr", "gjr", "stl10", "imagenet-labels")
    assert sentences.compared(strong, ScoredSet("stl10", "test")) == "pGJR with the ImageNet-label prior ¶"
    assert sentences.compared(strong, ScoredSet("cifar10", "test")) == "pGJR with the ImageNet-label prior"
    assert sentences.compared(strong, None) == "pGJR with the ImageNet-label prior"


def test_controls_are_worded_set_by_set(synthetic):
    records = [*synthetic.jigsaw(3), *synthetic.side("frozen", 23), *synthetic.side("blur", 20)]
    table = tables.attribution({"attribution": records, "heads": []})
    text = sentences.controls(table)
    assert text.startswith("for GJR on CIFAR-10 (test), against the same jigsaw frozen at its start (")
    assert text.count("equivalent)") == 1
    assert text.endswith(", gain)") and sentences.controls(table[:0]) == "not run"


def test_verdicts_have_words_for_each_column(synthetic):
    holds = finding(synthetic.race(10, 4), 1)
    assert sentences.verdict(holds) == "open"
    for column, words in (("paper", "supported"), ("clip", "seen here"), ("stand-in", "seen here")):
        assert sentences.verdict(verdicts.Finding("holds"), column) == words
    assert sentences.verdict(verdicts.Finding("fails"), "paper") == "not supported"
    assert sentences.verdict(verdicts.Finding("mixed")) == "mixed" and sentences.verdict(verdicts.Finding("not run")) == "not run"


# ---- tables ----


def test_intervals_without_zero_are_named():
    rows = [("a − b", 0.1, 9.9), ("c − b", -7.0, -2.0), ("d − b", -1.0, 2.0)]
    paired = pd.DataFrame([
        {"set": DIGITS, "comparison": name, "95 % interval low": low, "95 % interval high": high} for name, low, high in rows
    ])  # fmt: skip
    assert sentences.intervals(paired) == (
        "the interval lies above zero for a − b on digits; below zero for c − b on digits; 1 of 3 intervals contain zero"
    )
    assert sentences.intervals(paired[2:]) == "the one interval contains zero"
    assert sentences.intervals(paired[:1]) == "the interval lies above zero for a − b on digits; 0 of 1 intervals contain zero"
    assert sentences.intervals(paired[:0]) == "not run"


def test_the_best_setting_of_a_study(study):
    assert sentences.best_setting(tables.extremes(study)) == (
        "on digits the means run from 39.0 (α = 0) to 45.0 (τ1 = 1) NMI points; the highest of 3 means is partly luck"
    )
    assert sentences.best_setting(tables.extremes([])) == "not run"


def test_a_field_that_older_records_lack_makes_no_setting_of_its_own(study):
    older = [{**record, "config": {**record["config"], "baseline": None}} for record in study[:1]]
    assert tables.extremes([*older, *study[1:]])["settings"].tolist() == tables.extremes(study)["settings"].tolist()


def test_the_best_setting_is_named_for_each_prior(study):
    both = [{**record, "config": {**record["config"], "prior": prior}} for prior in ("x", "class-name") for record in study]
    text = sentences.best_by_prior(tables.extremes_by_prior(both))
    assert text.startswith("with x, on digits the means run from") and "; with the class-name prior, on digits" in text
    assert sentences.best_by_prior(tables.extremes_by_prior([])) == "not run"


def test_curves_have_their_ends_in_words(synthetic):
    assert sentences.ends(tables.ends(synthetic.race(5, 5, count=2)["convergence"])) == (
        "on CIFAR-10 (test) gjr goes from 0.0 ± 0.0 to 30.0 ± 0.0, class-name/pgjr goes from 0.0 ± 0.0 to 50.0 ± 0.0"
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
    assert sentences.frozen_settings(records[:1]) == "not run"


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


def test_comparisons_with_controls_are_counted_by_outcome():
    outcomes = pd.DataFrame({"outcome": ["gain", "equivalent", "equivalent", "not finished"]})
    counted = sentences.controls_counted(outcomes)
    assert counted.startswith("of 3 finished comparisons 1 favour the learned jigsaw, 0 favour the control, 2 are equivalent")
    assert sentences.controls_counted(outcomes[:0]) == sentences.controls_counted(outcomes[3:]) == "not run"
