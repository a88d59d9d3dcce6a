"""How data sets and their classes are named on pages, and the marks that say whose labels were seen."""

import html
from collections.abc import Iterable

from pgjr_book.manifest import load_manifest
from pgjr_book.scored import ScoredSet, scored_set
from pgjr_lib.data.sets import MARKS, PAPER_SETS, SETS


def mark(dataset: str) -> str:
    """Return the mark of a data set; "" where its labels were not looked at."""
    return SETS[dataset].mark if dataset in SETS else ""


EARLIER = "°"
SOURCE_SEEN = "¶"
SIGNS = {
    **MARKS,
    EARLIER: "made by earlier code; the present code may give other numbers.",
    SOURCE_SEEN: "the prior was trained with labels of ImageNet, which these images come from.",
}


def title(dataset: str) -> str:
    """Return the name of a data set as the field writes it; a folder of the user's own has its own name."""
    return SETS[dataset].title if dataset in SETS else dataset


def plain_name(where: ScoredSet) -> str:
    """Name a set with its split and folds or subset, "CIFAR-10 (test)". A set outside the paper used whole needs no split."""
    part = [] if where.split == "all" and where.dataset not in PAPER_SETS else [where.split]
    part += [f"folds of {where.folds:,}"] if where.folds else []
    part += [f"{where.subset:,} images"] if where.subset else []
    part += [where.series] if where.series else []
    name = title(where.dataset)
    return f"{name} ({', '.join(part)})" if part else name


def set_name(where: ScoredSet) -> str:
    """Name a set with its split, and with "°" where earlier code made the runs."""
    return f"{plain_name(where)}{EARLIER if where.earlier else ''}"


def marked(where: ScoredSet) -> str:
    """Name a set with its split and its marks."""
    return f"{set_name(where)} {mark(where.dataset)}".rstrip()


def method_name(record: dict) -> str:
    """Return the label of a record's variant, with "¶" where its prior saw labels of what the images come from."""
    info, weights = SETS.get(record["config"]["dataset"]), record.get("weights") or {}
    source = info.images_from if info else ""
    seen = source and weights.get("supervision", "").startswith(source)
    return f"{record['label']} {SOURCE_SEEN}" if seen else record["label"]


def explained(places: Iterable[ScoredSet], names: Iterable[str] = ()) -> str:
    """Explain the marks and the series of some sets, and the marks in the names of some methods, as HTML."""
    places = list(places)
    used = {sign for where in places for sign in (mark(where.dataset), EARLIER if where.earlier else "")}
    used |= {SOURCE_SEEN for name in names if SOURCE_SEEN in str(name)}
    series = {where.series for where in places if where.series}
    abouts = {p.series: p.about for p in load_manifest().profiles.values() if p.series in series} if series else {}
    of_series = {f"{name}:": f"{about}. IDFD and GJR use no prior." for name, about in abouts.items()}
    notes = {**{sign: words for sign, words in SIGNS.items() if sign in used}, **of_series}
    return "".join(f"<p>{html.escape(name)} {html.escape(words)}</p>" for name, words in notes.items())


def class_names(record: dict) -> list[str]:
    """Return the names of the classes of a record's set, or their numbers where they have no names."""
    info = SETS.get(record["config"]["dataset"])  # a folder of the user's own is in no table
    if info and info.class_names:
        return list(info.class_names)
    return [str(c) for c in range(info.classes if info else record["data"]["classes"])]


def names_of(records: list[dict]) -> str:
    """Name the sets of some records, each once."""
    return ", ".join(dict.fromkeys(set_name(scored_set(record)) for record in records))
