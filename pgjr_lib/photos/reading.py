"""Read photographs in a pool of processes: each file once, for its hash, its pixels, its thumbnail and a hash of its look.

The pool reads ahead by a few tasks only, so memory is bounded whatever the folder holds, and decoding goes on while the
caller encodes. Imports no torch, because every process of the pool imports this module.
"""

import hashlib
import io
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from joblib.externals import loky
from PIL import Image
from scipy.fft import dctn

from pgjr_lib.data.decoding import explain, open_image, square

THUMBNAIL = 96  # pixels of a thumbnail's side
TASK = 32  # files that a process reads at a time
AHEAD = 2  # tasks that are read ahead for each process
FEW = 16  # fewer files are read without a pool, whose start takes longer
LOOK = 8  # the perceptual hash has LOOK * LOOK bits


class Reading(NamedTuple):
    """What one file holds.

    Attributes:
        digest: SHA-256 of the file's bytes, 64 hexadecimal digits; "" where it cannot be opened at all.
        error: why it is no readable image, else "".
        pixels: (3, S, S) uint8, the centre square.
        thumbnail: a JPEG file of ``THUMBNAIL`` pixels.
        look: perceptual hash, see :func:`perceptual_hash`.
        width, height: of the upright image, in pixels.
    """

    digest: str
    error: str = ""
    pixels: np.ndarray | None = None
    thumbnail: bytes = b""
    look: int = 0
    width: int = 0
    height: int = 0


def read_photo(path: Path, size: int) -> Reading:
    """Read one file; a damaged one gives its error, never an exception.

    Args:
        path: the file, in any format that Pillow reads.
        size: side S in pixels of the square that is kept.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        return Reading("", error.strerror or str(error))
    digest = hashlib.sha256(data).hexdigest()
    try:
        opened = open_image(data, max(size, THUMBNAIL))
        pixels = square(opened.image, size)
        small = square(opened.image, THUMBNAIL).transpose(1, 2, 0)
        look = perceptual_hash(opened.image)
    except Exception as error:  # Pillow raises many types on damaged files
        return Reading(digest, explain(error).replace(str(path), "the file"))
    stream = io.BytesIO()
    Image.fromarray(small).save(stream, "JPEG", quality=70)
    return Reading(digest, "", pixels, stream.getvalue(), look, opened.width, opened.height)


def perceptual_hash(image: Image.Image) -> int:
    """Return 64 bits that small changes of an image leave nearly as they are (pHash; Zauner, 2010).

    The bits say which of the 64 lowest frequencies of the whole image in gray, scaled to 32 x 32, lie above their
    median. Copies in another size, format or quality differ in few of them.
    """
    gray = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS), dtype=np.float32)
    low = dctn(gray, norm="ortho")[:LOOK, :LOOK].ravel()
    bits = low > np.median(low[1:])  # without the mean, which would move the median
    bits[0] = False
    return int.from_bytes(np.packbits(bits).tobytes(), "big", signed=True)  # a signed one fits into a tensor's int64


def read_photos(paths: list[Path], size: int, processes: int) -> Iterator[Reading]:
    """Yield the :class:`Reading` of each path, in order. A file that crashes its decoder is damaged, as any other.

    Args:
        paths: the files.
        size: as for :func:`read_photo`.
        processes: number of processes of the pool.
    """
    if len(paths) <= FEW:
        yield from (read_photo(path, size) for path in paths)
        return
    tasks = deque()
    try:
        for start in range(0, len(paths), TASK):
            task = paths[start : start + TASK]
            # the same pool every time, or a new one after a crash
            pool = loky.get_reusable_executor(processes)
            tasks.append((task, pool.submit(_read_task, task, size)))
            if len(tasks) > AHEAD * processes:
                yield from _finish(*tasks.popleft(), size, processes)
        while tasks:
            yield from _finish(*tasks.popleft(), size, processes)
    finally:
        loky.get_reusable_executor(processes).shutdown(kill_workers=True)


def _read_task(paths, size):
    return [read_photo(path, size) for path in paths]


def _finish(paths, future, size, processes):
    try:
        return future.result()
    except loky.BrokenProcessPool:  # a decoder crashed: find out which file did it, one by one
        return [_read_alone(path, size, processes) for path in paths]


def _read_alone(path, size, processes):
    try:
        return loky.get_reusable_executor(processes).submit(read_photo, path, size).result()
    except loky.BrokenProcessPool:
        return Reading("", "it makes the decoder crash")
