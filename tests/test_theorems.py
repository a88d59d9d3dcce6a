"""What a linear jigsaw can and cannot do: each statement of the book's page, as a test.

In float64, so that 1e-6 and less is a statement about functions and not about rounding.
"""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.functional import jacobian

from pgjr_lib.controls import Blur, Permuted
from pgjr_lib.jigsaw import GridJigsaw, divide_blocks, divide_grids, reassemble
from pgjr_lib.models import EMBEDDING_MAP, GJR, PGJR


def drawn(module: nn.Module) -> nn.Module:
    """Any parameters: all drawn anew, and the running variances kept positive; float64."""
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                value.normal_().abs_().add_(0.1) if "var" in name else value.normal_()
    return module.double()


# ---- 1. with shared weights, before average pooling ----


@pytest.mark.parametrize("mode", ["surround", "reference", "sequential"])
@pytest.mark.parametrize("combine", ["replace", "residual"])
def test_layer4_jigsaw_is_weighted_pooling(mode, combine):
    """P(pool(J(Z))) = P(sum_j w_j mean(G_j) + b), with n^2 scalars w_j that do not depend on the channel."""
    n, size = 2, 32
    jigsaw = drawn(GridJigsaw(n, 1, mode, combine))
    model = GJR("thin", jigsaw, at="layer4", dim=16).double().eval()
    maps = []
    jigsaw.register_forward_pre_hook(lambda _, inputs: maps.append(inputs[0]))
    f = model(torch.randn(5, 3, size, size, dtype=torch.float64))
    z = maps[0]  # (5, 128, 4, 4)

    grid = torch.arange(z.shape[-1]) % n  # a grid is one pixel: its row and its column within its block
    weight = jigsaw.matrix().detach().sum(0) / n**2  # column sums: how much the mean of all grids takes of each
    if combine == "residual":
        weight = weight + 1 / n**2
    means = torch.stack([z[:, :, grid == r, :][..., grid == c].mean((2, 3)) for r in range(n) for c in range(n)])
    pooled = torch.einsum("j,jbc->bc", weight, means) + jigsaw.offset().mean()
    assert weight.shape == (n * n,)
    torch.testing.assert_close(f, F.normalize(model.project(pooled), dim=1), rtol=0, atol=1e-6)


def test_after_layer4_exchanging_blocks_changes_nothing():
    """A corollary: only a position's place within its block counts, never which block it lies in."""
    jigsaw, z = drawn(GridJigsaw(2, 1)), torch.randn(2, 5, 4, 4, dtype=torch.float64)
    exchanged = z.roll(2, dims=3)
    torch.testing.assert_close(jigsaw(z).mean((2, 3)), jigsaw(exchanged).mean((2, 3)), rtol=0, atol=1e-12)
    within = z.roll(1, dims=3)  # moves grids within blocks too
    assert not torch.allclose(jigsaw(z).mean((2, 3)), jigsaw(within).mean((2, 3)), atol=1e-3)


def test_a_nonlinearity_after_the_jigsaw_ends_the_weighted_pooling():
    """Where layer4 follows (equation 6), features are no affine function of the jigsaw's map any more."""
    model = GJR("thin", drawn(GridJigsaw(2, 1)), at="layer3", dim=8).double().eval()
    a, b = torch.randn(2, 1, 64, 4, 4, dtype=torch.float64)

    def pooled(z):
        return model.layer4(model.jigsaw(z)).mean((2, 3))

    affine = (pooled(a) + pooled(b)) / 2
    assert (pooled((a + b) / 2) - affine).norm() > 0.01 * affine.norm()


# ---- 2. between linear maps ----


@pytest.mark.parametrize("combine", ["replace", "residual", "concat"])
def test_affine_chain_is_one_affine_map(combine):
    """W J(L c) is one affine map of c, and a chain without the jigsaw already has it."""
    D, shape, d = 7, (3, 4, 6), 5
    length = shape[0] * shape[1] * shape[2]
    L, J = drawn(nn.Linear(D, length)), drawn(GridJigsaw(2, 1, combine=combine))
    W = drawn(nn.Linear(length * (2 if combine == "concat" else 1), d))
    c = torch.randn(20, D, dtype=torch.float64)

    def chain(c):
        return W(J(L(c).unflatten(1, shape)).flatten(1))

    origin = chain(torch.zeros(1, D, dtype=torch.float64))
    one_map = chain(torch.eye(D, dtype=torch.float64)) - origin  # (D, d)
    torch.testing.assert_close(chain(c), c @ one_map + origin, rtol=1e-9, atol=1e-6)

    without = nn.Linear(length, d).double()  # W' = W J: the jigsaw goes into the next layer's weights
    with torch.no_grad():
        zero = J(torch.zeros(1, *shape, dtype=torch.float64)).flatten(1)
        basis = J(torch.eye(length, dtype=torch.float64).unflatten(1, shape)).flatten(1) - zero
        without.weight.copy_((basis @ W.weight.T).T)
        without.bias.copy_(W(zero)[0])
    torch.testing.assert_close(without(L(c)), chain(c), rtol=1e-9, atol=1e-6)


# ---- 3. on an embedding there is no space ----


def unpermuted(model: PGJR, permutation: torch.Tensor) -> PGJR:
    """A model without permutation that computes what ``model``, whose jigsaw is Permuted, computes.

    The learned map's rows are written in the permuted order to begin with; the statistics and weights behind
    the jigsaw are read in that order.
    """
    twin = copy.deepcopy(model)
    twin.jigsaw = twin.jigsaw.inner
    C, H, W = EMBEDDING_MAP
    order = torch.arange(C * H * W).view(C, H * W)[:, permutation].flatten()
    branch = slice(model.project.in_features - C * H * W, None)  # behind the embedding, where there is one
    with torch.no_grad():
        for tensor in (*twin.to_map[0].parameters(), *twin.phi[1].parameters(), *twin.phi[1].buffers()):
            if tensor.ndim:
                tensor.copy_(tensor[order].clone())
        twin.project.weight[:, branch] = twin.project.weight[:, branch][:, order].clone()
    return twin


@pytest.mark.parametrize("branch", ["supplement", "replace"])
def test_permuting_an_embedding_map_leaves_the_family_unchanged(branch):
    """For any parameters of the permuted model there are parameters of the plain one with the same outputs.

    They start from the same (i.i.d.) distribution and stay together in training, so a difference between the
    two on an embedding map is chance.
    """
    D, (_, H, W) = 6, EMBEDDING_MAP
    for seed in range(3):
        torch.manual_seed(seed)
        permutation = torch.randperm(H * W)
        jigsaw = Permuted(GridJigsaw(2, 2), permutation)
        model = drawn(PGJR(D, jigsaw=jigsaw, map="embedding", branch=branch, dim=5))
        twin = unpermuted(model, permutation)
        c = torch.randn(9, D, dtype=torch.float64)
        torch.testing.assert_close(twin.eval()(c), model.eval()(c), rtol=0, atol=1e-10)
        target = torch.randn(9, 5, dtype=torch.float64)
        optimizers = [torch.optim.SGD(m.train().parameters(), 0.1, momentum=0.9) for m in (model, twin)]
        for _ in range(3):
            for each, optimizer in zip((model, twin), optimizers, strict=True):
                optimizer.zero_grad()
                (each(c) * target).sum().backward()
                optimizer.step()
        torch.testing.assert_close(twin.eval()(c), model.eval()(c), rtol=0, atol=1e-8)
        straight = copy.deepcopy(model)
        straight.jigsaw = straight.jigsaw.inner  # the permutation does act: leaving it out is something else
        assert not torch.allclose(straight.eval()(c), model(c), atol=1e-3)


# ---- 4. on a spatial map there is ----


def matrix(operator: nn.Module, H: int, W: int) -> torch.Tensor:
    """The linear part of an operator on one channel: (H*W, H*W)."""
    z = torch.zeros(1, 1, H, W, dtype=torch.float64)
    return jacobian(operator, z).reshape(H * W, H * W)


def family(n: int, g: int, H: int, W: int) -> torch.Tensor:
    """A basis of all {J_A : A any n^2 x n^2 matrix}, the identity among them: (n^4, (H*W)^2)."""
    jigsaw = GridJigsaw(n, g, combine="replace").double()
    jigsaw.mask.fill_(1.0)  # the diagonal too: a larger family than any mode's
    basis = []
    for entry in range(n**4):
        with torch.no_grad():
            jigsaw.weight.copy_(torch.eye(n**4, dtype=torch.float64)[entry].view(n * n, n * n))
        basis.append(matrix(jigsaw, H, W).flatten())
    return torch.stack(basis)


def outside(basis: torch.Tensor, wanted: torch.Tensor) -> float:
    """The share of ``wanted`` that lies outside the span of ``basis``, in [0, 1]."""
    orthonormal, _ = torch.linalg.qr(basis.T)
    rest = wanted - orthonormal @ (orthonormal.T @ wanted)
    return (rest.norm() / wanted.norm()).item()


@pytest.mark.parametrize(("n", "g", "H", "W"), [(2, 1, 4, 4), (2, 2, 8, 8), (3, 1, 6, 6)])
def test_permuting_a_spatial_map_changes_the_family(n, g, H, W):
    """Permuted(J_A) is no J_A' whatever A' is; nor does re-ordering the outputs, which W could do, make it one."""
    basis = family(n, g, H, W)
    assert torch.linalg.matrix_rank(basis) == n**4
    jigsaw = drawn(GridJigsaw(n, g))
    assert outside(basis, matrix(jigsaw, H, W).flatten()) < 1e-10  # the family does hold what it should
    permutation = torch.randperm(H * W)
    permuted = matrix(Permuted(jigsaw, permutation), H, W)
    assert outside(basis, permuted.flatten()) > 0.5

    # every output of J_A' reads one block only; some output of the permuted one reads several
    s = n * g
    block = torch.arange(H).div(s, rounding_mode="floor")[:, None] * W + torch.arange(W).div(s, rounding_mode="floor")

    def blocks_read(row):
        return len(block.flatten()[row != 0].unique())

    assert max(blocks_read(row) for row in matrix(jigsaw, H, W)) == 1
    assert max(blocks_read(row) for row in permuted) > 1


def test_permuting_grids_alike_in_every_block_stays_in_the_family():
    """The one kind of permutation that a jigsaw absorbs; without it the test above could not tell."""
    n, H, W = 2, 4, 4
    within, places = torch.tensor([2, 0, 3, 1]), torch.arange(H * W).view(H, W)
    permutation = places.clone()
    for top in range(0, H, n):
        for left in range(0, W, n):
            inside = places[top : top + n, left : left + n].flatten()
            permutation[top : top + n, left : left + n] = inside[within].view(n, n)
    jigsaw = drawn(GridJigsaw(n, 1))
    permuted = matrix(Permuted(jigsaw, permutation.flatten()), H, W)
    assert not torch.allclose(permuted, matrix(jigsaw, H, W))
    assert outside(family(n, 1, H, W), permuted.flatten()) < 1e-10


# ---- 5. what it is at its start ----


def start(n: int, g: int, combine: str = "residual") -> GridJigsaw:
    """A jigsaw as it starts, without the noise: A_rj = 1/(m - 1) off the diagonal, b = 0; float64."""
    jigsaw = GridJigsaw(n, g, "surround", combine).double()
    torch.nn.init.constant_(jigsaw.weight, 1 / (n * n - 1))
    return jigsaw


def mean_and_deviation(z: torch.Tensor, n: int, g: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean of each block's grids, position by position, and what is left of the map; both as maps."""
    grids = divide_grids(divide_blocks(z, n * g), n)
    mean = reassemble(grids.mean(4, keepdim=True).expand_as(grids), n)
    return mean, z - mean


BLOCKS = pytest.mark.parametrize(("n", "g"), [(2, 1), (2, 2), (3, 1), (3, 2), (4, 1)])


@BLOCKS
def test_at_its_start_it_doubles_the_mean_and_shrinks_deviations(n, g):
    """J(z) = 2 mean + (m - 2)/(m - 1) deviation."""
    m = n * n
    z = torch.randn(2, 3, 2 * n * g, 3 * n * g, dtype=torch.float64)
    mean, deviation = mean_and_deviation(z, n, g)
    torch.testing.assert_close(start(n, g)(z), 2 * mean + (m - 2) / (m - 1) * deviation, rtol=0, atol=1e-12)


@BLOCKS
def test_replace_turns_deviations_round(n, g):
    """J(z) = mean - 1/(m - 1) deviation: what stood out above its block's mean now lies below it."""
    z = torch.randn(2, 3, 2 * n * g, 3 * n * g, dtype=torch.float64)
    mean, deviation = mean_and_deviation(z, n, g)
    expected = mean - deviation / (n * n - 1)
    torch.testing.assert_close(start(n, g, "replace")(z), expected, rtol=0, atol=1e-12)


def gain(operator: nn.Module, f: float, phases=tuple(math.pi * step / 8 for step in range(8)), side: int = 16) -> float:
    """<J z, z> / <z, z> for waves z of frequency f along a row, summed over phases, away from the border."""
    x = 2 * math.pi * f * torch.arange(side, dtype=torch.float64)
    z = torch.stack([torch.cos(x + phase).expand(1, side, side) for phase in phases])
    inside = (..., slice(4, -4), slice(4, -4))
    return ((operator(z) * z)[inside].sum() / z.square()[inside].sum()).item()


def test_grids_of_one_pixel_are_a_low_pass_and_larger_ones_a_comb():
    """n = 2: for g = 1 the gain falls from 2 to 2/3; for g = 2 it is back at 2 at the highest frequency."""
    low_pass, comb = start(2, 1), start(2, 2)
    gains = [gain(low_pass, f / 16) for f in range(9)]
    assert gains[0] == pytest.approx(2) and gains[-1] == pytest.approx(2 / 3)
    assert all(after < before for before, after in zip(gains, gains[1:], strict=False))
    assert [gain(comb, f) for f in (0, 1 / 4, 1 / 2)] == pytest.approx([2, 2 / 3, 2])
    assert [gain(comb, f / 32) for f in range(9)] == pytest.approx(gains)  # the same filter at half the frequency
    for operator, f in ((low_pass, 0), (low_pass, 1 / 2), (comb, 0), (comb, 1 / 4), (comb, 1 / 2)):
        assert gain(operator, f, [0.1]) == pytest.approx(gain(operator, f, [1.2]))  # there it knows no phase
    assert gain(low_pass, 1 / 4, [0.1]) != pytest.approx(gain(low_pass, 1 / 4, [1.2]), abs=0.1)  # elsewhere it does


@pytest.mark.parametrize("g", [1, 2, 3])
def test_averaged_over_the_places_of_its_blocks_the_start_is_the_blur(g):
    """n = 2: the mean of J over all s^2 shifts of the division is Blur, position by position."""
    s, jigsaw = 2 * g, start(2, g)
    z = torch.randn(1, 2, 6 * s, 6 * s, dtype=torch.float64)
    shifts = [(down, right) for down in range(s) for right in range(s)]
    shifted = [jigsaw(z.roll((d, r), (2, 3))).roll((-d, -r), (2, 3)) for d, r in shifts]
    inside = (..., slice(s, -s), slice(s, -s))  # away from where the rolled map wraps round
    torch.testing.assert_close(torch.stack(shifted).mean(0)[inside], Blur(2, g)(z)[inside], rtol=0, atol=1e-12)
    assert (shifted[0] - shifted[1])[inside].abs().max() > 0.1  # one division alone depends on where it begins


# ---- 6. behind a BatchNorm ----


@pytest.mark.parametrize("combine", ["replace", "residual", "concat"])
@pytest.mark.parametrize("map", ["spatial", "embedding"])
def test_behind_batchnorm_the_bias_has_no_gradient(combine, map):
    """phi's BatchNorm subtracts the batch's mean position by position, and b is a part of that mean."""
    shape = (3, 4, 6)
    jigsaw = drawn(GridJigsaw(2, 1, combine=combine))
    model = drawn(PGJR(6, shape, jigsaw, map=map, dim=5)).train()
    c, z = torch.randn(9, 6, dtype=torch.float64), torch.randn(9, *shape, dtype=torch.float64)
    target = torch.randn(9, 5, dtype=torch.float64)
    (model(c, z) * target).sum().backward()
    assert jigsaw.weight.grad.norm() > 1e-3
    assert jigsaw.bias.grad.norm() < 1e-12 * jigsaw.weight.grad.norm()

    model.zero_grad()  # in evaluation the statistics are fixed numbers, and b counts
    (model.eval()(c, z) * target).sum().backward()
    assert jigsaw.bias.grad.norm() > 1e-3
