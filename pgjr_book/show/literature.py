"""Numbers of the literature beside ours: each with its source, its split and how far it can be trusted."""

import html
from pathlib import Path

import pandas as pd

from pgjr_book import verdicts as claims
from pgjr_book.run_config import LABELS_SEEN
from pgjr_book.show import tables
from pgjr_book.show.tables import METRICS, mean_sd
from pgjr_lib.errors import PGJRError

COLUMNS = ("method", "dataset", "nmi", "acc", "ari", "backbone", "split", "source", "grade")
UPPER_LINE = "CLIP zero-shot"
REFUSED = '<td colspan="3"><em>prior saw these labels</em></td>'
FOLDED = ("aggregator", "user report")  # grades that are shown only when asked for
NAMES = {
    "k-means on pixels": "k-means (pixels)",
    "IDFD (no jigsaw)": "IDFD",
    "GJR": "GJR",
    "pGJR": "pGJR",
}  # ours: theirs
SPLITS = {"train+test": "all", "train": "train", "test": "test"}


def read(path) -> pd.DataFrame:
    """A table of published numbers (``COLUMNS``; scores in points, empty where the source gives none).

    Raises:
        PGJRError: a column is missing, a score is no number from 0 to 100, or a row names no source.
    """
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    if missing := [name for name in COLUMNS if name not in table]:
        raise PGJRError(f"{path} has no column {missing[0]!r}: its columns are {', '.join(COLUMNS)}.")
    if len(table) and (table["source"] == "").any():
        raise PGJRError(f"{path}, line {(table['source'] == '').idxmax() + 2}: a number needs a source.")
    for metric in METRICS:
        numbers = pd.to_numeric(table[metric].replace("", None), errors="coerce")
        if (wrong := (table[metric] != "") & ~numbers.between(0, 100)).any():
            line = wrong.idxmax()
            raise PGJRError(
                f"{Path(path).name}, line {line + 2}: {metric} is {table[metric][line]!r}: give points, 0 to 100."
            )
        table[metric] = numbers
    return table


def main_results(records: list[dict], published: pd.DataFrame, paper: pd.DataFrame) -> str:
    """Table 2 as HTML: one row a method, one group of columns a set; ours first, then the paper's, then others'.

    A literature method opens to its source, split and grade; weakly sourced rows fold away below.
    """
    shown = {r["config"]["dataset"] for r in records}
    mine = sorted(shown, key=lambda name: (name not in claims.PAPER_SETS, name))
    sets = [*mine, *(name for name in claims.PAPER_SETS if name not in shown)]
    parts = {(r["config"]["dataset"], claims.set_name(r)) for r in records}
    several = {name for name in shown if sum(dataset == name for dataset, _ in parts) > 1}  # sets with several splits
    ours: dict[str, dict[str, list]] = {}
    for record in records:
        name = record["config"]["dataset"]
        label = f"{record['label']}, {record['config']['split']} split" if name in several else record["label"]
        ours.setdefault(label, {}).setdefault(name, []).append(record)
    refused = {name: REFUSED for name in LABELS_SEEN if any(r["config"]["prior"] == "class-name" for r in records)}
    rows = [
        (html.escape(label), {**(refused if _on_prior(by_set) else {}), **{n: _ours(g) for n, g in by_set.items()}})
        for label, by_set in ours.items()
    ]
    folded = published["grade"].str.startswith(FOLDED)
    upper = published["method"].str.startswith(UPPER_LINE)
    body = _group("this book", rows, sets)
    body += _group("the paper", _theirs(paper), sets, empty="not printed here: its full text was not consulted")
    body += _group("literature", _theirs(published[~folded & ~upper]), sets)
    told = "upper line, not unsupervised: it is given the names of the classes"
    body += _group(told, _theirs(published[~folded & upper]), sets)
    head = "".join(f'<th colspan="3">{html.escape(tables.marked(name))}{_used(records, name)}</th>' for name in sets)
    metrics = "".join(f"<th>{metric.upper()}</th>" for _ in sets for metric in METRICS)
    table = '<div class="wide"><table class="table"><thead><tr><th rowspan="2">method</th>{}</tr><tr>{}</tr></thead>{}</table></div>'
    weak = table.format(head, metrics, _group("aggregators and user reports", _theirs(published[folded]), sets))
    told = f"{int(folded.sum())} numbers from aggregators and user reports"
    return f"{table.format(head, metrics, body)}{tables.explained(head)}<details><summary>{told}</summary>{weak}</details>"


def cells(records: list[dict], published: pd.DataFrame, paper: pd.DataFrame) -> pd.DataFrame:
    """Cell by cell, where both exist: literature, ours, difference, seeds, and whether the split is the same."""
    known, rows = pd.concat([published, paper]), []
    for (name, label), group in tables.grouped(records, "set", "label").items():
        dataset = group[0]["config"]["dataset"]
        found = known[(known["dataset"] == dataset) & (known["method"] == NAMES.get(label))]
        for row in found.itertuples():
            for metric in METRICS:
                theirs = getattr(row, metric)
                if pd.notna(theirs):
                    mine = [claims.score(record, metric) for record in group]
                    data = group[0]["data"]
                    rows.append({
                        "set": tables.marked(name), "method": label, "score": metric.upper(), "literature": f"{theirs:.1f}",
                        "ours": mean_sd(mine), "difference": f"{sum(mine) / len(mine) - theirs:+.1f}",
                        "seeds": len(mine), "same split": "yes" if SPLITS.get(row.split) == data["split"] else "no",
                        "our split": f"{data['split']}, {data['count']:,}", "their split": row.split, "source": row.source,
                    })  # fmt: skip
    return pd.DataFrame(rows)


def _on_prior(by_set):
    return {r["config"]["prior"] for group in by_set.values() for r in group} == {"class-name"}


def _used(records, name):
    """Split and count of ours, below the set's name."""
    found = {f"{r['data']['split']}, {r['data']['count']:,}" for r in records if r["config"]["dataset"] == name}
    return f"<br><small>ours: {'; '.join(sorted(found))}</small>" if found else ""


def _ours(group):
    seeds = (
        f"{len(group)} seed{'s' * (len(group) > 1)}, {group[0]['data']['split']}, {group[0]['data']['count']:,} images"
    )
    scores = [mean_sd(claims.score(record, metric) for record in group) for metric in METRICS]
    return [f'<span title="{html.escape(seeds)}">{score}</span>' for score in scores]


def _theirs(table):
    rows = []
    several = table.groupby("method")["backbone"].nunique() > 1
    for (method, backbone, source, grade), group in table.groupby(
        ["method", "backbone", "source", "grade"], sort=False
    ):
        splits = ", ".join(f"{r.dataset}: {r.split}" for r in group.itertuples())
        told = "".join(f"<li>{html.escape(text)}</li>" for text in (source, grade, f"backbone {backbone}", splits))
        shown = f"{method} ({backbone})" if several[method] else method
        name = f"<details><summary>{html.escape(shown)}</summary><ul>{told}</ul></details>"
        rows.append((name, {r.dataset: [_number(getattr(r, m)) for m in METRICS] for r in group.itertuples()}))
    return rows


def _number(value):
    return "" if pd.isna(value) else f"{value:.1f}"


def _group(title, rows, sets, empty=""):
    span = 1 + 3 * len(sets)
    lines = [
        f'<tr><th colspan="{span}" class="group">{html.escape(title + (": " + empty if not rows and empty else ""))}</th></tr>'
    ]
    for name, found in rows:
        parts = [found.get(dataset, [""] * 3) for dataset in sets]
        filled = "".join(p if isinstance(p, str) else "".join(f"<td>{cell}</td>" for cell in p) for p in parts)
        lines.append(f"<tr><td>{name}</td>{filled}</tr>")
    return f"<tbody>{''.join(lines)}</tbody>"
