"""A folder of photographs that the tests make, and one prior that all of them load."""

import functools

import numpy as np
import pytest
from PIL import Image

from pgjr_lib.photos import encoding
from pgjr_lib.priors.encoder import load_prior


@pytest.fixture(scope="session")
def _priors():
    return functools.cache(load_prior)


@pytest.fixture(autouse=True)
def one_prior(monkeypatch, _priors):
    """Load each prior once for all tests, because its compilation takes seconds."""
    monkeypatch.setattr(encoding, "load_prior", _priors)


@pytest.fixture
def photos(tmp_path):
    """Make three kinds of images in nested folders without meaning, and files that are not images."""
    rng = np.random.default_rng(0)
    for i in range(36):
        kind, folder = i % 3, tmp_path / "photos" / f"roll {i % 2}" / "deep"
        folder.mkdir(parents=True, exist_ok=True)
        base = np.zeros((40, 50, 3)) + [(220, 40, 40), (40, 200, 60), (30, 60, 220)][kind]
        base[:, ::8] = 255 * (kind == 1)
        pixels = (base + 15 * rng.standard_normal(base.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02d}-{kind}.png")
    (tmp_path / "photos" / "clip.mp4").write_bytes(b"film")
    (tmp_path / "photos" / "roll 0" / "x.heic").write_bytes(b"heic")
    return tmp_path / "photos"
