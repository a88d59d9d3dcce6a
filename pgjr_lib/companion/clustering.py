"""``pgjr cluster``: a folder of images to a table of clusters."""

import csv
import io
import sys
from pathlib import Path

import torch

from pgjr_lib import datasets, evaluation, features
from pgjr_lib.companion.execute import default_device, make_head
from pgjr_lib.companion.runs import RunConfig
from pgjr_lib.errors import PGJRError
from pgjr_lib.losses import MemoryBank
from pgjr_lib.storage import atomic_write, save_tensors
from pgjr_lib.training import FeatureSource, TrainingOptions, embed, fit


def cluster_folder(folder: Path, k: int, out: Path, *, prior: str, epochs: int, seed: int, skip_corrupt: bool) -> Path:
    """Encode, train the head, cluster; writes ``clusters.csv`` and ``features.safetensors`` into ``out``.

    Returns:
        The path of clusters.csv: file, cluster, distance to the cluster's centre on the unit sphere.

    Raises:
        PGJRError: unreadable or too few images, k out of range, a prior that cannot be had.
    """
    images = datasets.load(f"folder:{folder}", "all", size=32, skip_corrupt=skip_corrupt)
    if images.note:
        print(images.note, file=sys.stderr)
    if not 2 <= k <= len(images.paths):
        raise PGJRError(
            f"k={k} clusters were asked for {len(images.paths)} images: choose k from 2 to {len(images.paths)}."
        )
    run = RunConfig(method="pgjr", dataset=f"folder:{folder}", split="all", prior=prior, epochs=epochs, seed=seed,
                    batch_size=256, lr=0.006, tau1=0.1)  # fmt: skip
    device = default_device()
    found = features.extract(run.features(), out / "features", device=device, skip_corrupt=skip_corrupt)
    tensors = (found.embeddings, found.maps, found.view_embeddings, found.view_maps)
    source = FeatureSource(*(tensor.to(device) for tensor in tensors))
    model = make_head(run, found).to(device)
    bank = MemoryBank(len(source), run.dim, run.bank_momentum).to(device)
    bank.write(embed(model, source).to(device))
    options = TrainingOptions(epochs, run.batch_size, run.lr, run.tau1, smallest_batch=min(32, len(source)), seed=seed)
    fit(model, source, bank, options)
    points = embed(model, source)
    result = evaluation.cluster(points.numpy(), k, seed)
    distance = result.transform(evaluation.normalise(points.numpy())).min(1)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", "cluster", "distance"])
    table.writerows(zip(images.paths, result.labels_.tolist(), (f"{d:.4f}" for d in distance), strict=True))
    save_tensors(out / "features.safetensors", {"features": points, "clusters": torch.from_numpy(result.labels_)})
    atomic_write(out / "clusters.csv", text.getvalue())
    return out / "clusters.csv"
