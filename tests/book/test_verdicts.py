"""Every verdict of the ledger, on synthetic records."""

import numpy as np
import pytest

from pgjr_book import verdicts
from pgjr_book.show.sentences import on_paper, on_stand_in
from pgjr_book.verdicts import ScoredSet
from pgjr_lib.errors import PGJRError

DIGITS, STL10 = ScoredSet("digits", "all"), ScoredSet("stl10", "all")


def words(row) -> tuple[str, str]:
    return on_paper(row.paper), on_stand_in(row.stand_in)


# ---- pairs ----


def test_runs_are_paired_by_variant_set_split_and_seed(synthetic):
    records = [synthetic.record("gjr", seed, 50 + seed) for seed in (2, 0, 1)]
    records += [synthetic.record("idfd", seed, 50) for seed in (0, 2, 3)]
    records += [synthetic.record("idfd", 1, 50, "cifar10", split="test")]  # another set pairs nothing
    pairs = verdicts.pairs(records, "gjr", "idfd")
    assert [[r["config"]["seed"] for r in pair] for pair in pairs[DIGITS]] == [[0, 0], [2, 2]] and set(pairs) == {DIGITS}
    assert verdicts.pairs(records, "gjr", "nothing") == {}


def test_variants_are_matched_by_their_id_and_not_by_their_settings(synthetic):
    twins = [synthetic.record("gjr", seed, 50, variant=name) for seed in range(2) for name in ("gjr", "start")]
    twins += [synthetic.record("idfd", seed, 40) for seed in range(2)]
    assert len(verdicts.pairs(twins, "gjr", "idfd")[DIGITS]) == 2


def test_two_records_that_claim_one_place_are_an_error_that_names_both(synthetic):
    records = [synthetic.record("gjr", 0, 50), synthetic.record("idfd", 0, 50)]
    twin = {**synthetic.record("gjr", 0, 60), "key": "the-other-key"}
    with pytest.raises(PGJRError, match=r"records gjrdigits0\[\] and the-other-key both claim variant gjr on digits \(all\), seed 0"):
        verdicts.pairs([*records, twin], "gjr", "idfd")
    assert verdicts.pairs([*records, {**twin, "variant": "other"}], "gjr", "idfd")[DIGITS]


# ---- the paper's setting ----


@pytest.mark.parametrize(
    ("change", "departure"),
    [({"dataset": "digits"}, "data"), ({"limit": 1000}, "data"), ({"backbone": "thin"}, "backbone"),
     ({"epochs": 100}, "epochs"), ({"note": "re-encoded"}, "data")],
)  # fmt: skip
def test_anything_less_than_the_papers_setting_is_a_stand_in(synthetic, change, departure):
    whole = synthetic.record("gjr", 0, 50, "cifar10", epochs=verdicts.IDFD_EPOCHS)
    assert verdicts.on_papers_setting(whole) and not verdicts.departures(whole)
    change = dict(change)
    note = change.pop("note", "")
    less = {**whole, "config": {**whole["config"], **change}, "data": {"note": note}}
    assert not verdicts.on_papers_setting(less) and verdicts.departures(less) == {departure}


def test_only_clip_is_the_papers_prior(synthetic):
    make = lambda prior: synthetic.record("pgjr", 0, 50, "cifar10", prior=prior)  # noqa: E731
    assert verdicts.on_papers_setting(make("ViT-B-32-quickgelu/openai"))
    for prior in ("class-name", "random:ViT-B-32-quickgelu/openai", "file:weights/openai"):
        assert not verdicts.on_papers_setting(make(prior)) and verdicts.departures(make(prior)) == {"prior"}


def test_baselines_are_no_training_in_the_papers_setting(synthetic):
    pixels = synthetic.record("pixels", 0, 50, "cifar10")
    assert not verdicts.departures(pixels) and not verdicts.on_papers_setting(pixels)


# ---- claim 1 ----


def test_claim_1_counts_seconds_with_the_encoding(synthetic):
    race = verdicts.convergence(synthetic.race(5, 2.0, 0.1, extract=3.0))[0]
    assert race.target == pytest.approx(0.57) and race.gjr_epoch == race.pgjr_epoch == 10
    assert race.pgjr_seconds == pytest.approx(1.0 + 3.0) and race.gjr_seconds == pytest.approx(20.0)


@pytest.mark.parametrize(
    ("runs", "verdict"),
    [((5, 2.0, 0.1), "yes"), ((5, 0.1, 2.0), "no"), ((3, 2.0, 0.1), "inconclusive"), ((0, 1.0, 1.0), "not run")],
)
def test_claim_1_verdicts(synthetic, runs, verdict):
    assert verdicts.judge_convergence(synthetic.race(*runs)).verdict == verdict


def test_claim_1_is_judged_set_by_set(synthetic):
    race = synthetic.race
    finding = verdicts.judge_convergence(race(3, 2.0, 0.1) + race(3, 2.0, 0.1, dataset="stl10"))  # six pairs, three a set
    assert finding.verdict == "inconclusive"
    assert [(cell.where, cell.pairs, cell.obstacle) for cell in finding.cells] == [(DIGITS, 3, "seeds"), (STL10, 3, "seeds")]
    assert verdicts.judge_convergence(race(5, 2.0, 0.1)).verdict == "yes"
    assert verdicts.judge_convergence(race(5, 2.0, 0.1) + race(5, 0.1, 2.0, dataset="stl10")).verdict == "inconclusive"


def test_claim_1_is_open_while_training_still_gains(synthetic):
    records = synthetic.race(5, 2.0, 0.1)
    records[0]["history"][-1]["nmi"] += 0.05
    finding = verdicts.judge_convergence(records)
    assert finding.verdict == "inconclusive" and finding.cells[0].obstacle == "still gaining"


def test_claim_1_is_open_on_several_machines_and_leaves_shared_devices_out(synthetic):
    records = synthetic.race(5, 2.0, 0.1)
    moved = [{**records[0], "provenance": {"device": "cpu", "host_cpu": "y"}}, *records[1:]]
    finding = verdicts.judge_convergence(moved)
    assert finding.verdict == "inconclusive" and finding.cells[0].obstacle == "machines"
    shared = [{**record, "timings": {**record["timings"], "alone": False}} for record in records]
    assert verdicts.judge_convergence(shared).verdict == "not run" and verdicts.convergence(shared) == []


def test_claim_1_fails_where_the_untrained_cnn_is_at_the_target_already(synthetic):
    records = synthetic.race(5, 2.0, 0.1)
    for record in records:
        for row in record["history"]:
            row["nmi"] = 0.6
    finding = verdicts.judge_convergence(records)
    assert finding.verdict == "no" and finding.cells[0].ratio == 0


# ---- claim 2 ----


@pytest.mark.parametrize(
    ("gain", "seeds", "paper", "stand_in"),
    [(3, 5, "not run", "seen here"), (-3, 5, "not run", "not seen here"), (3, 3, "not run", "inconclusive")],
)
def test_claim_2_on_a_stand_in_never_speaks_of_the_paper(synthetic, gain, seeds, paper, stand_in):
    row = verdicts.ledger({"components": synthetic.paired(gain, seeds)})[1]
    assert words(row) == (paper, stand_in)


@pytest.mark.parametrize(("gain", "verdict"), [(3, "supported"), (-3, "not supported")])
def test_claim_2_in_the_papers_setting(synthetic, gain, verdict):
    clip = {"prior": "ViT-B-32-quickgelu/openai"}
    records = [
        synthetic.record(
            r["config"]["method"], r["config"]["seed"], verdicts.score(r), "cifar10", epochs=2000, split="train",
            jigsaw=r["config"]["jigsaw"], **(clip if r["config"]["method"] == "pgjr" else {}),
        )
        for r in synthetic.paired(gain, 5)
    ]  # fmt: skip
    assert words(verdicts.ledger({"components": records})[1]) == (verdict, "not run")
    cnns = [r for r in records if r["config"]["method"] != "pgjr"]  # half of the claim decides nothing
    assert words(verdicts.ledger({"components": cnns})[1])[0] == "inconclusive"


def test_a_difference_has_the_interval_of_holm(synthetic):
    records = synthetic.paired(3.0, 5) + synthetic.paired(3.0, 5, dataset="stl10")
    alone = verdicts.differences(synthetic.paired(3.0, 5), verdicts.JIGSAW[0])[0]
    (first, second) = verdicts.differences(records, verdicts.JIGSAW[0])
    assert (first.where, second.where) == (DIGITS, STL10) and first.pairs == alone.pairs == 5
    assert first.mean == alone.mean and first.high - first.low > alone.high - alone.low


def test_a_claim_is_judged_on_its_own_experiment_only(synthetic):
    rows = verdicts.ledger({"sensitivity": synthetic.paired(3.0, 5), "components": []})
    assert {row.stand_in.verdict for row in rows} == {"not run"}


# ---- claims 4 and 5, and the ledger ----


def test_claim_4_needs_a_set_decided_each_way(synthetic):
    def contest(dataset, lead):
        rng = np.random.default_rng(1)
        return [
            synthetic.record(
                method, seed, 50 + (lead if method == "pgjr" else 0) + 0.1 * rng.normal(), dataset,
                **({"prior": "class-name"} if method == "pgjr" else {"backbone": "thin"}),
            )
            for seed in range(5) for method in ("gjr", "pgjr")
        ]  # fmt: skip

    assert verdicts.judge_winner(contest("a", 5)).verdict == "not run" and len(verdicts.judge_winner(contest("a", 5)).cells) == 1
    assert verdicts.judge_winner(contest("a", 5) + contest("b", -5)).verdict == "yes"
    assert verdicts.judge_winner(contest("a", 5) + contest("b", 5)).verdict == "no"


@pytest.mark.parametrize(("ordered", "permuted", "seeds", "verdict"), [
    (3.0, 0.0, 5, "yes"), (1.0, 1.0, 5, "no"), (0.0, 3.0, 5, "no"), (3.0, 0.0, 4, "inconclusive"),
])  # fmt: skip
def test_claim_5_is_the_interaction(synthetic, ordered, permuted, seeds, verdict):
    records = []
    for seed in range(seeds):
        for dataset, gain in (("pieces", ordered), ("pieces-permuted", permuted)):
            base = 30 + seed + 5 * (dataset == "pieces")
            records.append(synthetic.record("idfd", seed, base, dataset, backbone="thin"))
            records.append(synthetic.record("gjr", seed, base + gain + 0.02 * seed, dataset, backbone="thin"))
    finding = verdicts.judge_structure(records)
    assert finding.verdict == verdict and finding.cells[0].mean == pytest.approx(ordered - permuted)
    assert finding.cells[0].pairs == seeds
    assert verdicts.judge_structure(records[:2]).verdict == "not run"


def test_the_ledger_has_a_row_for_every_claim_even_with_no_records():
    rows = verdicts.ledger({})
    assert [row.claim.number for row in rows] == [1, 2, 3, 4, 5]
    assert {row.paper.verdict for row in rows} == {row.stand_in.verdict for row in rows} == {"not run"}
    assert all(row.evidence is row.stand_in for row in rows)
