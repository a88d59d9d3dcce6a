"""Statistics of paired runs: numbers in, numbers out."""

from collections.abc import Hashable, Mapping
from typing import Literal, NamedTuple, TypeVar

import numpy as np

LEVEL = 0.95  # of an interval that is not corrected

Decision = Literal["yes", "no", "inconclusive"]
Key, First, Second = TypeVar("Key", bound=Hashable), TypeVar("First"), TypeVar("Second")


class Interval(NamedTuple):
    """A mean with the bounds of its interval."""

    mean: float
    low: float
    high: float


def matched(first: Mapping[Key, First], second: Mapping[Key, Second]) -> dict[Key, tuple[First, Second]]:
    """Return the pairs of values that share a key, in the order of their keys."""
    return {key: (first[key], second[key]) for key in sorted(first.keys() & second.keys())}


def paired_interval(differences, level: float = LEVEL) -> Interval:
    """Return the mean of paired differences with its Student-t interval.

    Args:
        differences: (n,) numbers, one a pair.
        level: of the interval, between 0 and 1.

    Raises:
        ValueError: fewer than two differences.
    """
    from scipy import stats  # takes a second; whoever only reads records does without

    d = np.asarray(differences, dtype=float)
    if len(d) < 2:
        raise ValueError(f"an interval needs at least two paired differences, got {len(d)}.")
    half = stats.t.ppf(0.5 + level / 2, len(d) - 1) * d.std(ddof=1) / np.sqrt(len(d))
    return Interval(float(d.mean()), float(d.mean() - half), float(d.mean() + half))


def p_value(differences) -> float:
    """Return the two-sided p of a t test of mean zero. Equal differences have p 0, or 1 where all are zero."""
    from scipy import stats

    if not np.ptp(differences):
        return float(differences[0] == 0)
    return float(stats.ttest_1samp(differences, 0).pvalue)


def holm_levels(p_values: dict) -> dict:
    """Return the level of each comparison's interval after Holm, stepping down from the smallest p.

    The i-th smallest of m (from 0) gets 1 - 0.05 / (m - i), until one is not rejected: the rest keep its level.
    """
    ordered, levels, level, stopped = sorted(p_values, key=lambda name: p_values[name]), {}, LEVEL, False
    for i, name in enumerate(ordered):
        level = level if stopped else 1 - (1 - LEVEL) / (len(ordered) - i)
        levels[name], stopped = level, stopped or p_values[name] > 1 - level
    return levels


def decide(differences, needed: int, margin: float, level: float = LEVEL) -> Decision:
    """Decide whether paired differences are positive, from their interval.

    Args:
        differences: (n,) numbers, one a pair.
        needed: pairs without which nothing is decided.
        margin: an effect below it counts as none.
        level: of the interval.

    Returns:
        "yes" where the lower bound is above 0, "no" where the upper bound is below ``margin``, else "inconclusive".
    """
    if len(differences) < max(2, needed):
        return "inconclusive"
    _, low, high = paired_interval(differences, level)
    return "yes" if low > 0 else "no" if high < margin else "inconclusive"
