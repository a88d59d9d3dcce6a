"""Intervals, outcomes and pairing, on numbers."""

from functools import partial

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from pgjr_book import stats

MARGIN = 0.5


def test_the_paired_interval_is_students():
    d = np.array([1.0, 2.0, 4.0])
    mean, low, high = stats.paired_interval(d)
    expected = scipy.stats.t.interval(0.95, 2, d.mean(), scipy.stats.sem(d))
    assert (low, high) == pytest.approx(expected) and mean == pytest.approx(7 / 3)
    with pytest.raises(ValueError, match="at least two"):
        stats.paired_interval([1.0])


def test_welchs_interval_is_scipys():
    rng = np.random.default_rng(0)
    a, b = rng.normal(3, 1, 10), rng.normal(1, 4, 7)
    expected = scipy.stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.9)
    mean, low, high = stats.welch_interval(a, b, 0.9)
    assert (low, high) == pytest.approx((expected.low, expected.high)) and mean == pytest.approx(a.mean() - b.mean())
    assert stats.welch_interval([2, 2], [1, 1]) == (1, 1, 1)  # nothing varies
    with pytest.raises(ValueError, match="at least two values on each side, got 1 and 2"):
        stats.welch_interval([1], [1, 2])


@pytest.mark.parametrize(
    ("differences", "found"),
    [
        ([2, 2.1, 1.9, 2.2, 2.0], "gain"),
        ([-1, -1.1, -0.9, -1.0, -1.2], "harm"),
        ([0.1, 0.2, 0.0, 0.1, 0.15], "equivalent"),  # above zero, and within the margin: equivalence comes first
        ([-0.1, -0.2, 0.0, -0.1, -0.15], "equivalent"),
        ([3, -3, 2, -2, 4], "open"),
        ([0.4, 0.7, 0.3, 0.6, 0.5], "gain"),
    ],
)
def test_an_outcome(differences, found):
    assert stats.outcome(partial(stats.paired_interval, differences), MARGIN) == found


@given(st.lists(st.floats(-50, 50), min_size=5, max_size=12))
def test_an_outcome_follows_its_intervals(differences):
    interval = partial(stats.paired_interval, differences)
    found, (_, low, high), (_, low90, high90) = stats.outcome(interval, MARGIN), interval(0.95), interval(0.90)
    if found == "equivalent":
        assert -MARGIN <= low90 and high90 <= MARGIN
    else:
        assert low90 < -MARGIN or high90 > MARGIN
        assert found == ("gain" if low > 0 else "harm" if high < 0 else "open")


def test_matched_keeps_what_both_have():
    assert stats.matched({2: "a", 1: "b", 3: "c"}, {1: "x", 2: "y"}) == {1: ("b", "x"), 2: ("a", "y")}
