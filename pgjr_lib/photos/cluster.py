"""``pgjr cluster``: a folder of images to a table of clusters and a page that shows them."""

import base64
import csv
import hashlib
import html
import io
import os
import sys
from pathlib import Path

import numpy as np
import torch

from pgjr_book.runs import RunConfig, key, validated
from pgjr_book.snapshots import plane
from pgjr_book.train import default_device, refuse_seen, start_head, training_options
from pgjr_lib import evaluation
from pgjr_lib.data import loading as datasets
from pgjr_lib.data.decoding import thumbnails
from pgjr_lib.errors import PGJRError
from pgjr_lib.photos.choose_k import guess_k, worth
from pgjr_lib.priors import cache as features
from pgjr_lib.storage import atomic_write, load_tensors, read_json, save_tensors, write_json
from pgjr_lib.templates import fill, script_data
from pgjr_lib.training import embed, fit

MAP_IMAGES, THUMBNAIL = 4000, 96  # images on the page's map, and the side of their thumbnails
OWNER = "made-from.json"  # whose results a folder holds, so that they are not lost to those of another
WRITTEN = ("clusters.csv", "features.safetensors", "checkpoint.safetensors", "index.html", "features")
TEMPLATE = Path(__file__).parent / "page.html"


def cluster_folder(
    folder: Path, k: int | None, out: Path, *, prior: str, epochs: int, seed: int, labelled: bool
) -> Path:
    """Encode, train the head, cluster; writes ``clusters.csv``, ``features.safetensors``, ``index.html`` to ``out``.

    A stopped run goes on from its last encoded chunk or trained epoch. Images that cannot be read are left out and
    listed.

    Args:
        folder: searched with all folders in it.
        k: number of clusters; None guesses one (:func:`guess.guess_k`).
        labelled: the first level of folders are classes: scores and a confusion matrix are added.

    Returns:
        The path of index.html. clusters.csv has a row an image: file, cluster, distance to the cluster's centre.

    Raises:
        PGJRError: no or too few images, k out of range, a prior that cannot be had, an ``out`` that holds something else.
    """
    images, others = datasets.list_images(folder) if folder.is_dir() else ([], [])
    if folder.is_dir() and k is not None and not 2 <= k <= len(images):
        raise PGJRError(f"k={k} clusters were asked for {len(images)} images: choose k from 2 to {len(images)}.")
    own = {(name,) for name in (*WRITTEN, OWNER)}
    home = os.path.realpath(out)  # where it lies in the folder, an earlier run's files are not the user's
    others = [path for path in others if Path(os.path.relpath(os.path.realpath(path), home)).parts[:1] not in own]
    skipped = [str(path.relative_to(folder)).encode(errors="replace").decode() for path in others]
    if others:
        print(f"Skipped, as they are no images this can read: {_named(skipped)}.", file=sys.stderr)
        if any(path.suffix.lower() in (".heic", ".heif") for path in others):
            print("HEIC has to be converted, to JPEG for example.", file=sys.stderr)
    fields = {"method": "pgjr", "dataset": f"{'folder' if labelled else 'images'}:{folder}", "split": "all",
              "prior": prior, "epochs": epochs, "seed": seed, "batch_size": 256, "lr": 0.006, "tau1": 1.0}  # fmt: skip
    run = validated(RunConfig, fields, "cluster")
    device = default_device()
    _own(out, folder)
    found = features.extract(run.features(), out / "features", device=device, skip_corrupt=True)
    paths, note = found.manifest["paths"], found.manifest["data"]["note"]
    damaged = sorted({path.relative_to(folder).as_posix() for path in images} - set(paths))
    if damaged:
        print(f"Left out, as they are damaged: {_named(damaged)}.", file=sys.stderr)
    if len(paths) < 3:
        raise PGJRError(f"{folder} has {len(paths)} readable images: at least three are needed to cluster.")
    if k is not None and k > len(paths):
        raise PGJRError(f"k={k} clusters were asked for {len(paths)} readable images: choose k from 2 to {len(paths)}.")
    if labelled:
        refuse_seen(prior, run.dataset, found.class_names)
    points = torch.from_numpy(_trained(run, found, out, device))
    different = len(np.unique(points.numpy().round(5), axis=0))
    if different < (k or 3):
        at_most = f": choose k from 2 to {different}" if different > 1 else ", which cannot be clustered"
        raise PGJRError(f"{folder} has {different} images that differ, the others are copies or look alike{at_most}.")
    table = guess_k(points.numpy(), seed) if k is None else []
    k = k or max(table, key=worth)["k"]
    if table and not max(map(worth, table))[0]:
        print("no number of clusters stands out against one cloud: the guess is arbitrary, -k sets your own.", file=sys.stderr)
    result = evaluation.cluster(points.numpy(), k, seed)
    distance = result.transform(evaluation.normalise(points.numpy())).min(1)
    text = io.StringIO()
    rows = csv.writer(text)  # its line ends make it quote names that hold one
    rows.writerow(["file", "cluster", "distance"])
    rows.writerows(zip(paths, result.labels_.tolist(), (f"{d:.4f}" for d in distance), strict=True))
    save_tensors(out / "features.safetensors", {"features": points, "clusters": torch.from_numpy(result.labels_)})
    atomic_write(out / "clusters.csv", text.getvalue())
    scores = {}
    if labelled:
        truth = found.labels.numpy()
        scores = {name: getattr(evaluation, {"acc": "accuracy"}.get(name, name))(truth, result.labels_)
                  for name in ("acc", "nmi", "ari")}  # fmt: skip
        scores |= {"confusion": evaluation.contingency_matrix(truth, result.labels_).tolist(),
                   "classes": [found.class_names[c] for c in np.unique(truth)]}  # fmt: skip
    about = {"folder": folder.resolve().name, "prior": prior, "supervision": found.manifest["weights"]["supervision"],
             "note": note, "skipped": skipped, "damaged": damaged, "beside": _beside(folder, out), "epochs": epochs,
             "seed": seed, "guess": table, "scores": scores}  # fmt: skip
    atomic_write(out / "index.html", page(folder, paths, points.numpy(), result.labels_, distance, about))
    (out / "checkpoint.safetensors").unlink(missing_ok=True)
    return out / "index.html"


def page(
    folder: Path, paths: list[str], points: np.ndarray, clusters: np.ndarray, distance: np.ndarray, about: dict
) -> str:
    """The self-contained page: galleries, sizes, a map with thumbnails, search. File names are data, never markup."""
    shown = _shown(clusters, distance)
    place = plane(points[shown])
    place = (place - place.min(0)) / np.ptp(place, axis=0).clip(1e-9)
    small = thumbnails([folder / paths[i] for i in shown], THUMBNAIL)
    rows = [
        [paths[i], int(clusters[i]), round(float(distance[i]), 4), round(float(x), 4), round(float(y), 4),
         base64.b64encode(thumbnail).decode()]
        for i, (x, y), thumbnail in zip(shown, place, small, strict=True)
    ]  # fmt: skip
    data = {"about": about, "sizes": np.bincount(clusters).tolist(), "images": rows, "total": len(paths)}
    return fill(TEMPLATE, {"title": html.escape(about["folder"]), "data": script_data(data)})


def _named(names: list[str]) -> str:
    """The first ten of ``names`` and how many more, after their number."""
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return f"({len(names)}) {', '.join(names[:10])}{more}"


def _beside(folder: Path, out: Path) -> str:
    """Where the images lie, seen from the page, if they lie beside it or within: a longer way would tell where somebody lives."""
    way = os.path.relpath(os.path.realpath(folder), os.path.realpath(out))
    return "" if way.startswith(os.path.join("..", "..")) else Path(way).as_posix()


def _own(out: Path, folder: Path) -> None:
    """Mark ``out`` as the place of ``folder``'s results.

    Raises:
        PGJRError: it is a file, or holds something of that name that was made from another folder, or by hand.
    """
    if out.exists() and not out.is_dir():
        raise PGJRError(f"{out} is a file: name a folder by --out.")
    # a hash, because folders are passed on, and because a path need not be text
    owner, own = out / OWNER, {"folder": hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()}
    there = [name for name in WRITTEN if (out / name).exists()]
    if there and not (owner.is_file() and read_json(owner) == own):
        raise PGJRError(
            f"{out} holds {there[0]}, which as far as is known was not made from {folder}:"
            " name another folder by --out, or remove it."
        )
    if folder.is_dir():
        write_json(owner, own)


def _shown(clusters: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """The images a page shows: all, or of each cluster the nearest and the farthest, and a random rest."""
    if len(clusters) <= MAP_IMAGES:
        return np.arange(len(clusters))
    ends = [i for c in np.unique(clusters) for own in [np.flatnonzero(clusters == c)]
            for i in own[np.argsort(distance[own])][np.r_[: min(24, len(own)), -min(8, len(own)) : 0]]]  # fmt: skip
    rest = np.random.default_rng(0).permutation(len(clusters))
    return np.sort(list(dict.fromkeys([*ends, *rest]))[:MAP_IMAGES])


def _trained(run: RunConfig, found: features.FeatureSet, out: Path, device: str) -> np.ndarray:
    """The head's features (N, d) of the plain images."""
    model, source, bank = start_head(run, found, device)

    def told(epoch, row):
        print(f"head: epoch {epoch}/{run.epochs}, loss {row['loss']:.3f}, {row['seconds']:.0f} s", file=sys.stderr)
        return {}

    identity = f"{key(run)}-{len(source)}"
    checkpoint = out / "checkpoint.safetensors"
    if checkpoint.exists() and load_tensors(checkpoint)[1].get("identity") != identity:
        print("the images or settings have changed: the head is trained from its start.", file=sys.stderr)
        checkpoint.unlink()
    fit(model, source, bank, training_options(run), checkpoint=checkpoint, identity=identity, on_epoch=told)
    return embed(model, source).numpy()
