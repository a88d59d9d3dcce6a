"""Every verdict of the ledger, on synthetic records."""

import numpy as np
import pytest
from pgjr_book.runs import RunConfig
from scipy import stats

from pgjr_book import verdicts as claims


def record(method, seed, nmi, dataset="digits", history=(), extract=0.0, **fields):
    """A record as `execute` writes it, with the parts a verdict reads."""
    config = RunConfig(method=method, dataset=dataset, seed=seed, **{"split": "all", **fields}).model_dump(exclude={"label"})
    return {
        "key": f"{method}{dataset}{seed}{sorted(fields.items())}", "config": config, "label": method,
        "history": [{"epoch": e, "seconds": s, "nmi": v, "acc": v, "ari": v} for e, s, v in history],
        "scores": {"plain": {name: [nmi / 100] * 2 for name in ("acc", "nmi", "ari", "inertia")}},
        "timings": {"extract_s": extract, "total_s": 1.0}, "data": {"note": ""},
        "provenance": {"device": "cpu", "host_cpu": "x"},
    }  # fmt: skip


def paired(gain, seeds, noise=0.2, dataset="digits", **fields):
    """GJR above IDFD by ``gain`` points over ``seeds`` seeds, and the same for pGJR over ten."""
    rng = np.random.default_rng(0)
    found = []
    for seed in range(seeds):
        base = 50 + rng.normal()
        found.append(record("idfd", seed, base, dataset, backbone="thin", **fields))
        found.append(record("gjr", seed, base + gain + noise * rng.normal(), dataset, backbone="thin", **fields))
    for seed in range(10):
        base = 60 + rng.normal()
        prior = {"prior": "class-name", **fields}
        found.append(record("pgjr", seed, base, dataset, jigsaw="off", **prior))
        found.append(record("pgjr", seed, base + gain + noise * rng.normal(), dataset, **prior))
    return found


def test_the_interval_is_students():
    d = np.array([1.0, 2.0, 4.0])
    mean, low, high = claims.paired_interval(d)
    expected = stats.t.interval(0.95, 2, d.mean(), stats.sem(d))
    assert (low, high) == pytest.approx(expected) and mean == pytest.approx(7 / 3)
    with pytest.raises(ValueError, match="at least two"):
        claims.paired_interval([1.0])


def test_holm_stops_at_the_first_set_that_is_not_rejected():
    assert claims.holm_levels({"a": 0.030, "b": 0.040}) == pytest.approx({"a": 0.975, "b": 0.975})
    assert claims.holm_levels({"a": 0.020, "b": 0.040}) == pytest.approx({"a": 0.975, "b": 0.95})


def test_holm_gives_the_smallest_p_the_widest_interval():
    assert claims.holm_levels({"a": 0.04, "b": 0.001, "c": 0.02}) == pytest.approx(
        {"b": 1 - 0.05 / 3, "c": 1 - 0.05 / 2, "a": 0.95}
    )


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([2, 2.1, 1.9, 2.2, 2.0], "yes"),
        ([-1, -1.1, -0.9, -1.0, -1.2], "no"),
        ([0.1, 0.2, 0.0, 0.1, 0.15], "yes"),
        ([0.1, -0.1, 0.0, 0.05, -0.05], "no"),  # an effect below half a point is none
        ([3, -3, 2, -2, 4], "inconclusive"),
        ([2, 2.1, 1.9], "inconclusive"),  # three seeds are shown, never decide
    ],
)
def test_the_rule(differences, verdict):
    assert claims.decide(differences, 5) == verdict


@pytest.mark.parametrize(
    ("gain", "seeds", "paper", "stand_in"),
    [(3, 5, "not run", "seen here"), (-3, 5, "not run", "not seen here"), (3, 3, "not run", "inconclusive")],
)
def test_claim_2_on_a_stand_in_never_speaks_of_the_paper(gain, seeds, paper, stand_in):
    row = claims.ledger({"components": paired(gain, seeds)})[1]
    assert (row["paper"], row["stand_in"]) == (paper, stand_in)


@pytest.mark.parametrize(("gain", "verdict"), [(3, "supported"), (-3, "not supported")])
def test_claim_2_in_the_papers_setting(gain, verdict):
    clip = {"prior": "ViT-B-32-quickgelu/openai"}
    found = [
        record(r["config"]["method"], r["config"]["seed"], claims.score(r), "cifar10", epochs=2000, split="train",
               jigsaw=r["config"]["jigsaw"], **(clip if r["config"]["method"] == "pgjr" else {}))
        for r in paired(gain, 5)
    ]  # fmt: skip
    row = claims.ledger({"components": found})[1]
    assert (row["paper"], row["stand_in"]) == (verdict, "not run")
    cnns = [r for r in found if r["config"]["method"] != "pgjr"]  # half of the claim decides nothing
    assert claims.ledger({"components": cnns})[1]["paper"] == "inconclusive"


@pytest.mark.parametrize(
    "change",
    [{"dataset": "digits"}, {"limit": 1000}, {"backbone": "thin"}, {"epochs": 100}, {"note": "re-encoded"}],
)
def test_anything_less_than_the_papers_setting_is_a_stand_in(change):
    whole = record("gjr", 0, 50, "cifar10", epochs=2000)
    assert claims.on_papers_setting(whole)
    note = change.pop("note", "")
    less = {**whole, "config": {**whole["config"], **change}, "data": {"note": note}}
    assert not claims.on_papers_setting(less)


def test_only_clip_is_the_papers_prior():
    make = lambda prior: record("pgjr", 0, 50, "cifar10", prior=prior)  # noqa: E731
    assert claims.on_papers_setting(make("ViT-B-32-quickgelu/openai"))
    assert not claims.on_papers_setting(make("class-name"))
    assert not claims.on_papers_setting(make("random:ViT-B-32-quickgelu/openai"))


def curve(step, end=0.6, epochs=20):
    """A curve that reaches its end at epoch 10, ``step`` seconds an epoch."""
    return [(e, e * step, end * min(1, e / 10)) for e in range(epochs + 1)]


def race(seeds, gjr_step, pgjr_step, extract=1.0, **fields):
    found = []
    for seed in range(seeds):
        jitter = 1 + 0.01 * seed
        found.append(record("gjr", seed, 60, history=curve(gjr_step * jitter), backbone="thin"))
        found.append(record("pgjr", seed, 60, history=curve(pgjr_step), extract=extract, prior="class-name"))
    return found


def test_claim_1_counts_seconds_with_the_encoding():
    rows = claims.convergence(race(5, 2.0, 0.1, extract=3.0))
    assert rows[0]["target"] == pytest.approx(0.57) and rows[0]["gjr_epoch"] == rows[0]["pgjr_epoch"] == 10
    assert rows[0]["pgjr_seconds"] == pytest.approx(1.0 + 3.0) and rows[0]["gjr_seconds"] == pytest.approx(20.0)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (race(5, 2.0, 0.1), "yes"),
        (race(5, 0.1, 2.0), "no"),
        (race(3, 2.0, 0.1), "inconclusive"),
        ([], "not run"),
    ],
)
def test_claim_1_verdicts(found, verdict):
    assert claims.judge_convergence(found).verdict == verdict


def test_claim_1_is_judged_set_by_set():
    few = race(3, 2.0, 0.1)
    other = [{**r, "config": {**r["config"], "dataset": "stl10"}} for r in race(3, 2.0, 0.1)]
    finding = claims.judge_convergence(few + other)  # six pairs, but three a set
    assert finding.verdict == "inconclusive" and "digits: 3 pairs" in finding.evidence
    slow = [{**r, "config": {**r["config"], "dataset": "stl10"}} for r in race(5, 0.1, 2.0)]
    assert claims.judge_convergence(race(5, 2.0, 0.1)).verdict == "yes"
    assert claims.judge_convergence(race(5, 2.0, 0.1) + slow).verdict == "inconclusive"


def test_a_claim_is_judged_on_its_own_experiment_only():
    rows = claims.ledger({"sensitivity": paired(3.0, 5), "components": []})
    assert {row["stand_in"] for row in rows} == {"not run"}


def test_claim_1_is_open_while_training_still_gains():
    found = race(5, 2.0, 0.1)
    found[0]["history"][-1]["nmi"] += 0.05
    finding = claims.judge_convergence(found)
    assert finding.verdict == "inconclusive" and "still gains" in finding.evidence


def test_claim_4_needs_a_set_decided_each_way():
    def contest(dataset, lead):
        rng = np.random.default_rng(1)
        return [
            record(method, seed, 50 + (lead if method == "pgjr" else 0) + 0.1 * rng.normal(), dataset,
                   **({"prior": "class-name"} if method == "pgjr" else {"backbone": "thin"}))
            for seed in range(5) for method in ("gjr", "pgjr")
        ]  # fmt: skip

    assert claims.judge_winner(contest("a", 5)).verdict == "not run"
    assert claims.judge_winner(contest("a", 5) + contest("b", -5)).verdict == "yes"
    assert claims.judge_winner(contest("a", 5) + contest("b", 5)).verdict == "no"


def test_the_ledger_has_a_row_for_every_claim_even_with_no_records():
    rows = claims.ledger({})
    assert [row["number"] for row in rows] == [1, 2, 3, 4, 5]
    assert {row["paper"] for row in rows} == {row["stand_in"] for row in rows} == {"not run"}
    assert len(claims.source_hash()) == 64


@pytest.mark.parametrize(("ordered", "permuted", "seeds", "verdict"), [
    (3.0, 0.0, 5, "yes"), (1.0, 1.0, 5, "no"), (0.0, 3.0, 5, "no"), (3.0, 0.0, 4, "inconclusive"),
])  # fmt: skip
def test_claim_5_is_the_interaction(ordered, permuted, seeds, verdict):
    found = []
    for seed in range(seeds):
        for dataset, gain in (("pieces", ordered), ("pieces-permuted", permuted)):
            base = 30 + seed + 5 * (dataset == "pieces")
            found.append(record("idfd", seed, base, dataset, backbone="thin"))
            found.append(record("gjr", seed, base + gain + 0.02 * seed, dataset, backbone="thin"))
    finding = claims.judge_structure(found)
    assert finding.verdict == verdict and f"{ordered - permuted:+.1f} [" in finding.evidence
    assert claims.judge_structure(found[:2]).verdict == "not run"
