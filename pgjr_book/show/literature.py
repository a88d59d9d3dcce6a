"""Numbers of the literature beside ours: each with its source, its split and how far it can be trusted."""

from pathlib import Path

import pandas as pd
from markupsafe import Markup

from pgjr_book.run_config import ON_PRIOR
from pgjr_book.scored import ScoredSet, score, scored_set
from pgjr_book.show.groups import by_set_and_variant, grouped
from pgjr_book.show.sets import EARLIER, explained, mark, method_name, title
from pgjr_book.show.tables import METRICS, mean_sd
from pgjr_book.show.templates import fill
from pgjr_book.verdicts import Published
from pgjr_lib.data.sets import PAPER_SETS, SETS
from pgjr_lib.errors import PGJRError

COLUMNS = ("method", "dataset", "nmi", "acc", "ari", "backbone", "split", "source", "grade")
UPPER_LINE = "CLIP zero-shot"
UPPER_LINE_TITLE = "upper reference, not unsupervised: it sees the class names"
FOLDED = ("aggregator", "user report")  # grades of numbers that a reader has to unfold
THEIR_NAMES = {"pixels": "k-means (pixels)", "idfd": "IDFD", "gjr": "GJR", "pgjr": "pGJR"}  # by variant
CLIP_BACKBONES = {  # the literature's name -> open_clip's
    "CLIP ViT-B/32": "ViT-B-32-quickgelu", "CLIP ViT-B/32 (OpenAI)": "ViT-B-32-quickgelu",
    "CLIP ViT-B/16 (OpenAI)": "ViT-B-16-quickgelu", "CLIP ViT-L/14 (OpenAI)": "ViT-L-14-quickgelu",
    "CLIP RN50 (OpenAI)": "RN50-quickgelu",
}  # fmt: skip
OUR_SPLITS = {"train+test": "all", "train": "train", "test": "test"}  # by the literature's name


def read(path) -> pd.DataFrame:
    """Read a table of published numbers: ``COLUMNS``, with scores in points and NaN where the source gives none.

    Raises:
        PGJRError: no such file, a column is missing, a score is no number from 0 to 100, or a row names no source.
    """
    path = Path(path)
    if not path.is_file():
        raise PGJRError(f"{path} does not exist: restore it from the repository.")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    if missing := [name for name in COLUMNS if name not in table]:
        raise PGJRError(f"{path.name} has no column {missing[0]!r}: its columns are {', '.join(COLUMNS)}.")
    if len(table) and (table["source"] == "").any():
        raise PGJRError(f"{path.name}, line {(table['source'] == '').idxmax() + 2}: a number needs a source.")
    for metric in METRICS:
        points = pd.to_numeric(table[metric].replace("", None), errors="coerce")
        if (wrong := (table[metric] != "") & ~points.between(0, 100)).any():
            line = wrong.idxmax()
            raise PGJRError(
                f"{path.name}, line {line + 2}: {metric} is {table[metric][line]!r}: give points, 0 to 100."
            )
        table[metric] = points
    return table


def rivals(published: pd.DataFrame) -> list[Published]:
    """Return the numbers that claim 3 compares pGJR with: with an OpenAI CLIP, well sourced and without class names."""
    numbers = []
    for row in published.itertuples():
        backbone, split = CLIP_BACKBONES.get(row.backbone), OUR_SPLITS.get(row.split)
        if backbone and split and pd.notna(row.nmi) and not row.method.startswith(UPPER_LINE) and not row.grade.startswith(FOLDED):
            numbers.append(Published(row.dataset, split, backbone, row.nmi))
    return numbers


def main_results(records: list[dict], published: pd.DataFrame, paper: pd.DataFrame) -> str:
    """Return Table 2 as HTML: one table a set, with our rows first, then the paper's, then the literature's, the highest NMI first.

    A method of the literature opens to its source, grade and backbone. Weakly sourced rows are folded away below, and so are the
    sets that we have not run.
    """
    own = {record["config"]["dataset"] for record in records}
    datasets = sorted(own, key=lambda name: (name not in PAPER_SETS, name))
    datasets += [name for name in PAPER_SETS if name not in own]
    folded, upper = published["grade"].str.startswith(FOLDED), published["method"].str.startswith(UPPER_LINE)
    paper_title = "the paper" if len(paper) else "the paper (not printed: its full text was not consulted)"
    sets = []
    for name in datasets:
        rows = {title: _literature_rows(table[table["dataset"] == name]) for title, table in (
            (paper_title, paper), ("literature", published[~folded & ~upper]), (UPPER_LINE_TITLE, published[~folded & upper]),
            ("folded", published[folded]))}  # fmt: skip
        weak = rows.pop("folded")
        sets.append({
            "name": f"{title(name)} {_signs(records, name)}".rstrip(), "open": name in own,
            "groups": [("this book", _own_rows(records, name)), *rows.items()], "folded": weak,
        })  # fmt: skip
    places = {*map(scored_set, records), *(ScoredSet(name, "all") for name in datasets)}
    return fill(
        "literature.html",
        sets=sets,
        metrics=[metric.upper() for metric in METRICS],
        marks=Markup(explained(places, map(method_name, records))),
    )


def comparison(records: list[dict], published: pd.DataFrame, paper: pd.DataFrame) -> pd.DataFrame:
    """Tabulate both numbers, their difference, seeds, and whether the split is the same, where literature and we have one."""
    known, rows = pd.concat([published, paper]), []
    for (where, variant), group in by_set_and_variant(records).items():
        data, same_set = group[0]["data"], known["dataset"] == where.dataset
        for row in known[same_set & (known["method"] == THEIR_NAMES.get(variant))].itertuples():
            for metric in METRICS:
                theirs = getattr(row, metric)
                if pd.notna(theirs):
                    ours = mean_sd("ours", [score(record, metric) for record in group])
                    rows.append({
                        "set": where, "method": group[0]["label"], "score": metric.upper(), "literature": theirs, **ours,
                        "difference": ours["ours"] - theirs, "seeds": len(group),
                        "same split": OUR_SPLITS.get(row.split) == data["split"], "our split": data["split"],
                        "our images": data["count"], "their split": row.split, "source": row.source,
                    })  # fmt: skip
    return pd.DataFrame(rows)


def _own_rows(records: list[dict], dataset: str) -> list[dict]:
    """Return our rows on a set, one a method and split; a method whose prior saw the labels has a row that says so."""
    rows = []
    for (where, _), group in grouped(records, lambda r: (scored_set(r), r["label"])).items():
        label = method_name(group[0]) + (f" ({where.series})" if where.series else "")
        if group[0]["config"]["dataset"] == dataset:
            data = group[0]["data"]
            rows.append({"label": label, "details": [], "cell": _own_cell(group), "images": f"{data['split']}, {data['count']:,}"})
    seen_by = SETS[dataset].seen_by if dataset in SETS else ()
    on_prior = (record for record in records if record["config"]["method"] in ON_PRIOR)
    refused = dict.fromkeys(record["label"] for record in on_prior if record["config"]["prior"] in seen_by)
    return rows + [{"label": label, "details": [], "cell": {"refused": True}, "images": ""} for label in refused]


def _own_cell(group: list[dict]) -> dict:
    data, seeds = group[0]["data"], f"{len(group)} seed{'s' * (len(group) > 1)}"
    means = [tuple(mean_sd("", [score(record, metric) for record in group]).values()) for metric in METRICS]
    return {"means": means, "runs": f"{seeds}, {data['split']}, {data['count']:,} images"}


def _literature_rows(table: pd.DataFrame) -> list[dict]:
    """Return the rows of the literature on one set, the highest NMI first."""
    several = table.groupby("method")["backbone"].nunique() > 1
    return [
        {"label": f"{row.method} ({row.backbone})" if several[row.method] else row.method,
         "details": [row.source, row.grade, f"backbone {row.backbone}"],
         "cell": {"points": [getattr(row, metric) for metric in METRICS]}, "images": row.split}
        for row in table.sort_values("nmi", ascending=False, kind="stable").itertuples()
    ]  # fmt: skip


def _signs(records: list[dict], dataset: str) -> str:
    """Return the marks of a data set, of which Table 2 may show several splits in one block."""
    earlier = any(scored_set(record).earlier for record in records if record["config"]["dataset"] == dataset)
    return mark(dataset) + (EARLIER if earlier else "")
