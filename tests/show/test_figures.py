"""Figures draw the numbers of their records."""

import base64
import re

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

from pgjr_book.show import figures, tables
from pgjr_book.show.figures.style import label_lines

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def _closed():
    yield
    figures.style.plt.close("all")


def test_convergence_figure_has_a_line_for_every_method_in_every_panel(synthetic):
    experiments = synthetic.race(10, 4)
    figure = figures.convergence(experiments["convergence"], experiments["timing"])
    assert [len(ax.lines) for ax in figure.axes] == [2] * 9
    gjr, pgjr = figure.axes[0].lines
    assert gjr.get_xdata()[-1] == 15 and gjr.get_ydata()[-1] == pytest.approx(30)
    assert list(figure.axes[3].lines[1].get_xdata()[:2]) == [1.0, 1.0 + 5.0]  # plain features before training, then all views
    assert figure._suptitle.get_text() == "CIFAR-10 (test)"
    unknown = [{**r, "weights": {"training_seconds": None}} if "pgjr" in r["variant"] else r for r in experiments["timing"]]
    without = figures.convergence(experiments["convergence"], unknown)
    assert [len(ax.lines) for ax in without.axes] == [2] * 6 + [1] * 3  # nobody knows how long that prior was trained


def test_a_method_has_one_colour_in_every_figure(synthetic):
    experiments = synthetic.race(10, 4)
    gjr, pgjr = figures.convergence(experiments["convergence"], experiments["timing"]).axes[0].lines
    forest = figures.forest(tables.effects({"attribution": synthetic.jigsaw(3), "heads": synthetic.heads(1, sets=("stl10",))}))
    assert [line.get_color() for line in forest.axes[1].lines[:4:2]] == [gjr.get_color(), pgjr.get_color()]
    assert len({figures.style.method_style(f"{name}/pgjr")["color"] for name in ("class-name", "imagenet-labels", "clip")}) == 3


def test_what_was_not_timed_alone_has_no_seconds(synthetic):
    experiments = synthetic.race(10, 4)
    shared = [{**r, "timings": {**r["timings"], "alone": False}} for r in experiments["timing"]]
    axes = figures.convergence(experiments["convergence"], shared).axes
    assert [len(ax.lines) for ax in axes] == [2] * 3  # and no row of seconds
    nothing = {name: [] for name in ("convergence", "timing", "main", "attribution", "heads")}
    assert figures.story(nothing).axes[0].get_title() == "How fast, on no timed runs"
    untimed = {**nothing, "convergence": experiments["convergence"]}
    assert figures.story(untimed).axes[0].get_title() == "How fast, on no timed runs"


def test_the_figure_of_lengths_has_a_column_for_every_set(synthetic):
    records = [{**r, "config": {**r["config"], "limit": limit}} for limit in (2000, None)
               for r in synthetic.race(10, 4)["convergence"]]  # fmt: skip
    records = [{**r, "variant": "gjr" if r["variant"] == "gjr" else "idfd"} for r in records]
    few, whole, below, _ = figures.lengths(records).axes
    assert few.get_title() == "CIFAR-10 (test, 2,000 images) ‡" and whole.get_title() == "CIFAR-10 (test) ‡"
    assert len(few.lines) == 2 and below.lines[0].get_ydata()[-1] == pytest.approx(
        few.lines[0].get_ydata()[-1] - few.lines[1].get_ydata()[-1]
    )


def test_the_strength_figure_has_a_line_for_each_part(synthetic):
    means = {"prior": 30, "linear-0.1": 33, "linear-1": 33, "spatial-off-0.1": 31, "spatial-0.1": 32}
    records = [
        r for prior, more in (("random", 0), ("class-name", 9)) for v, m in means.items()
        for r in synthetic.side(f"{prior}/{v}", m + more, method="pgjr", count=4, label=f"x, {prior}")
    ]  # fmt: skip
    figure = figures.strength(tables.strength(records), synthetic.side("gjr", 20))
    sharp, soft = figure.axes
    assert len(sharp.containers) == 3 and len(soft.containers) == 1
    assert [text.get_text() for text in figure.legends[0].get_texts()][0] == "GJR’s NMI"


def test_differences_figure_draws_each_interval(records):
    table = tables.comparisons(records, [("with", "without")])
    ax = figures.differences(table).axes[0]
    assert list(ax.lines[0].get_xdata()) == table.loc[0, ["95 % interval low", "95 % interval high"]].tolist()
    assert list(ax.lines[1].get_xdata()) == [table["NMI difference"][0]] and ax.get_title(loc="left") == "digits †"


def test_the_forest_has_a_panel_a_set_and_a_band_of_the_margin(synthetic):
    table = tables.effects({"attribution": synthetic.jigsaw(3), "heads": synthetic.heads(1, sets=("stl10",))})
    cifar, stl = figures.forest(table).axes
    assert cifar.get_title(loc="left") == "CIFAR-10 (test) ‡" and stl.get_title(loc="left") == "STL-10 (test) †"
    assert [t.get_text() for t in stl.get_yticklabels()] == ["gjr", "class-name/pgjr"]
    bands = [collection.get_paths()[0].get_extents() for collection in stl.collections]
    assert [(band.x0, band.x1) for band in bands] == [(-1.0, 1.0), (-0.5, 0.5)]
    low, high = table.loc[0, ["95 % interval low", "95 % interval high"]]
    assert list(cifar.lines[0].get_xdata()) == [low, high]
    assert stl.lines[0].get_color() != stl.lines[2].get_color()  # another method


def test_panels_show_the_images_they_are_given():
    image = np.random.default_rng(0).random((8, 8))
    figure = figures.panels([[(image, "one", 4, 2), None], [(image, "two"), (image, "three")]])
    panels = [ax for ax in figure.axes if ax.images]
    assert [ax.get_title() for ax in panels] == ["one", "two", "three"]
    np.testing.assert_array_equal(panels[0].images[0].get_array(), image)


def test_matrices_share_one_scale_around_zero():
    small, large = np.array([[0.0, 1.0], [-1.0, 0.0]]), np.array([[0.0, 2.0], [-4.0, 0.0]])
    first, second, bar = figures.matrices({"small": small, "large": large}).axes
    assert first.collections[0].get_clim() == second.collections[0].get_clim() == (-4, 4) and bar.get_ylabel() == "A"
    np.testing.assert_array_equal(np.asarray(second.collections[0].get_array()).reshape(2, 2), large)
    assert second.yaxis_inverted()  # as a matrix is written


def test_the_landscape_rings_the_lowest_inertia(synthetic):
    landscape = {"inertia": [100.0, 100.5, 120.0], "acc": [0.40, 0.60, 0.20]}
    ax = figures.landscape([{**synthetic.record("prior", 0, 40), "landscape": landscape}]).axes[0]
    assert ax.lines[1].get_xdata()[0] == 100.0 and ax.lines[1].get_ydata()[0] == pytest.approx(40)


def test_sensitivity_has_one_panel_a_setting(study):
    drawn = [ax for ax in figures.sensitivity(study, "start").axes if ax.lines]
    assert [ax.get_title() for ax in drawn] == ["τ1", "α"]
    assert drawn[0].lines[2].get_ydata().tolist() == pytest.approx([41, 45])
    assert [t.get_text() for t in drawn[0].get_xticklabels()] == ["0.1", "1"]
    assert drawn[0].get_legend().get_texts()[0].get_text() == "start"


def test_a_line_joins_numbers_and_never_words(study):
    worded = [{**r, "value": "a word"} if r["panel"] == "α" else r for r in study]
    numbers, words = (ax.lines for ax in figures.sensitivity(worded, "start").axes[:2])
    assert numbers[2].get_linestyle() == "-" and words[2].get_linestyle() == "None"
    without = figures.sensitivity([r for r in study if r["variant"] != "start"], "start")  # no dotted line, no legend
    assert without.axes[0].get_legend() is None


def test_distributions_draw_every_moment_of_every_method(synthetic):
    frames = {str(epoch): {"x": [0.0, 1.0, 2.0], "y": [1.0, 0.0, epoch]} for epoch in (0, 5, 10)}
    record = {**synthetic.record("gjr", 0, 40), "snapshots": {"labels": [0, 1, 1], "epochs": frames}}
    figure = figures.distributions([record, {**record, "label": "IDFD"}])
    assert len(figure.axes) == 6 and figure.axes[2].get_title() == "epoch 10"
    assert sum(len(c.get_offsets()) for c in figure.axes[0].collections) == 3
    short = {**record, "snapshots": {"labels": [0, 1, 1], "epochs": {"0": frames["0"]}}}
    figure = figures.distributions([record, short])  # a run of fewer epochs has fewer pictures
    assert [ax.axison for ax in figure.axes] == [True, True, True, True, False, False]


def test_clusters_are_drawn_with_their_images(synthetic):
    counts = np.eye(10) * 10
    exemplars = {"confusion": counts.tolist(), "nearest": [[0]] * 10, "farthest": [[1]] * 10}
    record = {**synthetic.record("pgjr", 0, 40, "cifar10"), "exemplars": exemplars}
    heat, *empty, bar = figures.confusion([record]).axes
    assert len(empty) == 2 and not any(ax.axison for ax in empty)  # a single panel is no larger than one of three
    np.testing.assert_array_equal(np.asarray(heat.collections[0].get_array()).reshape(10, 10), np.eye(10))
    assert [t.get_text() for t in heat.get_yticklabels()][3] == "cat" and bar.get_ylabel() == "share of the class"
    pictures = np.zeros((2, 3, 4, 4), dtype=np.uint8)
    assert sum(len(ax.images) for ax in figures.exemplars(record, pictures).axes) == 20


def test_the_story_draws_photographs_where_there_are_any(synthetic):
    main = [synthetic.record(m, 100, 40, d, label=m.upper()) for d in ("digits", "cifar10") for m in ("idfd", "gjr")]
    experiments = {**synthetic.race(10, 4), "main": main, "attribution": synthetic.jigsaw(3), "heads": []}
    fast, level, gain = figures.story(experiments).axes
    assert "CIFAR-10" in fast.get_title() and len(fast.lines) == 2
    assert [t.get_text() for t in gain.get_yticklabels()] == [
        "GJR on CIFAR-10 (test) ‡", "GJR on STL-10 (test) †",
    ]  # fmt: skip
    assert [line.get_label() for line in level.lines] == ["CIFAR-10 (all)"]
    assert [t.get_text() for t in level.get_yticklabels()] == ["IDFD", "GJR"]


def test_a_figure_in_a_page_has_its_text_escaped():
    page = figures.as_html(figures.panels([[(np.zeros((2, 2)), "x")]]), 'a "b" <c>')
    assert 'alt="a &quot;b&quot; &lt;c&gt;"' in page and 'src="data:image/png;base64,' in page


def test_labels_beside_a_panel_stand_at_the_ends_of_their_lines_and_apart():
    figure, ax = plt.subplots()
    for end, label in ((0.0, "low"), (5.0, "middle"), (5.1, "high")):
        ax.plot([0, 1], [0, end], label=label)
    ax.plot([0, 1], [3, 3])  # has no label
    label_lines(ax)
    heights = {text.get_text(): text.get_position()[1] for text in ax.texts}
    assert list(heights) == ["low", "middle", "high"]
    assert heights["high"] - heights["middle"] > 0.03 and heights["high"] <= 1.0
    assert abs(heights["low"] - ax.transLimits.transform((1, 0.0))[1]) < 1e-9
    assert [text.get_color() for text in ax.texts] == [line.get_color() for line in ax.lines[:3]]


def test_a_figure_brings_its_svg_along():
    figure, ax = plt.subplots()
    ax.plot([0, 1])
    page = figures.as_html(figure, "a line")
    assert "<svg" in base64.b64decode(re.search(r'data-svg="data:image/svg.xml;base64,([^"]+)"', page)[1]).decode()
