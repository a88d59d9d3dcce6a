"""Implement equations 8 to 12: instance discrimination over a memory bank, and feature decorrelation.

After Tao, Takagi and Nakata, "Clustering-friendly Representation Learning via Instance Discrimination and
Feature Decorrelation" (ICLR 2021), and its published code.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class SinglePassInstanceLoss(torch.autograd.Function):
    """Compute equations 8 and 9 in one pass over the bank, exactly, with the memory of one chunk.

    The bank needs no gradient, so the derivative by f, (sum_i p(i|f) v_i - v_target) / (tau B), can be accumulated
    together with the log-sum-exp: both are sums over the bank, rescaled when the running maximum rises. The (B, N)
    matrix of logits never exists, and the backward pass costs one multiplication.
    """

    @staticmethod
    def forward(ctx, f: Tensor, index: Tensor, bank: Tensor, temperature: float, chunk: int) -> Tensor:
        q = f / temperature
        top = torch.full((len(f), 1), -torch.inf, dtype=f.dtype, device=f.device)  # running maximum
        total = torch.zeros_like(top)  # sum of exp(logit - top)
        pull = torch.zeros_like(f)  # sum of exp(logit - top) * v
        for v in bank.split(chunk):
            logits = q @ v.T  # (B, chunk)
            risen = torch.maximum(top, logits.amax(1, keepdim=True))
            weights = logits.sub_(risen).exp_()
            shrink = (top - risen).exp_()
            total.mul_(shrink).add_(weights.sum(1, keepdim=True))
            pull.mul_(shrink).addmm_(weights, v)
            top = risen
        target = bank[index]
        loss = (top + total.log()).squeeze(1) - (q * target).sum(1)
        ctx.save_for_backward((pull / total - target) / (temperature * len(f)))
        return loss.mean()

    @staticmethod
    @once_differentiable  # the accumulated gradient has no graph of its own
    def backward(ctx, grad: Tensor):
        (by_f,) = ctx.saved_tensors
        return grad * by_f, None, None, None, None


class SampledInstanceLoss(torch.autograd.Function):
    """Estimate equations 8 and 9 from each target and a sample of the bank, with the gradient of the same pass.

    The sum over the bank is exp(target's logit) + w sum_j exp(logit_j) over the sampled rows j that are not the target,
    where w = (N - 1) / m and m is their number. ``rows`` names the sample: int64, in ascending order, each row once.
    """

    @staticmethod
    def forward(ctx, f: Tensor, index: Tensor, bank: Tensor, temperature: float, rows: Tensor) -> Tensor:
        q, v, target = f / temperature, bank[rows].to(f.dtype), bank[index].to(f.dtype)
        own = (q * target).sum(1, keepdim=True)  # the target's logit
        logits = q @ v.T  # (B, rows)
        place = torch.searchsorted(rows, index).clamp_max(len(rows) - 1)[:, None]
        drawn = (rows[place] == index[:, None]).to(f.dtype)  # 1 where the sample holds the target, which must not count twice
        logits.scatter_add_(1, place, torch.where(drawn > 0, -torch.inf, drawn))
        weight = ((len(bank) - 1) / (len(rows) - drawn).clamp_min(1)).log()  # log w
        top = torch.maximum(logits.amax(1, keepdim=True) + weight, own)
        terms, first = logits.sub_(top - weight).exp_(), (own - top).exp_()
        total = terms.sum(1, keepdim=True).add_(first)
        pull = torch.addmm(first * target, terms, v)  # sum of weights * v, as in a full pass
        ctx.save_for_backward((pull / total - target) / (temperature * len(f)))
        return (top + total.log() - own).mean()

    backward = staticmethod(SinglePassInstanceLoss.backward)  # it saves the same: the gradient by f


LOGITS_BYTES = 64 * 2**20  # a block of logits on a GPU
CPU_CHUNK = 1024  # rows of the bank whose block of logits fits a core's second-level cache


def default_chunk(batch: int, device) -> int:
    """Return the rows of the bank to take at a time, for a batch of ``batch`` features in float32."""
    return CPU_CHUNK if torch.device(device).type == "cpu" else max(1, LOGITS_BYTES // (4 * batch))


def instance_discrimination(
    f: Tensor, index: Tensor, bank: Tensor, temperature: float, chunk: int | None = None, negatives: int | None = None
) -> Tensor:
    """Compute equations 8 and 9: L_I = -mean log softmax_i(V f / tau1) at each sample's own entry.

    With ``negatives`` the sum over the bank is estimated from a sample of it (:func:`sampled_instance_discrimination`).

    Args:
        f: (B, d) features on the unit sphere; computed in float32, or float64 if given.
        index: (B,) int64 in [0, N), the row of each sample in the bank.
        bank: (N, d), the memory bank V (a :class:`MemoryBank`'s ``vectors``); receives no gradient.
        temperature: tau1 > 0, a number; receives no gradient.
        chunk: rows of the bank taken at a time; None takes :func:`default_chunk`. It changes memory and speed, and the
            result only by rounding.
        negatives: rows of the bank to draw afresh, at least 1; None, or as many as there are, takes all, exactly.

    Returns:
        A scalar, with a first derivative only.

    Raises:
        ValueError: shapes that do not fit, an empty batch, or a temperature that is not positive.
    """
    if f.ndim != 2 or bank.ndim != 2 or f.shape[1] != bank.shape[1]:
        raise ValueError(
            f"features {tuple(f.shape)} and bank {tuple(bank.shape)} must be (B, d) and (N, d) with one d."
        )
    if index.shape != f.shape[:1] or not len(f):
        raise ValueError(
            f"index of shape {tuple(index.shape)} must name one bank row for each of {len(f)} >= 1 features."
        )
    if index.dtype != torch.int64:
        raise ValueError(f"index is of {index.dtype}, but names rows by int64.")
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}, but must be positive.")
    dtype = torch.float64 if f.dtype == torch.float64 else torch.float32
    with torch.autocast(f.device.type, enabled=False):  # in half precision, a log-sum-exp over N terms loses the small ones
        if negatives is not None and negatives < len(bank):
            return sampled_instance_discrimination(f.to(dtype), index, bank.detach(), temperature, negatives)
        chunk = chunk or default_chunk(len(f), f.device)
        return SinglePassInstanceLoss.apply(f.to(dtype), index, bank.detach().to(dtype), temperature, chunk)


def sampled_instance_discrimination(f: Tensor, index: Tensor, bank: Tensor, temperature: float, negatives: int) -> Tensor:
    """Estimate equations 8 and 9 from each sample's own entry and a fresh uniform sample of the bank's other rows.

    The batch shares the sample. Each of its m rows that are not the target stands for (N - 1) / m rows, which adds
    log((N - 1) / m) to its logit (sampled softmax; Jean et al., 2015), so that the estimated sum is unbiased. Time and
    memory do not depend on N.

    Args:
        f, index, bank, temperature: as :func:`instance_discrimination`, with at least two rows in the bank.
        negatives: rows to draw, from torch's global generator; those drawn twice count once.

    Returns:
        A scalar, with a first derivative only.
    """
    rows = torch.randint(len(bank), (negatives,), device=f.device).unique()  # in ascending order
    return SampledInstanceLoss.apply(f, index, bank, temperature, rows)


def feature_decorrelation(f: Tensor, temperature: float) -> Tensor:
    """Compute equation 10: L_F = -mean_l log softmax_l(u_l^T U / tau2), where U has the columns of f, normalised.

    It discriminates the d feature columns as equation 9 discriminates instances. IDFD's paper sums over l, its code
    takes the mean, and so do we.

    Args:
        f: (B, d) features.
        temperature: tau2 > 0.

    Returns:
        A scalar.

    Raises:
        ValueError: not a matrix, an empty batch, or a temperature that is not positive.
    """
    if f.ndim != 2 or not len(f):
        raise ValueError(f"features {tuple(f.shape)} must be (B, d) with at least one row.")
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}, but must be positive.")
    with torch.autocast(f.device.type, enabled=False):
        U = F.normalize(f if f.dtype == torch.float64 else f.float(), dim=0)  # (B, d), over the batch
        return F.cross_entropy(U.T @ U / temperature, torch.arange(f.shape[1], device=f.device))


class MemoryBank(nn.Module):
    """The memory bank V of equations 8 and 12: one vector for each sample.

    Args:
        size: N, the number of samples.
        dim: d, the feature dimension.
        momentum: mu in [0, 1), the weight of the old vector in an update.

    The vectors start uniform in +-1/sqrt(d/3) and are not normalised until they are first written, as in IDFD's code.
    :meth:`write` starts them from features instead.
    """

    def __init__(self, size: int, dim: int, momentum: float = 0.5):
        super().__init__()
        if size < 1 or dim < 1:
            raise ValueError(f"a bank of {size} vectors of {dim} numbers was asked for, but it needs at least one of each.")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum is {momentum}, but must lie in [0, 1).")
        self.momentum = momentum
        bound = (dim / 3) ** -0.5
        self.register_buffer("vectors", torch.empty(size, dim).uniform_(-bound, bound))

    @torch.no_grad()
    def write(self, f: Tensor) -> None:
        """Set the whole bank to the features ``f`` (N, d), normalised; ValueError for another shape."""
        if f.shape != self.vectors.shape:
            raise ValueError(f"features {tuple(f.shape)} do not fill a bank of {tuple(self.vectors.shape)}.")
        self.vectors.copy_(F.normalize(f.to(self.vectors.dtype), dim=1))

    @torch.no_grad()
    def update(self, index: Tensor, f: Tensor) -> None:
        """Apply equation 12: v_i <- normalise(mu v_i + (1 - mu) f_i), for the rows ``index`` (B,) and features (B, d).

        Raises:
            ValueError: not one feature of the bank's dimension for each row, or rows not named by int64.
        """
        if index.dtype != torch.int64:
            raise ValueError(f"index is of {index.dtype}, but names rows by int64.")
        if f.shape != (len(index), self.vectors.shape[1]):
            raise ValueError(f"features {tuple(f.shape)} are not one row for each of {len(index)} of the bank's rows.")
        mixed = self.momentum * self.vectors[index] + (1 - self.momentum) * f.to(self.vectors.dtype)
        self.vectors[index] = F.normalize(mixed, dim=1)
