"""The generated set: classes share their pieces and differ in arrangement."""

from itertools import permutations

import numpy as np
import pytest

from pgjr_lib import data
from pgjr_lib.data import pieces


def split(images):
    """Cut (N, 3, 32, 32) into (N, 16, 3, 8, 8), the pieces in reading order."""
    n = len(images)
    return images.reshape(n, 3, 4, 8, 4, 8).transpose(0, 2, 4, 1, 3, 5).reshape(n, 16, 3, 8, 8)


def test_every_block_holds_the_four_kinds_in_its_class_arrangement(monkeypatch):
    drawn = []

    def draw(kind, difficulty, rng):
        drawn.append(kind)
        return np.full((3, 8, 8), kind, dtype=np.uint8)

    monkeypatch.setattr(pieces, "_draw_piece", draw)
    images, labels, names = pieces.generate(12, difficulty=0)
    for image, label in zip(split(images)[:, :, 0, 0, 0].reshape(-1, 4, 4), labels, strict=True):
        for y in (0, 2):
            for x in (0, 2):
                assert tuple(image[y : y + 2, x : x + 2].ravel()) == pieces.ARRANGEMENTS[label]
    assert labels.tolist() == [0, 1, 2, 3, 4, 5] * 2 and len(set(names)) == 6
    assert np.bincount(drawn).tolist() == [48] * 4  # no class has more of a kind than another


def test_the_classes_are_all_arrangements_that_keep_the_first_piece():
    assert pieces.ARRANGEMENTS == tuple((0, *rest) for rest in permutations((1, 2, 3)))


def test_no_class_is_a_shift_of_another():
    tiled = [np.tile(np.reshape(a, (2, 2)), (2, 2)) for a in pieces.ARRANGEMENTS]
    windows = [{t[y : y + 2, x : x + 2].tobytes() for y in range(2) for x in range(2)} for t in tiled]
    assert all(not a & b for i, a in enumerate(windows) for b in windows[:i])


def test_the_knob_adds_noise_and_exchanged_pieces():
    clean, noisy = pieces.generate(30, difficulty=0)[0], pieces.generate(30, difficulty=1)[0]

    def colours_per_piece(images):
        return np.mean([len(np.unique(piece.reshape(3, -1), axis=1).T) for piece in split(images)[0]])

    def tones(images):
        return len(np.unique(images[:, 0]))

    assert colours_per_piece(clean) == 2 and colours_per_piece(noisy) > 20
    assert tones(clean) == 2 and tones(noisy) > 20  # a clean set has the same two tones everywhere
    with pytest.raises(ValueError, match="difficulty is 2"):
        pieces.generate(difficulty=2)


def test_it_is_a_set_like_the_others():
    plain, hard = data.load("pieces", "all", limit=12), data.load("pieces-hard", "all", limit=12)
    assert plain.images.shape == (12, 3, 32, 32) and plain.class_names == pieces.CLASS_NAMES
    assert plain.checksum != hard.checksum and (plain.labels == hard.labels).all()
