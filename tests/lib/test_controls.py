"""Controls of the jigsaw: what each keeps of it and what it lacks."""

import math

import pytest
import torch

from pgjr_lib.controls import Blur, Shifted, build_jigsaw
from pgjr_lib.jigsaw import GridJigsaw, divide_blocks, divide_grids
from pgjr_lib.options import FIXED_JIGSAWS, JIGSAWS

SIZE = (8, 8)


def build(kind, n=2, g=2, **options):
    return build_jigsaw(kind, 0, 5, SIZE, n=n, g=g, **options)


def wave(fx, fy=0.0, phase=0.3, side=8):
    """cos(2 pi (fx x + fy y) + phase) as a map (1, 1, side, side)."""
    y, x = torch.meshgrid(torch.arange(side).double(), torch.arange(side).double(), indexing="ij")
    return torch.cos(2 * math.pi * (fx * x + fy * y) + phase)[None, None]


def noiseless(n, g):
    jigsaw = GridJigsaw(n, g).double()
    torch.nn.init.constant_(jigsaw.weight, 1 / (n * n - 1))
    return jigsaw


@pytest.mark.parametrize("kind", sorted(set(JIGSAWS) - {"off"}))
@pytest.mark.parametrize(("n", "g"), [(2, 1), (2, 2), (3, 1)])
def test_every_control_keeps_the_shape_and_the_callers_random_numbers(kind, n, g):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    control = build(kind, n, g)
    assert torch.equal(torch.rand(3), expected)
    assert control(torch.randn(2, 5, *SIZE)).shape == (2, 5, *SIZE)


def test_what_has_parameters_and_what_learns():
    learned = {kind: sum(p.numel() for p in build(kind).parameters() if p.requires_grad) for kind in set(JIGSAWS) - {"off"}}
    assert {kind for kind, count in learned.items() if not count} == {"frozen", *FIXED_JIGSAWS}
    assert {count for count in learned.values() if count} == {16 + 4}
    assert all(not list(build(kind).parameters()) for kind in FIXED_JIGSAWS)


def test_zero_starts_as_the_identity_and_its_matrix_learns():
    z = torch.randn(2, 5, *SIZE)
    control = build("zero")
    assert torch.equal(control(z), z)
    control(z).square().sum().backward()
    assert control.weight.grad.abs().max() > 0


def test_shifted_is_the_jigsaw_on_blocks_that_start_half_a_block_earlier():
    inner = GridJigsaw(2, 2)
    z = torch.randn(1, 1, 8, 8)
    middle = inner(z[..., 2:6, 2:6])  # the one whole block of the shifted division
    out = Shifted(inner, 2)(z)
    torch.testing.assert_close(out[..., 2:6, 2:6], middle)
    assert not torch.allclose(out, inner(z))


def test_the_mean_is_twice_the_blocks_mean_position_by_position():
    z = torch.randn(2, 5, *SIZE)
    grids = divide_grids(divide_blocks(build("mean")(z), 4), 2)
    expected = divide_grids(divide_blocks(z, 4), 2).mean(4, keepdim=True).expand_as(grids)
    torch.testing.assert_close(grids, 2 * expected)


@pytest.mark.parametrize(("n", "g"), [(2, 1), (2, 2), (3, 1), (4, 1)])
def test_the_blur_has_the_gains_of_the_jigsaws_start_where_those_are_defined(n, g):
    m = n * n
    blur, start = Blur(n, g), noiseless(n, g)
    for fx, fy, gain in [(0, 0, 2), (1 / (2 * g), 0, (m - 2) / (m - 1)), (0, 1 / (2 * g), (m - 2) / (m - 1))]:
        z = wave(fx, fy, side=4 * n * g)
        inside = (..., slice(g, -g), slice(g, -g))  # away from the reflected border
        torch.testing.assert_close(blur(z)[inside], gain * z[inside])
        if n % 2 == 0:  # a block then holds whole periods of the wave
            torch.testing.assert_close(start(z), gain * z)


def test_the_blur_knows_no_blocks():
    z = torch.randn(1, 2, 12, 12)
    moved = Blur(2, 2)(z.roll((1, 1), (2, 3)))[..., 4:-4, 4:-4]
    torch.testing.assert_close(moved, Blur(2, 2)(z).roll((1, 1), (2, 3))[..., 4:-4, 4:-4])
    jigsaw = noiseless(2, 2).float()
    assert not torch.allclose(jigsaw(z.roll((1, 1), (2, 3))), jigsaw(z).roll((1, 1), (2, 3)), atol=0.1)


def test_a_fixed_control_stands_for_one_jigsaw_only():
    for kind in FIXED_JIGSAWS:
        for options in ({"mode": "reference"}, {"combine": "concat"}, {"per_channel": True}):
            with pytest.raises(ValueError, match=f"jigsaw={kind} stands for mode=surround with combine=residual"):
                build(kind, **options)


def test_a_map_too_small_to_blur_is_named():
    with pytest.raises(ValueError, match="a map of 2x2 is too small for taps 2 pixels apart"):
        Blur(2, 2)(torch.randn(1, 1, 2, 2))
