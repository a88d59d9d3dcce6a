"""Figures of records. A record brings its variant's id, by which runs are grouped, and the label that pages show."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from pgjr_book import ledger as ledgers
from pgjr_book import races, scored, verdicts
from pgjr_book.scored import ScoredSet, scored_set
from pgjr_book.show.figures.style import MARKERS, PALETTE, label_lines, line_style, method_style, titled
from pgjr_book.show.groups import by_set, by_set_and_variant, by_variant
from pgjr_book.show.sentences import PRIOR_NAMES, place
from pgjr_book.show.sets import class_names, marked, names_of, set_name
from pgjr_book.show.tables import METRICS, comparisons
from pgjr_lib.data.sets import PAPER_SETS

# variants with and without the jigsaw
JIGSAW = [("gjr", "idfd"), *((f"{prior}/pgjr", f"{prior}/off") for prior in verdicts.PRIORS["stand-in"])]
MAIN_VARIANTS = (  # the rows of the front page's middle panel, from the top
    "pixels", "prior", "imagenet-labels/strong-prior", "idfd", "gjr", "pgjr", "imagenet-labels/strong-pgjr",
)  # fmt: skip


# ---- curves ----


def convergence(records: list[dict], timing: list[dict]):
    """Draw Figure 4 for one set: NMI, ACC and ARI against epochs and seconds; lines are means over seeds, bands their range.

    Seconds are epochs times the epoch that ``timing``'s record of the same variant took alone, plus the encodings; a
    variant that was not timed alone is in the upper row only, and where none was, there is no other row. The last row
    adds the prior's own training, where its seconds are known. The seconds are on a logarithmic axis.
    """
    variants, clocks = by_variant(records), _clocks(timing)
    rows = 3 if clocks.keys() & variants.keys() else 1
    figure, axes = plt.subplots(rows, 3, figsize=(9, 0.3 + 2.5 * rows), sharey="col", squeeze=False)
    for variant, group in variants.items():
        style = {**method_style(variant), "label": group[0]["label"]}
        for column, metric in enumerate(METRICS):
            epochs, points = _curve(group, metric)
            _band(axes[0, column], epochs, points, style)
            if clock := clocks.get(variant):  # then there are rows of seconds
                _band(axes[1, column], [clock.seconds(epoch) for epoch in epochs], points, style)
                if not np.isnan(clock.prior_s):
                    _band(axes[2, column], [clock.seconds_from_nothing(epoch) for epoch in epochs], points, style)
    for column, metric in enumerate(METRICS):
        axes[0, column].set(title=metric.upper(), xlabel="epochs")
        for ax, included in zip(axes[1:, column], ("encoding", "prior’s training"), strict=rows == 3):
            _seconds(ax, f"seconds, {included} included")
    for line in axes:
        line[0].set_ylabel("points")
    handles = axes[0, 0].get_legend_handles_labels()
    inches = figure.get_figheight()  # the legend lies above the panels, and the title above the legend
    figure.legend(*handles, loc="upper center", ncols=len(variants), bbox_to_anchor=(0.5, 1 + 0.23 / inches))
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.23 / inches))
    return titled(figure, names_of(records), y=1 + 0.23 / inches)


def lengths(records: list[dict]):
    """Draw NMI against epochs for every set, and below it what GJR has more than IDFD at the same seed; zero is dotted.

    Lines are means over seeds, bands their range. Every panel has its own axis of epochs.
    """
    sets = by_set(records)
    figure, axes = plt.subplots(2, len(sets), figsize=(3 * len(sets), 4.6), squeeze=False, sharey="row", sharex="col")
    for (where, group), column in zip(sets.items(), axes.T, strict=True):
        for variant, runs in by_variant(group).items():
            epochs, points = _curve(runs, "nmi")
            _band(column[0], epochs, points, {**method_style(variant), "label": runs[0]["label"]})
        both = verdicts.pairs(group, "gjr", "idfd").get(where, [])
        if both:
            epochs, gjr = _curve([pair[0] for pair in both], "nmi")
            _band(column[1], epochs, gjr - _curve([pair[1] for pair in both], "nmi")[1], method_style("gjr"))
        column[1].axhline(0, color="#666666", lw=1, ls=":")
        column[0].set_title(marked(where))
        column[1].set_xlabel("epochs")
    axes[0, 0].set_ylabel("NMI, points")
    axes[1, 0].set_ylabel("GJR − IDFD, points")
    figure.tight_layout(rect=(0, 0, 0.86, 1))  # leaves room for the labels
    label_lines(axes[0, -1])
    return figure


def _seconds(ax, label: str) -> None:
    """Make x a logarithmic axis of seconds, with plain numbers at powers of ten and, on a short axis, three times these."""
    ax.set(xlabel=label, xscale="log")
    low, high = ax.get_xlim()
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 3) if high < 100 * low else (1,)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def _clocks(timing: list[dict]) -> dict[str, races.Clock]:
    """Return the clock of each variant that was timed alone."""
    return {record["variant"]: clock for record in timing if (clock := races.clock(record))}


def _band(ax, x, points, style) -> None:
    ax.plot(x, points.mean(0), **style)
    ax.fill_between(x, points.min(0), points.max(0), color=style["color"], alpha=0.15, lw=0)


def _curve(records: list[dict], metric: str):
    """Return the scored epochs and their points, one row a record."""
    rows = [[row for row in record["history"] if metric in row] for record in records]
    points = 100 * np.array([[row[metric] for row in curve] for curve in rows])
    return [row["epoch"] for row in rows[0]], points


# ---- differences ----


def differences(paired: pd.DataFrame):
    """Draw paired differences with their intervals, one line a row of ``tables.comparisons``; zero is dotted."""
    figure, ax = plt.subplots(figsize=(7.2, 0.45 * len(paired) + 1.1))
    columns = ["comparison", "NMI difference", "95 % interval low", "95 % interval high"]
    _intervals(ax, list(paired[columns].itertuples(index=False, name=None)))
    ax.set_xlabel("NMI points, 95 % interval")
    ax.set_title(", ".join(dict.fromkeys(map(marked, paired["set"]))), loc="left")
    figure.tight_layout()
    return figure


def forest(effects: pd.DataFrame):
    """Draw what variants add to their method without jigsaw (``tables.effects``), a panel a set, one line a variant.

    Zero is dotted. The grey bands are the margins within which an effect counts as none. Colours are methods. Fewer than three
    runs have no interval.
    """
    sets = list(effects.groupby("set", sort=False))
    counts = [len(rows) for _, rows in sets]
    size = (7.2, 0.32 * sum(counts) + 0.9 * len(sets))
    figure, axes = plt.subplots(len(sets), 1, figsize=size, squeeze=False, gridspec_kw={"height_ratios": [n + 1 for n in counts]})
    colours = {name: method_style(f"{prior}/pgjr")["color"] for prior, name in PRIOR_NAMES.items()}
    colours[""] = method_style("gjr")["color"]
    for ax, (where, rows) in zip(axes[:, 0], sets, strict=True):
        for position, row in enumerate(rows.to_dict("records")):
            ax.fill_betweenx((-position - 0.5, -position + 0.5), -row["margin"], row["margin"], color="#e6e6e6", lw=0)
            ends, colour = (row["95 % interval low"], row["95 % interval high"]), colours[row["prior"]]
            if row["runs"] > 2:  # the interval of two runs is wider than any page
                ax.plot(ends, (-position, -position), color=colour, lw=2)
            ax.plot(row["NMI difference"], -position, "o", color=colour, ms=5)
        ax.axvline(0, color="#666666", lw=1, ls=":")
        ax.set(yticks=[-position for position in range(len(rows))], yticklabels=rows["comparison"])
        ax.set_title(marked(where), loc="left")
    axes[-1, 0].set_xlabel("NMI points more than without a jigsaw, 95 % interval")
    figure.tight_layout()
    return figure


def _intervals(ax, rows: list[tuple]) -> None:
    """Draw one line a (name, mean, low, high), the first on top."""
    for position, (_, mean, low, high) in enumerate(rows):
        ax.plot((low, high), (-position, -position), color=PALETTE[0], lw=2)
        ax.plot(mean, -position, "o", color=PALETTE[1])
    ax.axvline(0, color="#666666", lw=1, ls=":")
    ax.set(yticks=[-position for position in range(len(rows))], yticklabels=[row[0] for row in rows])


def strength(table: pd.DataFrame, winner: list[dict]):
    """Draw what each part of a head adds against the prior's own score, a panel a temperature (``tables.strength``).

    Zero is dotted. The vertical line is GJR's mean NMI on the same folds, if ``winner`` has it.
    """
    temperatures = sorted(set(table["τ1"]))
    figure, axes = plt.subplots(1, len(temperatures), figsize=(9, 3.8), sharey=True, squeeze=False)
    gjr = [scored.score(r) for r in winner if r["variant"] == "gjr" and scored_set(r) in set(table["set"])]
    for ax, tau1 in zip(axes[0], temperatures, strict=True):
        for number, (part, rows) in enumerate(table[table["τ1"] == tau1].groupby("part", sort=False)):
            rows = rows.sort_values("NMI of the prior")
            mean, low, high = (rows[name].to_numpy() for name in ("NMI difference", "95 % interval low", "95 % interval high"))
            style = line_style(number)
            ax.errorbar(rows["NMI of the prior"], mean, (mean - low, high - mean), capsize=2, label=part, marker="o", ms=3, **style)
        ax.axhline(0, color="#666666", lw=1, ls=":")
        if gjr:
            ax.axvline(np.mean(gjr), color="#666666", lw=1, label="GJR’s NMI")
        ax.set(title=f"τ1 = {tau1:g}", xlabel="NMI of k-means on the prior, points")
    axes[0, 0].set_ylabel("what the part adds, NMI points")
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="upper center", ncols=3, fontsize=8, bbox_to_anchor=(0.5, 1.1))
    figure.tight_layout(rect=(0, 0, 1, 0.97))
    return figure


def choices(table: pd.DataFrame):
    """Draw by how much each choice moves NMI (``tables.choices``): a row a choice, a mark a prior and setting, a colour a prior.

    Zero is dotted. The grey band is the margin within which an effect of a head counts as none.
    """
    names, priors = list(table["choice"].unique()), list(table["prior"].unique())
    figure, ax = plt.subplots(figsize=(9, 0.7 * len(names) + 1.1))
    ax.axvspan(-verdicts.MARGIN_HEAD, verdicts.MARGIN_HEAD, color="#dddddd", lw=0)
    ax.axvline(0, color="#666666", lw=1, ls=":")
    for number, (prior, rows) in enumerate(table.groupby("prior", sort=False)):
        height = np.array([names.index(choice) for choice in rows["choice"]]) + 0.13 * (number - (len(priors) - 1) / 2)
        style = {"color": PALETTE[number % len(PALETTE)], "marker": MARKERS[number % len(MARKERS)]}
        ax.scatter(rows["NMI difference"], height, s=22, lw=0, alpha=0.85, label=prior, **style)
    ax.set(yticks=range(len(names)), yticklabels=names, xlabel="what the choice adds, NMI points", ylim=(len(names) - 0.5, -0.5))
    figure.legend(*ax.get_legend_handles_labels(), loc="upper center", ncols=3, fontsize=8, bbox_to_anchor=(0.5, 1.12))
    figure.tight_layout()
    return figure


def growth(result: dict):
    """Draw seconds and peak memory of every curve of the benchmark of growth, on logarithmic axes."""
    curves = {name: values["points"] for name, values in result["curves"].items() if len(values["points"]) > 1}
    figure, axes = plt.subplots(2, len(curves), figsize=(2.6 * len(curves), 4.6), sharey="row", squeeze=False)
    for column, (name, points) in zip(axes.T, curves.items(), strict=True):
        grows = name if name in points[0] else "images"
        for ax, value, factor in zip(column, ("seconds", "peak_mib"), (1, 2**20 / 1e9), strict=True):
            sizes, values = [point[grows] for point in points], [factor * point[value] for point in points]
            ax.loglog(sizes, values, **line_style(0), marker="o", ms=3)
        column[0].set_title(name)
        column[1].set_xlabel(grows)
    axes[0, 0].set_ylabel("seconds")
    axes[1, 0].set_ylabel("peak memory, GB")
    figure.tight_layout()
    return figure


# ---- features and clusters ----


def distributions(records: list[dict]):
    """Draw Figure 5 for one set: t-SNE of the features, one row a record and one column an epoch; colours are classes."""
    names, columns = class_names(records[0]), max(len(record["snapshots"]["epochs"]) for record in records)
    figure, axes = plt.subplots(len(records), columns, figsize=(1.9 * columns, 2.1 * len(records) + 0.5), squeeze=False)
    for line, record in zip(axes, records, strict=True):
        epochs, labels = record["snapshots"]["epochs"], np.array(record["snapshots"]["labels"])
        for ax in line[len(epochs) :]:  # a shorter run has fewer moments
            ax.set_axis_off()
        for ax, (epoch, frame) in zip(line, epochs.items(), strict=False):
            x, y = np.array(frame["x"]), np.array(frame["y"])
            for c in np.unique(labels):
                style = {"marker": MARKERS[c // len(PALETTE) % len(MARKERS)], "color": PALETTE[c % len(PALETTE)]}
                ax.scatter(x[labels == c], y[labels == c], s=5, lw=0, label=names[c], rasterized=True, **style)
            ax.set(xticks=[], yticks=[], title=f"epoch {epoch}")
        line[0].set_ylabel(record["label"])
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=min(len(labels), 10), markerscale=3, handletextpad=0)
    figure.tight_layout(rect=(0, 0.12 / len(records) + 0.02, 1, 1))
    return titled(figure, names_of(records))


PANELS = 3  # of a row of confusion matrices


def confusion(records: list[dict]):
    """Draw Figure 6 for one set: classes against clusters, a panel a record; clusters in the order of their classes."""
    columns = max(len(records), PANELS)  # a figure of one panel has it no larger than one of several
    size = (3.1 * columns + 0.6, 3.4)
    figure, axes = plt.subplots(1, columns, figsize=size, squeeze=False, sharey=True, layout="constrained")
    for ax in axes[0, len(records):]:
        ax.set_axis_off()
    for ax, record in zip(axes[0], records, strict=False):
        counts = np.array(record["exemplars"]["confusion"], dtype=float)
        share = pd.DataFrame(counts / counts.sum(1, keepdims=True), index=class_names(record))
        seaborn.heatmap(share, vmin=0, vmax=1, cmap="cividis", square=True, cbar=False, ax=ax)
        ax.set(title=record["label"], xlabel="cluster")
        ax.tick_params(axis="y", labelsize=8, rotation=0)
    axes[0, 0].set_ylabel("class")
    figure.colorbar(axes[0, 0].collections[0], ax=axes[0, : len(records)].tolist(), label="share of the class", fraction=0.04)
    return titled(figure, names_of(records))


def exemplars(record: dict, images: np.ndarray):
    """Draw for each cluster its nearest images, and below them the farthest. ``images`` is (N, 3, H, W) uint8."""
    nearest, farthest = record["exemplars"]["nearest"], record["exemplars"]["farthest"]
    names, columns, rows = class_names(record), len(nearest), max(map(len, nearest))
    figure, axes = plt.subplots(
        2 * rows + 1,
        columns,
        figsize=(0.75 * columns, 1.5 * rows + 0.4),
        squeeze=False,
        gridspec_kw={"height_ratios": [1] * rows + [0.5] + [1] * rows},
    )
    for ax in axes.flat:
        ax.set_axis_off()
    axes[rows, 0].text(0, 0.1, "farthest from the centre", fontsize=8)
    for c in range(columns):
        for offset, chosen in ((0, nearest[c]), (rows + 1, farthest[c])):
            for r, i in enumerate(chosen):
                axes[offset + r, c].imshow(images[i].transpose(1, 2, 0), interpolation="nearest")
        axes[0, c].set_title(names[c] if c < len(names) else str(c), fontsize=8)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=0.96, wspace=0.08, hspace=0.08)
    return figure


def landscape(records: list[dict]):
    """Draw inertia against ACC of single k-means starts on one set, one panel a record; the lowest inertia is ringed."""
    figure, axes = plt.subplots(1, len(records), figsize=(3.2 * len(records), 3), squeeze=False)
    for ax, record in zip(axes[0], records, strict=True):
        inertia, acc = np.array(record["landscape"]["inertia"]), 100 * np.array(record["landscape"]["acc"])
        ax.plot(inertia, acc, ".", color=PALETTE[0], alpha=0.6)
        ax.plot(inertia.min(), acc[inertia.argmin()], "o", ms=9, mfc="none", color=PALETTE[1])
        ax.annotate("lowest inertia", (inertia.min(), acc[inertia.argmin()]), (9, 0), textcoords="offset points", va="center",
                    color=PALETTE[1], fontsize=8, bbox={"fc": "white", "ec": "none", "alpha": 0.8, "pad": 1})  # fmt: skip
        ax.set(title=record["label"], xlabel="inertia")
    axes[0, 0].set_ylabel("ACC, points")
    figure.tight_layout()
    return titled(figure, names_of(records))


# ---- settings ----


def sensitivity(records: list[dict], default: str):
    """Draw Figure 7: NMI against the values of one setting, a panel a setting.

    Marks are seeds, lines their means. The dotted line is the variant ``default``, the same in all panels.
    """
    variants = by_variant(records)
    by_panel: dict[str, list[list[dict]]] = {}
    for group in variants.values():
        if group[0]["panel"] is not None:
            by_panel.setdefault(group[0]["panel"], []).append(group)
    centre, rows = variants.get(default, []), -(-len(by_panel) // 3)
    figure, axes = plt.subplots(rows, 3, figsize=(9, 2.5 * rows), sharey=True, squeeze=False)
    for ax in axes.flat[len(by_panel) :]:
        ax.set_axis_off()
    for ax, (setting, groups) in zip(axes.flat, by_panel.items(), strict=False):
        values = [group[0]["value"] for group in groups]
        points = [[scored.score(record) for record in group] for group in groups]
        for x, seeds in enumerate(points):
            ax.plot([x] * len(seeds), seeds, ".", color=PALETTE[0], alpha=0.5)
        ordered = not any(isinstance(value, str) for value in values)  # words have no order that a line could follow
        ax.plot(
            range(len(points)), [np.mean(seeds) for seeds in points], "-" if ordered else "_", color=PALETTE[0], ms=14
        )
        if centre:
            ax.axhline(np.mean([scored.score(r) for r in centre]), color=PALETTE[1], ls=":", label=centre[0]["label"])
        ax.set(title=setting, xticks=range(len(values)), xticklabels=list(map(str, values)))
    for line in axes:
        line[0].set_ylabel("NMI, points")
    if centre:
        axes[0, 0].legend(fontsize=8)
    figure.tight_layout()
    return figure


# ---- the front page ----


def story(experiments: dict[str, list[dict]]):
    """Draw the front page's picture: how fast (Figure 4), how far (Table 2), and what the jigsaw adds (Table 5's cells).

    Args:
        experiments: the records of ``convergence``, ``timing``, ``main``, ``attribution`` and ``heads``.
    """
    figure = plt.figure(figsize=(8.4, 6.4), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1.2, 1))  # of their own, because the lower panel has long names
    fast, level = above.subplots(1, 2, width_ratios=(1.25, 1))
    _how_far(level, _photographs(experiments["main"]))
    _how_fast(fast, _photographs(experiments["convergence"]), experiments["timing"])
    finding = ledgers.together(ledgers.ledger(experiments)[1])
    rows = [(place(cell), *cell.interval(finding.level)) for cell in finding.cells if cell.interval]
    if not rows:  # no set that the rules judge, as in the default book
        paired = comparisons([*experiments["attribution"], *experiments["heads"]], JIGSAW)
        columns = ["comparison", "NMI difference", "95 % interval low", "95 % interval high"]
        rows = list(paired.reindex(columns=columns).itertuples(index=False, name=None))
    gain = below.subplots()
    _intervals(gain, rows)
    gain.set(title="What the jigsaw adds", xlabel=f"NMI points, {100 * finding.level:.3g} % interval")
    return figure


def _photographs(records: list[dict]) -> list[dict]:
    """Return the records on the paper's sets, or all records where there are none."""
    return [record for record in records if record["config"]["dataset"] in PAPER_SETS] or records


def _how_fast(ax, curves: list[dict], timing: list[dict]) -> None:
    first = scored_set(curves[0]) if curves else None
    clocks = _clocks([record for record in timing if scored_set(record) == first])
    for variant, group in by_variant([r for r in curves if scored_set(r) == first]).items():
        if clock := clocks.get(variant):
            epochs, points = _curve(group, "nmi")
            ax.plot([clock.seconds(epoch) for epoch in epochs], points.mean(0), **method_style(variant), label=group[0]["label"])
    name = set_name(first) if ax.lines else "no timed runs"
    ax.set(title=f"How fast, on {name}", ylabel="NMI, points")
    _seconds(ax, "seconds, encoding included")
    label_lines(ax)


def _how_far(ax, components: list[dict]) -> None:
    newest = [record for record in components if not scored_set(record).earlier] or components
    groups = by_set_and_variant(newest)
    labels = {variant: group[0]["label"] for variant, group in by_variant(newest).items()}
    variants = [variant for variant in MAIN_VARIANTS if variant in labels]
    for number, where in enumerate(by_set(newest)):
        means = _means(groups, where, variants)
        # open marks in one colour: colours are of methods, and marks of several sets may meet
        style = {"marker": MARKERS[number % len(MARKERS)], "color": "#333333", "fillstyle": "none", "ls": ""}
        ax.plot(list(means.values()), [-variants.index(variant) for variant in means], **style, label=set_name(where))
    yticks, yticklabels = [-position for position in range(len(variants))], [labels[variant] for variant in variants]
    ax.set(title="How far", xlabel="NMI, points", yticks=yticks, yticklabels=yticklabels)
    if by_set(newest):
        ax.legend(fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.3, -0.2), columnspacing=1, handletextpad=0.2)


def _means(groups: dict, where: ScoredSet, variants: list[str]) -> dict[str, float]:
    """Return the mean NMI of the variants that were run on a set."""
    return {
        variant: float(np.mean([scored.score(record) for record in groups[where, variant]]))
        for variant in variants
        if (where, variant) in groups
    }
