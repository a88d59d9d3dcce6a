"""Responses to waves, what training makes of A, and the figures and words of both."""

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot

from pgjr_book.run_config import RESULTS_VERSION
from pgjr_book.show import spectra
from pgjr_lib.controls import build_jigsaw

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def _closed():
    yield
    pyplot.close("all")


@pytest.fixture
def trained(synthetic):
    """A function that makes a record with a matrix: the start of its seed, plus ``moved`` at every other grid."""

    def made(seed=0, moved=0.1, jigsaw="on", method="gjr", dataset="digits", **fields):
        fields = {"n": 2, "g": 2, **fields}
        record = synthetic.record(method, seed, 50, dataset, jigsaw=jigsaw, variant=f"{method}-{jigsaw}", **fields)
        start = build_jigsaw(jigsaw, seed, 1, (8, 8), n=fields["n"], g=fields["g"])
        matrix = getattr(start, "inner", start).matrix().detach().numpy() + moved * (1 - np.eye(fields["n"] ** 2))
        offset = [0.0] * len(matrix)
        return {**record, "jigsaw": {"matrix": matrix.round(5).tolist(), "offset": offset}}

    return made


@pytest.mark.parametrize("g", [1, 2])
def test_responses_at_the_start_are_those_of_the_theorems(g):
    residual, replace, blur = spectra.at_start(2, g)
    assert [residual.at(f / g) for f in (0, 1 / 4, 1 / 2)] == pytest.approx([2, 4 / 3, 2 / 3])
    assert residual.at(1 / 2) == pytest.approx({1: 2 / 3, 2: 2}[g])
    np.testing.assert_allclose(residual.gain, replace.gain + 1, atol=1e-6)  # the map itself is added
    np.testing.assert_allclose(residual.gain, blur.gain, atol=1e-6)  # n = 2: the mean over places is the blur
    assert residual.elsewhere.max() > 0.5 and blur.elsewhere.max() < 1e-6
    assert residual.share_elsewhere(1 / (4 * g)) == pytest.approx(1 / 5)
    assert blur.share_elsewhere(1 / (4 * g)) == pytest.approx(0)


def test_a_matrix_of_zeros_gives_back_every_wave():
    identity = spectra.jigsaw_response(np.zeros((4, 4)), "residual", 2, "identity")
    np.testing.assert_allclose(identity.gain, 1)
    np.testing.assert_allclose(identity.elsewhere, 0, atol=1e-7)


def test_a_rows_weights_are_read_as_rows():
    """Every grid becomes its left neighbour's column: crests move by a pixel at odd places only."""
    copy_left = np.zeros((4, 4))
    copy_left[[0, 1, 2, 3], [0, 0, 2, 2]] = 1
    copied = spectra.jigsaw_response(copy_left, "replace", 1, "left column")
    np.testing.assert_allclose(copied.gain, (1 + np.cos(2 * np.pi * copied.frequencies)) / 2, atol=1e-12)


def test_what_is_learned_is_measured_from_the_start_of_each_seed(trained, synthetic):
    without = [synthetic.record("gjr", 9, 50), {**synthetic.record("gjr", 8, 50), "jigsaw": None}]
    (row,) = spectra.learned([*(trained(seed) for seed in range(3)), *without])
    assert (row.n, row.g, len(row.end), len(row.after)) == (2, 2, 3, 3)
    assert row.change == pytest.approx(0.1 * 12**0.5, abs=1e-4) and row.size == pytest.approx(2 / 3**0.5, abs=0.1)
    gained = [after.at(0) - before.at(0) for before, after in zip(row.before, row.after, strict=True)]
    assert gained == pytest.approx([0.3] * 3, abs=1e-4)  # three neighbours, each 0.1 heavier


def test_frequencies_are_left_out_where_they_mean_nothing(trained):
    embedding = {"method": "pgjr", "prior": "class-name", "map": "embedding"}
    rows = spectra.learned([trained(jigsaw="permuted"), trained(**embedding), trained(jigsaw="zero"), trained(jigsaw="shifted")])
    assert [bool(row.after) for row in rows] == [False, False, True, True]
    assert rows[2].size == 0 and rows[2].before[0].at(0.3) == pytest.approx(1)


def test_sets_variants_and_versions_stand_apart(trained):
    earlier = {**trained(1), "results_version": RESULTS_VERSION - 1}
    rows = spectra.learned([trained(), earlier, trained(dataset="stl10"), trained(jigsaw="shifted")])
    assert len(rows) == 4 and [len(group) for group in spectra.by_set(rows).values()] == [2, 1, 1]


def test_the_table_says_how_far_a_moved_and_to_which_gains(trained):
    (row,) = spectra.moved(spectra.learned([trained(0), trained(1)])).round(2).to_dict("records")
    assert (row["variant"], row["seeds"], row["A moves by"], row["% of its norm"]) == ("gjr-on", 2, 0.35, pytest.approx(30.7, abs=0.1))
    assert [row[f"gain at {name}, {time}"] for name in ("0", "1/(2g)") for time in ("start", "end")] == [1.98, 2.28, 0.68, 0.58]
    permuted, zero = (spectra.moved(spectra.learned([trained(jigsaw=kind)])) for kind in ("permuted", "zero"))
    assert "gain at 0, end" not in permuted and np.isnan(zero["% of its norm"][0])


def test_the_summary_says_how_far_a_moved_at_least_and_at_most(trained):
    assert spectra.summary(spectra.moved([])) == "Not run."
    table = spectra.moved(spectra.learned([trained(0), trained(jigsaw="zero")]))
    assert spectra.summary(table).startswith("In training A moves by ") and "nan" not in spectra.summary(table)


def test_figures_draw_the_responses():
    from pgjr_book.show import figures

    low_pass, comb = figures.responses({f"g = {g}": spectra.at_start(2, g) for g in (1, 2)}).axes
    labels = [line.get_label() for line in low_pass.lines[:5]]
    assert [label for label in labels if ":" not in label] == ["jigsaw, residual", "jigsaw, replace", "blur"]
    assert labels[1] == "jigsaw, residual: to other waves"
    assert low_pass.lines[0].get_ydata()[-1] == pytest.approx(2 / 3) and comb.lines[0].get_ydata()[-1] == pytest.approx(2)


def test_figures_draw_every_seed_beside_the_start(trained):
    from pgjr_book.show import figures

    rows = spectra.learned([trained(0), trained(1), trained(jigsaw="permuted")])
    figure = figures.learned(rows, "digits")
    panels = [ax for ax in figure.axes if ax.get_xlabel() or ax.texts]
    assert [len(panels[i].lines) for i in (2, 5)] == [2 + 3 + 1, 0]  # seeds; learned, start, blur; the zero line
    np.testing.assert_allclose(panels[2].lines[2].get_ydata(), np.mean([r.gain for r in rows[0].after], axis=0))
    matrix = np.asarray(panels[1].collections[0].get_array()).reshape(4, 4)
    np.testing.assert_allclose(matrix, rows[0].end.mean(0))
    assert "no order" in panels[5].texts[0].get_text() and figure._suptitle.get_text() == "digits"
