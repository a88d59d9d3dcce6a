"""`pgjr verify --clip`: zero-shot answers that are known, and one line a check."""

import open_clip
import pytest
import torch
from PIL import Image

from pgjr_lib import checks
from pgjr_lib.cli import main
from pgjr_lib.data.sets import SETS
from pgjr_lib.errors import PGJRError
from pgjr_lib.priors import zero_shot
from pgjr_lib.priors.encoder import load_prior
from pgjr_lib.priors.zero_shot import TEMPLATES, accuracy, classify, text_features

NAME = "ViT-B-32-quickgelu/openai"


@pytest.fixture
def images(tmp_path, monkeypatch):
    """Two images a class of CIFAR-10, each class in its own colour."""
    torch.manual_seed(0)
    for number, label in enumerate(SETS["cifar10"].class_names):
        folder = tmp_path / "data" / "cifar10" / "test" / label
        folder.mkdir(parents=True)
        for i in range(2):
            noise = torch.randint(0, 25 * (number + 1), (32, 32, 3), dtype=torch.uint8)
            Image.fromarray(noise.numpy()).save(folder / f"{i}.png")
    monkeypatch.setenv("PGJR_DATA", str(tmp_path / "data"))


def answering(prior, wrong=0):
    """A text tower whose nearest text to the images of class c is the text of class c, but for the last ``wrong`` classes."""
    from pgjr_lib import data
    from pgjr_lib.augment import plain

    found = data.load("cifar10", "test")
    embedded = prior.encode(plain(torch.from_numpy(found.images), prior.image_size))[0]
    centres = torch.stack([embedded[torch.from_numpy(found.labels) == c].mean(0) for c in range(10)])
    order = [*range(10 - wrong), *reversed(range(10 - wrong, 10))]
    named = dict(zip(SETS["cifar10"].class_names, centres[order], strict=True))
    return lambda sentences: torch.stack([next(v for name, v in named.items() if f" {name}." in s) for s in sentences])


def test_a_known_answer_is_found(own_weights, images):
    prior = load_prior(NAME)
    assert accuracy(NAME, "cifar10", encode_texts=answering(prior)) == 100
    assert accuracy(NAME, "cifar10", encode_texts=answering(prior, wrong=4)) == 60  # two pairs of classes are exchanged


def test_the_text_tower_is_the_models_own(own_weights, vit):
    tokens = open_clip.get_tokenizer("ViT-B-32-quickgelu")(["a photo of a cat.", "a photo of the cat."])
    with torch.no_grad():
        theirs = torch.nn.functional.normalize(vit[1].encode_text(tokens), dim=-1).mean(0)
    ours = text_features(["cat"], TEMPLATES["stl10"], zero_shot.text_tower(NAME, "cpu"))
    torch.testing.assert_close(ours[0], theirs / theirs.norm(), atol=2e-3, rtol=0)  # the file is in half precision


def test_the_prompts_are_the_published_ones():
    assert len(TEMPLATES["cifar10"]) == 18 == len(set(TEMPLATES["cifar10"]))
    for sentence in ("a photo of a {}.", "a blurry photo of the {}.", "a low contrast photo of a {}.", "a photo of the big {}."):
        assert sentence in TEMPLATES["cifar10"]


def test_the_nearest_text_in_angle_decides():
    texts = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), dim=1)
    assert classify(torch.tensor([[9.0, 1.0], [0.1, 0.2]]), texts).tolist() == [0, 1]


def test_a_prior_without_a_text_tower_is_refused():
    with pytest.raises(PGJRError, match="class-name has no text tower that can be checked"):
        accuracy("class-name", "cifar10")


def test_from_a_shell_one_line_a_check(own_weights, images, monkeypatch, capsys):
    encode = answering(load_prior(NAME))
    monkeypatch.setattr(zero_shot, "text_tower", lambda name, device: encode)
    monkeypatch.setitem(checks.PUBLISHED, NAME, {"cifar10": 99.0, "stl10": 97.13})
    assert main(["verify", "--clip"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["ok", "ok", "ok", "ok", "open"]
    assert "zero-shot on cifar10 (test): 100.00, published 99.00 +- 1.5" in lines[3] and "pgjr fetch stl10" in lines[4]
    monkeypatch.setitem(checks.PUBLISHED, NAME, {"cifar10": 89.83})
    assert main(["verify", "--clip"]) == 2
    out, err = capsys.readouterr()
    assert "FAILED" in out and err.splitlines()[-1].endswith("is not as it should be: install again, or fetch the weights again.")


def test_only_a_clip_can_be_checked(capsys):
    for name in ("class-name", "random:class-name"):
        assert main(["verify", "--clip", "--prior", name]) == 2
        assert f"{name} has no text tower that can be checked" in capsys.readouterr().err


def test_without_weights_the_check_stays_open(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PGJR_CACHE", str(tmp_path))
    assert main(["verify", "--clip"]) == 0
    assert "open    ViT-B-32-quickgelu/openai: checksum: ViT-B-32-quickgelu/openai is not on this machine" in capsys.readouterr().out
    assert main(["verify"]) == 2 and "Nothing to check" in capsys.readouterr().err


def test_a_wrong_loss_is_noticed(monkeypatch):
    assert checks._idfd_parity()[0]
    monkeypatch.setattr(checks, "feature_decorrelation", lambda f, tau: 0.5 * checks.F.cross_entropy(f.T @ f / tau, torch.arange(16)))
    assert not checks._idfd_parity()[0]
