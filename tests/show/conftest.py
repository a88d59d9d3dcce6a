"""Runs with and without the jigsaw that the tests of tables, pages and figures share."""

import pytest


@pytest.fixture
def records(synthetic):
    """Three seeds of a run "without" the jigsaw and of one "with" it."""
    runs = []
    for seed, (a, b) in enumerate([(50, 52), (60, 61), (55, 58)]):
        curve = synthetic.curve(1.0)
        runs.append(synthetic.record("idfd", seed, a, backbone="thin", history=curve, variant="without"))
        runs.append(synthetic.record("gjr", seed, b, backbone="thin", history=curve, variant="with"))
    return runs


@pytest.fixture
def study(synthetic):
    """A sensitivity study of two settings around a start."""
    means = {("τ1", 0.1): 40, ("τ1", 1): 44, ("α", 0): 38, ("α", 1): 40}
    moved = {("τ1", 1): {"tau1": 1.0}, ("α", 0): {"tau1": 0.1, "alpha": 0.0}}  # the others have the start's own values
    runs = [synthetic.record("pgjr", seed, 40 + seed, tau1=0.1, variant="start") for seed in range(3)]
    for (panel, value), mean in means.items():
        point = {"variant": f"{panel}-{value}", "label": f"{panel} = {value}", "panel": panel, "value": value}
        settings = moved.get((panel, value), {"tau1": 0.1})
        runs += [synthetic.record("pgjr", seed, mean + seed, **point, **settings) for seed in range(3)]
    return runs
