"""Equations 8 to 12: against materialised logits and plain loops."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from pgjr_lib.losses import (
    MemoryBank,
    default_chunk,
    feature_decorrelation,
    instance_discrimination,
    sampled_instance_discrimination,
)


def batch(B, N, d, dtype=torch.float64, seed=0):
    """Features on the sphere, their rows and a bank: half of it on the sphere, half as the bank starts."""
    rng = torch.Generator().manual_seed(seed)
    f = F.normalize(torch.randn(B, d, generator=rng, dtype=torch.float64), dim=1)
    bank = torch.randn(N, d, generator=rng, dtype=torch.float64)
    bank[::2] = F.normalize(bank[::2], dim=1)
    index = torch.randint(N, (B,), generator=rng)
    return f.to(dtype).requires_grad_(), index, bank.to(dtype)


def materialised(f, index, bank, temperature):
    """Equation 9 by the whole (B, N) matrix of logits."""
    return F.cross_entropy(f @ bank.T / temperature, index)


def loss_and_gradient(function, f, *rest, upstream=1.0):
    loss = function(f, *rest)
    (gradient,) = torch.autograd.grad(upstream * loss, f)
    return loss.detach(), gradient


# ---- equations 8 and 9 ----


@given(
    B=st.integers(1, 9),
    N=st.integers(1, 70),
    d=st.integers(1, 8),
    chunk=st.integers(1, 80),
    temperature=st.sampled_from([0.05, 0.1, 0.5, 1.0, 3.0]),
    upstream=st.sampled_from([1.0, -2.5]),
    seed=st.integers(0, 2**16),
)
def test_single_pass_equals_materialised_cross_entropy(B, N, d, chunk, temperature, upstream, seed):
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        f, index, bank = batch(B, N, d, dtype, seed)
        loss, gradient = loss_and_gradient(
            instance_discrimination, f, index, bank, temperature, chunk, upstream=upstream
        )
        # the reference is computed in float64 from the same numbers, so that only our rounding is judged
        truth = f.detach().double().requires_grad_()
        expected, by_f = loss_and_gradient(materialised, truth, index, bank.double(), temperature, upstream=upstream)
        largest_logit = (truth.abs() @ bank.double().abs().T).max().item() / temperature
        assert loss.dtype == gradient.dtype == dtype
        assert abs(loss.item() - expected.item()) <= tolerance * max(1.0, largest_logit)
        assert (gradient - by_f).abs().max() <= tolerance * max(1.0, largest_logit) * max(1.0, by_f.abs().max())


@pytest.mark.parametrize("chunk", [1, 7, 100, 1000, 5000])
def test_float32_stays_within_1e_6_at_the_papers_sizes(chunk):
    f, index, bank = batch(64, 1000, 128, torch.float32)
    bank = F.normalize(bank, dim=1)
    loss, gradient = loss_and_gradient(instance_discrimination, f, index, bank, 0.1, chunk)
    expected, by_f = loss_and_gradient(materialised, f, index, bank, 0.1)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gradient, by_f, rtol=1e-6, atol=1e-6)


@given(B=st.integers(1, 6), N=st.integers(2, 40), seed=st.integers(0, 2**16))
def test_a_sample_of_all_rows_is_exact(B, N, seed):
    f, index, bank = batch(B, N, 5, seed=seed)
    exact = loss_and_gradient(instance_discrimination, f, index, bank, 0.5)
    for negatives in (N, N + 3):
        ours = loss_and_gradient(instance_discrimination, f, index, bank, 0.5, None, negatives)
        torch.testing.assert_close(ours, exact, rtol=0, atol=0)


def test_a_sample_that_happens_to_hold_every_row_is_exact_too(monkeypatch):
    f, index, bank = batch(4, 9, 5)
    monkeypatch.setattr(torch, "randint", lambda high, size, device: torch.arange(9))
    ours = loss_and_gradient(lambda f: sampled_instance_discrimination(f, index, bank, 0.3, 9), f)
    torch.testing.assert_close(ours, loss_and_gradient(materialised, f, index, bank, 0.3), rtol=1e-12, atol=1e-12)


def sampled_by_loops(f, index, bank, temperature, rows):
    """The estimate, sample by sample: the target, and each other row drawn in the place of (N - 1) / m."""
    losses = []
    for feature, target in zip(f, index.tolist(), strict=True):
        logits = bank @ feature / temperature
        others = [row for row in rows if row != target]
        parts = [logits[target], *(logits[row] + math.log((len(bank) - 1) / len(others)) for row in others)]
        losses.append(torch.stack(parts).logsumexp(0) - logits[target])
    return torch.stack(losses).mean()


@pytest.mark.parametrize("scale", [1.0, 1e4])  # the second has logits whose exponential overflows
def test_the_sampled_loss_and_its_gradient_are_those_of_the_formula(monkeypatch, scale):
    f, index, bank = batch(6, 40, 5)
    rows = [3, 8, 8, 21, 37]
    index[:4] = torch.tensor([8, 37, 0, 39])  # in the sample, its last, before its first, after its last
    monkeypatch.setattr(torch, "randint", lambda high, size, device: torch.tensor(rows))
    ours = loss_and_gradient(lambda f: sampled_instance_discrimination(f, index, scale * bank, 0.3, 5), f)
    plain = loss_and_gradient(lambda f: sampled_by_loops(f, index, scale * bank, 0.3, sorted(set(rows))), f)
    torch.testing.assert_close(ours, plain, rtol=1e-11, atol=1e-11)
    single = f.detach().float().requires_grad_()
    in_float32 = loss_and_gradient(lambda f: sampled_instance_discrimination(f, index, (scale * bank).float(), 0.3, 5), single)
    torch.testing.assert_close(in_float32, tuple(value.float() for value in ours), rtol=1e-4, atol=1e-4 * scale)


def test_the_sampled_sum_over_the_bank_is_unbiased():
    """exp(loss) times the target's own share is the sum over the bank; its mean over samples is the true one."""
    f, index, bank = batch(3, 50, 4)
    own = (f * bank[index]).sum(1)
    total = (f @ bank.T).exp().sum(1)
    torch.manual_seed(0)
    sums = torch.stack([
        torch.stack([(sampled_instance_discrimination(f[[i]], index[[i]], bank, 1.0, 10) + own[i]).exp() for i in range(3)])
        for _ in range(4000)
    ])  # fmt: skip
    error = sums.std(0) / 4000**0.5
    assert ((sums.mean(0) - total).abs() < 4 * error).all() and (sums.std(0) > 0).all()


def test_the_target_never_counts_twice(monkeypatch):
    f, index, bank = batch(2, 30, 4)
    index[:] = 7
    monkeypatch.setattr(torch, "randint", lambda high, size, device: torch.tensor([7, 7, 7]))  # the sample is the target alone
    assert sampled_instance_discrimination(f, index, bank, 1.0, 3).item() == pytest.approx(0)


def test_the_gradient_is_the_derivative():
    f, index, bank = batch(3, 11, 4)
    assert torch.autograd.gradcheck(lambda f: instance_discrimination(f, index, bank, 0.5, 4), f)


@pytest.mark.parametrize("rising", [True, False])
def test_huge_logits_neither_overflow_nor_vanish(rising):
    f = torch.ones(2, 1, dtype=torch.float64, requires_grad=True)
    bank = torch.linspace(-1e5, 1e5, 50, dtype=torch.float64)[:, None]
    bank = bank if rising else bank.flip(0)
    index = torch.tensor([0, 49])
    found = loss_and_gradient(instance_discrimination, f, index, bank, 1.0, 3)
    for got, expected in zip(found, loss_and_gradient(materialised, f, index, bank, 1.0), strict=True):
        assert torch.isfinite(got).all()
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


def test_the_bank_receives_no_gradient():
    f, index, bank = batch(3, 11, 4)
    bank.requires_grad_()
    instance_discrimination(f, index, bank, 0.5).backward()
    assert bank.grad is None and f.grad is not None


def test_half_precision_features_are_summed_in_float32():
    f, index, bank = batch(4, 300, 8, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        inside = instance_discrimination(f, index, bank, 0.1, 64)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, instance_discrimination(f, index, bank, 0.1, 64))
    half = f.detach().bfloat16().requires_grad_()
    loss, gradient = loss_and_gradient(instance_discrimination, half, index, bank, 0.1, 64)
    assert loss.dtype == torch.float32 and gradient.dtype == torch.bfloat16
    torch.testing.assert_close(loss, instance_discrimination(half.float(), index, bank, 0.1, 64).detach())


def test_the_matrix_of_logits_never_exists():
    class Largest(TorchDispatchMode):
        """Remembers the size of the largest tensor any operation has made, views aside."""

        numel = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            outputs = [out] if isinstance(out, torch.Tensor) else [t for t in out or () if isinstance(t, torch.Tensor)]
            made = [t.numel() for t in outputs if t._base is None and not func.is_view]
            self.numel = max([self.numel, *made])
            return out

    B, N, d, chunk = 32, 5000, 4, 100
    f, index, bank = batch(B, N, d, torch.float32)
    with Largest() as seen:
        instance_discrimination(f, index, bank, 1.0, chunk).backward()
    assert seen.numel == B * chunk
    with Largest() as seen:
        materialised(f, index, bank, 1.0).backward()
    assert seen.numel == B * N  # so that the test would notice


@pytest.mark.parametrize(
    ("f", "index", "bank", "temperature", "message"),
    [
        ((2, 4), (2,), (9, 5), 1.0, r"features \(2, 4\) and bank \(9, 5\)"),
        ((2, 4, 1), (2,), (9, 4), 1.0, "must be"),
        ((2, 4), (3,), (9, 4), 1.0, r"index of shape \(3,\)"),
        ((0, 4), (0,), (9, 4), 1.0, "for each of 0 >= 1 features"),
        ((2, 4), (2,), (9, 4), 0.0, "temperature is 0.0"),
        ((2, 4), (2,), (9, 4), math.nan, "temperature is nan"),
    ],
)
def test_instance_discrimination_refuses_what_does_not_fit(f, index, bank, temperature, message):
    with pytest.raises(ValueError, match=message):
        instance_discrimination(torch.ones(f), torch.zeros(index, dtype=torch.long), torch.ones(bank), temperature)


# ---- equation 10 ----


def naive_decorrelation(f, temperature):
    B, d = f.shape
    columns = [f[:, c] / f[:, c].square().sum().sqrt() for c in range(d)]
    total = 0.0
    for left in range(d):
        scores = [(columns[left] * columns[right]).sum() / temperature for right in range(d)]
        total = total - (scores[left] - torch.stack(scores).exp().sum().log())
    return total / d


@given(B=st.integers(2, 12), d=st.integers(1, 9), temperature=st.sampled_from([0.2, 1.0, 2.0]), seed=st.integers(0, 99))
def test_feature_decorrelation_agrees_with_plain_loops(B, d, temperature, seed):
    f, _, _ = batch(B, 1, d, seed=seed)
    found = loss_and_gradient(feature_decorrelation, f, temperature)
    for got, expected in zip(found, loss_and_gradient(naive_decorrelation, f, temperature), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    single = f.detach().float()
    torch.testing.assert_close(feature_decorrelation(single, temperature), found[0].float(), rtol=1e-6, atol=1e-6)


def test_feature_decorrelation_is_least_for_orthogonal_columns():
    d, tau = 4, 2.0
    orthogonal = torch.eye(8, d, dtype=torch.float64)
    least = math.log(math.exp(1 / tau) + d - 1) - 1 / tau
    assert feature_decorrelation(orthogonal, tau).item() == pytest.approx(least, rel=1e-12)
    same = torch.ones(8, d, dtype=torch.float64)
    assert feature_decorrelation(same, tau).item() == pytest.approx(math.log(d), rel=1e-12)
    with pytest.raises(ValueError, match="temperature is -1"):
        feature_decorrelation(same, -1)


# ---- equation 12 ----


def test_the_bank_starts_uniform_and_un_normalised():
    vectors, bound = MemoryBank(2000, 12).vectors, 0.5  # 1 / sqrt(12 / 3)
    assert vectors.abs().max() <= bound and vectors.abs().max() > 0.999 * bound
    assert vectors.mean().abs() < 0.01 and vectors.var().item() == pytest.approx(bound**2 / 3, rel=0.02)
    assert (vectors.norm(dim=1) - 1).abs().max() > 0.1


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_update_agrees_with_plain_loops_and_leaves_the_others_alone(momentum):
    bank, before = (b := MemoryBank(20, 6, momentum).double()), b.vectors.clone()
    f, _, _ = batch(5, 1, 6)
    index = torch.tensor([3, 17, 0, 9, 11])
    bank.update(index, f)
    for i in range(20):
        if i not in index.tolist():
            assert torch.equal(bank.vectors[i], before[i])
            continue
        row = f[index.tolist().index(i)].detach()
        mixed = [momentum * old + (1 - momentum) * new for old, new in zip(before[i], row, strict=True)]
        length = math.sqrt(sum(float(m) ** 2 for m in mixed))
        expected = torch.tensor([float(m) / length for m in mixed], dtype=torch.float64)
        torch.testing.assert_close(bank.vectors[i], expected, rtol=1e-12, atol=1e-12)


def test_write_sets_the_whole_bank_on_the_sphere():
    bank, f = MemoryBank(7, 3), 5 * torch.randn(7, 3)
    bank.write(f)
    torch.testing.assert_close(bank.vectors, f / f.norm(dim=1, keepdim=True))


@pytest.mark.parametrize("momentum", [-0.1, 1.0])
def test_a_momentum_that_never_forgets_is_refused(momentum):
    with pytest.raises(ValueError, match="momentum is"):
        MemoryBank(2, 2, momentum)


def test_there_is_no_second_derivative():
    f = F.normalize(torch.randn(4, 3, dtype=torch.float64), dim=1).requires_grad_()
    loss = instance_discrimination(f, torch.arange(4), torch.randn(6, 3, dtype=torch.float64), 0.5)
    (gradient,) = torch.autograd.grad(loss, f, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        gradient.square().sum().backward()


def test_a_bank_takes_only_what_fits_its_rows():
    bank = MemoryBank(5, 3)
    with pytest.raises(ValueError, match="do not fill a bank"):
        bank.write(torch.ones(1, 3))
    with pytest.raises(ValueError, match="not one row for each of 3"):
        bank.update(torch.arange(3), torch.ones(1, 3))
    with pytest.raises(ValueError, match="at least one row"):
        feature_decorrelation(torch.ones(0, 3), 2.0)


def test_rows_are_named_by_int64_and_a_bank_holds_something():
    f, bank = torch.nn.functional.normalize(torch.randn(3, 4), dim=1), MemoryBank(6, 4)
    for index in (torch.tensor([0.0, 1.0, 2.0]), torch.tensor([True, False, True]), torch.tensor([0, 1, 2], dtype=torch.uint8)):
        with pytest.raises(ValueError, match="names rows by int64"):
            instance_discrimination(f, index, bank.vectors, 1.0)
        with pytest.raises(ValueError, match="names rows by int64"):
            bank.update(index, f)
    for size, dim in ((0, 4), (6, 0)):
        with pytest.raises(ValueError, match="it needs at least one of each"):
            MemoryBank(size, dim)


def test_the_chunk_follows_device_and_batch():
    assert default_chunk(128, "cpu") == default_chunk(4096, "cpu") == 1024
    for batch in (1, 128, 100_000_000):
        rows = default_chunk(batch, "cuda")
        assert rows >= 1 and (4 * batch * rows <= 64 * 2**20 or rows == 1)
