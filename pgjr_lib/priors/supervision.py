"""Say which labels a prior was trained with, and the sets that are therefore not scored with it. Imports no torch."""

from functools import lru_cache

from pgjr_lib import data
from pgjr_lib.errors import PGJRError
from pgjr_lib.priors.names import IMAGENET_LABELS, resolve
from pgjr_lib.storage import read_json


def classes_seen(prior: str) -> tuple[str, ...]:
    """Return the WordNet ids of the classes whose labels a prior was trained with.

    CLIP and random weights have none. The answer is remembered for as long as the process lives.

    Raises:
        PGJRError: as :func:`pgjr_lib.priors.names.resolve`, for ``class-name`` and ``file:`` priors.
    """
    return tuple(_described(prior).get("classes_seen", ()))


def source_seen(prior: str, dataset: str) -> bool:
    """Say whether a prior was trained with labels of the set that a data set's images were taken from.

    Such a score is allowed, and needs a mark. Raises as :func:`classes_seen`.
    """
    source = data.SETS[dataset].images_from if dataset in data.SETS else ""
    training = _described(prior).get("training_data", "")
    trained_on = training["set"] if isinstance(training, dict) else str(training)
    return bool(source) and trained_on.startswith(source)


@lru_cache  # a prior's file is hashed whenever its name is resolved, and every run asks
def _described(prior) -> dict:
    """Return what is known of a prior that may have been trained with labels; nothing of any other."""
    if prior == "imagenet-labels":  # its sidecar is here even where its weights are not
        return read_json(IMAGENET_LABELS)
    return resolve(prior) if prior == "class-name" or prior.startswith("file:") else {}


def refuse_seen(prior: str, dataset: str, class_names=()) -> None:
    """Refuse to score a prior on classes whose labels it was trained with.

    Args:
        prior: its name.
        dataset: name of the image set.
        class_names: names of the set's classes, where they are known; WordNet ids among them are compared.

    Raises:
        PGJRError: the set is known to hold such classes, or one of ``class_names`` is one of them.
    """
    seen = set(classes_seen(prior))
    known_for = data.SETS[dataset].seen_by if dataset in data.SETS else ()
    # a file's prior may have learned from the same images as a named one
    listed = prior in known_for or (prior.startswith("file:") and bool(known_for))
    if seen and (listed or seen & set(class_names)):
        raise PGJRError(f"{dataset} cannot be scored with {prior}, which saw labels of its classes: use another prior.")
