"""Equations 1 to 4: against plain loops, and the properties that make a jigsaw a jigsaw."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd.functional import jacobian

from pgjr_lib.controls import ChannelMix, Permuted
from pgjr_lib.jigsaw import GridJigsaw, divide_blocks, divide_grids, reassemble

MODES = ("surround", "reference", "sequential")


# ---- an independent implementation: plain loops over positions, no shared code ----


def mirrored(i: int, size: int) -> int:
    """Reflection that does not repeat the edge: size, size + 1, ... are size - 2, size - 3, ..."""
    return i if i < size else 2 * (size - 1) - i


def order_of(n: int) -> list[tuple[int, int]]:
    """The pieces (row, column) from the reference outward: nearest first, ties in reading order."""
    reference = (n // 2, n // 2) if n % 2 else (0, 0)
    pieces = [(row, column) for row in range(n) for column in range(n)]
    return sorted(pieces, key=lambda p: (p[0] - reference[0]) ** 2 + (p[1] - reference[1]) ** 2)  # a stable sort


def naive_regression(jigsaw: GridJigsaw, z: torch.Tensor) -> torch.Tensor:
    """J with ``combine="replace"``, pixel by pixel."""
    n, g, A, b = jigsaw.n, jigsaw.g, jigsaw.weight.detach(), jigsaw.bias.detach()
    B, C, H, W = z.shape
    order, s, out = order_of(n), n * g, torch.zeros_like(z)
    for c in range(C):
        A_c, b_c = (A, b) if jigsaw.channels is None else (A[c], b[c])
        for y in range(H):
            for x in range(W):
                top, left = y // s * s, x // s * s  # the block's corner
                row, column = (y - top) // g, (x - left) // g  # the grid within the block
                dy, dx = (y - top) % g, (x - left) % g  # the pixel within the grid
                if jigsaw.mode == "surround":
                    seen = [p for p in order if p != (row, column)]
                elif jigsaw.mode == "reference":
                    seen = order[1:] if (row, column) == order[0] else None
                else:
                    seen = order[: order.index((row, column))] or None
                if seen is None:
                    out[:, c, y, x] = z[:, c, y, x]
                    continue
                r = row * n + column
                total = b_c[r].expand(B).clone()
                for i, k in seen:
                    yy, xx = mirrored(top + i * g + dy, H), mirrored(left + k * g + dx, W)
                    total += A_c[r, i * n + k] * z[:, c, yy, xx]
                out[:, c, y, x] = total
    return out


def randomised(jigsaw: GridJigsaw) -> GridJigsaw:
    """Every parameter drawn anew, the masked ones too, so that nothing hides behind the initialisation."""
    with torch.no_grad():
        for p in jigsaw.parameters():
            p.normal_()
    return jigsaw.double()


def as_matrix(jigsaw, C: int, H: int, W: int) -> torch.Tensor:
    """The Jacobian of J at any point (it is affine): (C*H*W, C*H*W)."""
    z = torch.randn(1, C, H, W, dtype=torch.float64)
    return jacobian(jigsaw, z).reshape(C * H * W, C * H * W)


# ---- equations 1, 2 and 4 ----

sizes = st.tuples(*[st.integers(1, 3)] * 4, st.integers(2, 4), st.integers(1, 4))


@given(sizes)
def test_division_then_reconstruction_is_the_identity(size):
    B, C, h, w, n, g = size
    s = n * g
    z = torch.randn(B, C, h * s, w * s)
    grids = divide_grids(divide_blocks(z, s), n)
    assert grids.shape == (B, C, h, w, n * n, g, g)
    assert torch.equal(reassemble(grids, n), z)
    assert torch.equal(divide_grids(divide_blocks(reassemble(grids, n), s), n), grids)


def test_blocks_and_grids_are_where_the_equations_say():
    n, g = 3, 2
    s = n * g
    z = torch.randn(2, 3, 2 * s, 4 * s)
    blocks = divide_blocks(z, s)
    grids = divide_grids(blocks, n)
    for i in range(2):
        for k in range(4):
            block = z[:, :, i * s : (i + 1) * s, k * s : (k + 1) * s]
            assert torch.equal(blocks[:, :, i, k], block)
            for r in range(n * n):
                row, column = divmod(r, n)
                grid = block[:, :, row * g : (row + 1) * g, column * g : (column + 1) * g]
                assert torch.equal(grids[:, :, i, k, r], grid)


# ---- equation 3 ----


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("channels", [None, 3])
@pytest.mark.parametrize(("n", "g", "H", "W"), [(2, 1, 4, 4), (2, 2, 7, 9), (3, 1, 6, 5), (3, 2, 11, 6), (4, 1, 5, 7)])
def test_agrees_with_plain_loops(mode, channels, n, g, H, W):
    z = torch.randn(2, 3, H, W, dtype=torch.float64)
    jigsaw = randomised(GridJigsaw(n, g, mode, "replace", channels))
    expected = naive_regression(jigsaw, z)
    torch.testing.assert_close(jigsaw(z), expected, rtol=0, atol=1e-12)
    float32 = jigsaw.float()(z.float()).double()
    assert (float32 - expected).abs().max() <= 1e-6 * expected.abs().max()
    jigsaw.double().combine = "residual"
    torch.testing.assert_close(jigsaw(z), z + expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("n", "g"), [(2, 1), (2, 2), (3, 1)])
def test_surround_never_sees_itself_but_sees_all_its_neighbours(n, g):
    s = n * g
    J = as_matrix(randomised(GridJigsaw(n, g, combine="replace")), 1, 2 * s, s)
    for y in range(2 * s):
        for x in range(s):
            for yy in range(2 * s):
                for xx in range(s):
                    value = J[y * s + x, yy * s + xx].item()
                    same_block, same_grid = y // s == yy // s, (y // g, x // g) == (yy // g, xx // g)
                    same_place = (y % g, x % g) == (yy % g, xx % g)
                    assert (value != 0) == (same_block and same_place and not same_grid)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_sequential_a_later_piece_never_changes_an_earlier_one(n):
    jigsaw = randomised(GridJigsaw(n, 1, "sequential", "replace"))
    z = torch.randn(1, 1, n, n, dtype=torch.float64)
    before, order = jigsaw(z), order_of(n)
    for later in range(n * n):
        changed = z.clone()
        changed[0, 0, *order[later]] += 1.0
        moved = (jigsaw(changed) != before)[0, 0]
        earlier = [bool(moved[piece]) for piece in order[:later]]
        assert not any(earlier)
        assert all(bool(moved[piece]) for piece in order[later + 1 :])  # and every later one sees it
        assert bool(moved[order[later]]) == (later == 0)  # only the first keeps itself
    assert before[0, 0, *order[0]] == z[0, 0, *order[0]]


@pytest.mark.parametrize(("n", "reference"), [(2, (0, 0)), (3, (1, 1)), (4, (0, 0)), (5, (2, 2))])
def test_reference_mode_regresses_one_grid_only(n, reference):
    z = torch.randn(1, 1, n, n)
    changed = (GridJigsaw(n, 1, "reference", "replace")(z) != z)[0, 0]
    assert changed.nonzero().tolist() == [list(reference)]


def test_each_channel_has_its_own_matrix_where_asked():
    z = torch.randn(2, 3, 4, 4)
    jigsaw = GridJigsaw(2, 1, combine="replace", channels=3)
    assert jigsaw.weight.shape == (3, 4, 4) and jigsaw.bias.shape == (3, 4)
    with torch.no_grad():
        jigsaw.bias.normal_()
    for c in range(3):
        shared = GridJigsaw(2, 1, combine="replace")
        shared.load_state_dict({"weight": jigsaw.weight[c], "bias": jigsaw.bias[c]})
        torch.testing.assert_close(jigsaw(z)[:, c : c + 1], shared(z[:, c : c + 1]))


def test_concat_stacks_the_map_and_its_regression():
    z, jigsaw = torch.randn(2, 3, 5, 6), GridJigsaw(2, 1, combine="concat")
    out = jigsaw(z)
    jigsaw.combine = "replace"
    assert out.shape == (2, 6, 5, 6)
    assert torch.equal(out, torch.cat([z, jigsaw(z)], dim=1))


def test_starts_as_the_mean_of_the_surround():
    n = 4
    jigsaw = GridJigsaw(n, 1, channels=500)
    off_diagonal = jigsaw.weight.detach()[:, ~torch.eye(n * n, dtype=torch.bool)]
    assert off_diagonal.mean().item() == pytest.approx(1 / (n * n - 1), abs=1e-3)
    assert off_diagonal.std().item() == pytest.approx(0.02, abs=1e-3)
    assert not jigsaw.bias.any()
    assert (jigsaw.matrix().diagonal(dim1=-2, dim2=-1) == 0).all()


def test_regression_error_is_the_mean_square_against_the_detached_grids():
    z = torch.randn(2, 3, 4, 6, dtype=torch.float64, requires_grad=True)
    jigsaw = randomised(GridJigsaw(2, 1, combine="replace"))
    error = jigsaw.regression_error(z)
    assert error.item() == pytest.approx(((jigsaw(z) - z) ** 2).mean().item(), rel=1e-12)
    (by_z,) = torch.autograd.grad(error, z)
    (expected,) = torch.autograd.grad(((jigsaw(z) - z.detach()) ** 2).mean(), z)
    torch.testing.assert_close(by_z, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_keeps_the_dtype_of_the_map(dtype):
    assert GridJigsaw(2, 1)(torch.randn(1, 2, 4, 4, dtype=dtype)).dtype == dtype


# ---- padding ----


@pytest.mark.parametrize(("H", "W"), [(5, 4), (4, 7), (7, 6), (9, 11)])
def test_padding_never_leaks_beyond_its_block(H, W):
    s = 4
    jigsaw = randomised(GridJigsaw(2, 2, combine="replace"))
    z = torch.randn(1, 2, H, W, dtype=torch.float64)
    whole_h, whole_w = H // s * s, W // s * s
    assert torch.equal(jigsaw(z)[..., :whole_h, :whole_w], jigsaw(z[..., :whole_h, :whole_w]))
    J = as_matrix(jigsaw, 1, H, W).reshape(H, W, H, W)
    for y in range(H):
        for x in range(W):
            rows = {mirrored(i, H) for i in range(y // s * s, y // s * s + s)}  # what fills its block
            columns = {mirrored(i, W) for i in range(x // s * s, x // s * s + s)}
            seen = J[y, x].nonzero().tolist()
            assert all(row in rows and column in columns for row, column in seen)


def test_maps_that_do_not_divide_are_refused_where_asked():
    with pytest.raises(ValueError, match=r"a map of 6x9 does not divide into blocks of 4x4 \(n=2, g=2\)"):
        GridJigsaw(2, 2, pad="error")(torch.zeros(1, 1, 6, 9))
    assert GridJigsaw(2, 2, pad="error")(torch.zeros(1, 1, 8, 4)).shape == (1, 1, 8, 4)


@pytest.mark.parametrize(("H", "W"), [(1, 4), (4, 2), (1, 1)])
def test_maps_too_small_to_reflect_are_refused(H, W):
    with pytest.raises(ValueError, match=f"a map of {H}x{W} is too small for blocks of 4x4"):
        GridJigsaw(2, 2)(torch.zeros(1, 1, H, W))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "ring"}, "mode='ring' is unknown: choose one of surround, reference, sequential"),
        ({"combine": "sum"}, "combine='sum' is unknown"),
        ({"pad": "zero"}, "pad='zero' is unknown"),
        ({"n": 1}, "n=1, g=1 given"),
        ({"g": 0}, "n=2, g=0 given"),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        GridJigsaw(**options)


# ---- the controls ----


@pytest.mark.parametrize("n", [2, 3])
def test_channel_mix_has_exactly_the_jigsaws_parameters(n):
    def shapes(module):
        return {name: p.shape for name, p in module.named_parameters()}

    assert shapes(ChannelMix(n)) == shapes(GridJigsaw(n))
    with pytest.raises(ValueError, match="no channel has a matrix of its own: leave channels None"):
        ChannelMix(n, channels=8)


@pytest.mark.parametrize("C", [4, 8, 6])
def test_channel_mix_mixes_channels_at_one_position_only(C):
    mix = randomised(ChannelMix(2, combine="replace"))
    z = torch.randn(2, C, 3, 5, dtype=torch.float64)
    out = mix(z)
    assert out.shape == z.shape
    A, b = mix.weight.detach(), mix.bias.detach()
    for c in range(C):
        first, r = c // 4 * 4, c % 4
        others = [j for j in range(4) if j != r and first + j < C]
        torch.testing.assert_close(out[:, c], b[r] + sum(A[r, j] * z[:, first + j] for j in others))
    assert ChannelMix(2, combine="concat")(z.float()).shape == (2, 2 * C, 3, 5)


def test_permuted_equals_permuting_by_hand():
    H, W = 4, 6
    z, inner, permutation = torch.randn(2, 3, H, W), GridJigsaw(2, 1, combine="replace"), torch.randperm(H * W)
    control = Permuted(inner, permutation)
    shuffled = torch.empty_like(z)
    for position, source in enumerate(permutation.tolist()):
        shuffled[..., position // W, position % W] = z[..., source // W, source % W]
    acted, expected = inner(shuffled), torch.empty_like(z)
    for position, source in enumerate(permutation.tolist()):
        expected[..., source // W, source % W] = acted[..., position // W, position % W]
    assert torch.equal(control(z), expected)
    assert not torch.allclose(control(z), inner(z))
    assert torch.equal(control.regression_error(z), inner.regression_error(shuffled))
    assert torch.equal(Permuted(inner, torch.arange(H * W))(z), inner(z))


def test_maps_of_other_channels_or_of_integers_are_refused():
    with pytest.raises(ValueError, match="of 1 channels given, but 64"):
        GridJigsaw(channels=64)(torch.randn(2, 1, 4, 4))
    with pytest.raises(ValueError, match="a map of torch.uint8"):
        GridJigsaw()(torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
    for operator in (GridJigsaw(), ChannelMix()):
        with pytest.raises(ValueError, match=r"a map of shape \(3, 4, 4\) given, but \(B, C, H, W\)"):
            operator(torch.zeros(3, 4, 4))


@pytest.mark.parametrize("build", [GridJigsaw, ChannelMix])
def test_an_empty_batch_stays_empty(build):
    assert build(2, 1)(torch.zeros(0, 6, 4, 4)).shape == (0, 6, 4, 4)
