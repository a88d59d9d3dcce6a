"""The tables of the pages on performance and on scale."""

import math

import pytest

from pgjr_book.make import home
from pgjr_book.manifest import load_manifest
from pgjr_book.show import figures, render, speed

CPU = {"device": "cpu", "host_cpu": "a processor", "threads": 2}


def test_a_ratio_stands_beside_its_goal():
    ratio = {"median": 2.0, "least": 1.5, "most": 2.5}
    results = {file: {"ratios": {name: ratio}, "provenance": CPU} for file, name in (("step", "bf16"), ("head", "ours"))}
    results["step"]["limits"] = {"bf16": 3.0}
    table = speed.beside(results)
    step, head = table.to_dict("records")
    assert (step["goal"], step["reached"], head["goal"], head["reached"]) == (2.6, False, 2, True)
    assert step["limit"] == 3 and math.isnan(head["limit"]) and "3.00" in render.table(table, "performance")
    assert speed.counted(table) == "Of 2 rows, 1 reach their goal, and 2 are at least as fast as what stands beside them."
    assert speed.counted(speed.beside({})) == ""
    assert step["machine"] == "a processor, 2 threads" and "1.50 to 2.50" in render.table(table, "performance")


def test_photographs_have_a_row_for_each_size_and_run():
    taken = {"pgjr cluster": [{"seconds": 30.0, "peak_mib": 1000.0}, {"seconds": 20.0, "peak_mib": 900.0}],
             "again": [{"seconds": 5.0, "peak_mib": 500.0}]}  # fmt: skip
    results = {"photos": {"setting": {"photos": 2000}, "taken": taken, "provenance": CPU}}
    first, again = speed.photographs(results).to_dict("records")
    assert first == {"photographs": 2000, "run": "the first", "seconds": 25.0, "peak, GB": pytest.approx(1.048576),
                     "machine": "a processor, 2 threads"}  # fmt: skip
    assert again["run"] == "again, with nothing new" and "2,000" in render.table(speed.photographs(results), "photographs")


def test_what_was_not_measured_has_no_row():
    assert speed.photographs({"step": {}}).empty
    assert speed.beside({}).empty and speed.beside({"step": {"provenance": CPU}}).empty and speed.growth({}).empty


def test_every_committed_result_is_read():
    results = speed.read(home() / "benchmarks" / "results")
    assert {"step-gpu", "loss"} <= set(results)
    table = speed.beside(results)
    assert len(table) >= 10 and table["times as fast"].min() > 0 and (table["range over turns low"] <= table["times as fast"]).all()


def test_growth_has_a_row_for_each_curve():
    points = [{"images": n, "views": k, "seconds": float(k), "peak_mib": 1000.0} for n, k in ((10, 1), (10, 2))]
    million = [{"images": 1000, "views": 2, "seconds": 5.0, "peak_mib": 2000.0}]
    views = {"points": points, "exponent": {"seconds": 1.0, "peak_mib": 0.0}}
    result = {"curves": {"views": views}, "provenance": CPU}
    alone = {"curves": {"million": {"points": million}}, "provenance": CPU}
    table = speed.growth({"growth": result, "growth-million": alone, "step": {}})
    assert list(table["largest"]) == [2, 1000] and table["time’s power"][0] == 1.0
    assert set(table["machine"]) == {"a processor, 2 threads"}
    assert len(figures.growth(result).axes) == 2


def test_the_plan_for_large_sets_is_arithmetic():
    card = load_manifest().cards["h100"]
    table = speed.scale(card, {"setting": {"images": 1000, "epochs": 2}, "seconds": {"sampled": [4.0, 2.0, 1.0]}})
    assert list(table["number"]) == [60_000, 1_281_167, 100_000_000]
    assert table["embeddings, GB"][2] == pytest.approx(100e6 * 5 * 512 * 2 / 1e9)
    assert table["encoding, h"][1] == pytest.approx(1_281_167 * 5 / card.rates.prior / 3600)
    assert table["head, h"][1] == pytest.approx(1_281_167 * 20 / 1000 / 3600)
    assert table["card hours"][1] == pytest.approx(table["encoding, h"][1] + table["head, h"][1])
