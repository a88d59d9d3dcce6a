"""Weights for the tests of priors: a random checkpoint of OpenAI's architecture, small in pixels."""

import shutil

import pytest


@pytest.fixture(scope="session")
def vit(tmp_path_factory):
    """A folder with a random ViT-B-32-quickgelu at 64 pixels and its sidecar, and the model it came from."""
    import open_clip
    import torch

    from pgjr_lib.priors.encoder import save_prior
    from pgjr_lib.priors.names import OPENAI_MEAN, OPENAI_STD

    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(1)
    model = open_clip.create_model("ViT-B-32-quickgelu", force_image_size=64).eval()
    save_prior(
        folder / "ViT-B-32-quickgelu--openai.safetensors", model.state_dict(), architecture="ViT-B-32-quickgelu",
        activation="quick_gelu", training_data="random weights for a test",
        preprocessing={"size": 64, "mean": OPENAI_MEAN, "std": OPENAI_STD, "interpolation": "bicubic"},
    )  # fmt: skip
    return folder, model


@pytest.fixture
def own_weights(vit, tmp_path, monkeypatch):
    """The path of a copy that a test may damage; PGJR_WEIGHTS is its folder."""
    path = tmp_path / "ViT-B-32-quickgelu--openai.safetensors"
    for suffix in (".safetensors", ".json"):
        shutil.copy((vit[0] / path.name).with_suffix(suffix), path.with_suffix(suffix))
    monkeypatch.setenv("PGJR_WEIGHTS", str(tmp_path))
    return path


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    """Keep records of fetches and checksums of data out of the user's cache."""
    monkeypatch.setenv("PGJR_CACHE", str(tmp_path / "cache"))
