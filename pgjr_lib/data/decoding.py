"""Image files to arrays: every mode to 8-bit RGB, a centre square where a size is asked for."""

import io
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps


def decode(path: Path, size: int | None) -> tuple[np.ndarray | str, str]:
    """((3, H, W) uint8, lossy coding or "") of a file, or (what is wrong with it, "")."""
    try:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            kind = image.format
            if size is not None and min(image.size) > 4 * size:  # a large JPEG is decoded at a fraction of its size
                image.draft("RGB", (2 * size, 2 * size))
            pixels = _fit(_rgb(ImageOps.exif_transpose(image)), size)
    except Exception as error:  # damaged files raise many types: each becomes a sentence
        told = re.sub(r" <_io\.BytesIO object at \w+>", "", f"{type(error).__name__}: {error}")
        return told.replace(str(path), "the file"), ""
    lossy = "jpeg" if kind == "JPEG" else "webp" if kind == "WEBP" and b"VP8 " in data[:64] else ""
    return pixels, lossy


def _rgb(image):
    """8-bit RGB of any mode: 16 bits and floats are scaled, which Pillow would clip; transparency is put on white."""
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image))
        values = np.rint(values * 255 if values.min() >= 0 and values.max() <= 1 else values)
        image = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    elif image.mode.startswith("I"):  # I holds 16 bits too, in 32
        image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    if image.mode.endswith("A") or "transparency" in image.info:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert("RGB")


def _fit(image, size):
    """The centre square (of the shorter side) at ``size`` pixels, bicubic; ``size=None`` keeps the image."""
    if size is not None and image.size != (size, size):
        side = min(image.size)
        left, top = ((length - side) / 2 for length in image.size)
        box = (left, top, left + side, top + side)  # cropped first: a long strip would grow to gigabytes
        image = image.resize((size, size), Image.Resampling.BICUBIC, box=box)
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def resized(pixels: np.ndarray, size: int) -> np.ndarray:
    """(3, H, W) uint8 -> (3, size, size), as :func:`decode` would."""
    return _fit(Image.fromarray(pixels.transpose(1, 2, 0)), size)


def thumbnails(paths, size: int) -> list[bytes]:
    """Small squares of the images at ``paths`` as JPEG files in memory; an unreadable one is grey."""

    def small(path):
        pixels, _ = decode(Path(path), size)
        pixels = np.full((3, size, size), 128, np.uint8) if isinstance(pixels, str) else pixels
        stream = io.BytesIO()
        Image.fromarray(pixels.transpose(1, 2, 0)).save(stream, "JPEG", quality=70)
        return stream.getvalue()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(small, paths))
