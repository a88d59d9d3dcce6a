"""Run ``pgjr cluster``: from a folder of images to a table of clusters and a page that shows them."""

import hashlib
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from sklearn.metrics.cluster import contingency_matrix

from pgjr_lib import __version__, data, evaluation
from pgjr_lib.devices import default_device
from pgjr_lib.errors import PGJRError
from pgjr_lib.options import HEAD_TRAINING, HeadOptions, TrainingOptions
from pgjr_lib.photos.choose_k import guess_k, worth
from pgjr_lib.photos.output import OutputFolder
from pgjr_lib.photos.page import render
from pgjr_lib.priors.cache import FeatureSet, extract
from pgjr_lib.priors.config import FeatureConfig
from pgjr_lib.priors.supervision import refuse_seen
from pgjr_lib.progress import progress
from pgjr_lib.storage import exclusive, load_tensors
from pgjr_lib.training import FeatureSource, embed, train_head

NAMED = 10  # file names in one message on the terminal; the page lists all
SAME = 1e-4  # features this near each other, on the unit sphere, are those of copies: batches round differently


def cluster_folder(
    folder: Path, k: int | None, out: Path, *, prior: str = "class-name", epochs: int = HEAD_TRAINING.epochs,
    seed: int = 0, labelled: bool = False, negatives: int | None = None,
) -> Path:  # fmt: skip
    """Cluster the images of a folder and write ``clusters.csv``, ``features.safetensors`` and ``index.html``.

    Images that cannot be read are left out and listed. A stopped run resumes from its last encoded chunk or trained
    epoch.

    Args:
        folder: the images; folders in it are searched too.
        k: number of clusters; None guesses one (:func:`pgjr_lib.photos.choose_k.guess_k`).
        out: the folder to write.
        prior: name of the frozen prior, see :func:`pgjr_lib.priors.names.resolve`.
        epochs: epochs that the head is trained for.
        seed: seed of training and of k-means.
        negatives: as :class:`pgjr_lib.options.TrainingOptions`.
        labelled: the first level of folders are classes; the page then shows scores and a confusion matrix.

    Returns:
        The path of index.html. clusters.csv has one row an image: file, cluster, distance to the cluster's centre.

    Raises:
        PGJRError: no or too few images, epochs, seed or k out of range, a prior that is not available or that saw
            labels of the classes, or an ``out`` that holds something else.
    """
    if epochs < 1:
        raise PGJRError(f"epochs is {epochs}, but the head trains for at least one: give a positive integer.")
    if not 0 <= seed < 2**32:
        raise PGJRError(f"seed is {seed}, but a seed is an integer from 0 to {2**32 - 1}: give one of these.")
    if not folder.is_dir():
        raise PGJRError(f"{folder} is not a folder: give the path of a folder that holds images.")
    images, others = data.list_images(folder)
    _check_k(k, len(images), "images")
    output = OutputFolder(out, folder)
    with exclusive(out / ".lock", f"{out}"):
        return _fill(output, folder, k, images, others, prior, epochs, seed, labelled, negatives)


def _fill(output: OutputFolder, folder: Path, k, images, others, prior, epochs, seed, labelled, negatives) -> Path:
    """Cluster the images into a folder that no other process writes to, as :func:`cluster_folder`."""
    device = default_device()
    skipped = [_text(path.relative_to(folder)) for path in others if not output.holds(path)]
    _report("Skipped files that are not images of a readable format", skipped)
    if any(name.lower().endswith((".heic", ".heif")) for name in skipped):
        print("Convert HEIC images, for example to JPEG, to include them.", file=sys.stderr)

    dataset = f"{'folder' if labelled else 'images'}:{folder}"
    config = FeatureConfig(dataset=dataset, split="all", prior=prior)
    features = extract(config, output.cache, device=device, skip_corrupt=True)
    files = features.manifest["paths"]
    damaged = sorted({path.relative_to(folder).as_posix() for path in images} - set(files))
    _report("Left out damaged images", damaged)
    if len(files) < 3:
        raise PGJRError(f"{folder} holds {len(files)} readable images: at least three are needed to cluster.")
    _check_k(k, len(files), "readable images")
    if labelled:
        refuse_seen(prior, dataset, features.class_names)

    points = _train(features, replace(HEAD_TRAINING, epochs=epochs, seed=seed, negatives=negatives), output.checkpoint, device)
    _check_distinct(points, k, folder)

    candidates = guess_k(points, seed) if k is None else []
    k = k or max(candidates, key=worth)["k"]
    if candidates and not max(map(worth, candidates))[0]:
        print(
            "No number of clusters stands out against one cloud, so the guess is arbitrary: choose one with -k.",
            file=sys.stderr,
        )
    result = evaluation.cluster(points, k, seed)
    clusters, distance = result.labels_, result.transform(evaluation.normalise(points)).min(1)

    output.write_clusters(files, points, clusters, distance)
    manifest = features.manifest
    about = {
        "folder": _text(folder.resolve().name), "prior": prior, "supervision": manifest["weights"]["supervision"],
        "note": manifest["data"]["note"], "skipped": skipped, "damaged": damaged, "link": output.link(),
        "epochs": epochs, "seed": seed, "guess": candidates, "scores": _scores(features, clusters) if labelled else {},
    }  # fmt: skip
    output.write_page(render(folder, files, points, clusters, distance, about))
    return output.page


def _check_k(k: int | None, count: int, what: str) -> None:
    if k is not None and not 2 <= k <= count:
        raise PGJRError(f"k={k} clusters were asked for {count} {what}: choose k from 2 to {count}.")


def _check_distinct(points: np.ndarray, k: int | None, folder: Path) -> None:
    """Refuse more clusters than there are images that differ; a guess needs three."""
    enough = k or 3
    distinct = _count_distinct(points, enough)
    if distinct < enough:
        images = "image" if distinct == 1 else "images"
        advice = f"choose k from 2 to {distinct}" if distinct > 1 else "add images that differ"
        raise PGJRError(
            f"{folder} holds {distinct} distinct {images}, and the others are copies or look alike: {advice}."
        )


def _count_distinct(points: np.ndarray, enough: int) -> int:
    """Count points that lie more than ``SAME`` apart, up to ``enough``: each next one is the farthest from those before."""
    count, nearest = 0, np.full(len(points), np.inf)
    while count < enough and nearest.max() > SAME:
        nearest = np.minimum(nearest, np.linalg.norm(points - points[nearest.argmax()], axis=1))
        count += 1
    return count


def _report(what: str, files: list[str]) -> None:
    """Print how many files there are and the names of the first."""
    if files:
        more = f" and {len(files) - NAMED} more" if len(files) > NAMED else ""
        print(f"{what} ({len(files)}): {', '.join(files[:NAMED])}{more}.", file=sys.stderr)


def _text(path) -> str:
    """Return a path as text, with a question mark for what is not UTF-8."""
    return str(path).encode(errors="replace").decode()


def _train(features: FeatureSet, options: TrainingOptions, checkpoint: Path, device: str) -> np.ndarray:
    """Train the head on the features and return its own: (N, d) float32."""
    head = HeadOptions()
    parts = [__version__, features.manifest["files"], asdict(head), asdict(options)]  # of what the head is a result
    identity = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    if checkpoint.exists() and load_tensors(checkpoint)[1].get("identity") != identity:
        print("The images or settings have changed, so training starts again.", file=sys.stderr)
        checkpoint.unlink()
    source = FeatureSource(features.embeddings, features.maps, features.view_embeddings, features.view_maps)
    with progress(None, "training the head", "epoch", options.epochs) as bar:

        def on_epoch(model, epoch, row):
            bar.update(epoch - bar.n)  # a resumed run starts where it stopped
            return {}

        trained = train_head(
            source, head, options, device=device, checkpoint=checkpoint, identity=identity, on_epoch=on_epoch
        )
    return embed(trained.model, trained.source).numpy()


def _scores(features: FeatureSet, clusters: np.ndarray) -> dict:
    """Score clusters against the folders' names: ACC, NMI and ARI in [0, 1], and the confusion matrix."""
    truth = features.labels.numpy()
    return {
        "acc": evaluation.accuracy(truth, clusters),
        "nmi": evaluation.nmi(truth, clusters),
        "ari": evaluation.ari(truth, clusters),
        "confusion": contingency_matrix(truth, clusters).tolist(),
        "classes": [features.class_names[c] for c in np.unique(truth)],  # a class may hold damaged images alone
    }
