"""Find photographs that are there more than once: the same file, or the same picture in another size, format or quality."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

BITS = 8  # of the 64 bits of two perceptual hashes, at most so many differ
COSINE = 0.9  # of two embeddings, at least


@dataclass(frozen=True)
class Copy:
    """A photograph of which there are others.

    Attributes:
        group: number of the group, from 1.
        row: index of the file.
        best: whether it has the most pixels of its group, then the most bytes.
        same: whether another file of the group has the same bytes.
    """

    group: int
    row: int
    best: bool
    same: bool


def similar_pairs(look: np.ndarray, index: np.ndarray, cosine: np.ndarray) -> np.ndarray:
    """Return the pairs of photographs that look the same: (P, 2).

    Args:
        look: (N,) int64, perceptual hashes.
        index, cosine: (N, n), what :func:`pgjr_lib.photos.neighbours.nearest` returned.
    """
    here = np.repeat(np.arange(len(index)), index.shape[1])
    there = index.ravel()
    # a picture of one tone has no bits to tell it from another
    plain = np.bitwise_count(look.view(np.uint64)) < BITS
    differing = np.bitwise_count((look[here] ^ look[there]).view(np.uint64))
    keep = (differing <= BITS) & (cosine.ravel() >= COSINE) & ~plain[here] & ~plain[there]
    return np.stack([here[keep], there[keep]], 1)


def find(content: np.ndarray, pairs: np.ndarray, pixels: np.ndarray, sizes: np.ndarray) -> list[Copy]:
    """Group the files that show the same picture.

    Args:
        content: (F,) integers from 0, which content each file has.
        pairs: (P, 2) contents that look the same.
        pixels: (F,) width times height of each file.
        sizes: (F,) bytes of each file.

    Returns:
        The files of groups of two and more, by group; the best of each first.
    """
    count = int(content.max()) + 1
    links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (count, count))
    groups = connected_components(links, directed=False)[1][content]
    members: dict[int, list[int]] = {}
    for row, group in enumerate(groups.tolist()):
        members.setdefault(group, []).append(row)
    copies, number = [], 0
    for rows in members.values():
        if len(rows) < 2:
            continue
        number += 1
        rows.sort(key=lambda row: (-pixels[row], -sizes[row], row))
        bytes_of = content[rows].tolist()
        copies += [Copy(number, row, i == 0, bytes_of.count(content[row]) > 1) for i, row in enumerate(rows)]
    return copies
