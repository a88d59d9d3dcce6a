"""Run k-means in torch: many starts at once, by scikit-learn's protocol.

A start is greedy k-means++ (Arthur and Vassilvitskii, 2007) and then Lloyd's algorithm until no label changes, the
centres move by less than the tolerance, or 300 iterations have passed. The random numbers are those that scikit-learn
draws, so both begin at the same centres but for rounding. All sums are deterministic on a GPU too: sums over clusters
are matrix products, and the cumulative sums of k-means++ are of integers.
"""

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import torch
from torch import Tensor

TOLERANCE, ITERATIONS = 1e-4, 300  # scikit-learn's
STARTS = 20  # at once
BLOCK_BYTES = 256 * 2**20  # of one block of distances
STEPS = 2**31  # k-means++ weighs samples in integer steps: N * STEPS fits in 64 bits for any N < 2**32


@torch.no_grad()
def starts(
    points: np.ndarray, k: int, generators: Iterable[np.random.RandomState], device
) -> Iterator[tuple[np.ndarray, float, np.ndarray]]:
    """Run one start of k-means for each generator.

    Args:
        points: (N, d) float32, N >= k.
        k: number of clusters.
        generators: the random states that the starts begin with.
        device: a torch device.

    Yields:
        Labels (N,) int32, inertia and centres (k, d) float32 of each start, in order.
    """
    x = torch.tensor(points, dtype=torch.float32, device=device)
    mean = x.mean(0)
    x -= mean  # as scikit-learn: squared distances lose fewer digits near the origin
    generators = iter(generators)
    while group := list(islice(generators, STARTS)):
        draws = np.stack([generator.random_sample(1 + (k - 1) * _trials(k)) for generator in group])
        labels, inertia, centres = lloyd(x, plus_plus(x, k, torch.tensor(draws, device=device)))
        yield from zip(labels.cpu().numpy(), inertia.tolist(), (centres + mean).cpu().numpy(), strict=True)


def plus_plus(x: Tensor, k: int, draws: Tensor) -> Tensor:
    """Choose k samples as the first centres of S starts, each by greedy k-means++.

    Args:
        x: (N, d) samples.
        k: number of centres.
        draws: (S, 1 + (k - 1) * trials) float64 numbers in [0, 1), where trials is 2 + int(log(k)).

    Returns:
        (S, k, d) centres.
    """
    norms = x.square().sum(1)
    centres = [(draws[:, 0] * len(x)).long()]
    nearest = _to_samples(x, norms, x[centres[0]])  # (S, N) squared distances to the nearest centre
    for u in draws[:, 1:].reshape(len(draws), k - 1, _trials(k)).unbind(1):  # (S, trials)
        weights = nearest.double() * (STEPS / nearest.amax(1, keepdim=True).double().clamp(min=1e-30))
        cumulative = weights.long().cumsum(1)  # integers, because a GPU adds floating-point numbers in any order
        candidates = torch.searchsorted(cumulative, (u * cumulative[:, -1:]).long(), right=True)
        candidates = candidates.clamp(max=len(x) - 1)  # beyond the last sample where every weight is 0
        best = _potentials(x, norms, nearest, x[candidates]).argmin(1, keepdim=True)
        centres.append(candidates.gather(1, best)[:, 0])
        nearest = torch.minimum(nearest, _to_samples(x, norms, x[centres[-1]]))
    return x[torch.stack(centres, 1)]


def lloyd(x: Tensor, centres: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Run Lloyd's algorithm from S sets of centres, each until it has converged.

    Args:
        x: (N, d) samples.
        centres: (S, k, d).

    Returns:
        Labels (S, N) int32, inertia (S,) float64 and centres (S, k, d).
    """
    norms, centres = x.square().sum(1), centres.clone()
    tolerance = TOLERANCE * x.var(0, correction=0).mean()
    active = torch.arange(len(centres), device=x.device)  # the starts that have not converged
    before = torch.full((len(centres), len(x)), -1, dtype=torch.int32, device=x.device)
    for _ in range(ITERATIONS):
        old = centres[active]
        labels, distances, sums, counts = _assign(x, norms, old)
        _fill_empty(x, labels, distances, sums, counts)
        counts = counts.unsqueeze(2)
        new = torch.where(counts > 0, sums / counts.clamp(min=1), old)  # old: as many samples differ as are occupied
        centres[active] = new
        going = (labels != before).any(1) & ((new - old).square().sum((1, 2)) > tolerance)
        active, before = active[going], labels[going]
        if not len(active):
            break
    labels = _assign(x, norms, centres)[0]
    return labels, _inertia(x, labels, centres), centres


def _trials(k: int) -> int:
    return 2 + int(np.log(k))


def _blocks(x: Tensor, numbers: int) -> Iterator[tuple[slice, Tensor]]:
    """Yield slices of the samples, and the samples, for which ``numbers`` float32 a sample fit in a block."""
    size = max(1, BLOCK_BYTES // (4 * numbers))
    for begin in range(0, len(x), size):
        part = slice(begin, begin + size)
        yield part, x[part]


def _products(part: Tensor, centres: Tensor) -> Tensor:
    """Return squared distances less the samples' squared norms: (M, n) for centres (M, d) and samples (n, d)."""
    return torch.addmm(centres.square().sum(1, keepdim=True), centres, part.T, alpha=-2)


def _to_samples(x: Tensor, norms: Tensor, centres: Tensor) -> Tensor:
    """Return the squared distances of the samples to one centre a start: (S, N) for centres (S, d)."""
    parts = [_products(part, centres).add_(norms[rows]) for rows, part in _blocks(x, len(centres))]
    return torch.cat(parts, 1).clamp_(min=0)


def _potentials(x: Tensor, norms: Tensor, nearest: Tensor, candidates: Tensor) -> Tensor:
    """Return what the squared distances would sum to with each candidate: (S, trials) for candidates (S, trials, d)."""
    starts, trials, _ = candidates.shape
    total = torch.zeros(starts, trials, dtype=torch.float64, device=x.device)
    for rows, part in _blocks(x, starts * trials):
        distances = _products(part, candidates.flatten(0, 1)).add_(norms[rows]).clamp_(min=0).view(starts, trials, -1)
        total += torch.minimum(distances, nearest[:, None, rows], out=distances).sum(2, dtype=torch.float64)
    return total


def _assign(x: Tensor, norms: Tensor, centres: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Assign each sample to its nearest centre in each start.

    Returns:
        Labels (S, N) int32, squared distances (S, N), sums (S, k, d) and counts (S, k) of the clusters' samples.
    """
    starts, k, _ = centres.shape
    labels = torch.empty(starts, len(x), dtype=torch.int32, device=x.device)
    distances = torch.empty(starts, len(x), device=x.device)
    sums, counts = torch.zeros_like(centres), torch.zeros(starts, k, device=x.device)
    for rows, part in _blocks(x, starts * k):
        block = _products(part, centres.flatten(0, 1)).view(starts, k, -1)
        nearest, index = block.min(1)
        labels[:, rows], distances[:, rows] = index, (nearest + norms[rows]).clamp(min=0)
        one_hot = block.zero_().scatter_(1, index.unsqueeze(1), 1.0)  # in the block's memory
        sums += (one_hot.flatten(0, 1) @ part).view_as(sums)
        counts += one_hot.sum(2)
    return labels, distances, sums, counts


def _fill_empty(x: Tensor, labels: Tensor, distances: Tensor, sums: Tensor, counts: Tensor) -> None:
    """Give each empty cluster the farthest sample that is left, as scikit-learn does; change sums and counts."""
    empty = (counts == 0) & (distances.amax(1, keepdim=True) > 0)  # at distance 0 there is nothing to move
    start, cluster = empty.nonzero(as_tuple=True)
    if not len(start):
        return
    rank = empty.cumsum(1)[start, cluster] - 1
    sample = distances.topk(int(rank.max()) + 1, 1).indices[start, rank]
    former = labels[start, sample].long()
    sums.index_put_((start, former), -x[sample], accumulate=True)
    counts.index_put_((start, former), -torch.ones_like(sample, dtype=counts.dtype), accumulate=True)
    sums[start, cluster], counts[start, cluster] = x[sample], 1.0


def _inertia(x: Tensor, labels: Tensor, centres: Tensor) -> Tensor:
    """Return the sums of squared distances to the assigned centres, from differences: (S,) float64."""
    starts, _, d = centres.shape
    row = torch.arange(starts, device=x.device)[:, None]
    total = torch.zeros(starts, dtype=torch.float64, device=x.device)
    for rows, part in _blocks(x, starts * d):
        total += (centres[row, labels[:, rows].long()] - part).square_().sum((1, 2), dtype=torch.float64)
    return total
