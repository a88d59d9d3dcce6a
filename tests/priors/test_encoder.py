"""Priors: what they return, and which checkpoints cannot be built."""

import json
import pickle

import pytest
import torch

from pgjr_lib.errors import PGJRError
from pgjr_lib.priors.backbones import Backbone
from pgjr_lib.priors.encoder import load_prior
from pgjr_lib.priors.names import BUNDLED, prior_checksum
from pgjr_lib.storage import file_sha256, read_sealed

MODEL = "ViT-B-32-quickgelu"


@pytest.fixture(scope="module")
def bundled():
    return load_prior("class-name")


def test_vit_embedding_is_the_plain_forwards_and_the_map_its_patch_tokens(vit, monkeypatch):
    folder, model = vit
    monkeypatch.setenv("PGJR_WEIGHTS", str(folder))
    prior = load_prior(f"{MODEL}/openai", backend="torch", precision="fp32")
    assert (prior.embed_dim, prior.map_shape, prior.image_size) == (512, (768, 2, 2), 64)
    openai = json.loads((folder / f"{MODEL}--openai.json").read_text())["preprocessing"]
    assert prior.mean == tuple(openai["mean"]) and prior.std == tuple(openai["std"])
    images = torch.rand(3, 3, 64, 64)
    embedding, maps = prior.encode(images)
    mean, std = (torch.tensor(openai[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    half = {k: v.half().float() for k, v in model.state_dict().items()}  # the file holds half precision
    model.load_state_dict(half)
    tokens = []
    hook = model.visual.ln_post.register_forward_hook(lambda module, args, out: tokens.append(out))
    with torch.no_grad():
        expected = model.encode_image((images - mean) / std)
    hook.remove()
    torch.testing.assert_close(embedding, expected, atol=1e-5, rtol=1e-5)
    grid = tokens[0][:, 1:].reshape(3, 2, 2, 768)  # the class token first, then the patches row by row
    torch.testing.assert_close(maps, grid.permute(0, 3, 1, 2), atol=1e-5, rtol=1e-5)
    assert not embedding.requires_grad and not any(p.requires_grad for p in prior.visual.parameters())


def test_a_patch_shows_where_it_lies(vit, monkeypatch):
    monkeypatch.setenv("PGJR_WEIGHTS", str(vit[0]))
    prior = load_prior(f"{MODEL}/openai")
    one, two = torch.zeros(2, 1, 3, 64, 64)
    two[:, :, :32, 32:] = 1  # top right
    change = (prior.encode(two)[1] - prior.encode(one)[1]).norm(dim=1)[0]
    assert change.argmax() == 1


def test_convnet_map_is_the_last_at_stride_16():
    bundled = load_prior("class-name", backend="torch", precision="fp32")
    assert bundled.map_shape == (512, 4, 4) and bundled.image_size == 64
    images = torch.rand(2, 3, 64, 64)
    embedding, maps = bundled.encode(images)
    x = (images - torch.tensor(bundled.mean).view(3, 1, 1)) / torch.tensor(bundled.std).view(3, 1, 1)
    torch.testing.assert_close(embedding, bundled.visual(x), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(maps, bundled.visual.trunk.forward_features(x), atol=1e-4, rtol=1e-4)
    assert load_prior("class-name", image_size=32).map_shape == (512, 2, 2)


def test_a_resnet_of_stride_32_gives_its_map_of_stride_16():
    class Stub(torch.nn.Module):
        def forward_intermediates(self, x, indices=None, normalize_intermediates=False):
            maps = [torch.zeros(len(x), 2 * s, 64 // s, 64 // s) for s in (4, 8, 16, 32)]
            picked = range(4) if indices is None else indices
            return {
                "image_intermediates": [maps[i] for i in picked],
                "image_features": torch.zeros(len(x), 5),
            }

    how = {"size": 64, "mean": (0, 0, 0), "std": (1, 1, 1)}
    backbone = Backbone(Stub(), how)
    assert tuple(backbone(torch.zeros(1, 3, 64, 64))[1].shape) == (1, 32, 4, 4) and backbone.map_indices == [2, 3]


def test_bundled_prior_says_what_supervised_it(bundled):
    assert "class names" in bundled.supervision and len(bundled.classes_seen) == 200 and bundled.training_seconds > 0
    assert BUNDLED.stat().st_size < 12e6
    assert bundled.checksum == prior_checksum("class-name")
    loaded = load_prior(f"file:{BUNDLED}")
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(loaded.encode(images)[0], bundled.encode(images)[0])


def test_random_prior_is_another_one_and_always_the_same(bundled):
    one, two = load_prior("random:class-name"), load_prior("random:class-name")
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(one.encode(images)[0], two.encode(images)[0])
    assert not torch.allclose(one.encode(images)[0], bundled.encode(images)[0])
    assert one.classes_seen == () and one.checksum == prior_checksum("random:class-name") != bundled.checksum


def test_building_a_prior_leaves_the_random_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_prior("random:class-name")
    assert torch.equal(torch.rand(3), expected)


def test_weights_of_another_model_than_the_sidecar_names_are_refused(own_weights):
    sidecar = own_weights.with_suffix(".json")
    fields = read_sealed(sidecar)
    sidecar.write_text(json.dumps({**fields, "architecture": "RN50-quickgelu"}))
    with pytest.raises(PGJRError, match="does not hold the model"):
        load_prior(f"file:{own_weights}")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("clip", "'clip' is no prior"),
        ("ViT-Z/openai", "no model 'ViT-Z'"),
        ("RN50/openai", "need QuickGELU: use RN50-quickgelu/openai"),
    ],
)
def test_a_name_that_cannot_be_built_is_one_sentence(name, sentence):
    with pytest.raises(PGJRError, match=sentence):
        load_prior(name)


class _Evil:
    def __reduce__(self):
        return (open, ("/nowhere/owned", "w"))


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_pickle_is_never_unpickled(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(pickle.dumps(_Evil()))
    with pytest.raises(PGJRError, match="is a pickle"):
        load_prior(f"file:{path}")


def test_torchscript_is_refused_and_a_plain_state_dict_accepted(vit, tmp_path):
    path = tmp_path / "x.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    with pytest.raises(PGJRError, match="TorchScript archive.*convert"):
        load_prior(f"file:{path}")
    torch.save(vit[1].state_dict(), path)
    fields = read_sealed(vit[0] / f"{MODEL}--openai.json")
    path.with_suffix(".json").write_text(json.dumps({**fields, "checksum": file_sha256(path)}))
    assert load_prior(f"file:{path}").embed_dim == 512
    torch.save({"state_dict": _Evil()}, path)
    path.with_suffix(".json").write_text(json.dumps({**fields, "checksum": file_sha256(path)}))
    with pytest.raises(PGJRError, match="does not hold the model|is a pickle"):
        load_prior(f"file:{path}")
