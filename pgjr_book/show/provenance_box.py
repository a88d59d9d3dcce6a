"""Where the numbers of a page come from, and which version of the rules judged them."""

from collections.abc import Iterable
from pathlib import Path

from pgjr_book import verdicts
from pgjr_book.provenance import rules_history
from pgjr_book.scored import own_seconds
from pgjr_book.show import sentences
from pgjr_book.show.templates import fill
from pgjr_lib.storage import file_sha256


def provenance_box(records: list[dict]) -> str:
    """Return an HTML box with keys, data, weights, commits, seeds, machines and times of some records."""
    records = list({record["key"]: record for record in records}.values())
    if not records:
        return fill("provenance.html", lines={})
    origins = [record["provenance"] for record in records]
    data = [record["data"] for record in records]
    weights = [record["weights"] for record in records if record["weights"]]
    started = sorted(entry["started"] for entry in origins)
    lines = {
        "runs": f"{len(records)} records: {' '.join(record['key'][:8] for record in records)}",
        "data": _each(f"{d['name']} ({d['split']}, {d['count']:,} images, SHA-256 {d['checksum'][:12]})" for d in data),
        "weights": _each(f"{w['name']} (SHA-256 {w['checksum'][:12]})" for w in weights) or "none",
        "commit": _each(f"{m['commit'][:10]}{' + changes' if m['dirty'] else ''}" for m in origins if m["commit"]),
        "seeds": _each(record["config"]["seed"] for record in records),
        "device": _each(f"{m['device']} ({m['host_cpu']}, {m['threads']} thread{'s' * (m['threads'] != 1)})" for m in origins),
        "versions": _each(f"torch {m['versions']['torch']}" for m in origins),
        "computed": f"{started[0][:16]} to {started[-1][:16]} UTC",
        "training and scoring": f"{sum(map(own_seconds, records)) / 60:.1f} minutes",
    }
    return fill("provenance.html", lines=lines)


def rules_text(records: list[dict]) -> str:
    """Return the name and the hash of the file with the rules, and how many records were made under it, as text."""
    rules = Path(verdicts.__file__)
    history = rules_history(rules, [record["provenance"]["commit"] for record in records])
    return f"{rules.name}, SHA-256: {file_sha256(rules)}\n{sentences.rules(history, rules.name)}"


def _each(values: Iterable) -> str:
    """List different values, sorted."""
    return ", ".join(map(str, sorted(set(values))))
