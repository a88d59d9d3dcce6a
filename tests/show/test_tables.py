"""Tables and figures from records."""

import base64
import re

import matplotlib
import numpy as np
import pandas as pd
import pytest
from test_verdicts import curve, record

from pgjr_book.show import figures, tables

matplotlib.use("Agg")


@pytest.fixture
def records():
    found = []
    for seed, (a, b) in enumerate([(50, 52), (60, 61), (55, 58)]):
        found.append({**record("idfd", seed, a, backbone="thin", history=curve(1.0)), "label": "without"})
        found.append({**record("gjr", seed, b, backbone="thin", history=curve(1.0)), "label": "with"})
    return found


def test_components_are_mean_and_sd_over_seeds(records):
    table = tables.components(records).set_index("variant")
    assert table.loc["without", "NMI"] == f"55.0 ± {np.std([50, 60, 55], ddof=1):.1f}"
    assert table.loc["with", "seeds"] == 3


def test_a_missing_run_is_missing_and_not_zero(records):
    table = tables.components(records[:-1]).set_index("variant")
    assert table.loc["with", "seeds"] == 2 and table.loc["with", "NMI"].startswith("56.5")
    assert tables.components([]).empty


def test_comparisons_pair_by_seed(records):
    (row,) = tables.comparisons(records, [("with", "without"), ("with", "nothing")]).to_dict("records")
    assert row["NMI difference"] == "+2.0" and row["pairs"] == 3


def test_html_escapes_names_and_carries_its_csv():
    page = tables.as_html(pd.DataFrame({"file": ["<script>alert(1)</script>", "a,b"]}), "x")
    assert "<script>" not in page and "&lt;script&gt;" in page
    data = re.search(r"base64,([^\"]+)", page)[1]
    assert base64.b64decode(data).decode() == 'file\n<script>alert(1)</script>\n"a,b"\n'
    assert "Not run" in tables.as_html(pd.DataFrame(), "x")


def test_a_table_as_csv_is_numbers():
    shown = pd.DataFrame({"set": ["digits †", "stl10 (test) †"], "NMI": ["38.3 ± 0.3", "37.0"],
                          "95 % interval": ["-1.0 to +2.0", "+0.02 to +0.5"], "told": ["a to b", "c"]})  # fmt: skip
    table = tables.numeric(shown)
    assert list(table) == ["set", "NMI", "NMI sd", "95 % interval low", "95 % interval high", "told"]
    assert list(table["set"]) == ["digits", "stl10 (test)"] and list(table["NMI"]) == [38.3, 37.0]
    assert table["NMI sd"][0] == 0.3 and np.isnan(table["NMI sd"][1]) and list(table["95 % interval low"]) == [-1.0, 0.02]


def test_a_difference_near_zero_shows_its_side():
    assert [tables.signed(x) for x in (0.02, -0.04, 1.26, -3, 0.004, 0.0)] == ["+0.02", "-0.04", "+1.3", "-3.0", "+0.004", "0"]


def test_provenance_names_every_seed(records):
    data = {"name": "digits", "split": "all", "count": 10, "checksum": "0" * 64}
    made = {"commit": "0" * 40, "dirty": False, "device": "cpu", "host_cpu": "x", "threads": 1, "started": "2026-01-01T00:00",
            "versions": {"torch": "2.15"}}  # fmt: skip
    box = tables.provenance([{**r, "data": data, "weights": None, "provenance": made} for r in records])
    assert "<dt>seeds</dt><dd>0, 1, 2</dd>" in box and "<dt>weights</dt><dd>none</dd>" in box


def test_convergence_figure_has_a_line_for_every_method_in_every_panel(records):
    figure = figures.convergence(records)
    assert [len(ax.lines) for ax in figure.axes] == [2] * 6
    line = figure.axes[0].lines[0]
    assert line.get_xdata()[-1] == 20 and line.get_ydata()[-1] == pytest.approx(60)


def test_differences_figure_draws_each_interval(records):
    table = tables.comparisons(records, [("with", "without")])
    ax = figures.differences(table).axes[0]
    low, high = (float(part) for part in table["95 % interval"][0].split(" to "))
    assert list(ax.lines[0].get_xdata()) == [low, high]


def test_panels_show_the_images_they_are_given():
    image = np.random.default_rng(0).random((8, 8))
    figure = figures.panels([[(image, "one", 4, 2), None], [(image, "two"), (image, "three")]])
    shown = [ax for ax in figure.axes if ax.images]
    assert [ax.get_title() for ax in shown] == ["one", "two", "three"]
    np.testing.assert_array_equal(shown[0].images[0].get_array(), image)


def test_data_sets_say_what_was_used_and_what_the_prior_saw():
    used = {**record("pixels", 0, 20, "cifar10"), "label": "k-means on pixels"}
    used["data"] = {"name": "cifar10", "split": "test", "count": 10_000, "note": ""}
    table = tables.data_sets([used]).set_index("set")
    assert table.loc["cifar10", "used here"] == "test, 10,000" and table.loc["cifar10", "images"] == "50,000 train + 10,000 test"
    assert table.loc["digits", "images"] == "1,797"
    assert table.loc["stl10", "used here"] == "not run" and table.loc["cifar20", "classes"] == 20
    assert table.loc["tiny-imagenet", "note"] == ""  # no record here stands on a prior that saw them
    table = tables.data_sets([used, {**used, "config": {**used["config"], "prior": "class-name"}}]).set_index("set")
    assert table.loc["tiny-imagenet", "note"] == "prior saw these labels"


def test_the_landscape_tells_what_equal_inertia_hides():
    made = {**record("prior", 0, 40), "label": "prior", "landscape": {"inertia": [100.0, 100.5, 120.0],
                                                                      "acc": [0.40, 0.60, 0.20]}}  # fmt: skip
    (row,) = tables.landscapes([made]).to_dict("records")
    assert row["at the lowest inertia"] == "40.0" and row["highest"] == "60.0" and row["starts"] == 3
    assert row["within 1 % of it"] == "40.0 to 60.0 (2 starts)"
    ax = figures.landscape([made]).axes[0]
    assert ax.lines[1].get_xdata()[0] == 100.0 and ax.lines[1].get_ydata()[0] == pytest.approx(40)


@pytest.fixture
def study():
    means = {"start": 40, "τ1 = 0.1": 40, "τ1 = 1": 44, "α = 0": 38, "α = 1": 40}
    moved = {"τ1 = 1": {"tau1": 1.0}, "α = 0": {"tau1": 0.1, "alpha": 0.0}}  # the others name the start's own values
    return [{**record("pgjr", seed, mean + seed, **moved.get(label, {"tau1": 0.1})), "label": label}
            for label, mean in means.items() for seed in range(3)]  # fmt: skip


def test_sensitivity_is_one_panel_a_setting_and_one_row_a_value(study):
    table = tables.sensitivity(study, "start").set_index(["setting", "value"])
    assert table.loc[("τ1", "1"), "NMI against start"] == "+4.0" and table.loc[("α", "0"), "NMI"] == "39.0 ± 1.0"
    assert tables.best_setting(study) == (
        "on digits the means run from 39.0 (α = 0) to 45.0 (τ1 = 1) NMI points; the highest of 3 means is partly luck"
    )
    assert tables.best_setting([]) == "Not run" and tables.sensitivity([], "start").empty
    drawn = [ax for ax in figures.sensitivity(study, "start").axes if ax.lines]
    assert [ax.get_title() for ax in drawn] == ["τ1", "α"]
    assert drawn[0].lines[2].get_ydata().tolist() == pytest.approx([41, 45])


def test_distributions_draw_every_moment_of_every_method():
    frames = {str(epoch): {"x": [0.0, 1.0, 2.0], "y": [1.0, 0.0, epoch]} for epoch in (0, 5, 10)}
    made = {**record("gjr", 0, 40, history=curve(1.0)), "label": "GJR",
            "snapshots": {"labels": [0, 1, 1], "epochs": frames}}  # fmt: skip
    figure = figures.distributions([made, {**made, "label": "IDFD"}])
    assert len(figure.axes) == 6 and figure.axes[2].get_title() == "epoch 10"
    assert sum(len(c.get_offsets()) for c in figure.axes[0].collections) == 3
    assert tables.distributions([made])["NMI at the end"].tolist() == ["60.0"]
    short = {**made, "snapshots": {"labels": [0, 1, 1], "epochs": {"0": frames["0"]}}}
    figure = figures.distributions([made, short])  # a run of fewer epochs has fewer pictures
    assert [ax.axison for ax in figure.axes] == [True, True, True, True, False, False]


def test_confused_names_the_pair_that_shares_a_cluster():
    table = np.zeros((10, 10), dtype=int)
    np.fill_diagonal(table, 10)
    table[3], table[5] = 0, 0
    table[3, 3], table[5, 3], table[5, 5] = 10, 8, 2
    made = {**record("pgjr", 0, 40, "cifar10"), "label": "pGJR",
            "exemplars": {"confusion": table.tolist(), "nearest": [[0]] * 10, "farthest": [[1]] * 10}}  # fmt: skip
    (row,) = tables.confused([made]).to_dict("records")
    assert row["mixed most"] == "cat and dog (at least 80 % of each in one cluster)" and row["found best"] == "airplane (100 %)"
    assert len(figures.confusion([made]).axes) == 2
    pictures = np.zeros((2, 3, 4, 4), dtype=np.uint8)
    assert sum(len(ax.images) for ax in figures.exemplars(made, pictures).axes) == 20


def test_other_features_of_a_run_stand_below_it(records):
    bank = {name: [value / 2 for value in values] for name, values in records[0]["scores"]["plain"].items()}
    records[0] = {**records[0], "scores": {**records[0]["scores"], "bank": bank}}
    table = tables.components(records)
    assert list(table["variant"]) == ["without", "the same, memory bank", "with"]
    assert table["NMI"][1] == "25.0" and table["seeds"][1] == 1


def test_development_sets_are_marked_and_explained(records):
    for r in records:
        r["config"] = {**r["config"], "dataset": "stl10", "split": "test"}
    table = tables.components(records)
    assert set(table["set"]) == {"stl10 (test) †"} and "† development set" in tables.as_html(table, "x")
    for r in records:
        r["config"] = {**r["config"], "dataset": "cifar10"}
    assert "†" not in tables.as_html(tables.components(records), "x")


def test_the_story_shows_photographs_where_there_are_any(records):
    names = {"with": "GJR", "without": "IDFD (no jigsaw)"}

    def of(name):
        moved = [{**r, "config": {**r["config"], "dataset": name, "split": "test"}} for r in records]
        return [{**r, "label": names[r["label"]]} for r in moved]

    fast, level, gain = figures.story(of("digits") + of("cifar10"), of("digits") + of("cifar10")).axes
    assert "cifar10" in fast.get_title() and len(fast.lines) == 2
    assert [t.get_text() for t in gain.get_yticklabels()] == ["GJR, cifar10 (test)"]
    assert [line.get_label() for line in level.lines] == ["cifar10 (test)"]
    assert len(figures.story(of("digits"), of("digits")).axes[2].get_yticklabels()) == 1


def test_costs_name_the_device_where_it_differs(records):
    timed = [{**r, "timings": {"extract_s": 3.0, "train_s": 10.0 + i}} for i, r in enumerate(records)]
    table = tables.costs(timed).set_index("method")
    assert "device" not in table and table.loc["with", "encoding, s"] == "3" and table.loc["with", "training, s"] == "13"
    moved = [{**r, "provenance": {**r["provenance"], "device": "cuda"}} if r["label"] == "with" else r for r in timed]
    assert tables.costs(moved).set_index("method").loc["with", "device"] == "cuda" and tables.costs([]).empty


def test_seconds_are_drawn_of_runs_that_had_their_device_to_themselves(records):
    shared = [{**r, "timings": {**r["timings"], "alone": r["config"]["seed"] == 0}} for r in records]
    axes = figures.convergence(shared).axes
    points = 100 * np.array([[row["nmi"] for row in r["history"]] for r in records[::2]])
    assert np.allclose(axes[0].lines[0].get_ydata(), points.mean(0))
    assert np.allclose(axes[3].lines[0].get_ydata(), points[0])  # the lower row: one seed of three
    nobody = [{**r, "timings": {**r["timings"], "alone": False}} for r in records]
    assert not figures.convergence(nobody).axes[3].lines
    assert figures.story(nobody, nobody).axes[0].get_title() == "How fast, on no timed runs"


def test_sets_whose_labels_were_seen_are_marked():
    assert [tables.marked(name) for name in ("stl10 (test)", "cifar10 (train)", "cifar20 (train)")] == [
        "stl10 (test) †", "cifar10 (train) ‡", "cifar20 (train)",
    ]  # fmt: skip
    shown = tables.as_html(pd.DataFrame({"set": ["cifar10 ‡"]}), "x")
    assert "‡ its labels were seen in early trials" in shown and "development set" not in shown


def test_told_apart_names_the_intervals_without_zero():
    rows = [("a − b", "+0.1 to +9.9"), ("c − b", "-7.0 to -2.0"), ("d − b", "-1.0 to +2.0")]
    paired = pd.DataFrame([{"set": "digits †", "comparison": name, "95 % interval": told} for name, told in rows])
    assert tables.told_apart(paired) == (
        "Above zero lie the intervals of a − b on digits; below zero lie the intervals of c − b on digits;"
        " 1 of 3 intervals contain zero"
    )
    assert tables.told_apart(paired[:0]) == "Not run"
