"""Keep what a prior gives for each photograph, by the photograph's content, so that only new content is ever encoded.

A store is a folder of parts. Each part is one file of up to ``PART`` photographs and is written once, whole. A run adds
parts for what is new, and at its end leaves out the photographs that are gone and joins small parts.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pgjr_lib.errors import PGJRError
from pgjr_lib.storage import load_tensors, save_tensors

PART = 256  # photographs in a part, at most


@dataclass(frozen=True, eq=False)
class Contents:
    """What is kept of N photographs.

    Attributes:
        digests: N hashes of content, 64 hexadecimal digits each.
        embedding: (N, D) float32, the prior's embedding of the whole photograph.
        views: (N, K, D) float16, the embeddings of K augmented views.
        look: (N,) int64, the perceptual hashes.
        width, height: (N,) int32, in pixels.
        thumbnails: N JPEG files.
    """

    digests: list[str]
    embedding: Tensor
    views: Tensor
    look: Tensor
    width: Tensor
    height: Tensor
    thumbnails: list[bytes]

    def pick(self, rows: list[int]) -> "Contents":
        """Return the contents of some rows."""
        index = torch.tensor(rows, dtype=torch.int64)
        tensors = [getattr(self, name)[index] for name in TENSORS]
        return Contents([self.digests[i] for i in rows], *tensors, [self.thumbnails[i] for i in rows])


TENSORS = ("embedding", "views", "look", "width", "height")


def join(parts: list[Contents]) -> Contents:
    """Put the contents of several parts into one."""
    tensors = [torch.cat([getattr(part, name) for part in parts]) for name in TENSORS]
    digests = [digest for part in parts for digest in part.digests]
    return Contents(digests, *tensors, [thumbnail for part in parts for thumbnail in part.thumbnails])


class Store:
    """The kept contents of one prior.

    Args:
        folder: where the parts lie; it is made when the first is written.

    Attributes:
        views: number K of views of each photograph; None where nothing is kept yet.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._where: dict[str, tuple[Path, int]] = {}  # digest -> part, row
        self._parts: dict[Path, Contents] = {}
        self.views: int | None = None
        for path in sorted(folder.glob("part-*.safetensors")):
            try:
                self._take(path, _load(path))
            except PGJRError:  # damaged: its photographs are encoded again
                path.unlink()

    def __contains__(self, digest: str) -> bool:
        return digest in self._where

    def _take(self, path, contents):
        self._parts[path] = contents
        self.views = contents.views.shape[1]
        self._where |= {digest: (path, row) for row, digest in enumerate(contents.digests)}

    def add(self, contents: Contents) -> None:
        """Write a part of new photographs."""
        numbers = [int(path.stem.partition("-")[2]) for path in self._parts]
        path = self.folder / f"part-{max(numbers, default=-1) + 1:05d}.safetensors"
        _save(path, contents)
        self._take(path, contents)

    def forget(self) -> None:
        """Remove everything, because other views are asked for."""
        self._remove(list(self._parts))
        self._where, self.views = {}, None

    def keep_only(self, digests: set[str]) -> None:
        """Leave out all other photographs, and join parts that are small.

        A part is rewritten before the old one goes, so a stop in between loses nothing.
        """
        changed = {}
        for path, contents in self._parts.items():
            rows = [i for i, digest in enumerate(contents.digests) if digest in digests and self._where[digest] == (path, i)]
            if len(rows) < len(contents.digests) or len(rows) < PART:
                changed[path] = contents.pick(rows)
        if len(changed) <= 1 and all(len(part.digests) == len(self._parts[path].digests) for path, part in changed.items()):
            return
        self._where = {digest: place for digest, place in self._where.items() if digest in digests}
        kept = [part for part in changed.values() if part.digests]
        if kept:
            rest = join(kept)
            for rows in _pieces(len(rest.digests)):
                self.add(rest.pick(rows))
        self._remove(list(changed))

    def get(self, digests: list[str]) -> Contents:
        """Return the contents of photographs that are kept, in this order."""
        rest = join(list(self._parts.values()))
        row = {digest: i for i, digest in enumerate(rest.digests)}
        return rest.pick([row[digest] for digest in digests])

    def _remove(self, paths):
        for path in paths:
            self._parts.pop(path)
            path.unlink(missing_ok=True)


def _pieces(count: int) -> Iterator[list[int]]:
    yield from (list(range(i, min(i + PART, count))) for i in range(0, count, PART))


def _save(path: Path, contents: Contents) -> None:
    blob = np.frombuffer(b"".join(contents.thumbnails), dtype=np.uint8)
    save_tensors(path, {name: getattr(contents, name) for name in TENSORS} | {"thumbnails": torch.from_numpy(blob.copy())},
                 {"digests": json.dumps(contents.digests), "lengths": json.dumps([*map(len, contents.thumbnails)])})  # fmt: skip


def _load(path: Path) -> Contents:
    """Read a part.

    Raises:
        PGJRError: it is damaged, or is no part.
    """
    tensors, metadata = load_tensors(path)
    try:
        digests, lengths = (json.loads(metadata[name]) for name in ("digests", "lengths"))
        blob, ends = tensors["thumbnails"].numpy().tobytes(), np.cumsum([0, *lengths])
        thumbnails = [blob[a:b] for a, b in zip(ends, ends[1:], strict=False)]
        return Contents(digests, *(tensors[name] for name in TENSORS), thumbnails)
    except (LookupError, ValueError, TypeError) as error:
        raise PGJRError(f"{path} is no part of a store of photographs ({error}): delete it.") from None


def check_store(folder: Path) -> int:
    """Check every part of every store in ``folder`` and return the number of photographs.

    Raises:
        PGJRError: a part is damaged.
    """
    return sum(len(_load(path).digests) for path in sorted(folder.glob("*/part-*.safetensors")))
