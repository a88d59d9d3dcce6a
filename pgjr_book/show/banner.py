"""The banner on top of every page: what stands in for the paper's setting, as the records have it."""

import html

from pgjr_book.manifest import load_manifest
from pgjr_book.scored import departures, scored_set
from pgjr_book.show.sentences import CNN_NAMES, PRIOR_NAMES, joined
from pgjr_book.show.sets import title
from pgjr_lib.data.sets import SETS


def banner_text(records: list[dict]) -> str:
    """Say what stands in for the paper's setting in ``records``, in a sentence; "" where nothing does."""
    if not records:
        return "Nothing has been run for this book yet: every result below reads “not run”."
    # generated sets are ours in any setting
    records = [r for r in records if r["data"]["name"] not in SETS or not SETS[r["data"]["name"]].generated]
    departed = {
        part: [r["config"] for r in records if part in departures(r)]
        for part in ("data", "prior", "backbone", "epochs")
    }
    # a prior with random weights is a control in any setting
    departed["prior"] = [config for config in departed["prior"] if not config["prior"].startswith("random:")]
    if not any(departed.values()):
        return ""
    parts = []
    if priors := sorted({config["prior"] for config in departed["prior"]}):
        parts.append(f"{joined([_prior_name(prior) for prior in priors])} in place of CLIP")
    if cnns := sorted({config["backbone"] for config in departed["backbone"]}):
        parts.append(f"{joined([_cnn_name(cnn) for cnn in cnns])} in place of the full one")
    if departed["epochs"]:
        parts.append("shorter training")
    earlier = " Sets marked ° were run by earlier code." if any(scored_set(record).earlier for record in records) else ""
    return f"A stand-in, not the paper’s setting: {', '.join([*parts, ''])}on {joined(_data_names(records))}.{earlier}"


def banner_html(records: list[dict]) -> str:
    """Return the banner as the theme shows it."""
    return html.escape(banner_text(records))


def _prior_name(prior: str) -> str:
    """Name a prior as experiments.yaml does; any other by its own name."""
    ids = {choice.run["prior"]: name for name, choice in load_manifest().priors.items()}  # of several sizes the last
    return PRIOR_NAMES.get(ids.get(prior, ""), prior)


def _cnn_name(backbone: str) -> str:
    return f"a {CNN_NAMES[backbone]}"


def _data_names(records: list[dict]) -> list[str]:
    """Name the sets with split and count; a set of which several parts were used by its largest alone."""
    sets: dict[str, list[dict]] = {}
    for record in records:
        sets.setdefault(record["data"]["name"], []).append(record["data"])
    named = []
    for name, parts in sorted(sets.items()):
        largest = max(parts, key=lambda part: part["count"])
        several = len({(part["split"], part["count"]) for part in parts}) > 1
        count = f"{'up to' if several else largest['split'] + ','} {largest['count']:,} images"
        named.append(f"{title(name)} ({', '.join(filter(None, [count, largest['note']]))})")
    return named
