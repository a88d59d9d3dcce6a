"""Image files become arrays of 8-bit RGB whatever their mode, and centre squares where a size is given."""

import io

import numpy as np
import pytest
from PIL import Image

from pgjr_lib.data.decoding import decode, resize, thumbnails


def test_a_long_strip_is_cropped_before_it_is_resized(tmp_path, picture, monkeypatch):
    sizes, real = [], Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda image, *a, **k: sizes.append(a[0]) or real(image, *a, **k))
    picture(tmp_path / "strip.png", (16000, 1))
    assert decode(tmp_path / "strip.png", 224).pixels.shape == (3, 224, 224) and sizes == [(224, 224)]


def test_a_square_is_resized_as_a_whole(tmp_path, picture):
    picture(tmp_path / "square.png", (50, 50))
    whole = Image.open(tmp_path / "square.png").resize((32, 32), Image.Resampling.BICUBIC)
    expected = np.asarray(whole).transpose(2, 0, 1)
    assert (decode(tmp_path / "square.png", 32).pixels == expected).all()
    assert (resize(decode(tmp_path / "square.png", None).pixels, 32) == expected).all()


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([0, 0x80FF, 0xFFFF], "<u2", [0, 128, 255]),
        ([0, 0x80FF, 0xFFFF], ">u2", [0, 128, 255]),
        ([-9, 0x80FF, 0x1FFFF], "<i4", [0, 128, 255]),
        ([0, 0.5, 1], "<f4", [0, 128, 255]),
        ([-9, 99.6, 300], "<f4", [0, 100, 255]),
        ([float("nan"), 0, 1], "<f4", [0, 0, 255]),
    ],
)
def test_deep_greys_are_scaled_to_bytes(values, dtype, expected, tmp_path):
    mode = {"<u2": "I;16", ">u2": "I;16B", "<i4": "I", "<f4": "F"}[dtype]
    Image.frombytes(mode, (3, 1), np.array([values], dtype).tobytes()).save(tmp_path / "a.tif")
    assert Image.open(tmp_path / "a.tif").mode == mode
    assert decode(tmp_path / "a.tif", None).pixels[:, 0].tolist() == [expected] * 3


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "RGB"])
def test_transparency_is_put_on_white(mode, tmp_path):
    colours = {"RGBA": ((0, 0, 0, 0), (0, 0, 0, 255)), "LA": ((0, 0), (0, 255)), "RGB": ((9, 9, 9), (0, 0, 0))}
    image = Image.new(mode, (2, 1))
    if mode == "P":
        image.putpalette([0, 0, 0, 9, 9, 9])
    for x, colour in enumerate(colours.get(mode, (1, 0))):
        image.putpixel((x, 0), colour)
    image.save(tmp_path / "a.png", **{"RGB": {"transparency": (9, 9, 9)}, "P": {"transparency": 1},
                                      "L": {"transparency": 1}}.get(mode, {}))  # fmt: skip
    assert decode(tmp_path / "a.png", None).pixels[:, 0].tolist() == [[255, 0]] * 3


@pytest.mark.parametrize(
    ("name", "save", "lossy"),
    [("a.jpg", {}, "jpeg"), ("a.webp", {}, "webp"), ("a.webp", {"lossless": True}, ""), ("a.png", {}, "")],
)
def test_lossy_codings_are_recognised(name, save, lossy, tmp_path, picture):
    picture(tmp_path / name, **save)
    assert decode(tmp_path / name, None).lossy == lossy


def test_a_damaged_file_gives_a_message_without_memory_addresses(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnot an image")
    bad, missing = decode(tmp_path / "bad.png", None), decode(tmp_path / "missing.png", None)
    assert bad.pixels is None and bad.error.startswith("UnidentifiedImageError") and "BytesIO" not in bad.error
    assert missing.pixels is None and missing.error.endswith("'the file'")


def test_thumbnails_are_jpeg_squares_and_grey_where_a_file_is_damaged(tmp_path, picture):
    picture(tmp_path / "a.png", (40, 20), value=255)
    (tmp_path / "b.png").write_bytes(b"damaged")
    opened = [Image.open(io.BytesIO(data)) for data in thumbnails([tmp_path / "a.png", tmp_path / "b.png"], 16)]
    assert [(image.format, image.size) for image in opened] == [("JPEG", (16, 16))] * 2
    assert [image.getpixel((8, 8)) for image in opened] == [(255,) * 3, (128,) * 3]
