"""The same seed on another number of threads gives the same losses within a tolerance; on one number of threads, the same bits."""

import json
from pathlib import Path
from typing import get_args

import pytest
import torch

from pgjr_book import make
from pgjr_book.run_config import Method, RunConfig

GOLDEN = json.loads((Path(__file__).parents[1] / "book" / "golden.json").read_text())["runs"]
TOLERANCE = 1e-3  # relative, of the losses of a golden run; the page Reliability states it


@pytest.fixture
def threads():
    """A function that sets torch's threads for the rest of a test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_every_method_has_a_golden_run():
    assert {run["config"]["method"] for run in GOLDEN.values()} == set(get_args(Method))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["gjr", "idfd", "pgjr"])
def test_two_threads_give_the_losses_of_one_within_the_tolerance(method, tmp_path, threads):
    losses = []
    for count in (1, 2):
        threads(count)
        history = make.run(RunConfig(**GOLDEN[method]["config"]), tmp_path / str(count), device="cpu")["history"]
        losses.append([row["loss"] for row in history[1:]])
    assert losses[1] == pytest.approx(losses[0], rel=TOLERANCE)


def test_the_page_states_the_tolerance():
    page = (Path(__file__).parents[2] / "book" / "reliability.md").read_text()
    assert TOLERANCE == 1e-3 and "by less than a thousandth" in page
