"""Records become frames of numbers."""

import numpy as np
import pytest

from pgjr_book import verdicts
from pgjr_book.scored import ScoredSet
from pgjr_book.show import figures, sentences, tables
from pgjr_book.show.sentences import CONTROLS
from pgjr_book.stats import paired_interval
from pgjr_lib.errors import PGJRError

DIGITS = ScoredSet("digits", "all")


def test_components_are_mean_and_sd_over_seeds(records):
    table = tables.components(records).set_index("variant")
    assert table.loc["without", "NMI"] == pytest.approx(55)
    assert table.loc["without", "NMI sd"] == pytest.approx(np.std([50, 60, 55], ddof=1))
    assert table.loc["with", "seeds"] == 3 and set(table["set"]) == {DIGITS}


def test_epochs_are_shown_where_they_differ(synthetic):
    runs = [synthetic.record("gjr", 0, 40, epochs=2), synthetic.record("idfd", 0, 40, epochs=3), synthetic.record("pixels", 0, 40)]
    table = tables.components(runs)
    assert table["trained epochs"].tolist()[:2] == [2, 3] and np.isnan(table["trained epochs"][2])
    assert "trained epochs" not in tables.components(runs[1:])


def test_a_missing_run_is_missing_and_not_zero(records):
    table = tables.components(records[:-1]).set_index("variant")
    assert table.loc["with", "seeds"] == 2 and table.loc["with", "NMI"] == pytest.approx(56.5)
    assert np.isnan(tables.components(records[:1])["NMI sd"][0])
    assert tables.components([]).empty


def test_other_features_of_a_run_stand_below_it(records):
    bank = {name: [value / 2 for value in values] for name, values in records[0]["scores"]["plain"].items()}
    records[0] = {**records[0], "scores": {**records[0]["scores"], "bank": bank}}
    table = tables.components(records)
    assert list(table["variant"]) == ["without", "the same, memory bank", "with"]
    assert table["NMI"][1] == pytest.approx(25) and table["seeds"][1] == 1


def test_comparisons_pair_by_seed(records):
    (row,) = tables.comparisons(records, [("with", "without"), ("with", "nothing")]).to_dict("records")
    assert row["NMI difference"] == pytest.approx(2) and row["pairs"] == 3 and row["comparison"] == "with − without"
    assert (row["NMI difference"], row["95 % interval low"], row["95 % interval high"]) == pytest.approx(paired_interval([2, 1, 3]))


def test_two_runs_of_one_seed_are_no_pair_but_an_error(records):
    twin = {**records[0], "key": "another"}
    with pytest.raises(PGJRError, match=f"{records[0]['key'][:4]}.* and another both claim variant without"):
        tables.comparisons([*records, twin], [("with", "without")])


def test_data_sets_say_what_was_used_and_what_the_prior_saw(synthetic):
    used = synthetic.record("pixels", 0, 20, "cifar10", split="test")
    table = tables.data_sets([used]).set_index("set")
    assert table.loc["CIFAR-10", "used here"] == [("test", 10_000)]
    assert table.loc["CIFAR-10", "images"] == {"train": 50_000, "test": 10_000} and table.loc["digits", "images"] == {"all": 1797}
    assert table.loc["STL-10", "used here"] == [] and table.loc["CIFAR-100/20", "classes"] == 20
    assert table.loc["Tiny-ImageNet", "note"] == []  # no record here stands on a prior that saw them
    table = tables.data_sets([used, {**used, "config": {**used["config"], "prior": "class-name"}}]).set_index("set")
    assert table.loc["Tiny-ImageNet", "note"] == ["prior saw these labels"] and table.loc["CIFAR-10", "note"] == []


def test_the_landscape_tells_what_equal_inertia_hides(synthetic):
    landscape = {"inertia": [100.0, 100.5, 120.0], "acc": [0.40, 0.60, 0.20]}
    (row,) = tables.landscapes([{**synthetic.record("prior", 0, 40), "landscape": landscape}]).to_dict("records")
    assert row["at the lowest inertia"] == pytest.approx(40) and row["highest"] == pytest.approx(60) and row["starts"] == 3
    assert row["lowest"] == pytest.approx(20) and row["starts within 1 %"] == 2
    assert (row["within 1 % of it low"], row["within 1 % of it high"]) == pytest.approx((40, 60))


def test_sensitivity_has_one_row_a_setting_and_value(study):
    table = tables.sensitivity(study, "start").set_index(["setting", "value"])
    assert len(table) == 4 and table.loc[("τ1", 1), "NMI against start"] == pytest.approx(4)
    assert (table.loc[("α", 0), "NMI"], table.loc[("α", 0), "NMI sd"]) == pytest.approx((39, 1))
    assert table.loc[("α", 1), "NMI against start"] == 0
    alone = tables.sensitivity([r for r in study if r["variant"] != "start"], "start")
    assert alone["NMI against start"].isna().all()
    assert tables.sensitivity([], "start").empty


def test_the_default_of_a_study_may_be_one_of_its_points(study):
    table = tables.sensitivity(study, "τ1-1").set_index(["setting", "value"])
    assert table.loc[("τ1", 1), "NMI against τ1 = 1"] == 0
    assert table.loc[("α", 0), "NMI against τ1 = 1"] == pytest.approx(-6)


def test_extremes_count_different_settings(study):
    (row,) = tables.extremes(study).to_dict("records")
    assert (row["worst"], row["best"], row["settings"]) == ("α = 0", "τ1 = 1", 3)
    assert (row["NMI low"], row["NMI high"]) == pytest.approx((39, 45)) and tables.extremes([]).empty


def test_distributions_have_both_ends_of_the_curve(synthetic):
    record = synthetic.record("gjr", 0, 40, history=synthetic.curve(1.0))
    (row,) = tables.distributions([record]).to_dict("records")
    assert row["NMI at the end"] == pytest.approx(60) and row["NMI at the start"] == 0 and row["epochs"] == 20


def test_confused_names_the_pair_that_shares_a_cluster(synthetic):
    counts = np.zeros((10, 10), dtype=int)
    np.fill_diagonal(counts, 10)
    counts[3], counts[5] = 0, 0
    counts[3, 3], counts[5, 3], counts[5, 5] = 10, 8, 2
    record = {**synthetic.record("pgjr", 0, 40, "cifar10"), "exemplars": {"confusion": counts.tolist()}}
    (row,) = tables.confused([record]).to_dict("records")
    assert (row["mixed most"], row["mixed with"], row["found best"]) == ("cat", "dog", "airplane")
    assert row["mixed share"] == pytest.approx(0.8) and row["found best share"] == 1


def test_costs_name_the_device_where_it_differs(records):
    timed = [{**r, "timings": {"extract_s": 3.0, "train_s": 10.0 + i}} for i, r in enumerate(records)]
    table = tables.costs(timed).set_index("method")
    assert "device" not in table and table.loc["with", "encoding, s"] == 3 and table.loc["with", "training, s"] == 13
    moved = [{**r, "provenance": {**r["provenance"], "device": "cuda"}} if r["label"] == "with" else r for r in timed]
    assert tables.costs(moved).set_index("method").loc["with", "device"] == "cuda" and tables.costs([]).empty


def test_races_have_one_row_a_method_and_target(synthetic):
    table = tables.races(synthetic.race(10, 4, count=3)).set_index(["method", "target"])
    assert len(table) == 12 and set(table["seeds"]) == {3}
    row = table.loc[("class-name/pgjr", "95 % of its own end")]
    assert (row["epochs"], row["seconds"]) == (4, 4 * 1.0 + 5.0) and row["NMI at the end"] == pytest.approx(50)
    assert table.loc[("gjr", "50 % of its own end"), "seconds"] == 50.0
    assert table.loc[("class-name/pgjr", "95 % of GJR’s end"), "epochs"] == 3
    slow = tables.races(synthetic.race(10, 4, gjr_end=0.5, pgjr_end=0.3, count=3)).set_index(["method", "target"])
    missed = slow.loc[("class-name/pgjr", "95 % of GJR’s end")]
    assert missed["never"] == 3 and np.isnan([missed["epochs"], missed["seconds"], missed["from nothing"]]).all()
    untimed = tables.races({**synthetic.race(10, 4, count=3), "timing": []})
    assert untimed["seconds"].isna().all() and tables.races({"convergence": [], "timing": []}).empty


def test_cells_have_intervals_and_outcomes(synthetic):
    finding = verdicts.ledger({"attribution": synthetic.jigsaw(3)})[1].findings["stand-in"]
    table = tables.cells({"stand-in": finding})
    assert list(table["outcome"]) == ["gain", "gain", *["not run"] * 3] and list(table["runs"]) == [10, 10, 0, 0, 0]
    assert tuple(table.loc[0, ["NMI difference", "95 % interval low", "95 % interval high"]]) == pytest.approx(
        tuple(finding.cells[0].interval(0.95))
    )
    low, high = (table[f"90 % interval {end}"][0] for end in ("low", "high"))
    assert (low, high) == pytest.approx(tuple(finding.cells[0].interval(0.9))[1:])
    assert table["by ACC"][0] == "gain" and np.isnan(table["NMI difference"][2]) and "column of the ledger" not in table
    both = tables.cells({"clip": finding, "stand-in": finding})
    assert list(both["column of the ledger"]) == ["with CLIP, short CNN schedule"] * 5 + ["on our stand-in"] * 5


def test_the_attribution_compares_the_learned_jigsaw_with_each_control(synthetic):
    records = [*synthetic.jigsaw(3), *synthetic.side("frozen", 23), *synthetic.side("blur", 20)]
    table = tables.attribution({"attribution": records, "heads": []})
    assert list(table["method"]) == ["GJR", "GJR"] and list(table["control"]) == [CONTROLS["frozen"], CONTROLS["blur"]]
    assert set(table["set"]) == {ScoredSet("cifar10", "test")}
    assert list(table["outcome"]) == ["equivalent", "gain"]
    shown = [r for v in ("gjr", "frozen") for r in synthetic.side(v, 50, "digits", count=3)]
    assert list(tables.attribution({"attribution": shown, "heads": []})["outcome"]) == ["not finished"]
    assert tables.cells({"stand-in": verdicts.Finding("not run")}).empty


def test_effects_are_those_of_a_variant_over_its_method_without_a_jigsaw(synthetic):
    heads = [*synthetic.heads(1), *synthetic.side("class-name/prior", 30, "stl10", "prior")]
    more = synthetic.side("zero", 24, count=5)
    table = tables.effects({"attribution": synthetic.jigsaw(3), "attribution_more": more, "heads": heads})
    rows = {(row["set"].dataset, row["comparison"]): row for row in table.to_dict("records")}
    assert set(rows) == {(s, v) for s in ("cifar10", "stl10") for v in ("gjr", "class-name/pgjr")} | {("cifar10", "zero")}
    assert rows["cifar10", "zero"]["NMI difference"] == pytest.approx(4, abs=0.3) and rows["cifar10", "zero"]["runs"] == 5
    assert rows["cifar10", "zero"]["margin"] == 1.0 and rows["stl10", "class-name/pgjr"]["margin"] == 0.5
    assert rows["stl10", "class-name/pgjr"]["NMI difference"] == pytest.approx(1, abs=0.3)
    assert list(table["prior"]) == [""] * 3 + ["the class-name prior"] * 2  # methods stand together
    assert tables.effects({"attribution": synthetic.jigsaw(3)[:10], "heads": []}).empty  # without IDFD there is nothing to add to


def test_baselines_have_their_own_assignment_beside_kmeans(synthetic):
    own = {"argmax": {"nmi": [0.5], "acc": [0.6], "ari": [0.4]}}
    runs = [synthetic.record("prior", s, 40 + s, variant="class-name/temi", label="TEMI", prior="class-name") for s in range(2)]
    runs = [{**run, "scores": {**run["scores"], **own}} for run in runs]
    runs.append(synthetic.record("pgjr", 0, 45, variant="class-name/pgjr", label="pGJR", prior="class-name"))
    runs.append(synthetic.record("pgjr", 0, 70, variant="imagenet-labels/pgjr", label="pGJR, strong", prior="imagenet-labels"))
    table = tables.baselines(runs)
    assert list(table["method"]) == ["pGJR", "TEMI", "pGJR, strong"]  # prior by prior, the best first
    assert table["own NMI"][1] == pytest.approx(50) and table["NMI"][1] == pytest.approx(40.5) and table["seeds"][1] == 2
    assert np.isnan(table["own NMI"][0]) and tables.baselines([]).empty


def test_runs_of_this_machine_stand_beside_the_committed_ones(synthetic):
    def pair(method, seed, here, committed):
        return tuple(synthetic.record(method, seed, nmi, label=method.upper()) for nmi in (here, committed))

    pairs = [pair("pgjr", 100, 50.2, 50), pair("pgjr", 101, 52, 52), pair("gjr", 100, 44, 40), pair("prior", 100, 30, 32)]
    table = tables.reproduced(pairs).set_index("method")
    assert list(table["agrees"]) == ["✓", "✓", "no"] and list(table["seeds"]) == [2, 1, 1]
    assert table.loc["PGJR", "NMI here"] == pytest.approx(51.1) and table.loc["PGJR", "largest difference"] == pytest.approx(0.2)
    assert tables.reproduced([]).empty


def test_hours_count_each_run_and_each_encoding_once(synthetic):
    def taken(record, device, train_s, extract_s, weights):
        timings = {"train_s": train_s, "evaluate_s": 1.0, "extract_s": extract_s}
        return {**record, "provenance": {"device": device, "host_cpu": "x"}, "timings": timings, "weights": weights}

    first = taken(synthetic.record("gjr", 0, 40), "cpu", 35.0, 0.0, None)
    heads = [taken(synthetic.record("pgjr", seed, 40), "a GPU", 1799.0, 360.0, {"name": "a prior"}) for seed in (0, 1)]
    table = tables.hours({"main": [first, first], "more": [first, *heads]}, {"main": "Table 2", "more": "Table 6"})
    assert list(table["item"]) == ["Table 2", "Table 6", "Encodings", "all"] and list(table["machine"]) == ["x", "a GPU", "a GPU", ""]
    assert list(table["runs"]) == [1, 2, 0, 3] and table["hours"].tolist() == pytest.approx([0.01, 1, 0.1, 1.11])
    assert tables.hours({}, {}).empty


def test_a_choice_is_paired_with_what_differs_in_it_alone(synthetic):
    means = {"prior": 30, "linear-0.1": 33, "linear-1": 31, "spatial-off-0.1": 32, "spatial-0.1": 32}
    records = [r for v, m in means.items() for r in synthetic.side(f"class-name/{v}", m, method="pgjr", count=4)]
    table = tables.choices(records)
    found = {(row["choice"].split(":")[0].split(",")[0], row["with"]): row["NMI difference"] for row in table.to_dict("records")}
    expected = {("the temperature", "a linear head"): -2, ("a linear head", "τ1 0.1"): 3, ("a linear head", "τ1 1"): 1,
                ("the jigsaw", "τ1 0.1, the spatial map"): 0}  # fmt: skip
    assert found == pytest.approx(expected, abs=0.3)
    assert sentences.choices(table).startswith("a linear head, not the prior itself (") and tables.choices([]).empty
    assert sentences.choices(table[:0]) == "not run" and len(figures.choices(table).axes[0].collections) == 1


def test_pgjr_is_ranked_among_what_sees_the_same_features(synthetic):
    means = {"temi": 34, "pgjr": 33, "joint": 30}
    records = [r for v, m in means.items() for r in synthetic.side(f"class-name/{v}", m, method="pgjr", count=4)]
    (row,) = tables.rank_of_pgjr(records).to_dict("records")
    assert (row["rank"], row["methods"]) == (2, 3) and row["NMI"] == pytest.approx(34, abs=1)
    assert "it is number 2 of 3 with" in sentences.rank_of_pgjr(tables.rank_of_pgjr(records))
    assert sentences.rank_of_pgjr(tables.rank_of_pgjr([])) == "not run"


def test_the_strength_study_has_a_row_for_each_part_of_the_head(synthetic):
    means = {"prior": 30, "linear-0.1": 33, "spatial-off-0.1": 31, "spatial-0.1": 32}
    records = [r for v, m in means.items() for r in synthetic.side(f"class-name/{v}", m, method="pgjr", count=4)]
    table = tables.strength(records).set_index("part")
    expected = {"linear head": 3, "spatial map": -2, "jigsaw on the spatial map": 1}
    assert table["NMI difference"].to_dict() == pytest.approx(expected, abs=0.3)
    assert set(table["τ1"]) == {0.1} and table["NMI of the prior"].iloc[0] == pytest.approx(30.75, abs=0.3)
    assert tables.strength([]).empty


def test_against_prior_has_the_prior_its_views_and_the_head(synthetic):
    plain = synthetic.record("prior", 0, 44, prior="class-name")
    plain["scores"]["view_mean"] = {name: [0.3] * 2 for name in ("acc", "nmi", "ari")}
    heads = [synthetic.record("pgjr", seed, 40 + seed, prior="class-name") for seed in range(2)]
    table = tables.against_prior([plain, *heads]).set_index("features")
    assert table["NMI"].to_dict() == pytest.approx({"pgjr": 40.5, "prior": 44, "prior (mean over views)": 30})
    assert tables.against_prior(heads).empty


def test_the_ledger_words_all_verdicts_and_the_evidence(synthetic):
    strong = synthetic.heads(3, "imagenet-labels", ("cifar10",))
    table = tables.ledger({"attribution": synthetic.jigsaw(3), "heads": synthetic.heads(3) + strong}, [])
    assert len(table) == len(tables.tests()) == 5
    assert table["on our stand-in"][1] == "seen here" and table["on the paper’s setting"][1] == "not run"
    assert table["evidence"][1].startswith("GJR on CIFAR-10 (test) ‡: +") and table["claim"][1].startswith("2. ")


def test_corrected_intervals_hold_at_once(records):
    """Each of three comparisons gets the level that Bonferroni gives it, whether or not all three have records."""
    compared = [("with", "without"), ("with", "absent"), ("without", "absent")]
    (alone,), (wide,) = (tables.comparisons(records, compared, corrected=c).to_dict("records") for c in (False, True))
    differences = [2.0, 1.0, 3.0]
    assert wide["NMI difference"] == alone["NMI difference"] == pytest.approx(2.0)
    low, high = "95 % interval low", "95 % interval high"
    assert (wide[low], wide[high]) == pytest.approx(tuple(paired_interval(differences, 1 - 0.05 / 3))[1:])
    assert wide[low] < alone[low] and wide[high] > alone[high]
