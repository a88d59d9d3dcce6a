"""Ten epochs of pGJR's head at N = 60,000 on the device at hand, beside the same head written plainly.

    OMP_NUM_THREADS=1 python -m benchmarks.head

Ours is ``training.fit``: views chosen for an epoch at once, the single-pass loss, a checkpoint by elapsed time. The plain
loop is the head as one would write it from its equations: a DataLoader over the features, the whole matrix of logits,
losses read after every step. Both are fp32 and draw one of K views a sample. ``sampled`` is ours with 4,096 negatives, and
``kmeans`` is scikit-learn's KMeans(n_init=20) on the embeddings; OMP_NUM_THREADS=1 gives each one thread. How long k-means
takes depends on the points, so the embeddings are real ones, of augmented digits by the bundled prior. All else is random
numbers of its shapes. A first turn on a few images warms up. Writes benchmarks/results/head.json, of a GPU head-gpu.json.
"""

import argparse
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.turns import in_turn, ratios, save
from pgjr_lib import data
from pgjr_lib.augment import Augment
from pgjr_lib.devices import default_device
from pgjr_lib.jigsaw import GridJigsaw
from pgjr_lib.losses import MemoryBank
from pgjr_lib.models import PGJR
from pgjr_lib.options import HEAD_TRAINING
from pgjr_lib.priors.encoder import load_prior
from pgjr_lib.training import FeatureSource, fit

SHAPE, MU, NEGATIVES, CLUSTERS = (64, 4, 4), 0.5, 4096, 10
PRIOR_DIM = 256  # numbers of the bundled prior's embedding
WARM_UP = 2 * NEGATIVES  # images of the first turn: with fewer than the negatives, all would be taken


def embeddings(images: int, dim: int, device: str) -> Tensor:
    """Embed augmented digits by the bundled prior, and turn its numbers into ``dim``, which changes no distance: (images, dim)."""
    prior, digits = load_prior("class-name", device), torch.from_numpy(data.load("digits").images)
    augment = Augment(prior.image_size)
    rows = torch.cat([prior.encode(augment(digits[i % len(digits)].to(device)))[0].float() for i in torch.arange(images).split(256)])
    axes = torch.linalg.qr(torch.randn(dim, rows.shape[1], device=device)).Q
    return rows @ axes.T


def source_of(images: int, dim: int, views: int, device: str) -> FeatureSource:
    """Return features of ``images``: real embeddings, and random maps and views of the bundled prior's shapes."""
    draw = lambda *size: torch.randn(*size, device=device)  # noqa: E731
    kinds = (draw(views, images, dim).half(), torch.stack([draw(images, *SHAPE).half() for _ in range(views)]))
    return FeatureSource(embeddings(images, dim, device), draw(images, *SHAPE), *kinds)


def first(source: FeatureSource, images: int) -> FeatureSource:
    """Return the features of the first ``images``."""
    kinds = (source.view_embeddings[:, :images], source.view_maps[:, :images])
    return FeatureSource(source.embeddings[:images], source.maps[:images], *kinds)


def ours(source: FeatureSource, epochs: int, negatives: int | None, device: str) -> None:
    """Train the head with ``fit``."""
    model = PGJR(source.embeddings.shape[1], SHAPE, GridJigsaw(2, 1)).to(device)
    bank = MemoryBank(len(source), 128).to(device)
    with tempfile.TemporaryDirectory() as folder:
        options = replace(HEAD_TRAINING, epochs=epochs, negatives=negatives)
        fit(model, source, bank, options, checkpoint=Path(folder) / "c.safetensors")


class PlainHead(nn.Module):
    """Equation 7 from its description, with nothing of the library's: 2x2 blocks of one pixel, each grid from the others."""

    def __init__(self, dim: int):
        super().__init__()
        self.weights, self.offsets = nn.Parameter(torch.full((4, 4), 1 / 3)), nn.Parameter(torch.zeros(4))
        values = SHAPE[0] * SHAPE[1] * SHAPE[2]
        self.branch = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(values), nn.ReLU())
        self.project = nn.Linear(dim + values, 128)

    def forward(self, c, z):
        blocks = F.unfold(z, 2, stride=2).unflatten(1, (SHAPE[0], 4))
        regressed = torch.einsum("rj,bcjl->bcrl", self.weights * (1 - torch.eye(4, device=z.device)), blocks)
        regressed = regressed + self.offsets[:, None]
        z = z + F.fold(regressed.flatten(1, 2), SHAPE[1:], 2, stride=2)
        return F.normalize(self.project(torch.cat([c, self.branch(z)], 1)), dim=1)


def plain(source: FeatureSource, epochs: int, device: str) -> None:
    """Train the head with a loop as one would write it."""
    options, model = HEAD_TRAINING, PlainHead(source.embeddings.shape[1]).to(device)
    bank = F.normalize(torch.randn(len(source), 128, device=device), dim=1)
    optimizer = torch.optim.SGD(model.parameters(), options.lr, options.momentum, weight_decay=options.weight_decay)
    loader = DataLoader(TensorDataset(torch.arange(len(source))), options.batch_size, shuffle=True)
    for _ in range(epochs):
        for (index,) in loader:
            index = index.to(device)
            view = torch.randint(len(source.view_embeddings), (len(index),), device=device)
            f = model(source.view_embeddings[view, index].float(), source.view_maps[view, index].float())
            loss = F.cross_entropy(f @ bank.T / options.tau1, index)
            columns = F.normalize(f, dim=0)
            loss = loss + F.cross_entropy(columns.T @ columns / options.tau2, torch.arange(128, device=device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                bank[index] = F.normalize(MU * bank[index] + (1 - MU) * f, dim=1)
            loss.item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--dim", type=int, default=512, help="numbers of an embedding")
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--without-kmeans", action="store_true", help="leave out what runs on the processor and takes longest")
    options = parser.parse_args()
    if options.dim < PRIOR_DIM:
        parser.error(f"--dim is {options.dim}, but the bundled prior has {PRIOR_DIM} numbers: give at least as many.")
    device = default_device()
    torch.manual_seed(0)
    source = source_of(options.images, options.dim, options.views, device)

    def ways(source: FeatureSource, epochs: int) -> dict:
        points = source.embeddings.cpu().numpy()
        kmeans = {"kmeans": lambda: KMeans(CLUSTERS, n_init=20, random_state=0).fit(points)}
        return {
            "ours": lambda: ours(source, epochs, None, device),
            "sampled": lambda: ours(source, epochs, NEGATIVES, device),
            "plain": lambda: plain(source, epochs, device),
        } | ({} if options.without_kmeans else kmeans)

    few = ways(first(source, min(WARM_UP, options.images)), 1)
    seconds = in_turn(ways(source, options.epochs), options.turns, device, warm_up=few)
    for name, values in seconds.items():
        print(f"{options.epochs} epochs of {options.images:,} images, {name}: {statistics.median(values):.2f} s on {device}")
    beside = {name: ratios(seconds["plain"], seconds[name]) for name in ("ours", "sampled")}
    if "kmeans" in seconds:
        beside["sampled, beside k-means"] = ratios(seconds["kmeans"], seconds["sampled"])
    for name, ratio in beside.items():
        print(f"{name}: {ratio['median']:.2f} times as fast (turns: {ratio['least']:.2f} to {ratio['most']:.2f})")
    setting = {name: getattr(options, name) for name in ("images", "dim", "views", "epochs", "turns")}
    setting |= {"batch": HEAD_TRAINING.batch_size, "negatives": NEGATIVES, "threads": torch.get_num_threads()}
    save("head", {"setting": setting, "seconds": seconds, "ratios": beside}, device)


if __name__ == "__main__":
    main()
