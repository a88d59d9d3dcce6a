"""Augmentation: shapes and ranges, the generator, per-image draws, and torchvision's definition of each parameter."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency, chisquare, ks_2samp
from torchvision.transforms import ColorJitter, RandomResizedCrop, v2

from pgjr_lib.augment import JITTER, TRIES, Augment, crop_boxes, gray, plain, resized_crop, to_float

ADJUST = (v2.functional.adjust_brightness, v2.functional.adjust_contrast, v2.functional.adjust_saturation)
SCALE, RATIO = (0.2, 1.0), (3 / 4, 4 / 3)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("side", [8, 32, 100])
def test_shape_dtype_and_range(dtype, side):
    images = torch.randint(0, 256, (4, 3, side, side), dtype=torch.uint8)
    images = images if dtype == torch.uint8 else images / 255
    before = images.clone()
    for out in (Augment(32)(images), plain(images, 32)):
        assert out.shape == (4, 3, 32, 32) and out.dtype == torch.float32
        assert 0 <= out.min() and out.max() <= 1
    assert torch.equal(images, before)


def test_one_image_and_no_image_are_batches_too():
    for count in (0, 1):
        assert Augment(8)(torch.rand(count, 3, 9, 7)).shape == (count, 3, 8, 8)


@pytest.mark.parametrize(
    ("name", "value"),
    [("scale", (0.5, 0.2)), ("ratio", (0, 1)), ("jitter", -0.1), ("grayscale", 1.5), ("flip", -1)],
)
def test_a_parameter_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"{name}=.* given"):
        Augment(8, **{name: value})


# ---- random numbers ----


def test_the_global_generator_decides_every_draw():
    images = torch.rand(8, 3, 16, 16)
    augment = Augment(16, flip=0.5)
    torch.manual_seed(3)
    first = augment(images)
    torch.manual_seed(3)
    assert torch.equal(augment(images), first)
    assert not torch.equal(augment(images), first)


def test_the_cpu_generator_draws_wherever_module_and_images_are():
    """The meta device holds no values, so a call that reads one back from the images' device fails there."""
    images = torch.rand(8, 3, 16, 16)
    torch.manual_seed(3)
    first, state = Augment(16, flip=0.5)(images), torch.get_rng_state()
    moved = Augment(16, flip=0.5).to("meta")
    torch.manual_seed(3)
    assert torch.equal(moved(images), first)
    torch.manual_seed(3)
    assert moved(images.to("meta")).shape == first.shape
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_gpu_draws_the_same_views_and_is_not_waited_for():
    images = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8)
    augment = Augment(32, flip=0.5)
    torch.manual_seed(3)
    expected, on_gpu = augment(images), images.cuda()
    torch.manual_seed(3)
    torch.cuda.set_sync_debug_mode("error")
    try:
        out = augment(on_gpu)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(out.cpu(), expected, atol=1e-4, rtol=0)


def test_autocast_changes_nothing():
    images = torch.rand(8, 3, 16, 16)
    torch.manual_seed(3)
    expected = Augment(16)(images)
    torch.manual_seed(3)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(Augment(16)(images), expected)


def test_each_sample_is_drawn_for_itself():
    one = torch.rand(1, 3, 16, 16).expand(6, -1, -1, -1)
    out = Augment(16)(one)
    assert all(not torch.equal(out[0], out[i]) for i in range(1, 6))


# ---- torchvision's definitions ----


@pytest.mark.parametrize(
    ("height", "width", "size"), [(32, 32, 32), (24, 40, 32), (20, 12, 16), (60, 70, 32), (2, 2, 1)]
)
def test_a_view_is_torchvisions_for_the_same_parameters(height, width, size):
    images = torch.randint(0, 256, (48, 3, height, width), dtype=torch.uint8)
    augment = Augment(size, flip=0.5)
    torch.manual_seed(1)
    drawn, order = augment.draw(48, height, width)
    torch.manual_seed(1)
    out = augment(images)
    for i, (left, top, w, h, flip, keep_colour, *factors) in enumerate(drawn.tolist()):
        box = [int(v) for v in (top, left, h, w)]
        expected = v2.functional.resized_crop(to_float(images[i]), *box, [size, size], antialias=False)
        expected = v2.functional.hflip(expected) if flip else expected
        for step in order:
            expected = ADJUST[step](expected, factors[step])
        expected = expected if keep_colour else v2.functional.rgb_to_grayscale(expected, 3)
        torch.testing.assert_close(out[i], expected, atol=2e-5, rtol=0)
    assert 0 < drawn[:, 4].sum() < 48 and 0 < drawn[:, 5].sum() < 48


def test_a_crop_of_the_whole_image_is_the_image():
    images = torch.rand(4, 3, 32, 32)
    whole = torch.tensor([[0.0, 0, 32, 32]]).expand(4, -1)
    torch.testing.assert_close(resized_crop(images, whole, torch.zeros(4), 32), images, atol=1e-5, rtol=0)
    torch.testing.assert_close(resized_crop(images, whole, torch.ones(4), 32), images.flip(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("step", range(3))
def test_brightness_contrast_saturation_follow_torchvision(step):
    images, factors = torch.rand(64, 3, 8, 8), torch.rand(64) * 2
    expected = torch.stack([ADJUST[step](images[i], float(factors[i])) for i in range(64)])
    torch.testing.assert_close(JITTER[step](images.clone(), factors), expected, atol=1e-6, rtol=0)
    assert torch.equal(JITTER[step](images.clone(), torch.ones(64)), images)


@pytest.mark.parametrize("jitter", [0.4, 1.5])
def test_jitter_factors_are_uniform_in_torchvisions_range(jitter):
    low, high = ColorJitter(jitter).brightness
    drawn, _ = Augment(8, jitter=jitter).draw(4096, 8, 8)
    for factor in drawn[:, 6:].T:
        assert low <= factor.min() < low + 0.02 and high - 0.02 < factor.max() <= high
        assert abs(factor.mean() - (low + high) / 2) < 0.05 * (high - low)
        assert abs(factor.std() - (high - low) / 12**0.5) < 0.02 * (high - low)
    assert np.abs(np.corrcoef(drawn[:, 6:].T) - np.eye(3)).max() < 0.05


def test_the_order_of_the_jitter_is_one_for_a_batch_and_any_of_six():
    orders = [tuple(Augment(8).draw(2, 8, 8)[1]) for _ in range(1200)]
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == 6 and chisquare(counts).pvalue > 0.001


@pytest.mark.parametrize(
    ("height", "width", "scale"),
    [
        (32, 32, SCALE),
        (96, 64, (0.08, 1.0)),
        (20, 30, (0.88, 0.96)),  # ten tries are in vain for most of the images
        (24, 40, (0.9, 1.0)),  # no try can fit
        (32, 32, (1.0, 1.0)),
    ],
)
def test_crops_are_distributed_as_torchvisions(height, width, scale):
    mine = crop_boxes(torch.rand(4000, 2 * TRIES + 2), height, width, scale, RATIO).double().numpy()
    image = torch.empty(3, height, width)
    theirs = np.array([RandomResizedCrop.get_params(image, scale, RATIO) for _ in range(4000)])[:, [1, 0, 3, 2]]
    (left, top, w, h), (their_left, their_top, their_w, their_h) = mine.T, theirs.T
    pairs = [(left, their_left), (top, their_top), (w, their_w), (h, their_h), (w * h, their_w * their_h),
             (w / h, their_w / their_h), (left + w / 2, their_left + their_w / 2)]  # fmt: skip
    for ours, reference in pairs:
        assert ks_2samp(ours, reference, method="asymp").pvalue > 0.001
    areas = [np.quantile(sides / (height * width), [0.1, 0.5, 0.9]) for sides in (w * h, their_w * their_h)]
    np.testing.assert_allclose(*areas, atol=0.05)
    assert (w / h).min() > 0.65 and (w / h).max() < 1.55
    assert (left >= 0).all() and (left + w <= width).all() and (top >= 0).all() and (top + h <= height).all()

    # all four numbers at once: how often each box comes, those below 20 in one cell
    _, box = np.unique(np.concatenate([mine, theirs]), axis=0, return_inverse=True)
    counts = np.stack([np.bincount(boxes, minlength=box.max() + 1) for boxes in (box[:4000], box[4000:])])
    often = counts.sum(0) >= 20
    cells = np.column_stack([counts[:, often], counts[:, ~often].sum(1)])
    assert chi2_contingency(cells[:, cells.any(0)]).pvalue > 0.001


def test_crops_are_torchvisions_ten_tries_in_a_loop():
    uniform = torch.rand(500, 2 * TRIES + 2)
    uniform[::7, -2:] = 1 - 2**-24  # the largest that torch draws
    height, width, scale, ratio = 24, 32, (0.5, 1.0), RATIO
    tries = []
    for row, box in zip(uniform.tolist(), crop_boxes(uniform, height, width, scale, ratio).tolist(), strict=True):
        for t in range(TRIES):
            area = height * width * (scale[0] + (scale[1] - scale[0]) * row[t])
            aspect = math.exp(math.log(ratio[0]) + (math.log(ratio[1]) - math.log(ratio[0])) * row[TRIES + t])
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                break
        else:
            pytest.fail("ten tries that do not fit have the next test")
        tries.append(t)
        assert box == [int(row[-2] * (width - w + 1)), int(row[-1] * (height - h + 1)), w, h]
    assert 0 in tries and max(tries) > 2


@pytest.mark.parametrize(("height", "width"), [(40, 10), (10, 40), (33, 31), (7, 7), (36, 27), (1, 9), (9, 1)])
def test_the_crop_after_ten_vain_tries_is_torchvisions(height, width):
    scale = (4.0, 4.0)  # larger than any image
    mine = crop_boxes(torch.rand(3, 2 * TRIES + 2), height, width, scale, RATIO)
    top, left, h, w = RandomResizedCrop.get_params(torch.empty(3, height, width), scale, RATIO)
    assert mine.tolist() == [[left, top, w, h]] * 3


def test_grayscale_and_flip_happen_as_often_as_asked():
    images = torch.rand(2000, 3, 4, 4)
    whole = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "jitter": 0.0}
    out = Augment(4, **whole, grayscale=0.2)(images)
    grey = (out[:, 0] - out[:, 1]).abs().amax((1, 2)) < 1e-6
    assert 0.16 < grey.float().mean() < 0.24
    expected = v2.functional.rgb_to_grayscale(images[grey], 3)
    torch.testing.assert_close(out[grey], expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(out[~grey], images[~grey], atol=1e-5, rtol=0)
    torch.testing.assert_close(gray(images), v2.functional.rgb_to_grayscale(images), atol=1e-7, rtol=0)

    still = Augment(4, **whole, grayscale=0, flip=0.0)(images)
    torch.testing.assert_close(still, images, atol=1e-5, rtol=0)
    changed = (Augment(4, **whole, grayscale=0, flip=0.5)(images) - images).abs().flatten(1).amax(1) > 1e-3
    assert 0.45 < changed.float().mean() < 0.55
    for probability, expected in ((1, images.flip(3)), (0, images)):
        out = Augment(4, **whole, grayscale=0, flip=probability)(images)
        torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)


def test_a_large_image_is_reduced_before_it_is_cropped():
    stripes = (torch.arange(80) % 2).float().expand(2, 3, 80, 80)  # every fifth pixel alone: black and white in turn
    out = Augment(16, scale=(1.0, 1.0), ratio=(1.0, 1.0), jitter=0.0, grayscale=0)(stripes)
    assert (out - 0.5).abs().max() < 0.1


def test_plain_keeps_pixels_of_the_right_size():
    images = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    assert torch.equal(plain(images, 16), images.float() / 255)
