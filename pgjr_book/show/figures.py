"""Records and tensors in, matplotlib Figures out: no training, no files.

Colours are Okabe and Ito's, which colour-blind readers can tell apart; lines also differ in their dashes.
Figures carry a white ground of their own, so that they read the same on light and dark pages.
"""

import base64
import html
import io

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from pgjr_book import verdicts as claims
from pgjr_book.show.tables import JIGSAW_PAIRS, METRICS, bounds

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "^")

plt.rcParams.update({
    "font.size": 10, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False,
    "figure.facecolor": "white", "savefig.facecolor": "white", "figure.dpi": 180, "savefig.dpi": 180,
    "legend.frameon": False, "svg.fonttype": "none",
})  # fmt: skip


def show_map(ax, image, title: str, blocks: int | None = None, grids: int | None = None) -> None:
    """Draw an image (H, W) or (H, W, 3); white lines every ``grids`` pixels, dark ones every ``blocks``."""
    image = np.asarray(image)
    ax.imshow(np.clip(image, 0, 1) if image.ndim == 3 else image, cmap="gray", interpolation="nearest")
    for step, colour, width in ((grids, "white", 0.8), (blocks, PALETTE[4], 1.8)):
        for position in range(step, image.shape[0], step) if step else ():
            ax.axhline(position - 0.5, color=colour, lw=width)
        for position in range(step, image.shape[1], step) if step else ():
            ax.axvline(position - 0.5, color=colour, lw=width)
    ax.set_title(title)
    ax.set_axis_off()


def panels(rows: list[list[tuple]], size: float = 1.9):
    """Rows of images: each panel is (image, title, block step, grid step), or None for an empty place."""
    columns = max(len(row) for row in rows)
    figure, axes = plt.subplots(len(rows), columns, figsize=(size * columns, (size + 0.25) * len(rows)), squeeze=False)
    for row, line in zip(rows, axes, strict=True):
        for ax, panel in zip(line, [*row, *[None] * (columns - len(row))], strict=True):
            if panel is None:
                ax.set_axis_off()
            else:
                show_map(ax, *panel)
    figure.tight_layout()
    return figure


def matrices(named: dict[str, np.ndarray]):
    """Regression matrices side by side on one scale; blue is negative, red positive."""
    size = (2.6 * len(named), 2.7)
    figure, axes = plt.subplots(1, len(named), figsize=size, squeeze=False, sharey=True, layout="constrained")
    limit = max(float(np.abs(matrix).max()) for matrix in named.values())
    for ax, (title, matrix) in zip(axes[0], named.items(), strict=True):
        drawn = ax.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit)
        ax.set(title=title, xlabel="grid j", xticks=range(len(matrix)), yticks=range(len(matrix)))
    axes[0, 0].set_ylabel("grid r")
    figure.colorbar(drawn, ax=axes[0].tolist(), label="A", fraction=0.03)
    return figure


def framework(shapes: dict[str, str]):
    """The pGJR framework as boxes and arrows; ``shapes`` maps each box's name to the shape of what leaves it."""
    figure, ax = plt.subplots(figsize=(9.6, 3.8))
    ax.set(xlim=(0, 20.4), ylim=(0.4, 7.2))
    ax.set_axis_off()
    width = 3.0
    places = {  # name: (x, y, label, colour)
        "images": (0.2, 3.2, "images\nand views", "#bbbbbb"),
        "prior": (4.3, 3.2, "frozen prior", PALETTE[5]),
        "embedding": (8.4, 5.2, "embedding c̃,\nstandardised", PALETTE[4]),
        "map": (8.4, 1.2, "map Z, by PCA", PALETTE[4]),
        "jigsaw": (12.5, 1.2, "jigsaw J\nEqs. 1 to 4", PALETTE[1]),
        "phi": (16.6, 1.2, "φ: flatten,\nBatchNorm, ReLU", PALETTE[2]),
        "feature": (16.6, 5.2, "f, normalised\nEq. 7", PALETTE[0]),
    }
    for name, (x, y, label, colour) in places.items():
        box = FancyBboxPatch((x, y), width, 1.5, boxstyle="round,pad=0.08", fc=colour, ec="#333333", alpha=0.35)
        ax.add_patch(box)
        middle = x + width / 2
        ax.text(middle, y + 0.75, label, ha="center", va="center", fontsize=9.5)
        ax.text(middle, y - 0.2, shapes[name], ha="center", va="top", fontsize=9, color="#333333", family="monospace")
    ends = [("images", "prior"), ("prior", "embedding"), ("prior", "map"), ("map", "jigsaw"), ("jigsaw", "phi"),
            ("phi", "feature"), ("embedding", "feature")]  # fmt: skip
    for start, end in ends:
        (x0, y0, *_), (x1, y1, *_) = places[start], places[end]
        if x0 == x1:  # upwards, into the shape's label
            points = ((x0 + width / 2, y0 + 1.6), (x1 + width / 2, y1 - 0.75))
        else:
            points = ((x0 + width + 0.1, y0 + 0.75), (x1 - 0.1, y1 + 0.75))
        ax.add_patch(FancyArrowPatch(*points, arrowstyle="-|>", mutation_scale=12, color="#333333"))
    ax.text(14.0, 6.9, "trained by Eqs. 8 to 12, then clustered by k-means", fontsize=9.5, ha="center", va="bottom")
    figure.tight_layout()
    return figure


def convergence(records: list[dict]):
    """Figure 4: NMI, ACC and ARI against epochs and seconds; lines are means over seeds, bands their range.

    pGJR's seconds begin with the encoding of all views. Seconds are those of runs that had their device to themselves.
    """
    labels = list(dict.fromkeys(record["label"] for record in records))
    figure, axes = plt.subplots(2, 3, figsize=(9, 5.4), sharey="col")
    for number, label in enumerate(labels):
        group = [record for record in records if record["label"] == label]
        style = {"color": PALETTE[number % 6], "ls": DASHES[number % 4], "label": label, "lw": 1.8}
        for line, shown in enumerate((group, _alone(group))):
            for column, metric in enumerate(METRICS if shown else ()):
                epochs, seconds, values = _curve(shown, metric)
                x = seconds if line else epochs
                axes[line, column].plot(x, values.mean(0), **style)
                axes[line, column].fill_between(x, values.min(0), values.max(0), color=style["color"], alpha=0.15, lw=0)
    for column, metric in enumerate(METRICS):
        axes[0, column].set(title=metric.upper(), xlabel="epochs")
        axes[1, column].set(xlabel="seconds, encoding included")
    for line in axes:
        line[0].set_ylabel("points")
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="upper center", ncols=len(labels), bbox_to_anchor=(0.5, 1.03)
    )
    figure.tight_layout(rect=(0, 0, 1, 0.97))
    return figure


def _alone(records):
    """Those whose seconds may be compared."""
    return [record for record in records if record["timings"].get("alone", True)]


def _curve(group, metric):
    """Epochs, seconds (mean over records, encoding included) and points (one row a record) of the scored epochs."""
    curves = [[row for row in record["history"] if "nmi" in row] for record in group]
    extract = np.mean([record["timings"]["extract_s"] for record in group])
    seconds = np.mean([[row["seconds"] for row in curve] for curve in curves], axis=0) + extract
    return [row["epoch"] for row in curves[0]], seconds, 100 * np.array([[row[metric] for row in c] for c in curves])


def _intervals(ax, rows):
    """One line a (name, mean, low, high), the first on top; zero is marked."""
    for position, (_, mean, low, high) in enumerate(rows):
        ax.plot((low, high), (-position, -position), color=PALETTE[0], lw=2)
        ax.plot(mean, -position, "o", color=PALETTE[1])
    ax.axvline(0, color="#666666", lw=1, ls=":")
    ax.set(yticks=[-position for position in range(len(rows))], yticklabels=[row[0] for row in rows])


def differences(table):
    """Paired differences with their intervals, one line a comparison of ``tables.comparisons``; zero is marked."""
    figure, ax = plt.subplots(figsize=(7.2, 0.45 * len(table) + 1.1))
    _intervals(ax, [(row[1], float(row[2]), *bounds(row[3])) for row in table.itertuples(index=False)])
    ax.set_xlabel("NMI points, 95 % interval")
    ax.set_title(", ".join(dict.fromkeys(table["set"])), loc="left")
    figure.tight_layout()
    return figure


def distributions(records: list[dict], class_names=()):
    """Figure 5: t-SNE of the features, one row a record and one column an epoch; colours and marks are classes."""
    columns = max(len(record["snapshots"]["epochs"]) for record in records)
    figure, axes = plt.subplots(len(records), columns, figsize=(1.9 * columns, 2.1 * len(records) + 0.5), squeeze=False)
    for line, record in zip(axes, records, strict=True):
        shown, labels = record["snapshots"]["epochs"], np.array(record["snapshots"]["labels"])
        for ax in line[len(shown) :]:  # a shorter run has fewer moments
            ax.set_axis_off()
        for ax, (epoch, frame) in zip(line, shown.items(), strict=False):
            x, y = np.array(frame["x"]), np.array(frame["y"])
            for c in np.unique(labels):
                name = class_names[c] if len(class_names) else str(c)
                style = {"s": 5, "lw": 0, "marker": MARKERS[c // 6 % 2], "color": PALETTE[c % 6], "label": name}
                ax.scatter(x[labels == c], y[labels == c], **style)
            ax.set(xticks=[], yticks=[], title=f"epoch {epoch}")
        line[0].set_ylabel(record["label"])
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="lower center", ncols=min(len(names), 10), markerscale=3, handletextpad=0)
    figure.tight_layout(rect=(0, 0.12 / len(records) + 0.02, 1, 1))
    return figure


MAIN_METHODS = ("k-means on pixels", "k-means on the prior", "IDFD (no jigsaw)", "GJR", "pGJR")


def story(curves: list[dict], components: list[dict]):
    """The front page's picture: how fast (Figure 4's first set), what the jigsaw adds, who is where (Table 5's sets).

    Photographs where there are any: the digits' small set would stretch every scale.
    """
    own = lambda records: [r for r in records if r["config"]["dataset"] in claims.PAPER_SETS] or records  # noqa: E731
    judged, curves, components = components, own(_alone(curves)), own(components)  # as the ledger judges: over all sets
    sets = list(dict.fromkeys(map(claims.set_name, components)))
    figure, axes = plt.subplot_mosaic([["fast", "level"], ["gain", "gain"]], figsize=(7.2, 5.2), layout="constrained")
    fast, level, gain = axes["fast"], axes["level"], axes["gain"]
    first = claims.set_name(curves[0]) if curves else "no timed runs"
    curves = [record for record in curves if claims.set_name(record) == first]
    for number, label in enumerate(dict.fromkeys(record["label"] for record in curves)):
        _, seconds, values = _curve([record for record in curves if record["label"] == label], "nmi")
        fast.plot(seconds, values.mean(0), color=PALETTE[number % 6], ls=DASHES[number % 4], lw=1.8, label=label)
        if len(values[0]) < 8:  # few points: a line of dashes would be no line
            fast.plot(seconds, values.mean(0), ".", color=PALETTE[number % 6])
    fast.set(title=f"How fast, on {first}", xlabel="seconds, encoding included", ylabel="NMI, points", xlim=(0, None))
    if curves:
        fast.legend()

    found = [(f"{kind}, {name}", mean, low, high) for kind, test in JIGSAW_PAIRS.items()
             for name, (_, mean, low, high, _) in claims.judge_difference(judged, *test).items() if name in sets]  # fmt: skip
    _intervals(gain, found)
    gain.set(title="What the jigsaw adds", xlabel="NMI points, 95 % interval (Holm)")

    methods = [m for m in MAIN_METHODS if any(record["label"] == m for record in components)]
    for number, name in enumerate(sets):
        style = {"marker": ("o", "^", "s", "D")[number % 4], "color": PALETTE[number % 6], "ls": "", "label": name}
        of = {m: [claims.score(r) for r in components if r["label"] == m and claims.set_name(r) == name] for m in methods}
        shown = [m for m in methods if of[m]]
        level.plot([np.mean(of[m]) for m in shown], [-methods.index(m) for m in shown], **style)
    level.set(title="How far", xlabel="NMI, points", yticks=[-p for p in range(len(methods))], yticklabels=methods)
    level.legend(ncols=len(sets), loc="upper center", bbox_to_anchor=(0.3, -0.25), columnspacing=1, handletextpad=0.2)
    return figure


def as_html(figure, alt: str) -> str:
    """A figure as an HTML image of its own, for pages that show another page's figure; closes it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight")
    plt.close(figure)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img class="figure" alt="{html.escape(alt)}" src="data:image/png;base64,{data}">'


def sensitivity(records: list[dict], default: str):
    """Figure 7: NMI against one setting at a time; a variant's label reads "setting = value".

    Marks are seeds, lines their means; the dotted line is the ``default``, the same in all panels.
    """
    groups: dict[str, dict[str, list]] = {}
    for record in records:
        setting, _, value = record["label"].partition(" = ")
        if value:
            groups.setdefault(setting, {}).setdefault(value, []).append(record)
    centre = [claims.score(record) for record in records if record["label"] == default]
    rows = -(-len(groups) // 3)
    figure, axes = plt.subplots(rows, 3, figsize=(9, 2.5 * rows), sharey=True, squeeze=False)
    for ax in axes.flat[len(groups) :]:
        ax.set_axis_off()
    for ax, (setting, values) in zip(axes.flat, groups.items(), strict=False):
        scores = [[claims.score(record) for record in group] for group in values.values()]
        for x, seeds in enumerate(scores):
            ax.plot([x] * len(seeds), seeds, ".", color=PALETTE[0], alpha=0.5)
        numbers = all(value.replace(".", "").isdigit() for value in values)  # words have no order that a line could follow
        ax.plot(range(len(scores)), [np.mean(seeds) for seeds in scores], "-" if numbers else "_", color=PALETTE[0], ms=14)
        ax.axhline(np.mean(centre), color=PALETTE[1], ls=":", label=default)
        ax.set(title=setting, xticks=range(len(scores)), xticklabels=list(values))
    for line in axes:
        line[0].set_ylabel("NMI, points")
    axes[0, 0].legend(fontsize=8)
    figure.tight_layout()
    return figure


def landscape(records: list[dict]):
    """Inertia against ACC of single k-means starts, one panel a record; the lowest inertia is marked."""
    figure, axes = plt.subplots(1, len(records), figsize=(3.2 * len(records), 3), squeeze=False)
    for ax, record in zip(axes[0], records, strict=True):
        inertia, acc = np.array(record["landscape"]["inertia"]), 100 * np.array(record["landscape"]["acc"])
        ax.plot(inertia, acc, ".", color=PALETTE[0], alpha=0.6)
        ax.plot(inertia.min(), acc[inertia.argmin()], "o", ms=9, mfc="none", color=PALETTE[1], label="lowest inertia")
        ax.set(title=record["label"], xlabel="inertia")
        ax.legend(fontsize=8)
    axes[0, 0].set_ylabel("ACC, points")
    figure.tight_layout()
    return figure


def confusion(records: list[dict], class_names=()):
    """Figure 6: classes against clusters, a panel a record; clusters are in the order of the classes they match."""
    size = (3.1 * len(records) + 0.6, 3.4)
    figure, axes = plt.subplots(1, len(records), figsize=size, squeeze=False, sharey=True, layout="constrained")
    for ax, record in zip(axes[0], records, strict=True):
        table = np.array(record["exemplars"]["confusion"], dtype=float)
        drawn = ax.imshow(table / table.sum(1, keepdims=True), cmap="cividis", vmin=0, vmax=1)
        names = list(class_names) or list(map(str, range(len(table))))
        ax.set(title=record["label"], xlabel="cluster", xticks=range(table.shape[1]), yticks=range(len(table)))
        ax.set_yticklabels(names, fontsize=8)
    axes[0, 0].set_ylabel("class")
    figure.colorbar(drawn, ax=axes[0].tolist(), label="share of the class", fraction=0.04)
    return figure


def exemplars(record: dict, images: np.ndarray, class_names=()):
    """Figure 6: for each cluster its nearest images, and below them the farthest; ``images`` is (N, 3, H, W) uint8."""
    found = record["exemplars"]
    columns = len(found["nearest"])
    rows = max(map(len, found["nearest"]))
    heights = {"height_ratios": [1] * rows + [0.5] + [1] * rows}
    figure, axes = plt.subplots(
        2 * rows + 1, columns, figsize=(0.75 * columns, 1.5 * rows + 0.4), squeeze=False, gridspec_kw=heights
    )
    for ax in axes.flat:
        ax.set_axis_off()
    axes[rows, 0].text(0, 0.1, "farthest from the centre", fontsize=8)
    for c in range(columns):
        for offset, picked in ((0, found["nearest"][c]), (rows + 1, found["farthest"][c])):
            for r, i in enumerate(picked):
                axes[offset + r, c].imshow(images[i].transpose(1, 2, 0), interpolation="nearest")
        axes[0, c].set_title(class_names[c] if c < len(class_names) else str(c), fontsize=8)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=0.96, wspace=0.08, hspace=0.08)
    return figure
