"""The claims as the front page shows them: one card a claim, with both verdicts, what was seen, and the numbers."""

import html

import numpy as np

from pgjr_book import verdicts as claims
from pgjr_book.show.tables import JIGSAW_PAIRS, explained, marked


def cards(records: dict[str, list[dict]]) -> str:
    """One card a claim as HTML, from the records of each experiment."""
    made = []
    for row, claim in zip(claims.ledger(records), claims.CLAIMS, strict=True):
        own = records.get(claim.experiment, [])
        verdicts = "".join(
            f'<span class="verdict" data-verdict="{verdict}">{where}: <strong>{verdict}</strong></span>'
            for where, verdict in (("the paper’s setting", row["paper"]), ("our stand-in", row["stand_in"]))
        )
        told = seen(claim.number, [r for r in own if claims.on_papers_setting(r)] or own)
        numbers = "".join(f"<li>{html.escape(part)}</li>" for part in _by_line(row["evidence"]))
        made.append(
            f'<div class="claim"><p class="said">{claim.number}. {html.escape(claim.statement)}</p><p>{verdicts}</p>'
            f"{f'<p>{html.escape(told)}</p>' if told else ''}"
            f"<details><summary>numbers</summary><ul>{numbers}</ul></details></div>"
        )
    page = "".join(made)
    return f'<div class="claims">{page}{explained(page)}</div>'


def seen(number: int, records: list[dict]) -> str:
    """What the records of a claim show, set by set, in plain words; empty where there is nothing to say."""
    if number == 1:
        return " ".join(_raced(name, rows) for name, rows in _by_set(claims.convergence(records)).items())
    if number == 2:
        words = ("gains", "loses", "does not gain")
        told = {kind: _sides(claims.judge_difference(records, *test), *words) for kind, test in JIGSAW_PAIRS.items()}
        return " ".join(f"With the jigsaw {kind} {sides}." for kind, sides in told.items() if sides)
    if number == 4:
        ahead = claims.judge_difference(records, claims.is_pgjr, claims.is_gjr, claims.SEEDS_CNN)
        sides = _sides(ahead, "is ahead", "is behind", "is not ahead")
        return f"pGJR {sides}." if len(ahead) > 1 else ""
    if number == 5 and (finding := claims.judge_structure(records)).verdict != "not run":
        return f"{finding.evidence[0].upper()}{finding.evidence[1:]}. The claim expects an interaction above zero."
    return ""


def _by_line(evidence: str) -> list[str]:
    """One line a set; what follows about it stays on its line."""
    lines: list[str] = []
    for part in evidence.split("; "):
        if lines and ":" not in part:
            lines[-1] += f"; {part}"
        else:
            lines.append(part)
    return lines


def _by_set(rows: list[dict]) -> dict[str, list[dict]]:
    return {name: [row for row in rows if row["dataset"] == name] for name in dict.fromkeys(r["dataset"] for r in rows)}


def _raced(name: str, rows: list[dict]) -> str:
    middle = {field: np.median([row[field] for row in rows]) for field in rows[0] if field.endswith(("epoch", "seconds"))}
    return (
        f"On {marked(name)} both must reach {100 * np.median([row['target'] for row in rows]):.0f} NMI points, nearly the lower of "
        f"their two ends: pGJR has that {_after(middle['pgjr_epoch'])}, which with the encoding of all views is "
        f"{middle['pgjr_seconds']:.0f} s; GJR has it {_after(middle['gjr_epoch'])}, which is {middle['gjr_seconds']:.0f} s (medians)."
    )


def _after(epochs: float) -> str:
    return f"after {epochs:g} epochs" if epochs else "before any training"


def _sides(results: dict[str, tuple], above: str, below: str, small: str) -> str:
    """Sets by their verdict: above zero, wholly below it, at most a margin above it, or open (also for want of seeds)."""
    sides: dict[str, list[str]] = {above: [], below: [], small: [], "is open": []}
    for name, (verdict, _, _, high, _) in results.items():
        side = {"yes": above, "no": below if high < 0 else small}.get(verdict, "is open")
        sides[side].append(marked(name))
    told = []
    for word, names in sides.items():
        told += [f"{word} on {', '.join(names[:-1])}{' and ' if names[1:] else ''}{names[-1]}"] if names else []
    return ", ".join(told)
