"""Zero-shot accuracy of a CLIP model: whether the weights, their preprocessing and their text tower are what they should be.

The prompts are those of Radford et al. (2021), with which open_clip's published accuracies were measured. Zero-shot
classification knows the names of the classes, so it is a check of an installation and no result of this project.
"""

import os
import tempfile
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pgjr_lib import data
from pgjr_lib.augment import plain
from pgjr_lib.devices import default_device
from pgjr_lib.errors import PGJRError
from pgjr_lib.priors.encoder import load_prior
from pgjr_lib.priors.fetch import fetch
from pgjr_lib.priors.names import names_hub_weights
from pgjr_lib.progress import progress

_KINDS = ("", "blurry ", "black and white ", "low contrast ", "high contrast ", "bad ", "good ")
TEMPLATES = {  # set -> sentences with a place for the name of the class
    "cifar10": tuple(
        sentence
        for article in ("a", "the")
        for sentence in (*(f"a {kind}photo of {article} {{}}." for kind in _KINDS),
                         *(f"a photo of {article} {size} {{}}." for size in ("small", "big")))
    ),
    "stl10": ("a photo of a {}.", "a photo of the {}."),
}  # fmt: skip
PUBLISHED = {  # model -> set -> accuracy on the test images, in points (open_clip, docs/openclip_results.csv)
    "ViT-B-32-quickgelu/openai": {"cifar10": 89.83, "stl10": 97.13},
    "ViT-B-16-quickgelu/openai": {"cifar10": 90.77, "stl10": 98.25},
    "ViT-L-14-quickgelu/openai": {"cifar10": 95.59, "stl10": 99.36},
    "RN50-quickgelu/openai": {"cifar10": 71.57, "stl10": 94.19},
}
TOLERANCE = 1.5  # points: half precision and another resizing filter move it by less, a wrong activation by far more


def accuracy(name: str, dataset: str, *, device: str | None = None, encode_texts: Callable | None = None) -> float:
    """Return the zero-shot accuracy of a CLIP model on a set's test images, in points.

    Args:
        name: ``<open_clip model>/<tag>``.
        dataset: a key of ``TEMPLATES``.
        device: where to encode; None takes a GPU where there is one.
        encode_texts: maps sentences to features (T, D), in place of the model's own text tower.

    Raises:
        PGJRError: a prior that is no CLIP of open_clip, or missing data or weights.
    """
    if not names_hub_weights(name):
        raise PGJRError(f"{name} has no text tower that can be checked: give an open_clip model, as <model>/<tag>.")
    images, device = data.load(dataset, "test"), device or default_device()
    texts = text_features(images.class_names, TEMPLATES[dataset], encode_texts or text_tower(name, device))
    prior, found = load_prior(name, device), []
    for rows in progress(torch.arange(len(images.labels)).split(256), f"zero-shot on {dataset}", "batch"):
        batch = plain(torch.from_numpy(images.images[rows]), prior.image_size)
        found.append(classify(prior.encode(batch)[0].cpu(), texts))
    return 100 * (torch.cat(found) == torch.from_numpy(images.labels)).double().mean().item()


def text_features(names: Sequence[str], templates: Sequence[str], encode_texts: Callable) -> Tensor:
    """Return one feature for each class: the mean direction of its sentences, (C, D) on the unit sphere."""
    sentences = [template.format(name.replace("_", " ")) for name in names for template in templates]
    features = torch.nn.functional.normalize(encode_texts(sentences).float().cpu(), dim=-1)
    return torch.nn.functional.normalize(features.view(len(names), len(templates), -1).mean(1), dim=-1)


def classify(embeddings: Tensor, texts: Tensor) -> Tensor:
    """Return the class whose text is nearest in angle to each embedding (B, D): (B,) int64."""
    return (torch.nn.functional.normalize(embeddings.float(), dim=-1) @ texts.T).argmax(1)


def text_tower(name: str, device: str) -> Callable[[list[str]], Tensor]:
    """Return the function that encodes sentences with the model's own text tower: T of them to (T, D).

    Args:
        name: ``<open_clip model>/<tag>``.
        device: where to encode.

    Raises:
        PGJRError: as :func:`pgjr_lib.priors.fetch.fetch`.
    """
    import open_clip

    spec = fetch(name)
    with tempfile.TemporaryDirectory() as folder:  # open_clip tells formats by their suffixes, which a hub's cache lacks
        link = os.path.join(folder, f"weights{os.path.splitext(spec['path'])[1]}")
        os.symlink(os.path.abspath(spec["path"]), link)
        model = open_clip.create_model(spec["architecture"], link, force_image_size=spec["preprocessing"]["size"])
    model, tokenizer = model.to(device).eval(), open_clip.get_tokenizer(spec["architecture"])

    @torch.no_grad()
    def encode(sentences: list[str]) -> Tensor:
        return torch.cat([model.encode_text(tokenizer(sentences[i : i + 64]).to(device)) for i in range(0, len(sentences), 64)])

    return encode
