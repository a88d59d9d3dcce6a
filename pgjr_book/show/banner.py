"""The banner on top of every page: what stands in for the paper's setting, as the records have it."""

import html

from pgjr_book.manifest import load_manifest
from pgjr_book.scored import departures, scored_set
from pgjr_book.show.sentences import CNN_NAMES, PRIOR_NAMES
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
        parts.append(f"{' and '.join(map(_prior_name, priors))} in place of CLIP")
    if cnns := sorted({config["backbone"] for config in departed["backbone"]}):
        parts.append(f"{' and '.join(map(_cnn_name, cnns))} in place of the full one")
    if departed["epochs"]:
        parts.append("shorter training")
    earlier = " Sets marked ° were run by earlier code." if any(scored_set(record).earlier for record in records) else ""
    return f"A stand-in, not the paper’s setting: {', '.join([*parts, ''])}on {', '.join(_data_names(records))}.{earlier}"


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
    data = sorted({(r["data"]["name"], r["data"]["split"], r["data"]["count"], r["data"]["note"]) for r in records})
    return [f"{title(name)} ({split}, {count:,} images{f', {note}' if note else ''})" for name, split, count, note in data]
