"""Every parser takes whatever hypothesis makes up: it gives a value, or refuses in a sentence; it never crashes or hangs."""

import ast
import io
import json
import signal
import tarfile
import zipfile
from argparse import ArgumentTypeError
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from pgjr_lib.errors import PGJRError

ROOT = Path(__file__).parents[2]
FEW, MANY = 160, 7_800  # cases of one parser, of thirteen
HANG_SECONDS = 60  # of processor time, so that a busy machine is no hang

leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
names = st.sampled_from(["key", "config", "data", "scores", "files", "stamp", "seal", "metadata", "architecture", "method", "size"])
tree = st.recursive(leaf, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names | st.text(max_size=6), inner, max_size=6),
                    max_leaves=12)  # fmt: skip
lines = st.lists(st.sampled_from(["a: 1", "- b", "&x [1]", "*x", "<<: *x", "!!python/object:os.system", "!!bool x", "!!timestamp x",
                                  "!!int ''", "? [1]", "2024-13-41", "{", "}", "'", "|", "\t", "%YAML 9", "---", "1e3", "0x", "\x00",
                                  "é", "1:1:1", "!!binary x", "!!set {a}", "!!omap [a]", "!!float x"]), max_size=8)  # fmt: skip


@pytest.fixture(params=[pytest.param(FEW, id="few"), pytest.param(MANY, id="many", marks=pytest.mark.slow)])
def fuzz(request, tally):
    """A function that gives a parser its cases. ``allowed`` are the project's own refusals."""

    def hangs(*_):
        raise TimeoutError(f"no answer in {HANG_SECONDS} seconds")

    def run(kind, strategy, parse, allowed=PGJRError):
        @settings(max_examples=request.param, deadline=None, derandomize=True, database=None, phases=[Phase.generate, Phase.shrink],
                  suppress_health_check=list(HealthCheck))  # fmt: skip
        @given(strategy)
        def case(value):
            signal.setitimer(signal.ITIMER_PROF, HANG_SECONDS)
            try:
                parse(value)
            except allowed as error:
                assert str(error).strip()
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
            tally(f"fuzz: {kind}")

        before = signal.signal(signal.SIGPROF, hangs)
        try:
            case()
        finally:
            signal.signal(signal.SIGPROF, before)

    return run


def written(path: Path, value) -> Path:
    """Write a tree as JSON, and bytes or text as they are."""
    if isinstance(value, bytes):
        path.write_bytes(value)
    else:
        path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


files = st.binary(max_size=60) | tree


def test_yaml(fuzz):
    from pgjr_lib.storage import parse_yaml

    fuzz("YAML", st.text(max_size=40) | st.binary(max_size=40) | lines.map("\n".join), lambda text: parse_yaml(text, "x"))


def test_the_manifest(fuzz, tmp_path):
    from pgjr_book.manifest import load_manifest

    parts = st.dictionaries(st.sampled_from(["profiles", "methods", "experiments", "priors", "notebooks", "cards"]), tree, max_size=6)
    fuzz("experiments.yaml", parts | files, lambda value: load_manifest(written(tmp_path / "experiments.yaml", value)))


def test_fields_of_a_run(fuzz):
    from pgjr_book.manifest import validated
    from pgjr_book.run_config import RunConfig
    from pgjr_lib.storage import parse_yaml

    fields = st.sampled_from(list(RunConfig.model_fields)) | st.text(max_size=5)
    settings = st.dictionaries(fields, st.text(max_size=10) | lines.map(" ".join), max_size=5)
    base = {"method": "gjr", "dataset": "digits", "image_size": 16}
    fuzz("FIELD=VALUE", settings,
         lambda given: validated(RunConfig, base | {k: parse_yaml(v, "x") for k, v in given.items()}, "train").hash())  # fmt: skip


def test_records(fuzz, tmp_path):
    from pgjr_book.arrival import check_record

    whole = json.loads(next(iter(sorted((ROOT / "results").glob("*.json")))).read_text())
    changes = st.dictionaries(st.sampled_from(list(whole)), tree, max_size=3).map(lambda change: {**whole, **change})
    fuzz("record", changes | files, lambda value: check_record(written(tmp_path / f"{whole['key']}.json", value)))


def test_sidecars(fuzz, tmp_path):
    from pgjr_lib.priors.names import resolve

    (tmp_path / "x.safetensors").write_bytes(b"weights")
    fields = st.sampled_from(["architecture", "activation", "preprocessing", "training_data", "checksum", "seal"])
    inner = st.dictionaries(st.sampled_from(["size", "mean", "std", "interpolation", "vision_cfg"]), tree, max_size=5)
    described = st.dictionaries(fields, tree | inner | st.just("ViT-B-32"), max_size=6)

    def parse(value):
        written(tmp_path / "x.json", value)
        resolve(f"file:{tmp_path / 'x.safetensors'}")

    fuzz("sidecar", described | files, parse)


def test_manifests_of_features(fuzz, tmp_path):
    from pgjr_lib.cli import verify_file

    fields = st.sampled_from(["files", "config", "class_names", "stamp", "checksum", "architecture", "views", "seal"])
    described = st.dictionaries(fields, tree | st.just({"views": 1}) | st.just(["plain.safetensors"]), max_size=6)
    fuzz("feature manifest", described | files, lambda value: verify_file(written(tmp_path / "manifest-1.json", value)))


def test_tensor_files(fuzz, tmp_path):
    from safetensors.torch import save

    from pgjr_lib.storage import load_tensors

    headers = tree.map(lambda value: (text := json.dumps(value).encode()) and len(text).to_bytes(8, "little") + text + bytes(8))
    whole = save({"a": torch.ones(3)}, {"checksum": "0"})
    flipped = st.tuples(st.integers(0, len(whole) - 1), st.integers(1, 255)).map(
        lambda at: whole[: at[0]] + bytes([whole[at[0]] ^ at[1]]) + whole[at[0] + 1 :]
    )
    fuzz("safetensors", headers | flipped | st.binary(max_size=60),
         lambda value: load_tensors(written(tmp_path / "x.safetensors", value)))  # fmt: skip


def test_names_of_classes(fuzz, tmp_path):
    from tools.pretrain_prior import read_names

    pieces = st.sampled_from(["n01\ta, b", "n01", "\t", ",", "n02\t", "\x00", "\x85", "\r"])
    text = st.text(max_size=40) | st.lists(pieces).map("\n".join)
    fuzz("names.tsv", text.map(str.encode) | st.binary(max_size=40),
         lambda value: read_names(written(tmp_path / "n.tsv", value), ["n01"]))  # fmt: skip


def test_tables_keep_every_file_name(fuzz, tmp_path, photographs):
    import csv

    from pgjr_lib.photos.output import TABLE, OutputFolder

    folder = OutputFolder(tmp_path / "out", tmp_path)

    def parse(files):
        folder.write_clusters(photographs(len(files), files), {0: files[0]}, np.zeros((len(files), 2), np.float32))
        with (folder.path / TABLE).open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        cells = [row["file"] for row in rows]
        assert {row["name"].removeprefix("'") for row in rows if row["cluster"] == "0"} == {files[0].removeprefix("'")}
        assert not [row for row in rows if row["name"] and row["name"][0] in "=+-@\t\r"]
        assert [cell.removeprefix("./") for cell in cells] == [name.removeprefix("./") for name in files]
        assert not [cell for cell in cells if cell[:1] in "=+-@\t\r" and cell]

    character = st.characters(exclude_categories=["Cs"], exclude_characters="\0/") | st.sampled_from("=+-@\t\r\n\"',;\u202e<😀")
    fuzz("CSV", st.lists(st.text(character, min_size=1, max_size=8), min_size=1, max_size=3), parse)


def test_parameters_of_a_notebook_become_literals_and_nothing_else(fuzz):
    from papermill.translators import PythonTranslator

    from pgjr_book.execution import _is_plain
    from pgjr_lib.storage import parse_yaml

    attacks = st.sampled_from(['"; open("x", "w") #', "'''", '\\"', "\n", "\\", "__import__('os')", "{x}", "\u2028", "\r", '"""'])

    def parse(text):
        value = parse_yaml(text, "-p steps")
        if not _is_plain(value):
            raise PGJRError("not plain")
        code = ast.parse(PythonTranslator.codify({"steps": value}))
        (assignment,) = code.body
        calls = [node for node in ast.walk(assignment) if isinstance(node, ast.Call)]
        assert not calls and assignment.targets[0].id == "steps"

    fuzz("-p NAME VALUE", st.lists(attacks | st.text(max_size=6), max_size=5).map("".join) | lines.map("\n".join), parse)


def test_shards(fuzz):
    from pgjr_lib.cli import integer, shard

    text = st.text(max_size=8) | st.tuples(st.integers(), st.integers()).map("{0[0]}/{0[1]}".format)
    fuzz("I/N", text, lambda text: (shard(text), integer(0)(text)), (PGJRError, ArgumentTypeError))


def test_archives(fuzz, tmp_path):
    from pgjr_lib.data.fetch import Archive, _unpack

    def packed(kind, names, damage):
        buffer = io.BytesIO()
        if kind == "zip":
            with zipfile.ZipFile(buffer, "w") as archive:
                for name in names:
                    archive.writestr(name.replace("\0", "") or "x", b"content" * 9)
        else:
            with tarfile.open(fileobj=buffer, mode="w:gz" if kind == "gz" else "w") as archive:
                for name in names:
                    info = tarfile.TarInfo(name)
                    info.size = 7
                    archive.addfile(info, io.BytesIO(b"content"))
        content = bytearray(buffer.getvalue())
        for place, value in damage:
            content[place % len(content)] ^= value
        return bytes(content)

    inside = st.sampled_from(["toy/a", "toy/../b", "/toy/a", "toy\\a", "toy/a/b", "../x", "toy", "toy//a", "./toy/a", "toy/a\n",
                              "é" * 90])  # fmt: skip
    damage = st.lists(st.tuples(st.integers(0, 9999), st.integers(1, 255)), max_size=3)
    archives = st.builds(packed, st.sampled_from(["zip", "gz", "tar"]), st.lists(inside, min_size=1, max_size=4, unique=True), damage)
    archive = Archive("http://x/toy", "0", 1, 1000, "toy", ("a",))
    root = tmp_path / "root"
    root.mkdir()

    def parse(value):
        path = root / ("toy.zip" if value[:2] == b"PK" else "toy.tar.gz")
        try:
            _unpack(archive, written(path, value), root / "toy", root / ".unpacked")
        finally:
            assert {name.name for name in tmp_path.iterdir()} == {"root"}  # nothing leads out of it

    fuzz("archive", archives | st.binary(max_size=60), parse, (PGJRError, OSError))


def test_images(fuzz, tmp_path):
    from pgjr_lib.data.decoding import decode

    seeds = []
    for kind, mode in (("PNG", "RGB"), ("PNG", "P"), ("PNG", "I;16"), ("JPEG", "RGB"), ("JPEG", "CMYK"), ("GIF", "P"), ("TIFF", "F"),
                       ("WEBP", "RGB"), ("BMP", "RGB"), ("PPM", "RGB")):  # fmt: skip
        buffer = io.BytesIO()
        Image.new(mode, (9, 7)).save(buffer, kind)
        seeds.append(buffer.getvalue())

    def damaged(whole, changes, keep):
        content = bytearray(whole)
        for place, value in changes:
            content[place % len(content)] ^= value
        return bytes(content[: max(1, int(keep * len(content)))])

    changes = st.lists(st.tuples(st.integers(0, 9999), st.integers(1, 255)), max_size=4)
    images = st.builds(damaged, st.sampled_from(seeds), changes, st.sampled_from([1.0, 1.0, 0.9, 0.5]))

    def parse(value):
        decoded = decode(written(tmp_path / "x.png", value), 8)
        assert (decoded.pixels is None) == bool(decoded.error)
        assert decoded.pixels is None or decoded.pixels.shape == (3, 8, 8)

    fuzz("image", images | st.binary(max_size=60), parse)
