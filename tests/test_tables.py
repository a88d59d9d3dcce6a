"""Tables and figures from records."""

import base64
import re

import matplotlib
import numpy as np
import pandas as pd
import pytest
from test_claims import curve, record

from pgjr_lib.companion import figures, tables

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
