"""A checksum cache of each test's own, and image files to load."""

import hashlib

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("PGJR_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def picture():
    """Write an image of random pixels, which depend on its path, or of one value."""

    def write(path, size=(8, 8), value=None, **save):
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = int(hashlib.sha256(str(path).encode()).hexdigest()[:8], 16)
        shape = (size[1], size[0], 3)
        pixels = np.random.default_rng(seed).integers(0, 256, shape) if value is None else np.full(shape, value)
        Image.fromarray(pixels.astype(np.uint8)).save(path, **save)

    return write


@pytest.fixture
def folder(tmp_path, picture):
    """Two class folders of two images each."""
    for name in ("cat/b.png", "cat/deep/a.png", "dog/x.png", "dog/y.jpg"):
        picture(tmp_path / "images" / name)
    return tmp_path / "images"
