"""Data frames of numbers as HTML and as CSV. Rounding happens here and nowhere before.

A display merges columns that belong together: "X" and "X sd" become "mean ± sd", "X low" and "X high" become
"low to high". A CSV keeps them apart, so that programs read numbers.
"""

import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup

from pgjr_book.scored import ScoredSet
from pgjr_book.show import numbers
from pgjr_book.show.sets import explained, marked, set_name
from pgjr_book.show.tables import AGAINST, ALSO_SCORED
from pgjr_book.show.templates import fill
from pgjr_book.stats import Moments, apart

Write = Callable[[object], str]
NOT_RUN = "<p><em>Not run: this profile has no record for this table.</em></p>"
NBSP = "\u00a0"
SCORES = ("NMI", "ACC", "ARI")


@dataclass(frozen=True)
class Number:
    """How a column of numbers is written, for readers and in the CSV."""

    display: Write
    csv: Write


def _fixed(decimals: int) -> Number:
    def write(number) -> str:
        return numbers.fixed(number, decimals)

    return Number(write, write)


ONE_DECIMAL, TWO_DECIMALS, WHOLE = _fixed(1), _fixed(2), _fixed(0)
SIDED = Number(numbers.signed, numbers.unsigned)  # a difference, whose side of zero matters
SETTING = Number(numbers.setting, numbers.setting)
NUMBERS = {  # columns of fractions that are not written with one decimal
    "value": SETTING,
    "τ1": SETTING,
    "times as fast": TWO_DECIMALS,
    "A moves by": TWO_DECIMALS,
    **{f"gain at {name}, {time}": TWO_DECIMALS for name in ("0", "1/(2g)") for time in ("start", "end")},
    "range over turns": TWO_DECIMALS,
    "goal": TWO_DECIMALS,
    "limit": TWO_DECIMALS,
    "time’s power": TWO_DECIMALS,
    "memory’s power": TWO_DECIMALS,
    "embeddings, GB": TWO_DECIMALS,
    "maps, GB": TWO_DECIMALS,
    "bank, GB": TWO_DECIMALS,
    "encoding, h": TWO_DECIMALS,
    "head, h": TWO_DECIMALS,
    "card hours": TWO_DECIMALS,
    "trained epochs": WHOLE,
    **{name: Number(lambda count: f"{count:,.0f}", WHOLE.csv) for name in ("number", "photographs", "largest")},
    "encoding, s": WHOLE,
    "training, s": WHOLE,
    "NMI difference": SIDED,
    "ACC difference": SIDED,
    "difference": Number(lambda points: f"{points:+.1f}", numbers.fixed),
}


@dataclass(frozen=True)
class Words:
    """A column of words about the numbers of one or several columns. Its CSV has the words, too."""

    columns: tuple[str, ...]
    write: Callable[..., str]


def _images(counts: dict[str, int]) -> str:
    return " + ".join(f"{count:,}" if split == "all" else f"{count:,} {split}" for split, count in counts.items())


WORDS = {
    "images": Words(("images",), _images),
    "used here": Words(("used here",), lambda parts: "; ".join(f"{s}, {count:,}" for s, count in parts) or "not run"),
    "note": Words(("note",), "; ".join),
    "found best": Words(("found best", "found best share"), lambda name, share: f"{name} ({100 * share:.0f} %)"),
    "mixed most": Words(
        ("mixed most", "mixed with", "mixed share"),
        lambda first, second, share: f"{first} and {second} (at least {100 * share:.0f} % of each in one cluster)",
    ),
    "within 1 % of it": Words(
        ("within 1 % of it low", "within 1 % of it high", "starts within 1 %"),
        lambda low, high, starts: f"{numbers.fixed(low)} to {numbers.fixed(high)} ({starts} starts)",
    ),
    "our split": Words(("our split", "our images"), lambda split, images: f"{split}, {images:,}"),
}


def display(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the cells of a frame as readers see them: text, with columns that belong together merged."""
    columns: dict[str, Iterable[str]] = {}
    for name, parts in _groups(frame).items():
        if name in WORDS:
            columns[name] = _words(frame, name)
        elif f"{name} sd" in parts:
            write = _number(name).display
            columns[name] = [numbers.mean_sd(*values, write).replace(" ", NBSP) for values in _rows(frame, parts)]
        elif f"{name} low" in parts:
            write = _number(name).display
            bounds = _rows(frame, parts)
            columns[name] = ["" if pd.isna(low) else f"{write(low)} to {write(high)}" for low, high in bounds]
        else:
            columns[name] = [_cell(value, _number(name).display, _unbroken) for (value,) in _rows(frame, parts)]
    return pd.DataFrame(columns)


def exported(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the cells of a frame as its CSV has them: rounded as displayed, one number a column, sets without marks.

    A column of standard deviations is left out where no row has one.
    """
    columns: dict[str, Iterable[str]] = {}
    for name, parts in _groups(frame).items():
        if name in WORDS:
            columns[name] = _words(frame, name)
            continue
        for part in parts:
            if part != f"{name} sd" or frame[part].notna().any():
                columns[part] = [_cell(value, _number(name).csv, set_name) for value in frame[part].tolist()]
    return pd.DataFrame(columns)


def csv(frame: pd.DataFrame) -> str:
    """Return a frame as CSV."""
    return exported(frame).to_csv(index=False)


def table(frame: pd.DataFrame, name: str) -> str:
    """Return a frame as an HTML table with its marks explained and a link to its CSV; "not run" where it is empty.

    Rows of one set stand in a block under its name, if most sets have several. In every block the best scores are bold.
    """
    if frame.empty:
        return NOT_RUN
    best, groups = best_scores(frame), _groups(frame)
    blocks, blocked = _blocks(frame)
    displayed = display(frame).drop(columns=["set"] if blocked else [])
    numeric = {column: pd.api.types.is_numeric_dtype(frame[groups[column][0]]) for column in displayed}
    sort_keys = {column: [_sort_key(value) for value in frame[groups[column][0]].tolist()] for column in displayed}
    cells = [
        [{"text": row[column], "number": numeric[column], "sort": sort_keys[column][position],
          "best": (position, column) in best} for column in displayed]
        for position, row in enumerate(displayed.to_dict("records"))
    ]  # fmt: skip
    return fill(
        "table.html",
        columns=[{"name": column, "number": numeric[column]} for column in displayed],
        blocks=[{"title": title, "rows": [cells[i] for i in rows]} for title, rows in blocks],
        bold=bool(best), marks=Markup(marks(frame)), link=Markup(csv_link(csv(frame), name)),
    )  # fmt: skip


def best_scores(frame: pd.DataFrame) -> set[tuple[int, str]]:
    """Return the places (row, column) of the highest scores of each set, and of those that a 95 % interval does not tell from it.

    Only tables of scores over seeds have any. Other features of a run, which stand below it, do not compete.
    """
    places: set[tuple[int, str]] = set()
    if not {"set", "seeds"} <= set(frame):
        return places
    competing = ~frame.get("variant", pd.Series("", index=frame.index)).isin(list(ALSO_SCORED.values()))
    for _, rows in frame[competing].groupby("set", sort=False):
        for metric in (metric for metric in SCORES if metric in rows and len(rows) > 1):
            moments = [Moments(*values) for values in rows[[metric, f"{metric} sd", "seeds"]].itertuples(index=False)]
            top = max(moments, key=lambda m: m.mean)
            places |= {(frame.index.get_loc(i), metric) for i, m in zip(rows.index, moments, strict=True) if not apart(top, m)}
    return places


def _blocks(frame: pd.DataFrame) -> tuple[list[tuple[str, list[int]]], bool]:
    """Return (title, rows) of the blocks of a table, and whether it has any: sets stand alone where most have one row."""
    if "set" not in frame or not all(isinstance(where, ScoredSet) for where in frame["set"]):
        return [("", list(range(len(frame))))], False
    blocks: dict[ScoredSet, list[int]] = {}
    for position, where in enumerate(frame["set"]):
        blocks.setdefault(where, []).append(position)
    if 2 * len(blocks) > len(frame):
        return [("", list(range(len(frame))))], False
    return [(marked(where), rows) for where, rows in blocks.items()], True


def _sort_key(value) -> float | None:
    """Return the number by which a cell with this value sorts; None where it sorts by its words, or holds no number."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) and not pd.isna(value) else None


def marks(frame: pd.DataFrame) -> str:
    """Explain the marks of a frame's sets, as HTML."""
    names = [name for column in ("method", "variant", "comparison") for name in frame.get(column, ())]
    return explained((value for value in frame.get("set", ()) if isinstance(value, ScoredSet)), names)


def csv_link(text: str, name: str) -> str:
    """Return a link to the CSV ``text`` as file ``name``.csv; the data travels inside the page."""
    data = base64.b64encode(text.encode()).decode()
    return f'<a download="{name}.csv" href="data:text/csv;base64,{data}">{name}.csv</a>'


def _groups(frame: pd.DataFrame) -> dict[str, list[str]]:
    """Return the columns of a display, each with the columns of the frame that it is made from."""
    owners = {part: name for name, words in WORDS.items() if set(words.columns) <= set(frame) for part in words.columns}
    for name in frame:
        if f"{name} sd" in frame:
            owners |= {name: name, f"{name} sd": name}
    for low in frame:
        name = low.removesuffix(" low")
        if low not in owners and name != low and f"{name} high" in frame:
            owners |= {low: name, f"{name} high": name}
    groups: dict[str, list[str]] = {}
    for column in frame:
        groups.setdefault(owners.get(column, column), []).append(column)
    return groups


def _number(name: str) -> Number:
    return SIDED if name.startswith(AGAINST) or name.endswith(" % interval") else NUMBERS.get(name, ONE_DECIMAL)


def _rows(frame: pd.DataFrame, columns: Iterable[str]) -> Iterable[tuple]:
    """Return the rows of some columns as plain Python values."""
    return zip(*(frame[column].tolist() for column in columns), strict=True)


def _words(frame: pd.DataFrame, name: str) -> list[str]:
    return [WORDS[name].write(*values) for values in _rows(frame, WORDS[name].columns)]


def _cell(value, write: Write, write_set: Callable[[ScoredSet], str]) -> str:
    if isinstance(value, ScoredSet):
        return write_set(value)
    return write(value) if isinstance(value, float) and not pd.isna(value) else numbers.plain(value)


def _unbroken(where: ScoredSet) -> str:
    """Name a set with its mark, in one line."""
    return marked(where).replace(" ", NBSP)
