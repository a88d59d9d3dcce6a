"""The claims as the front page shows them: one card a claim, with both verdicts, what was seen, and the numbers."""

import html

import numpy as np

from pgjr_lib.companion import claims
from pgjr_lib.companion.tables import explained, marked


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
        kinds = {"GJR": (claims.is_gjr, claims.is_idfd, claims.SEEDS_CNN),
                 "pGJR": (claims.is_pgjr, claims.is_pgjr_without, claims.SEEDS_HEAD)}  # fmt: skip
        told = {kind: _sides(claims.judge_difference(records, *test), "gains", "loses") for kind, test in kinds.items()}
        return " ".join(f"With the jigsaw {kind} {sides}." for kind, sides in told.items() if sides)
    if number == 4:
        ahead = claims.judge_difference(records, claims.is_pgjr, claims.is_gjr, claims.SEEDS_CNN)
        sides = _sides(ahead, "is ahead", "is behind")
        return f"pGJR {sides}." if sides else ""
    if number == 5 and (finding := claims.judge_structure(records)).verdict != "not run":
        gains = finding.evidence.partition(";")[0]
        return f"{gains[0].upper()}{gains[1:]}, in NMI points: the claim expects more where grids are in order."
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


def _sides(results: dict[str, tuple], above: str, below: str) -> str:
    """Sets by where the interval of their difference lies: above zero, below it, or around it."""
    words = {above: lambda low, high: low > 0, below: lambda low, high: high < 0, "is open": lambda low, high: low <= 0 <= high}
    told = []
    for word, lies in words.items():
        names = [marked(name) for name, (_, _, low, high, _) in results.items() if lies(low, high)]
        told += [f"{word} on {', '.join(names[:-1])}{' and ' if names[1:] else ''}{names[-1]}"] if names else []
    return ", ".join(told)
