"""Turn image files into arrays.

Files of any mode become 8-bit RGB; where a size is given, the centre square is cropped and scaled to it.
"""

import io
import os
import re
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps


class Decoded(NamedTuple):
    """What :func:`decode` gives.

    Attributes:
        pixels: (3, H, W) uint8, or None where the file cannot be read.
        lossy: "jpeg" or "webp" where the file's coding loses detail, else "".
        error: why the file cannot be read, else "".
    """

    pixels: np.ndarray | None
    lossy: str = ""
    error: str = ""


def decode(path: Path, size: int | None) -> Decoded:
    """Decode one image file; a damaged file gives a message, never an exception.

    Args:
        path: the file, in any format that Pillow reads. The orientation in its EXIF data is applied.
        size: side in pixels of the centre square; None keeps the image as it is.
    """
    try:
        data = path.read_bytes()
        opened = open_image(data, size)
        pixels = square(opened.image, size)
    except Exception as error:  # Pillow raises many types on damaged files
        return Decoded(None, error=explain(error).replace(str(path), "the file"))
    lossy = "jpeg" if opened.coding == "JPEG" else "webp" if opened.coding == "WEBP" and b"VP8 " in data[:64] else ""
    return Decoded(pixels, lossy)


class Opened(NamedTuple):
    """An image in 8-bit RGB, perhaps reduced, with the format and the size in pixels that its file has when upright."""

    image: Image.Image
    coding: str
    width: int
    height: int


def open_image(data: bytes, size: int | None) -> Opened:
    """Open the bytes of an image file, turned as its EXIF data say.

    Args:
        data: the file's content.
        size: side in pixels of the square that will be cut from it; a large JPEG is decoded at a fraction of its size.

    Raises:
        Exception: of many types, for a file that Pillow cannot read.
    """
    register_heif()
    with Image.open(io.BytesIO(data)) as image:
        coding, width, height = image.format, *image.size
        if image.getexif().get(0x0112, 1) >= 5:  # turned by a quarter
            width, height = height, width
        if size is not None and min(image.size) > 4 * size:  # decoding a large JPEG at a fraction saves time
            image.draft("RGB", (2 * size, 2 * size))
        return Opened(_to_rgb(ImageOps.exif_transpose(image)), coding, width, height)


def explain(error: Exception) -> str:
    """Return an error of Pillow as text, without the addresses in memory that it may name."""
    return re.sub(r" <_io\.BytesIO object at \w+>", "", f"{type(error).__name__}: {error}")


@cache
def register_heif() -> bool:
    """Let Pillow read HEIC files where pillow-heif (the extra ``heic``) is installed; say whether it is."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def resize(pixels: np.ndarray, size: int) -> np.ndarray:
    """Resize (3, H, W) uint8 to (3, size, size) as :func:`decode` does."""
    return square(Image.fromarray(pixels.transpose(1, 2, 0)), size)


def thumbnails(paths, size: int) -> list[bytes]:
    """Make a JPEG file in memory of each image at ``paths``: a square of ``size`` pixels, grey if unreadable."""

    def encode(path):
        pixels = decode(Path(path), size).pixels
        pixels = np.full((3, size, size), 128, np.uint8) if pixels is None else pixels
        stream = io.BytesIO()
        Image.fromarray(pixels.transpose(1, 2, 0)).save(stream, "JPEG", quality=70)
        return stream.getvalue()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(encode, paths))


def _to_rgb(image):
    """Convert any mode to 8-bit RGB: scale 16 bits and floats, which Pillow would clip; put transparency on white."""
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image))
        values = np.rint(values * 255 if values.min() >= 0 and values.max() <= 1 else values)
        image = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    elif image.mode.startswith("I"):  # mode I stores 16-bit values in 32 bits
        image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    if image.mode.endswith("A") or "transparency" in image.info:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert("RGB")


def square(image: Image.Image, size: int | None) -> np.ndarray:
    """Return an RGB image's centre square, scaled to ``size`` pixels (bicubic), or all of it if ``size`` is None.

    Returns:
        (3, H, W) uint8.
    """
    if size is not None and image.size != (size, size):
        side = min(image.size)
        left, top = ((length - side) / 2 for length in image.size)
        box = (left, top, left + side, top + side)  # cropped first: resizing a long strip would take gigabytes
        image = image.resize((size, size), Image.Resampling.BICUBIC, box=box)
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))
