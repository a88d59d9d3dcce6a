"""The feature cache: shapes, PCA, resuming, shards, and damaged files."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pgjr_lib import data
from pgjr_lib.augment import plain
from pgjr_lib.errors import PGJRError
from pgjr_lib.priors import backends, cache
from pgjr_lib.priors.cache import extract, load
from pgjr_lib.priors.config import FeatureConfig, feature_key
from pgjr_lib.priors.encoder import load_prior
from pgjr_lib.storage import load_tensors, read_sealed, save_tensors

CONFIG = {"dataset": "digits", "limit": 40, "image_size": 32, "views": 2, "map_channels": 6}


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(cache, "CHUNK", 16)


@pytest.fixture
def extracted(tmp_path):
    """A finished folder and its features."""
    return tmp_path / "extracted", extract(CONFIG, tmp_path / "extracted")


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.safetensors"))}


def test_shapes_types_and_manifest(extracted):
    folder, features = extracted
    assert features.embeddings.shape == (40, 256) and features.embeddings.dtype == torch.float32
    assert features.maps.shape == (40, 6, 2, 2) and features.maps.dtype == torch.float16
    assert [tuple(view.shape) for view in features.view_embeddings] == [(40, 256)] * 2
    assert [tuple(view.shape) for view in features.view_maps] == [(40, 6, 2, 2)] * 2
    assert features.labels.shape == (40,) and features.labels.dtype == torch.int64 and len(features.class_names) == 10
    manifest = json.loads((folder / "manifest-2.json").read_text())
    assert manifest["data"]["name"] == "digits" and manifest["data"]["split"] == "all"
    assert manifest["data"]["count"] == manifest["count"] == 40 and manifest["weights"]["name"] == "class-name"
    assert manifest["seconds"] > 0 and manifest["images_per_second"] > 0
    assert list(manifest["files"]) == ["plain.safetensors", "view-0.safetensors", "view-1.safetensors"]


def test_embeddings_are_the_priors_and_views_differ(extracted):
    _, features = extracted
    digits = data.load("digits", limit=40)
    prior = load_prior("class-name", image_size=32)
    expected = torch.cat([prior.encode(plain(b, 32))[0] for b in torch.from_numpy(digits.images).split(16)])
    assert torch.equal(features.embeddings, expected)
    assert (features.labels.numpy() == digits.labels).all()
    assert not torch.allclose(features.view_embeddings[0], features.view_embeddings[1])


def test_maps_are_the_principal_components_of_the_plain_maps(extracted):
    _, features = extracted
    digits = data.load("digits", limit=40)
    prior = load_prior("class-name", image_size=32)
    maps = torch.cat([prior.encode(plain(b, 32))[1] for b in torch.from_numpy(digits.images).split(16)])
    vectors = maps.permute(0, 2, 3, 1).flatten(0, 2).double()
    values = torch.linalg.svdvals(vectors - vectors.mean(0))[:6] ** 2 / len(vectors)
    mine = features.maps.float().permute(0, 2, 3, 1).flatten(0, 2).double()
    torch.testing.assert_close(mine.var(0, correction=0), values, rtol=0.01, atol=1e-6)
    assert mine.mean(0).abs().max() < 0.01 * values[0].sqrt()


def test_a_second_call_reads_and_builds_nothing(extracted, monkeypatch):
    folder, features = extracted
    monkeypatch.setattr(cache, "load_prior", lambda *a, **k: pytest.fail("built the prior again"))
    again = extract(CONFIG, folder)
    assert torch.equal(again.view_maps[1], features.view_maps[1]) and again.manifest == features.manifest


def test_shards_in_any_order_make_the_same_bytes(extracted, tmp_path):
    folder, _ = extracted
    parts = tmp_path / "parts"
    assert extract(CONFIG, parts, shard=(1, 2)) is None
    assert extract(CONFIG, parts, shard=(0, 2)) is not None
    assert bytes_of(parts) == bytes_of(folder)
    with pytest.raises(PGJRError, match="shard 2/2 does not exist"):
        extract(CONFIG, parts, shard=(2, 2))


@pytest.mark.parametrize("when", range(13))  # the axes, three chunks of three parts, and each part joined
def test_a_killed_extraction_resumes_to_the_same_bytes(extracted, tmp_path, monkeypatch, when):
    folder, _ = extracted
    real, calls = cache.save_tensors, []

    def killed(*args):
        if len(calls) == when:
            raise KeyboardInterrupt
        calls.append(args)
        return real(*args)

    monkeypatch.setattr(cache, "save_tensors", killed)
    with pytest.raises(KeyboardInterrupt):
        extract(CONFIG, tmp_path / "killed")
    monkeypatch.setattr(cache, "save_tensors", real)
    extract(CONFIG, tmp_path / "killed")
    assert bytes_of(tmp_path / "killed") == bytes_of(folder)


@pytest.mark.parametrize("damage", ["truncated", "changed", "missing", "of another config"])
def test_a_damaged_file_is_refused_by_load_and_made_again_by_extract(extracted, tmp_path, damage):
    folder, _ = extracted
    before = bytes_of(folder)
    path = folder / "view-0.safetensors"
    whole = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(whole[:-50])
    elif damage == "changed":
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    elif damage == "missing":
        path.unlink()
    else:
        extract({**CONFIG, "seed": 1}, tmp_path / "other")
        shutil.copy(tmp_path / "other" / path.name, path)
    with pytest.raises(PGJRError, match="view-0"):
        load(folder)
    extract(CONFIG, folder)
    assert bytes_of(folder) == before


def test_fewer_views_are_a_prefix_and_are_not_encoded_again(extracted, monkeypatch):
    folder, features = extracted
    before = bytes_of(folder)
    monkeypatch.setattr(cache.Encoder, "chunk", lambda *args: pytest.fail("encoded again"))
    for views in (0, 1):
        fewer = extract({**CONFIG, "views": views}, folder)
        assert torch.equal(fewer.embeddings, features.embeddings) and len(fewer.view_maps) == views
        assert all(map(torch.equal, fewer.view_embeddings, features.view_embeddings))
        assert all(map(torch.equal, fewer.view_maps, features.view_maps))
        assert fewer.manifest["seconds"] < features.manifest["seconds"]
    assert bytes_of(folder) == before and load(folder).manifest == features.manifest


def test_more_views_are_added_to_those_that_are_there(extracted, tmp_path, monkeypatch):
    folder, features = extracted
    real, encoded = cache.Encoder.chunk, []

    def counted(self, part, *args):
        encoded.append(part)
        return real(self, part, *args)

    monkeypatch.setattr(cache.Encoder, "chunk", counted)
    more = extract({**CONFIG, "views": 3}, folder)
    assert set(encoded) == {"view-2"}
    assert all(map(torch.equal, more.view_maps[:2], features.view_maps))
    extract({**CONFIG, "views": 3}, tmp_path / "at once")
    assert bytes_of(folder) == bytes_of(tmp_path / "at once")
    seconds = {K: load(folder, K).manifest["seconds"] for K in (2, 3)}
    assert seconds[2] == features.manifest["seconds"] < seconds[3]


def test_features_are_mapped_and_hashed_once_a_process(extracted, monkeypatch):
    folder, features = extracted
    monkeypatch.setattr("pgjr_lib.storage.tensors_sha256", lambda tensors: pytest.fail("hashed again"))
    again = extract(CONFIG, folder)
    assert torch.equal(again.embeddings, features.embeddings)
    mapped = Path("/proc/self/maps")
    assert not mapped.exists() or str(folder / "view-1.safetensors") in mapped.read_text()


def test_another_config_in_the_same_folder_replaces_it(extracted):
    folder, features = extracted
    other = extract({**CONFIG, "seed": 1}, folder)
    assert torch.equal(other.embeddings, features.embeddings)
    assert not torch.equal(other.view_embeddings[0], features.view_embeddings[0])


def test_random_state_outside_does_not_matter_and_is_left_alone(extracted, tmp_path):
    folder, _ = extracted
    torch.manual_seed(99)
    expected = torch.rand(2)
    torch.manual_seed(99)
    extract(CONFIG, tmp_path / "again")
    assert torch.equal(torch.rand(2), expected)
    assert bytes_of(tmp_path / "again") == bytes_of(folder)


def test_no_views(tmp_path):
    features = extract({**CONFIG, "views": 0}, tmp_path / "plain")
    assert features.view_embeddings == features.view_maps == () and features.embeddings.shape == (40, 256)


def test_keys_change_with_everything_that_counts():
    base = FeatureConfig(**CONFIG)
    keys = {feature_key(base, "data", "weights"), feature_key(base, "other", "weights")}
    keys.add(feature_key(base, "data", "other"))
    for field, value in {"seed": 1, "flip": True, "crop_scale": 0.5, "limit": 41}.items():
        keys.add(feature_key(base.model_copy(update={field: value}), "data", "weights"))
    assert len(keys) == 7 and all(len(key) == 16 for key in keys)


def test_bad_settings_are_named(tmp_path):
    with pytest.raises(PGJRError, match="no feature setting 'vews': known are .*views"):
        extract({**CONFIG, "vews": 3}, tmp_path)
    with pytest.raises(PGJRError, match="'views' is wrong.*got 'many'"):
        extract({**CONFIG, "views": "many"}, tmp_path)
    with pytest.raises(PGJRError, match="does not exist"):
        load(tmp_path / "nothing")


def test_corrupt_images_are_refused_until_told_to_skip(tmp_path):
    for c in ("a", "b"):
        (tmp_path / "set" / c).mkdir(parents=True)
        for i in range(3):
            pixels = np.random.default_rng(i).integers(0, 256, (20, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / c / f"{i}.png")
    (tmp_path / "set" / "a" / "1.png").write_bytes(b"no image")
    config = {**CONFIG, "dataset": f"folder:{tmp_path / 'set'}", "limit": None}
    with pytest.raises(PGJRError, match=r"1\.png cannot be read"):
        extract(config, tmp_path / "out")
    features = extract(config, tmp_path / "out", skip_corrupt=True)
    assert features.manifest["count"] == 5 and features.manifest["data"]["note"] == "1 corrupt image left out"
    with pytest.raises(PGJRError, match=r"1\.png cannot be read"):
        extract(config, tmp_path / "out")


def test_chunks_of_other_axes_are_made_again(extracted, tmp_path):
    folder, whole = tmp_path / "again", bytes_of(extracted[0])
    extract(CONFIG, folder, shard=(0, 2))
    other = load_tensors(folder / "pca.safetensors")[0]["axes"].flip(0).contiguous()
    # axes as another machine might have fitted them
    tensors = {**load_tensors(folder / "pca.safetensors")[0], "axes": other}
    note = read_sealed(folder / "pca.json")
    checksum = save_tensors(folder / "pca.safetensors", tensors)
    (folder / "pca.json").write_text(json.dumps({**note, "checksum": checksum}))
    assert extract(CONFIG, folder, shard=(1, 2)) is None  # the first shard's chunks do not belong to these axes
    assert extract(CONFIG, folder) is not None and bytes_of(folder) != whole


def notes_of(folder):
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json")) if path.name != "manifest-2.json"}


def test_a_folder_says_how_its_seconds_were_taken(extracted):
    folder, features = extracted
    assert features.manifest["threads"] == [torch.get_num_threads()] and features.manifest["alone"] is False


def test_seconds_taken_beside_other_work_are_taken_again_where_they_count(tmp_path, extracted):
    folder, features = extracted
    before = bytes_of(folder)
    again = extract(CONFIG, folder, alone=True)
    assert again.manifest["alone"] is True and all(note["alone"] for note in notes_of(folder).values())
    assert bytes_of(folder) == before
    seconds = again.manifest["seconds"]
    assert extract(CONFIG, folder).manifest["seconds"] == seconds  # what was taken alone serves both
    assert extract(CONFIG, folder, alone=True).manifest["seconds"] == seconds


def test_one_chunk_made_beside_other_work_makes_the_folder_not_alone(tmp_path):
    for part in range(2):
        extract(CONFIG, tmp_path, shard=(part, 2), alone=part == 0)
    assert json.loads((tmp_path / "manifest-2.json").read_text())["alone"] is False


@pytest.mark.parametrize(("field", "value"), [("precision", "fp16"), ("device", "cuda"), ("backend", None)])
def test_features_of_another_device_backend_or_precision_are_made_again_and_not_silently(extracted, capsys, field, value):
    folder, _ = extracted
    manifest = json.loads((folder / "manifest-2.json").read_text())
    (folder / "manifest-2.json").write_text(json.dumps({**manifest, field: value}))
    capsys.readouterr()
    assert extract(CONFIG, folder).manifest[field] == manifest[field]
    assert "they are made anew" in capsys.readouterr().err


def test_chunks_of_another_precision_are_made_again(tmp_path, capsys):
    extract(CONFIG, tmp_path, backend="torch", precision="bf16")
    others = bytes_of(tmp_path)
    single = extract(CONFIG, tmp_path, backend="torch", precision="fp32")
    sentence = "were made by torch in bf16 on cpu, not by torch in fp32 on cpu: they are made anew"
    assert sentence in capsys.readouterr().err
    assert (single.manifest["backend"], single.manifest["precision"]) == ("torch", "fp32")
    assert not set(bytes_of(tmp_path).values()) & set(others.values())
    exact = load_prior("class-name", image_size=32, backend="torch", precision="fp32")
    images = torch.from_numpy(data.load("digits", limit=40).images)
    expected = torch.cat([exact.encode(plain(part, 32))[0] for part in images.split(16)])
    assert torch.equal(single.embeddings, expected)


@pytest.mark.parametrize("finished", [True, False])
def test_shards_on_machines_that_encode_in_different_ways_are_refused(tmp_path, finished):
    extract(CONFIG, tmp_path, shard=(0, 1) if finished else (0, 2), backend="torch", precision="bf16")
    before = bytes_of(tmp_path)
    with pytest.raises(PGJRError, match="bf16 on cpu, not by torch in fp32 on cpu: make all shards on machines alike"):
        extract(CONFIG, tmp_path, shard=(1, 2), backend="torch", precision="fp32")
    assert bytes_of(tmp_path) == before


def test_without_openvino_one_line_says_that_torch_encodes(tmp_path, capsys, monkeypatch):
    for module in (cache, backends):
        monkeypatch.setattr(module, "has_openvino", lambda: False)
    manifest = extract(CONFIG, tmp_path).manifest
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "OpenVINO" in line]
    assert line == "OpenVINO is not installed, so torch encodes, more slowly: `pip install 'pgjr[fast]'`."
    assert manifest["backend"] == "torch"
    extract(CONFIG, tmp_path)
    extract({**CONFIG, "seed": 1}, tmp_path, backend="torch")
    assert "OpenVINO" not in capsys.readouterr().err
