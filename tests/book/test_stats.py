"""Intervals, Holm's levels, decisions and pairing, on numbers."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from pgjr_book import stats

MARGIN = 0.5


def test_the_interval_is_students():
    d = np.array([1.0, 2.0, 4.0])
    mean, low, high = stats.paired_interval(d)
    expected = scipy.stats.t.interval(0.95, 2, d.mean(), scipy.stats.sem(d))
    assert (low, high) == pytest.approx(expected) and mean == pytest.approx(7 / 3)
    with pytest.raises(ValueError, match="at least two"):
        stats.paired_interval([1.0])


def test_p_is_students_and_exact_where_nothing_varies():
    d = [1.0, 2.0, 4.0]
    t = np.mean(d) / scipy.stats.sem(d)
    assert stats.p_value(d) == pytest.approx(2 * scipy.stats.t.sf(t, 2))
    assert stats.p_value([0.0, 0.0]) == 1.0 and stats.p_value([2.0, 2.0]) == 0.0


def test_holm_stops_at_the_first_set_that_is_not_rejected():
    assert stats.holm_levels({"a": 0.030, "b": 0.040}) == pytest.approx({"a": 0.975, "b": 0.975})
    assert stats.holm_levels({"a": 0.020, "b": 0.040}) == pytest.approx({"a": 0.975, "b": 0.95})


def test_holm_gives_the_smallest_p_the_widest_interval():
    assert stats.holm_levels({"a": 0.04, "b": 0.001, "c": 0.02}) == pytest.approx(
        {"b": 1 - 0.05 / 3, "c": 1 - 0.05 / 2, "a": 0.95}
    )


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([2, 2.1, 1.9, 2.2, 2.0], "yes"),
        ([-1, -1.1, -0.9, -1.0, -1.2], "no"),
        ([0.1, 0.2, 0.0, 0.1, 0.15], "yes"),
        ([0.1, -0.1, 0.0, 0.05, -0.05], "no"),  # an effect below half a point counts as none
        ([3, -3, 2, -2, 4], "inconclusive"),
        ([2, 2.1, 1.9], "inconclusive"),  # three seeds decide nothing
    ],
)
def test_the_rule(differences, verdict):
    assert stats.decide(differences, 5, MARGIN) == verdict


@given(st.lists(st.floats(-50, 50), min_size=5, max_size=12))
def test_a_decision_follows_its_interval(differences):
    _, low, high = stats.paired_interval(differences)
    verdict = stats.decide(differences, 5, MARGIN)
    assert verdict == ("yes" if low > 0 else "no" if high < MARGIN else "inconclusive")


def test_pairs_share_their_key_and_stand_in_its_order():
    pairs = stats.matched({("b", 1): 10, ("a", 2): 20, ("a", 1): 30}, {("a", 2): 2, ("b", 1): 1, ("c", 1): 3})
    assert list(pairs.items()) == [(("a", 2), (20, 2)), (("b", 1), (10, 1))]
    assert stats.matched({}, {1: 2}) == {}
