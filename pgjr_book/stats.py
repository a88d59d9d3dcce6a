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
    return _welch(*(Moments(float(values.mean()), float(values.std(ddof=1)), len(values)) for values in (a, b)), level)


class Moments(NamedTuple):
    """What a table keeps of some values: their mean, standard deviation and number."""

    mean: float
    sd: float
    count: int


def apart(first: Moments, second: Moments, level: float = LEVEL) -> bool:
    """Say whether Welch's interval of the difference of two means leaves zero out.

    Without two values on each side nothing but the means can tell, so any difference counts.
    """
    if min(first.count, second.count) < 2:
        return first.mean != second.mean
    _, low, high = _welch(first, second, level)
    return low > 0 or high < 0


def _welch(first: Moments, second: Moments, level: float) -> Interval:
    parts = [side.sd**2 / side.count for side in (first, second)]
    total = sum(parts)
    weights = sum(part**2 / (side.count - 1) for part, side in zip(parts, (first, second), strict=True))
    freedom = total**2 / weights if weights else first.count + second.count - 2
    return _student(first.mean - second.mean, float(np.sqrt(total)), freedom, level)


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
