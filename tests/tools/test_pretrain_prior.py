"""Training the class-name prior at toy size: the files it writes, resuming, and what it refuses."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer
from PIL import Image

from pgjr_lib.errors import PGJRError
from pgjr_lib.priors.encoder import load_prior
from pgjr_lib.priors.names import BUNDLED
from pgjr_lib.storage import file_sha256
from tools import pretrain_prior as module
from tools.pretrain_prior import contrastive, main, near_duplicates, pretrain, rescale, view_agreement

NAMES = {"n01": "tabby, tabby cat", "n02": "school bus", "n03": "king penguin, Aptenodytes patagonica"}
SMALL = {"epochs": 2, "image_size": 32, "batch_size": 6, "score_on": ()}


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A folder of three classes with six images each, and the file of their names."""
    monkeypatch.setenv("PGJR_CACHE", str(tmp_path / "cache"))
    for c, name in enumerate(NAMES):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(6):
            pixels = np.random.default_rng(10 * c + i).integers(0, 256, (24, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{i}.png")
    (tmp_path / "names.tsv").write_text("".join(f"{k}\t{v}\n" for k, v in NAMES.items()))
    return tmp_path / "images", tmp_path / "names.tsv"


def test_it_writes_weights_sidecar_merges_and_card(source, tmp_path):
    out = tmp_path / "out" / "toy.safetensors"
    fields = pretrain(*source, out, **SMALL)
    side = json.loads(out.with_suffix(".json").read_text())
    assert side["checksum"] == file_sha256(out) and side["training"]["steps"] == 6
    assert "class names" in side["supervision"] and side["classes_seen"] == sorted(NAMES)
    assert fields["training_data"]["images"] == 18 and side["preprocessing"]["size"] == 32
    assert "supervised by class names" in out.with_suffix(".md").read_text()
    assert not out.with_suffix(".checkpoint.safetensors").exists()
    assert load_prior(f"file:{out}").map_shape == (512, 2, 2)


def test_the_bundled_files_load_with_open_clip_alone_given_the_tower(tmp_path):
    """open_clip builds the model from the sidecar, loads every tensor, and the token merges fit it."""
    side = json.loads(BUNDLED.with_suffix(".json").read_text())
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": side["architecture"]}))
    (tmp_path / "open_clip_model.safetensors").symlink_to(BUNDLED)
    model = open_clip.create_model(f"local-dir:{tmp_path}").eval()
    text = side["architecture"]["text_cfg"]
    tokenizer = SimpleTokenizer(bpe_path=str(BUNDLED.parent / side["tokenizer"]), context_length=text["context_length"])
    assert tokenizer.vocab_size == text["vocab_size"]
    with torch.no_grad():
        vectors = model.encode_text(tokenizer(["a photo of a goldfish.", "a photo of a school bus."]))
    assert vectors.shape == (2, side["architecture"]["embed_dim"]) and not torch.allclose(*vectors)
    assert sum(p.numel() for p in model.visual.parameters()) < 6e6


def test_the_small_vocabulary_splits_captions_as_the_whole_one_does(tmp_path):
    captions = ["a photo of a king penguin.", "a small photo of a tabby cat."]
    module.write_merges(tmp_path / "x.bpe.gz", [captions])
    small, whole = SimpleTokenizer(bpe_path=str(tmp_path / "x.bpe.gz")), SimpleTokenizer()
    assert small.vocab_size < 600 < whole.vocab_size
    for line in captions:
        assert [small.decoder[t] for t in small.encode(line)] == [whole.decoder[t] for t in whole.encode(line)]
    assert gzip.decompress((tmp_path / "x.bpe.gz").read_bytes()).startswith(b"#version")


def test_a_stopped_training_resumes_to_the_same_weights(source, tmp_path, monkeypatch):
    pretrain(*source, tmp_path / "one" / "w.safetensors", **SMALL)
    real = module._save

    def save_and_stop(*args):
        real(*args)
        raise KeyboardInterrupt

    out = tmp_path / "two" / "w.safetensors"
    monkeypatch.setattr(module, "_save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        pretrain(*source, out, **SMALL)
    with pytest.raises(PGJRError, match="checkpoint of another training"):
        pretrain(*source, out, **{**SMALL, "seed": 3})
    monkeypatch.setattr(module, "_save", real)
    pretrain(*source, out, **SMALL)
    assert out.read_bytes() == (tmp_path / "one" / "w.safetensors").read_bytes()


def test_the_loss_equals_a_naive_one():
    torch.manual_seed(0)
    image = torch.nn.functional.normalize(torch.randn(5, 4), dim=1)
    text = torch.nn.functional.normalize(torch.randn(3, 4), dim=1)
    index = torch.tensor([0, 2, 1, 0, 2])
    logits = 7 * image @ text.T
    to_text = [-logits[i].log_softmax(0)[index[i]] for i in range(5)]
    to_image = [-logits[:, c].log_softmax(0)[index == c].mean() for c in range(3)]
    expected = (sum(to_text) / 5 + sum(to_image) / 3) / 2
    torch.testing.assert_close(contrastive(image, text, index, 7), expected)


def test_the_agreement_of_views_equals_a_naive_one():
    torch.manual_seed(0)
    one, other = (torch.nn.functional.normalize(torch.randn(5, 7, dtype=torch.float64), dim=1) for _ in range(2))
    both, losses = [*one, *other], []
    for i, row in enumerate(both):
        scores = [float(row @ column) / 0.2 for column in both]
        partner = scores[(i + 5) % 10]
        losses.append(np.log(sum(np.exp(s) for j, s in enumerate(scores) if j != i)) - partner)
    assert float(view_agreement(one, other, 0.2)) == pytest.approx(np.mean(losses), abs=1e-9)


def test_near_duplicates_are_other_copies_and_not_other_pictures():
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(12, 3, 8, 8, generator=generator)
    pictures = (torch.nn.functional.interpolate(coarse, (48, 48), mode="bilinear") * 255).byte()
    smaller = torch.nn.functional.interpolate(pictures.float(), (32, 32), mode="bilinear", antialias=True)
    darker = (0.8 * smaller).byte()
    assert near_duplicates(darker, pictures) == 12
    assert near_duplicates(darker[:4], pictures[4:]) == 0
    flat = torch.full((3, 3, 32, 32), 90, dtype=torch.uint8)  # no edges: like everything, near to nothing
    assert near_duplicates(flat, pictures) == 0


def test_rescaling_blurs_half_of_the_batch():
    torch.manual_seed(0)
    images = torch.randint(0, 256, (8, 3, 48, 48), dtype=torch.uint8)
    changed = (rescale(images) != images.float() / 255).flatten(1).any(1)
    assert 1 <= changed.sum() <= 4


def test_wrong_input_is_named(source, tmp_path):
    images, names = source
    out = tmp_path / "w.safetensors"
    with pytest.raises(PGJRError, match=r"let it end in \.safetensors"):
        pretrain(images, names, tmp_path / "w", **SMALL)
    with pytest.raises(PGJRError, match="cifr10"):  # before the training, not after it
        pretrain(images, names, out, **{**SMALL, "score_on": ("cifr10",)})
    with pytest.raises(PGJRError, match="imagenet-10 cannot be scored with a class-name prior"):
        pretrain(images, names, out, **{**SMALL, "score_on": ("imagenet-10",)})
    with pytest.raises(PGJRError, match="epochs is 0: give a positive number"):
        pretrain(images, names, out, **{**SMALL, "epochs": 0})
    with pytest.raises(PGJRError, match="18 images, less than one batch"):
        pretrain(images, names, out, **{**SMALL, "batch_size": 99})
    with pytest.raises(PGJRError, match=r"nothing\.tsv does not exist"):
        pretrain(images, tmp_path / "nothing.tsv", out, **SMALL)
    names.write_text("n01\ttabby\n")
    with pytest.raises(PGJRError, match="no names for class 'n02'"):
        pretrain(images, names, out, **SMALL)


def test_the_script_trains_with_its_options(source, tmp_path, capsys):
    images, names = map(str, source)
    out = tmp_path / "script" / "w.safetensors"
    options = ["--out", str(out), "--epochs", "1", "--batch-size", "6", "--seed", "3", "--score-on"]
    assert main([images, names, *options]) == 0
    training = json.loads(out.with_suffix(".json").read_text())["training"]
    assert (training["steps"], training["batch_size"], training["seed"]) == (3, 6, 3)
    capsys.readouterr()
    assert main([images, names, *options, "cifr10"]) == 2
    sentence = capsys.readouterr().err
    assert sentence.startswith("error: ") and "cifr10" in sentence and sentence.count("\n") == 1


def test_the_script_runs_by_its_path():
    script = Path(module.__file__)
    done = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True, cwd=script.parent)
    assert done.returncode == 0 and "--score-on" in done.stdout
