"""What every test stands on: fixed seeds, no network, and nothing of the machine's own data or weights."""

import os

import numpy as np
import pytest
from hypothesis import settings

os.environ["HF_HUB_OFFLINE"] = "1"
settings.register_profile("book", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("book")


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    """Seeded, and blind to the data sets and weights of whoever runs the tests."""
    import torch

    monkeypatch.delenv("PGJR_DATA", raising=False)
    monkeypatch.delenv("PGJR_WEIGHTS", raising=False)
    np.random.seed(0)
    torch.manual_seed(0)
