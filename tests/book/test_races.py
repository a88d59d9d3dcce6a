"""Ends, arrivals and clocks of curves."""

import numpy as np
import pytest

from pgjr_book import races


@pytest.fixture
def record(synthetic):
    def make(values, step=2.0, first=0, **timings):
        history = [(first + i, step * (first + i), value) for i, value in enumerate(values)]
        made = synthetic.record("pgjr", 100, 50, "cifar10", history, prior="class-name", split="test")
        made["timings"] = {"alone": True, "plain_s": 3.0, "extract_s": 20.0, **timings}
        return made

    return make


def test_the_end_is_the_mean_of_the_last_three_evaluations(record):
    assert races.end(record([0.1, 0.9, 0.3, 0.4, 0.5])) == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.1, 0.2, 0.5, 0.6, 0.6], (2, False, False)),
        ([0.1, 0.5, 0.2, 0.6, 0.6], (3, False, False)),  # one evaluation above the target is not enough
        ([0.1, 0.2, 0.2, 0.2, 0.6], (4, True, False)),  # the last one alone is not, either
        ([0.1, 0.2, 0.2, 0.2, 0.2], (4, True, False)),
        ([0.6, 0.6, 0.6, 0.6, 0.6], (1, False, True)),  # there before training: training keeps it from epoch 1
        ([0.6, 0.2, 0.2, 0.2, 0.2], (4, True, True)),
    ],
)
def test_arrival_is_by_training_and_lasting(record, values, expected):
    found = races.arrival(record(values), 0.5)
    assert (found.epoch, found.censored, found.before_training) == expected


def test_the_clock_takes_the_median_epoch_and_the_encodings(record):
    made = record([0.1, 0.2, 0.3, 0.4])
    for row, seconds in zip(made["history"], (0, 5, 7, 20), strict=True):
        row["seconds"] = seconds
    clock = races.clock(made)
    assert clock.epoch_s == 5 and clock.machine == ("cpu", "x")
    assert clock.seconds(0) == 3.0 and clock.seconds(1) == 25.0 and clock.seconds(4) == 40.0
    assert clock.seconds_from_nothing(4) == 40.0  # a CNN starts from nothing
    trained = races.clock({**made, "weights": {"training_seconds": 100}})
    assert trained.seconds_from_nothing(0) == 103.0 and trained.seconds_from_nothing(4) == 140.0
    unknown = races.clock({**made, "weights": {"training_seconds": None}})
    assert np.isnan(unknown.seconds_from_nothing(0)) and unknown.seconds(4) == 40.0


def test_seconds_that_were_not_taken_alone_make_no_clock(record):
    assert races.clock(record([0.1, 0.2], alone=False)) is None and races.clock(record([0.1])) is None
