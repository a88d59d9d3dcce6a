"""Augmentation: shapes and ranges, determinism, per-sample draws, and torchvision's distributions."""

import pytest
import torch
from torchvision.transforms import RandomResizedCrop, v2

from pgjr_lib.augment import Augment, plain


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("side", [8, 32, 100])
def test_shape_dtype_and_range(dtype, side):
    images = torch.randint(0, 256, (4, 3, side, side), dtype=torch.uint8)
    images = images if dtype == torch.uint8 else images / 255
    for out in (Augment(32)(images), plain(images, 32)):
        assert out.shape == (4, 3, 32, 32) and out.dtype == torch.float32
        assert 0 <= out.min() and out.max() <= 1


def test_the_global_generator_decides_every_draw():
    images = torch.rand(8, 3, 16, 16)
    augment = Augment(16, flip=0.5)
    torch.manual_seed(3)
    first = augment(images)
    torch.manual_seed(3)
    assert torch.equal(augment(images), first)
    assert not torch.equal(augment(images), first)


def test_each_sample_is_drawn_for_itself():
    one = torch.rand(1, 3, 16, 16).expand(6, -1, -1, -1)
    out = Augment(16)(one)
    assert all(not torch.equal(out[0], out[i]) for i in range(1, 6))


def test_brightness_contrast_saturation_follow_torchvision():
    """One step alone, its factor recovered: uniform in 0.6 to 1.4, and the image is torchvision's for it."""
    jitter = Augment(8).steps[2]
    torch.manual_seed(0)
    images = torch.rand(512, 3, 8, 8) * 0.6 + 0.05
    out = jitter(images)
    drawn = jitter._params
    functions = (
        v2.functional.adjust_brightness,
        v2.functional.adjust_contrast,
        v2.functional.adjust_saturation,
    )
    names = ("brightness_factor", "contrast_factor", "saturation_factor")
    for i in range(16):
        expected = images[i]
        for step in [s for s in drawn["order"].tolist() if s < 3]:
            expected = functions[step](expected, float(drawn[names[step]][i]))
        torch.testing.assert_close(out[i], expected, atol=2e-3, rtol=0)
    for name in names:
        factor = drawn[name]
        assert 0.6 <= factor.min() < 0.62 and 1.38 < factor.max() <= 1.4
        assert abs(factor.mean() - 1) < 0.05 and abs(factor.std() - 0.8 / 12**0.5) < 0.02
    assert (drawn["hue_factor"] == 0).all()


def test_crops_have_torchvisions_areas_and_ratios():
    crop = Augment(32, scale=(0.2, 1.0)).steps[0]
    torch.manual_seed(0)
    crop(torch.rand(2000, 3, 32, 32))
    corners = crop._params["src"]
    width, height = (corners[:, 2] - corners[:, 0] + 1).T
    mine = width * height / 1024
    theirs = []
    for _ in range(2000):
        _, _, h, w = RandomResizedCrop.get_params(torch.empty(3, 32, 32), (0.2, 1.0), (3 / 4, 4 / 3))
        theirs.append(h * w / 1024)
    theirs = torch.tensor(theirs)
    quantiles = torch.tensor([0.1, 0.5, 0.9])
    torch.testing.assert_close(mine.quantile(quantiles), theirs.quantile(quantiles), atol=0.05, rtol=0)
    assert (width / height).min() > 0.65 and (width / height).max() < 1.55


def test_grayscale_and_flip_happen_as_often_as_asked():
    torch.manual_seed(0)
    images = torch.rand(2000, 3, 4, 4)
    out = Augment(4, grayscale=0.2).steps[3](images)
    grey = (out[:, 0] - out[:, 1]).abs().amax((1, 2)) < 1e-6
    assert 0.16 < grey.float().mean() < 0.24
    expected = v2.functional.rgb_to_grayscale(images[grey], 3)
    torch.testing.assert_close(out[grey], expected, atol=1e-3, rtol=0)
    assert torch.equal(Augment(4, flip=0.0).steps[1](images), images)
    flipped = (Augment(4, flip=0.5).steps[1](images) != images).flatten(1).any(1)
    assert 0.45 < flipped.float().mean() < 0.55


def test_plain_keeps_pixels_of_the_right_size():
    images = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    assert torch.equal(plain(images, 16), images.float() / 255)
