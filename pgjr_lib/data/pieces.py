"""A generated image set whose classes share their pieces and differ in how the pieces are arranged.

Every image is two by two blocks, and every block holds the same four kinds of piece. A class is an arrangement of
the four within a block, so that no count of pieces, textures or colours tells classes apart: structure alone does.
"""

from itertools import permutations

import numpy as np

COUNT, PIECE, SIDE = 1200, 8, 32  # images; pixels along a piece and along an image
# with one piece kept first, no arrangement of the tiled block is a shift of another
ARRANGEMENTS = tuple((0, *rest) for rest in permutations((1, 2, 3)))
CLASS_NAMES = tuple("".join("abcd"[piece] for piece in arrangement) for arrangement in ARRANGEMENTS)


def generate(count: int = COUNT, difficulty: float = 0.0, permuted: bool = False, seed: int = 1):
    """Draw the set.

    Args:
        count: images, the classes in turn.
        difficulty: from 0 (clean pieces of one dark and one light tone) to 1 (strong noise, every piece in colours of its own,
            and half of the blocks have two pieces exchanged).
        permuted: put the 16 pieces of every image into one fixed other order: the same pixels, without the blocks.
        seed: of all draws.

    Returns:
        images (count, 3, 32, 32) uint8, labels (count,) int64, class names.

    Raises:
        ValueError: difficulty outside [0, 1].
    """
    if not 0 <= difficulty <= 1:
        raise ValueError(f"difficulty is {difficulty}: choose a number from 0 to 1.")
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(ARRANGEMENTS)
    order = np.random.default_rng(7).permutation(16) if permuted else np.arange(16)
    images = np.empty((count, 3, SIDE, SIDE), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        grid = np.empty((4, 4), dtype=int)  # which kind of piece lies where
        for block in range(4):
            kinds = np.array(ARRANGEMENTS[label])
            if rng.random() < difficulty / 2:
                i, j = rng.choice(4, 2, replace=False)
                kinds[[i, j]] = kinds[[j, i]]
            y, x = 2 * (block // 2), 2 * (block % 2)
            grid[y : y + 2, x : x + 2] = kinds.reshape(2, 2)
        pieces = [_piece(kind, difficulty, rng) for kind in grid.ravel()]
        rows = [np.concatenate([pieces[i] for i in row], axis=2) for row in order.reshape(4, 4)]
        image[:] = np.concatenate(rows, axis=1)
    return images, labels.astype(np.int64), CLASS_NAMES


def _piece(kind: int, difficulty: float, rng) -> np.ndarray:
    """One piece (3, 8, 8) uint8 of kind 0 to 3, in colours, phase or size, and noise of its own."""
    y, x = np.mgrid[:PIECE, :PIECE]
    phase, half = rng.integers(4), PIECE / 2 - 0.5
    shape = [
        (y + phase) % 4 < 2,  # bars across
        (x + phase) % 4 < 2,  # bars upright
        (y - half) ** 2 + (x - half) ** 2 < rng.uniform(5, 10),  # a disc
        (x + y + phase) % 4 < 2,  # bars aslant
    ][kind]
    dark, light = (tone + difficulty * rng.uniform(-0.2, 0.2, 3) for tone in (0.2, 0.8))
    pixels = np.where(shape, light[:, None, None], dark[:, None, None])
    pixels = pixels + rng.normal(0, 0.3 * difficulty, pixels.shape)
    return (255 * pixels.clip(0, 1)).round().astype(np.uint8)
