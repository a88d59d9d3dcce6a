"""Statistics of repeated runs: numbers in, numbers out."""

from collections.abc import Callable, Hashable, Mapping
from typing import Literal, NamedTuple, TypeVar

import numpy as np

LEVEL = 0.95  # of an interval that says gain or harm
EQUIVALENCE_LEVEL = 0.90  # of the interval that must lie within the margin: two one-sided tests at 5 %

Outcome = Literal["equivalent", "gain", "harm", "open"]
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
    d = np.asarray(differences, dtype=float)
    if len(d) < 2:
        raise ValueError(f"an interval needs at least two paired differences, got {len(d)}.")
    return _student(float(d.mean()), float(d.std(ddof=1) / np.sqrt(len(d))), len(d) - 1, level)


def welch_interval(first, second, level: float = LEVEL) -> Interval:
    """Return the difference of two means, first minus second, with Welch's interval; nothing pairs their values.

    Args:
        first, second: (n,) and (m,) numbers.
        level: of the interval, between 0 and 1.

    Raises:
        ValueError: fewer than two values on a side.
    """
    a, b = (np.asarray(values, dtype=float) for values in (first, second))
    if min(len(a), len(b)) < 2:
        raise ValueError(f"an interval needs at least two values on each side, got {len(a)} and {len(b)}.")
    parts = [values.var(ddof=1) / len(values) for values in (a, b)]
    total = sum(parts)
    weights = sum(part**2 / (len(values) - 1) for part, values in zip(parts, (a, b), strict=True))
    freedom = total**2 / weights if weights else len(a) + len(b) - 2
    return _student(float(a.mean() - b.mean()), float(np.sqrt(total)), freedom, level)


def outcome(interval: Callable[[float], Interval], margin: float) -> Outcome:
    """Return what an effect's intervals say of it.

    Args:
        interval: level -> the interval of that level.
        margin: an effect between -margin and margin counts as none.

    Returns:
        In this order: "equivalent" where the 90 % interval lies within the margin, "gain" where the 95 % interval lies
        above zero, "harm" where it lies below, else "open".
    """
    _, low, high = interval(EQUIVALENCE_LEVEL)
    if -margin <= low and high <= margin:
        return "equivalent"
    _, low, high = interval(LEVEL)
    return "gain" if low > 0 else "harm" if high < 0 else "open"


def _student(mean, error, freedom, level) -> Interval:
    from scipy import stats  # takes a second; whoever only reads records does without

    half = float(stats.t.ppf(0.5 + level / 2, freedom)) * error
    return Interval(mean, mean - half, mean + half)
