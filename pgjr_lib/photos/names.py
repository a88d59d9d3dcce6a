"""Suggest names for clusters, and find photographs by a text, where the prior has a text tower that can be trusted."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from pgjr_lib.errors import PGJRError
from pgjr_lib.evaluation import normalise
from pgjr_lib.photos.grouping import NONE
from pgjr_lib.priors.names import names_hub_weights, prior_checksum
from pgjr_lib.priors.zero_shot import text_features, text_tower
from pgjr_lib.storage import load_tensors, save_tensors

TEMPLATES = ("a photo of a {}.", "a photo of the {}.")
SUGGESTIONS = 3  # names suggested for a cluster
MOST_WORDS, LONGEST = 20_000, 80  # words in a list, and characters in a word


def has_trusted_text(prior: str) -> bool:
    """Say whether a prior can compare photographs with any words: CLIP's models can.

    The class-name prior has a text tower, too, but it was taught the names of 200 classes and nothing else.
    """
    return names_hub_weights(prior)


def refuse_text(prior: str) -> None:
    """Refuse words for a prior without a text tower that can be trusted.

    Raises:
        PGJRError: the prior is such a one.
    """
    if not has_trusted_text(prior):
        taught = "was taught the names of 200 classes only" if prior == "class-name" else "knows no words"
        raise PGJRError(
            f"The prior {prior} {taught}, so it cannot compare photographs with a text: search with --like FILE, or cluster"
            " with --prior ViT-B-32-quickgelu/openai."
        )


def read_words(path: Path | None) -> list[str]:
    """Read a list of words, one a line; None gives the names of ImageNet's classes, as open_clip has them.

    Raises:
        PGJRError: the file is missing, is not UTF-8, holds no word, or too many or too long ones.
    """
    if path is None:
        from open_clip import IMAGENET_CLASSNAMES

        return list(dict.fromkeys(IMAGENET_CLASSNAMES))
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise PGJRError(f"{path} does not exist: give a text file with one word a line.") from None
    except UnicodeDecodeError:
        raise PGJRError(f"{path} is not UTF-8: save it as a text file in UTF-8, one word a line.") from None
    words = list(dict.fromkeys(line for line in map(str.strip, text.splitlines()) if line))
    if not words:
        raise PGJRError(f"{path} holds no words: write one a line.")
    if len(words) > MOST_WORDS:
        raise PGJRError(f"{path} holds {len(words):,} words: give at most {MOST_WORDS:,}.")
    if long := [word for word in words if len(word) > LONGEST or not word.isprintable()]:
        raise PGJRError(f"{path} has the line {ascii(long[0][:40])}, which is no word of at most {LONGEST} letters: correct it.")
    return words


def word_features(prior: str, words: list[str], cache: Path, device: str, encode_texts: Callable | None = None) -> np.ndarray:
    """Return a feature for each word, (W, D) on the unit sphere; they are kept in ``cache`` for the next run.

    Args:
        prior: a prior for which :func:`has_trusted_text` holds.
        words: the words.
        cache: a folder.
        device: where to encode.
        encode_texts: maps sentences to features (T, D), in place of the prior's own text tower.
    """
    key = hashlib.sha256("\n".join([prior_checksum(prior), *TEMPLATES, *words]).encode()).hexdigest()[:16]
    path = cache / f"words-{key}.safetensors"
    try:
        return load_tensors(path)[0]["words"].numpy()
    except (PGJRError, LookupError):  # absent or damaged
        features = text_features(words, TEMPLATES, encode_texts or text_tower(prior, device))
        save_tensors(path, {"words": features})
        return features.numpy()


def suggest(embedding: np.ndarray, clusters: np.ndarray, words: list[str], features: np.ndarray) -> dict[int, list[tuple[str, float]]]:
    """Suggest names for every cluster.

    A word's score is the cosine of its feature and the cluster's mean embedding, less the mean cosine of the word with
    all photographs. So a word that fits the whole folder names no single cluster.

    Args:
        embedding: (N, D).
        clusters: (N,) integers, ``NONE`` for no cluster.
        words, features: W words and (W, D).

    Returns:
        Number of a cluster -> the best words with their scores, best first.
    """
    points = normalise(embedding)
    overall, found = features @ points.mean(0), {}
    for number in np.unique(clusters[clusters != NONE]).tolist():
        score = features @ points[clusters == number].mean(0) - overall
        best = np.argsort(-score, kind="stable")[:SUGGESTIONS]
        found[number] = [(words[i], round(float(score[i]), 3)) for i in best]
    return found


def encode_text(prior: str, text: str, device: str) -> np.ndarray:
    """Return the feature of one text: (D,) on the unit sphere.

    Raises:
        PGJRError: the prior has no text tower that can be trusted.
    """
    refuse_text(prior)
    return torch.nn.functional.normalize(text_tower(prior, device)([text])[0].float().cpu(), dim=0).numpy()
