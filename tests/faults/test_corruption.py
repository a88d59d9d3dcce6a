"""Bytes flipped or cut in every kind of stored file: found each time, and made again or refused by the file's name."""

import json
import random
import shutil
from pathlib import Path

import pytest
import torch

from pgjr_lib.errors import PGJRError
from pgjr_lib.storage import load_tensors, read_sealed, save_tensors, write_sealed

FEW, MANY = 4, 30  # damages of one kind of file
FEATURES = {"dataset": "digits", "split": "all", "limit": 48, "prior": "random:class-name", "image_size": 32, "views": 1}
often = pytest.mark.parametrize("count", [pytest.param(FEW, id="few"), pytest.param(MANY, id="many", marks=pytest.mark.slow)])


def damages(path: Path, count: int):
    """Damage a file in ``count`` ways, one after another: one to three bytes changed, or its end cut off."""
    whole, draw = path.read_bytes(), random.Random(f"{path.name} {count}")
    for _ in range(count):
        damaged = bytearray(whole)
        if draw.random() < 0.3:
            del damaged[draw.randrange(len(whole)) :]
        else:
            for _ in range(draw.randint(1, 3)):
                damaged[draw.randrange(len(whole))] ^= draw.randint(1, 255)
        path.write_bytes(damaged)
        yield
    path.write_bytes(whole)


def refused(read, path: Path, whole) -> bool:
    """Say whether reading is refused by the file's name, or gives the same content (a space became another)."""
    try:
        return read(path) == whole
    except PGJRError as error:
        return path.name in str(error) and "\n" not in str(error)


@pytest.fixture
def found(tally):
    """A function that damages a file and holds its reader to finding it."""

    def check(kind, path, read, count):
        whole = read(path)
        for _ in damages(path, count):
            held = refused(read, path, whole)
            tally(f"damage: {kind}", held)
            assert held, path.read_bytes()[:2000]
        assert read(path) == whole

    return check


def content(path: Path):
    """What a file of tensors holds, so that it can be compared."""
    tensors, metadata = load_tensors(path)
    return {name: (str(t.dtype), tuple(t.shape), t.numpy().tobytes()) for name, t in tensors.items()}, metadata


@often
def test_tensors_and_their_metadata(found, tmp_path, count):
    path = tmp_path / "checkpoint.safetensors"
    tensors = {"model.weight": torch.randn(20, 7), "bank": torch.randn(9, 4).half(), "extra.e": torch.arange(5)}
    save_tensors(path, tensors, {"identity": "a run", "history": json.dumps([{"epoch": 0, "loss": 0.25}] * 9), "scale": "{}"})
    found("checkpoint", path, content, count)


@often
def test_records(found, tmp_path, count):
    from pgjr_book.records import read_record, write_record

    original = read_record(next(iter(sorted((Path(__file__).parents[2] / "results").glob("*.json")))))
    path = tmp_path / f"{original['key']}.json"
    write_record({**original, "landscape": None, "snapshots": None, "history": original["history"][:5]}, path)
    found("record", path, read_record, count)


@often
def test_sidecars_and_notes_of_fetched_weights(found, tmp_path, monkeypatch, count):
    from pgjr_lib.priors import names

    for kind, source in (("sidecar", names.BUNDLED.with_suffix(".json")), ("sidecar", names.IMAGENET_LABELS)):
        path = tmp_path / source.name
        shutil.copy(source, path)
        found(kind, path, names._read_sidecar, count)


@often
def test_weights(found, tmp_path, count):
    from pgjr_lib.priors.encoder import save_prior
    from pgjr_lib.priors.names import resolve

    path = tmp_path / "own.safetensors"
    preprocessing = {"size": 32, "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"}
    save_prior(path, {"w": torch.randn(300)}, architecture="ViT-B-32-quickgelu", activation="quick_gelu", training_data="none",
               preprocessing=preprocessing)  # fmt: skip
    found("weights", path, lambda path: resolve(f"file:{path}"), count)


@often
def test_an_executed_notebook(found, tmp_path, count):
    from pgjr_book.execution import read_executed
    from pgjr_lib.storage import SEAL, seal_of

    cell = {"cell_type": "code", "source": ["x"], "outputs": [{"data": {"text/plain": ["0.517"]}}], "metadata": {}}
    notebook = {"cells": [cell] * 4, "metadata": {"pgjr": {"parameters": {}, "seconds": 1.5, "commit": None}}}
    notebook["metadata"]["pgjr"][SEAL] = seal_of(notebook)
    (tmp_path / "a.ipynb").write_text(json.dumps(notebook, indent=1))
    found("executed notebook", tmp_path / "a.ipynb", read_executed, count)


@often
def test_the_cache_of_checksums_is_made_again(tally, tmp_path, monkeypatch, count):
    from PIL import Image

    from pgjr_lib import data
    from pgjr_lib.storage import cache_folder

    monkeypatch.setenv("PGJR_CACHE", str(tmp_path / "cache"))
    for name in ("a/1.png", "b/2.png"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (9, 9, ord(name[0]))).save(tmp_path / "images" / name)
    whole = data.checksum(f"folder:{tmp_path / 'images'}")
    path = cache_folder() / "checksums.json"
    for _ in damages(path, count):
        held = data.checksum(f"folder:{tmp_path / 'images'}") == whole
        tally("damage: cache of checksums", held)
        assert held


@often
def test_the_note_of_a_fetch_is_taken_or_left(tally, tmp_path, monkeypatch, count):
    from pgjr_lib.priors import names

    monkeypatch.setenv("PGJR_CACHE", str(tmp_path))
    note = {"architecture": "ViT-B-32", "activation": "gelu", "supervision": "CLIP", "checksum": "0" * 64, "size": 9, "path": "/x",
            "preprocessing": {"size": 224, "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"}}  # fmt: skip
    path = names.fetch_record_path("ViT-B-32", "x")
    write_sealed(path, note)
    for _ in damages(path, count):
        held = names.fetch_record("ViT-B-32", "x") in (None, note)
        tally("damage: note of a fetch", held)
        assert held
    assert names.fetch_record("ViT-B-32", "x") == note


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole feature folder, and another that still has its axes and half of its chunks."""
    from pgjr_lib.priors import cache

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "CHUNK", 24)  # two chunks a part
        folder = tmp_path_factory.mktemp("features")
        cache.extract(FEATURES, folder / "whole", device="cpu", backend="torch")
        assert cache.extract(FEATURES, folder / "begun", device="cpu", backend="torch", shard=(0, 2)) is None
        yield folder


PARTS = ("whole/plain.safetensors", "whole/view-0.safetensors", "whole/plain.json", "whole/manifest-1.json", "begun/pca.safetensors",
         "begun/pca.json", "begun/plain.chunk-00000.safetensors", "begun/plain.chunk-00000.json")  # fmt: skip


@often
@pytest.mark.parametrize("name", PARTS)
def test_features_are_refused_or_not_taken_for_whole(finished, tally, tmp_path, name, count, monkeypatch):
    """Whatever is damaged, it counts as missing, so that extraction makes it again; and a damaged manifest or part is refused."""
    from pgjr_lib.priors import cache

    folder = tmp_path / "copy"
    shutil.copytree(finished / name.split("/")[0], folder)
    path = folder / name.split("/")[1]
    stamp = read_sealed(folder / f"{path.stem.replace('manifest-1', 'plain')}.json", cache.NOTE)["stamp"]
    whole = path.read_bytes()
    for _ in damages(path, count):
        if path.name.startswith("manifest"):
            held = refused(lambda path: cache.load(path.parent, 1).manifest, path, json.loads(whole))
            held = held or cache.load(folder, 1).manifest == cache.load(finished / "whole", 1).manifest
        else:
            note = cache._note(path.with_suffix(".safetensors"), stamp, alone=False)
            held = note is None or (path.suffix == ".json" and read_sealed(path) == note)
            if held and path.suffix == ".safetensors" and (folder / "manifest-1.json").exists():
                held = refused(lambda path: cache.load(path.parent, 1) and False, path, None)
        tally(f"damage: features ({path.name.split('.')[-2].split('-')[0]})", held)
        assert held, path.read_bytes()[:2000]


def test_damaged_features_are_made_again_byte_for_byte(finished, tmp_path, tally):
    from pgjr_lib.priors.cache import extract

    shutil.copytree(finished / "begun", tmp_path / "begun")
    draw = random.Random(1)
    for path in sorted((tmp_path / "begun").glob("*.*")):
        if path.suffix in (".json", ".safetensors"):
            damaged = bytearray(path.read_bytes())
            damaged[draw.randrange(len(damaged))] ^= 0x41
            path.write_bytes(damaged)
    extract(FEATURES, tmp_path / "begun", device="cpu", backend="torch")
    for path in (finished / "whole").glob("*.safetensors"):
        held = (tmp_path / "begun" / path.name).read_bytes() == path.read_bytes()
        tally("damage: features, made again", held)
        assert held, path.name


@often
def test_the_output_of_pgjr_cluster(found, tmp_path, count, photographs):
    import numpy as np

    from pgjr_lib.photos.output import FEATURES, OutputFolder

    (tmp_path / "photos").mkdir()
    folder = OutputFolder(tmp_path / "out", tmp_path / "photos")
    points = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    folder.write_clusters(photographs(6), {}, points)
    found("clusters", tmp_path / "out" / FEATURES, content, count)
    whole = (tmp_path / "out" / "made-from.json").read_bytes()
    for _ in damages(tmp_path / "out" / "made-from.json", count):
        with pytest.raises(PGJRError, match="made-from.json|was not made from"):
            OutputFolder(tmp_path / "out", tmp_path / "photos")
    assert (tmp_path / "out" / "made-from.json").read_bytes() == whole
