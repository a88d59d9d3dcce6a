"""Input made to do harm: it is refused in one sentence, skipped and counted, or shown as the text that it is."""

import csv
import io
import json
import pickle
import struct
import tarfile
import zipfile
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pgjr_lib import data
from pgjr_lib.data.decoding import decode
from pgjr_lib.data.fetch import Archive, _unpack
from pgjr_lib.errors import PGJRError
from pgjr_lib.storage import parse_yaml, write_json

ROOT = Path(__file__).parents[2]


def sentence(function, *arguments) -> str:
    """The one sentence with which ``function`` refuses."""
    with pytest.raises(PGJRError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- archives ----


def packed_tar(path, name, size=0, **attributes):
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.size = size
        for key, value in attributes.items():
            setattr(info, key, value)
        archive.addfile(info, io.BytesIO(bytes(size)))


def unpacked(path):
    archive = Archive("http://x/toy", "0", 1, 1_000_000, "toy", ("a",))
    return sentence(_unpack, archive, path, path.parent / "toy", path.parent / ".unpacked")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_bomb_is_stopped_at_the_size_of_the_official_files(tmp_path, kind, tally):
    path = tmp_path / f"toy.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("toy/a", bytes(50_000_000))
    else:
        packed_tar(path, "toy/a", 50_000_000)
    assert path.stat().st_size < 100_000 and f"{path} unpacks to more than 1 MB" in unpacked(path)
    tally("hostile: archives", [p.name for p in tmp_path.iterdir()] == [path.name])
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", ["SYMTYPE", "LNKTYPE", "CHRTYPE", "BLKTYPE", "FIFOTYPE", "DIRTYPE"])
def test_links_and_devices_in_an_archive_are_never_made(tmp_path, kind, tally):
    packed_tar(tmp_path / "toy.tar.gz", "toy/a", type=getattr(tarfile, kind), linkname="/etc/passwd")
    held = "lacks toy/a" in unpacked(tmp_path / "toy.tar.gz") and len(list(tmp_path.iterdir())) == 1
    tally("hostile: archives", held)
    assert held


@pytest.mark.parametrize("name", ["toy/../../a", "/toy/a", "toy\\..\\a", "../a"])
def test_members_that_lead_out_are_refused(tmp_path, name, tally):
    packed_tar(tmp_path / "toy.tar.gz", name, 3)
    held = "leads out of its folder, so nothing was unpacked" in unpacked(tmp_path / "toy.tar.gz")
    tally("hostile: archives", held)
    assert held


def test_an_encrypted_archive_is_one_sentence(tmp_path, tally):
    path = tmp_path / "toy.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("toy/a", b"x")
    content = bytearray(path.read_bytes())
    for mark in (b"PK\x03\x04", b"PK\x01\x02"):  # the flag of encryption, in both headers
        content[content.index(mark) + (6 if mark[2] == 3 else 8)] |= 1
    path.write_bytes(content)
    held = "cannot be unpacked" in unpacked(path)
    tally("hostile: archives", held)
    assert held


# ---- images ----


def png(width, height, rows=b"") -> bytes:
    """A PNG that claims a size, with as much of its pixels as ``rows`` has."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def saved(mode, kind, size=(40, 30), **options) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(size, 60).convert("L").convert("RGB").convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


BAD = {
    "empty": b"", "no pixels": png(0, 0), "20,000 x 20,000": png(20_000, 20_000), "truncated JPEG": saved("RGB", "JPEG")[:-200],
    "truncated PNG": saved("RGB", "PNG")[:-200], "cut PNG header": png(9, 9)[:20], "rows missing": png(9, 9, bytes(10)),
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "HTML": b"<html><script>alert(1)</script></html>", "ZIP": b"PK\x03\x04" + bytes(40),
    "pickle": pickle.dumps([1, 2]), "text": b"=cmd|' /C calc'!A0",
}  # fmt: skip
GOOD = {
    "CMYK": saved("CMYK", "JPEG"), "grey": saved("L", "PNG"), "palette": saved("P", "GIF"), "one bit": saved("1", "PNG"),
    "animated": saved("P", "GIF", save_all=True, append_images=[Image.new("P", (40, 30), 7)]), "strip": saved("RGB", "PNG", (900, 1)),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_whole_image_is_left_out_with_a_reason(tmp_path, kind, tally):
    (tmp_path / "x.png").write_bytes(BAD[kind])
    decoded = decode(tmp_path / "x.png", 16)
    held = decoded.pixels is None and decoded.error
    tally("hostile: images", bool(held))
    assert held


@pytest.mark.parametrize("kind", GOOD)
def test_odd_images_are_read(tmp_path, kind, tally):
    (tmp_path / "x.png").write_bytes(GOOD[kind])
    decoded = decode(tmp_path / "x.png", 16)
    held = decoded.pixels is not None and decoded.pixels.shape == (3, 16, 16)
    tally("hostile: images", held)
    assert held, decoded.error


def test_sixteen_bits_and_a_turned_photograph_are_read_as_they_are_meant(tmp_path, tally):
    Image.fromarray(np.array([[0, 0x8000], [0xFFFF, 0x8000]], np.uint16)).save(tmp_path / "deep.png")
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20] = 255  # the left half is white; turned by a quarter it is the upper one
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    turned = decode(tmp_path / "turned.jpg", None).pixels
    held = decode(tmp_path / "deep.png", None).pixels[0].tolist() == [[0, 128], [255, 128]]
    held = held and turned.shape == (3, 40, 20) and turned[:, :15].min() > 200 > 50 > turned[:, 25:].max()
    tally("hostile: images", held)
    assert held


def test_bad_images_among_good_ones_are_counted(tmp_path, tally):
    for i, content in enumerate([*BAD.values(), *GOOD.values()]):
        (tmp_path / f"{i:02d}.png").write_bytes(content)
    loaded = data.load(f"images:{tmp_path}", size=16, skip_corrupt=True)
    held = loaded.corrupt == len(BAD) and len(loaded.labels) == len(GOOD)
    tally("hostile: images", held)
    assert held and loaded.note.endswith(f"{len(BAD)} corrupt images left out")


# ---- names ----

NAMES = ["<script>alert(1)</script>".replace("/", "∕") + ".png", "</script".replace("/", "∕") + ".png", "a\nb.png", "a\r\nb.png",
         "😀.png", "\u202egnp.exe.png", "=cmd|' ∕C calc'!A0.png", "+1.png", "-1.png", "@SUM(A1).png", "\t=1.png", '"quoted",;.png',
         "{{ 7*7 }}.png", "x" * 251 + ".png", "ü" * 125 + ".png"]  # fmt: skip


@pytest.fixture
def written(tmp_path, photographs):
    """The output of a folder of images with such names: its table and its page."""
    from pgjr_lib.photos.output import OutputFolder
    from pgjr_lib.photos.page import render

    photos = tmp_path / "photos"
    photos.mkdir()
    for name in NAMES:
        Image.new("RGB", (8, 8)).save(photos / name)
    images, others = data.list_images(photos)
    assert {path.name for path in images} == set(NAMES) and not others
    files = [path.name for path in images]
    output = OutputFolder(tmp_path / "out", photos)
    clustered = photographs(len(files), files)
    output.write_clusters(clustered, {0: "=1+1"}, np.zeros((len(files), 4), np.float32))
    about = {"folder": "<script>alert(2)</script>", "prior": "class-name", "supervision": "names", "note": "", "skipped": NAMES,
             "raw": NAMES, "damaged": NAMES, "link": "../photos", "method": "<script>alert(3)</script>", "head": "none",
             "reason": "none", "changes": "", "guess": [], "scores": {}}  # fmt: skip
    clusters = [{"number": number, "name": "</script><script>alert(4)", "suggestions": []} for number in range(3)]
    output.write_page(render(clustered, clusters, "a" * 16, 2, about), clustered)
    return output


def test_no_name_becomes_markup_and_no_cell_a_formula(written, tally):
    page = written.page.read_text()
    with (written.path / "clusters.csv").open(newline="") as stream:
        cells = [row["file"] for row in csv.DictReader(stream)]
    held = "<script>alert" not in page and page.count("</script") == page.count("<script") == 2
    held = held and "{{" not in page.replace("{{ 7*7 }}", "")
    held = held and {cell.removeprefix("./") for cell in cells} == set(NAMES)
    held = held and not [cell for cell in cells if cell[0] in "=+-@\t\r"]
    tally("hostile: names", held, cases=len(NAMES))
    assert held


# ---- YAML, parameters, records ----


@pytest.mark.parametrize("text", [
    "!!python/object/apply:os.system [touch fired]", "!!python/name:os.system", "!!python/object/new:os.system ['touch fired']",
    "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in pairwise("abcdefghi")),
    "&a [*a]", "[" * 5000, "{a: " * 5000, "!!bool x", "!!timestamp x", "!!int ''", "? [1, 2]\n: 3",
])  # fmt: skip
def test_yaml_that_tries_code_or_blows_up_is_refused(tmp_path, monkeypatch, text, tally):
    monkeypatch.chdir(tmp_path)
    held = "x.yaml" in sentence(parse_yaml, text, "x.yaml") and not (tmp_path / "fired").exists()
    tally("hostile: YAML", held)
    assert held


@pytest.mark.parametrize("value", ['"; open("fired", "w") #', "__import__('os').system('touch fired')", "'''\nopen('fired', 'w')\n'''",
                                   "\\\"; open('fired', 'w')", "a\u2028open('fired', 'w')"])  # fmt: skip
def test_a_parameter_that_tries_code_is_a_text(tmp_path, monkeypatch, value, tally):
    from papermill.translators import PythonTranslator

    monkeypatch.chdir(tmp_path)
    space: dict = {}
    exec(PythonTranslator.codify({"steps": value}), space)
    held = space["steps"] == value and not (tmp_path / "fired").exists()
    tally("hostile: parameters", held)
    assert held


@pytest.mark.parametrize("value", ["2024-01-01", "!!set {a}", "!!binary aGk=", ".nan"])
def test_a_parameter_that_is_no_plain_value_is_refused_before_anything_runs(tmp_path, value, tally):
    from pgjr_book.execution import execute_notebook

    cell = {"cell_type": "code", "source": "steps = 3", "metadata": {"tags": ["parameters"]}, "outputs": [], "execution_count": None}
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    message = sentence(execute_notebook, tmp_path / "a.ipynb", tmp_path / "out.ipynb", {"steps": parse_yaml(value, "-p")})
    tally("hostile: parameters", "The parameter steps of" in message)
    assert "The parameter steps of" in message and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' * 100_000, "1" * 10_000, "nul", "\x00", "[]", "{}", '{"key": NaN}',
                                  "\ufeff{}"])  # fmt: skip
def test_a_record_from_a_stranger_is_one_sentence(tmp_path, text, tally, capsys):
    from pgjr_book.__main__ import main

    (tmp_path / "0123456789abcdef.json").write_text(text)
    assert main(["verify", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    held = error.startswith("error: ") and error.count("\n") == 1 and "0123456789abcdef.json" in error
    tally("hostile: records", held)
    assert held, error[:500]


def test_a_manifest_from_a_stranger_names_no_file_outside_its_folder(tmp_path, tally):
    from pgjr_lib.priors.cache import load

    write_json(tmp_path / "manifest-0.json", {"files": {"../../etc/passwd": "0"}, "config": {"views": 0}, "class_names": ["a"]})
    message = sentence(load, tmp_path)
    tally("hostile: records", "does not list the files" in message)
    assert "does not list the files" in message


# ---- pickles ----


class Bomb:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, fuse):
        self.fuse = fuse

    def __reduce__(self):
        return open, (str(self.fuse), "w")


def test_no_pickle_is_ever_opened(tmp_path, tally):
    from pgjr_lib.cli import verify_file
    from pgjr_lib.priors.names import resolve
    from pgjr_lib.training import resume

    fuse = tmp_path / "fired"
    for name in ("x.safetensors", "x.pt"):
        for save in (lambda path: path.write_bytes(pickle.dumps(Bomb(fuse))), lambda path: torch.save({"a": Bomb(fuse)}, path)):
            path = tmp_path / name
            save(path)
            for read in (lambda p: resolve(f"file:{p}"), verify_file, lambda p: resume(p, "", None, None, None)):
                sentence(read, path)
                tally("hostile: pickles", not fuse.exists())
                assert not fuse.exists()
    (tmp_path / "cifar-10-batches-py").mkdir()
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        (tmp_path / "cifar-10-batches-py" / name).write_bytes(pickle.dumps(Bomb(fuse)))
    sentence(lambda: data.load("cifar10", root=tmp_path))
    tally("hostile: pickles", not fuse.exists())
    assert not fuse.exists()
