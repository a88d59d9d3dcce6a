"""What the book's tests share: a manifest to edit, a tiny run, and its record."""

from pathlib import Path

import nbformat
import open_clip
import pytest
import torch
import yaml

from pgjr_book import make
from pgjr_book.manifest import load_manifest
from pgjr_book.run_config import RunConfig
from pgjr_lib.priors.encoder import save_prior

ROOT = Path(__file__).parents[2]
TINY = dict(method="gjr", dataset="digits", split="all", limit=96, image_size=8, backbone="thin", n=2, g=1,
            epochs=2, batch_size=32, kmeans_seeds=2)  # fmt: skip
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


@pytest.fixture(scope="session")
def write_notebook():
    """A function that writes a small notebook with a parameters cell and the given code cells."""

    def write(path: Path, *code: str, parameters: str = "profile = 'published'\nsteps = 3") -> Path:
        cells = [nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})]
        cells += [nbformat.v4.new_code_cell(text) for text in code]
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL}), path)
        return path

    return write


@pytest.fixture(scope="session")
def save_random_clip():
    """A function that saves a ViT-B/32 of CLIP with random weights in a folder, under the name of the original."""

    def save(folder: Path) -> None:
        torch.manual_seed(0)
        model = open_clip.create_model("ViT-B-32-quickgelu")
        preprocessing = {"size": 224, "mean": list(open_clip.OPENAI_DATASET_MEAN), "std": list(open_clip.OPENAI_DATASET_STD),
                         "interpolation": "bicubic"}  # fmt: skip
        save_prior(folder / "ViT-B-32-quickgelu--openai.safetensors", model.state_dict(), architecture="ViT-B-32-quickgelu",
                   activation="quick_gelu", preprocessing=preprocessing,
                   training_data="none: random weights of a test")  # fmt: skip

    return save


@pytest.fixture
def tiny() -> dict:
    """The fields of a run that takes a second."""
    return dict(TINY)


@pytest.fixture
def manifest(tmp_path, monkeypatch):
    """A copy of the manifest in an empty clone; call with a function that edits it."""
    raw = yaml.safe_load((ROOT / "experiments.yaml").read_text())
    monkeypatch.chdir(tmp_path)

    def edited(edit=lambda raw: None):
        edit(raw)
        (tmp_path / "experiments.yaml").write_text(yaml.safe_dump(raw))
        return load_manifest()

    return edited


@pytest.fixture(scope="session")
def record(tmp_path_factory):
    root = tmp_path_factory.mktemp("run")
    run = RunConfig(**TINY, snapshots=2, landscape=3, exemplars=2)
    return run, root, make.run(run, root, device="cpu")
