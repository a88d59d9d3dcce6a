"""The feature cache: shapes, PCA, resuming, shards, and damaged files."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from pgjr_lib.augment import plain
from pgjr_lib.errors import PGJRError
from pgjr_lib.priors import cache as features
from pgjr_lib.priors.cache import FeatureConfig, extract, feature_key, load
from pgjr_lib.priors.encoder import load_prior
from pgjr_lib.storage import load_tensors, save_tensors

CONFIG = {"dataset": "digits", "limit": 40, "image_size": 32, "views": 2, "map_channels": 6}


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch, tmp_path):
    monkeypatch.setattr(features, "CHUNK", 16)
    monkeypatch.setenv("PGJR_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def made(tmp_path):
    return tmp_path / "made", extract(CONFIG, tmp_path / "made")


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.safetensors"))}


def test_shapes_types_and_manifest(made):
    folder, found = made
    assert found.embeddings.shape == (40, 256) and found.embeddings.dtype == torch.float32
    assert found.maps.shape == (40, 6, 2, 2) and found.maps.dtype == torch.float32
    assert found.view_embeddings.shape == (2, 40, 256) and found.view_maps.shape == (2, 40, 6, 2, 2)
    assert found.labels.shape == (40,) and found.labels.dtype == torch.int64 and len(found.class_names) == 10
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["data"]["name"] == "digits" and manifest["data"]["split"] == "all"
    assert (
        manifest["data"]["count"] == manifest["count"] == 40 and manifest["weights"]["name"] == "class-name"
    )
    assert manifest["seconds"] > 0 and manifest["images_per_second"] > 0
    assert len(manifest["files"]) == 3


def test_embeddings_are_the_priors_and_views_differ(made):
    _, found = made
    data = features.datasets.load("digits", limit=40)
    prior = load_prior("class-name", image_size=32)
    expected = torch.cat([prior.encode(plain(b, 32))[0] for b in torch.from_numpy(data.images).split(16)])
    assert torch.equal(found.embeddings, expected)
    assert (found.labels.numpy() == data.labels).all()
    assert not torch.allclose(found.view_embeddings[0], found.view_embeddings[1])


def test_maps_are_the_principal_components_of_the_plain_maps(made):
    _, found = made
    data = features.datasets.load("digits", limit=40)
    prior = load_prior("class-name", image_size=32)
    maps = torch.cat([prior.encode(plain(b, 32))[1] for b in torch.from_numpy(data.images).split(16)])
    vectors = maps.permute(0, 2, 3, 1).flatten(0, 2).double()
    values = torch.linalg.svdvals(vectors - vectors.mean(0))[:6] ** 2 / len(vectors)
    mine = found.maps.permute(0, 2, 3, 1).flatten(0, 2).double()
    torch.testing.assert_close(mine.var(0, correction=0), values, rtol=0.01, atol=1e-6)
    assert mine.mean(0).abs().max() < 0.01 * values[0].sqrt()


def test_a_second_call_reads_and_builds_nothing(made, monkeypatch):
    folder, found = made
    monkeypatch.setattr(features, "load_prior", lambda *a, **k: pytest.fail("built the prior again"))
    again = extract(CONFIG, folder)
    assert torch.equal(again.view_maps, found.view_maps) and again.manifest == found.manifest


def test_shards_in_any_order_make_the_same_bytes(made, tmp_path):
    folder, _ = made
    parts = tmp_path / "parts"
    assert extract(CONFIG, parts, shard=(1, 2)) is None
    assert extract(CONFIG, parts, shard=(0, 2)) is not None
    assert bytes_of(parts) == bytes_of(folder)
    with pytest.raises(PGJRError, match="shard 2/2 does not exist"):
        extract(CONFIG, parts, shard=(2, 2))


@pytest.mark.parametrize("when", range(4))
def test_a_killed_extraction_resumes_to_the_same_bytes(made, tmp_path, monkeypatch, when):
    folder, _ = made
    real, calls = features.save_tensors, []

    def killed(*args):
        if len(calls) == when:
            raise KeyboardInterrupt
        calls.append(args)
        return real(*args)

    monkeypatch.setattr(features, "save_tensors", killed)
    with pytest.raises(KeyboardInterrupt):
        extract(CONFIG, tmp_path / "killed")
    monkeypatch.setattr(features, "save_tensors", real)
    assert len(bytes_of(tmp_path / "killed")) == when
    extract(CONFIG, tmp_path / "killed")
    assert bytes_of(tmp_path / "killed") == bytes_of(folder)


@pytest.mark.parametrize("damage", ["truncated", "changed", "missing", "of another config"])
def test_a_damaged_file_is_refused_by_load_and_made_again_by_extract(made, tmp_path, damage):
    folder, _ = made
    before = bytes_of(folder)
    path = folder / "chunk-00001.safetensors"
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
    with pytest.raises(PGJRError, match="chunk-00001"):
        load(folder)
    extract(CONFIG, folder)
    assert bytes_of(folder) == before


def test_another_config_in_the_same_folder_replaces_it(made):
    folder, found = made
    other = extract({**CONFIG, "seed": 1}, folder)
    assert torch.equal(other.embeddings, found.embeddings)
    assert not torch.equal(other.view_embeddings, found.view_embeddings)


def test_random_state_outside_does_not_matter_and_is_left_alone(made, tmp_path):
    folder, _ = made
    torch.manual_seed(99)
    expected = torch.rand(2)
    torch.manual_seed(99)
    extract(CONFIG, tmp_path / "again")
    assert torch.equal(torch.rand(2), expected)
    assert bytes_of(tmp_path / "again") == bytes_of(folder)


def test_no_views(tmp_path):
    found = extract({**CONFIG, "views": 0}, tmp_path / "plain")
    assert found.view_embeddings.shape == (0, 40, 256) and found.view_maps.shape == (0, 40, 6, 2, 2)


def test_keys_change_with_everything_that_counts():
    base = FeatureConfig(**CONFIG)
    keys = {feature_key(base, "data", "weights"), feature_key(base, "other", "weights")}
    keys.add(feature_key(base, "data", "other"))
    for field, value in {"views": 3, "seed": 1, "flip": True, "crop_scale": 0.5, "limit": 41}.items():
        keys.add(feature_key(base.model_copy(update={field: value}), "data", "weights"))
    assert len(keys) == 8 and all(len(key) == 16 for key in keys)


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
    found = extract(config, tmp_path / "out", skip_corrupt=True)
    assert found.manifest["count"] == 5 and found.manifest["data"]["note"] == "1 corrupt image left out"
    with pytest.raises(PGJRError, match=r"1\.png cannot be read"):
        extract(config, tmp_path / "out")


def test_chunks_of_other_axes_are_made_again(made, tmp_path):
    folder, whole = tmp_path / "again", bytes_of(made[0])
    extract(CONFIG, folder, shard=(0, 2))
    other = load_tensors(folder / "pca.safetensors")[0]["axes"].flip(0).contiguous()
    tensors = {**load_tensors(folder / "pca.safetensors")[0], "axes": other}  # as another machine might have fitted them
    note = json.loads((folder / "pca.json").read_text())
    (folder / "pca.json").write_text(json.dumps({**note, "checksum": save_tensors(folder / "pca.safetensors", tensors)}))
    assert extract(CONFIG, folder, shard=(1, 2)) is None  # the first shard's chunks do not belong to these axes
    assert extract(CONFIG, folder) is not None and bytes_of(folder) != whole
