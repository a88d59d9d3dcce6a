"""Tabulate what the tests of faults tried, from the record that they write."""

import pandas as pd

GROUPS = {  # how a kind of case begins in the record -> what happened there, in words
    "kill": "killed in the middle, then started again",
    "two processes": "two processes at one thing",
    "disk full": "the disk full",
    "read-only folder": "a folder that may not be written",
    "memory runs out": "too little memory",
    "a helper process dies": "a helper process that dies",
    "the clock jumps back": "a clock that jumps back",
    "damage": "bytes flipped or cut",
    "hostile": "input made to do harm",
    "fuzz": "input made up at random",
}


def faults(record: dict) -> pd.DataFrame:
    """Tabulate the cases of every kind: what happened, to what, how often, and in how many something was lost.

    Args:
        record: what the tests of faults wrote: ``kinds``, each with ``tried``, ``held``, ``date`` and ``commit``.
    """
    rows = []
    for group, words in GROUPS.items():
        for kind, counts in sorted(record["kinds"].items()):
            if kind == group or kind.startswith(f"{group}: "):
                what = kind.removeprefix(group).removeprefix(": ")
                lost = counts["tried"] - counts["held"]
                rows.append({"what happened": words, "where": what or "extraction" * (group == "memory runs out"),
                             "cases": counts["tried"], "losses": lost, "date": counts["date"]})  # fmt: skip
    return pd.DataFrame(rows)


def in_short(record: dict) -> str:
    """Say in a sentence how many cases were tried, and in how many something was lost."""
    tried, held = (sum(counts[name] for counts in record["kinds"].values()) for name in ("tried", "held"))
    return f"{tried:,} cases were tried, and in {tried - held:,} of them something was lost."
