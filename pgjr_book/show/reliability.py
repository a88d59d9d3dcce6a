"""Tabulate what the tests of faults tried, from the record that they write."""

import pandas as pd

from pgjr_book.show.sentences import joined

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


SORTS = {  # group of cases -> how the sentence on all of them counts it; the others are "other faults"
    "kill": "kills", "damage": "cases of damaged bytes", "hostile": "hostile or random inputs", "fuzz": "hostile or random inputs",
}  # fmt: skip


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
    """Say in a sentence how many cases of each sort were tried, and in how many something was lost."""
    sorts = dict.fromkeys(("kills", "cases of damaged bytes", "hostile or random inputs", "other faults"), 0)
    for kind, counts in record["kinds"].items():
        words = next((words for group, words in SORTS.items() if kind.startswith(f"{group}:")), "other faults")
        sorts[words] += counts["tried"]
    lost = sum(counts["tried"] - counts["held"] for counts in record["kinds"].values())
    tried = joined([f"{count:,} {words}" for words, count in sorts.items() if count])
    return f"{tried} were tried; in {lost:,} of them something was lost."
