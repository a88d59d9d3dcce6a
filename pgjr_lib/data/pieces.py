"""Generate images whose classes share their pieces and differ only in how the pieces are arranged.

An image is two by two blocks, and every block holds the same four kinds of piece, a to d. A class is an arrangement of
the four within a block. Counts of pieces, textures or colours therefore do not tell classes apart; structure does.
"""

import numpy as np

from pgjr_lib.data.sets import SETS

_INFO = SETS["pieces"]
COUNT, SIDE, PIECE = _INFO.counts[0], _INFO.side, _INFO.side // 4  # images; pixels along an image and along a piece
CLASS_NAMES = _INFO.class_names
# piece a always comes first, so that no arrangement of the tiled block is a shift of another
ARRANGEMENTS = tuple(tuple("abcd".index(piece) for piece in name) for name in CLASS_NAMES)


HARD = 0.15  # difficulty of the set pieces-hard


def generate(count: int = COUNT, difficulty: float = 0.0, seed: int = 1):
    """Generate the set; the same arguments always give the same images.

    Args:
        count: number of images; classes take turns.
        difficulty: from 0 (clean pieces in one dark and one light tone) to 1 (strong noise, colours that differ from
            piece to piece, and two pieces exchanged in half of the blocks).
        seed: seed of all random draws.

    Returns:
        images (count, 3, 32, 32) uint8, labels (count,) int64, class names.

    Raises:
        ValueError: difficulty outside [0, 1].
    """
    if not 0 <= difficulty <= 1:
        raise ValueError(f"difficulty is {difficulty}: choose a number from 0 to 1.")
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(ARRANGEMENTS)
    images = np.empty((count, 3, SIDE, SIDE), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        grid = np.empty((4, 4), dtype=int)  # the kind of each piece
        for block in range(4):
            kinds = np.array(ARRANGEMENTS[label])
            if rng.random() < difficulty / 2:
                i, j = rng.choice(4, 2, replace=False)
                kinds[[i, j]] = kinds[[j, i]]
            y, x = 2 * (block // 2), 2 * (block % 2)
            grid[y : y + 2, x : x + 2] = kinds.reshape(2, 2)
        pieces = [_draw_piece(kind, difficulty, rng) for kind in grid.ravel()]
        rows = [np.concatenate(pieces[i : i + 4], axis=2) for i in range(0, 16, 4)]
        image[:] = np.concatenate(rows, axis=1)
    return images, labels.astype(np.int64), CLASS_NAMES


def _draw_piece(kind: int, difficulty: float, rng) -> np.ndarray:
    """Draw a (3, 8, 8) uint8 piece of ``kind`` 0 to 3 with random colours, phase or size, and noise."""
    y, x = np.mgrid[:PIECE, :PIECE]
    phase, half = rng.integers(4), PIECE / 2 - 0.5
    shape = [
        (y + phase) % 4 < 2,  # horizontal bars
        (x + phase) % 4 < 2,  # vertical bars
        (y - half) ** 2 + (x - half) ** 2 < rng.uniform(5, 10),  # a disc
        (x + y + phase) % 4 < 2,  # diagonal bars
    ][kind]
    dark, light = (tone + difficulty * rng.uniform(-0.2, 0.2, 3) for tone in (0.2, 0.8))
    pixels = np.where(shape, light[:, None, None], dark[:, None, None])
    pixels = pixels + rng.normal(0, 0.3 * difficulty, pixels.shape)
    return (255 * pixels.clip(0, 1)).round().astype(np.uint8)
