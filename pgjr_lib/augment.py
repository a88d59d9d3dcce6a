"""Augment whole batches on their device: IDFD's recipe by torchvision's definitions, drawn for each image."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample, interpolate

TRIES = 10  # torchvision's number of crops that it draws before it falls back to the central one
NUMBERS = 2 * TRIES + 7  # random numbers of one view


class Augment(nn.Module):
    """Apply random resized crop, flip, colour jitter and grayscale, in torchvision's order (IDFD; Tao et al., 2021).

    Crops, flips and factors are drawn for each image; the order of the jitter's three steps once for each batch. Each
    parameter means what it means in torchvision's ``RandomResizedCrop``, ``RandomHorizontalFlip``, ``ColorJitter`` and
    ``RandomGrayscale``. A crop larger than the output is not filtered (torchvision's ``antialias=False``); therefore
    images with both sides above ``2 * size`` are first reduced to ``2 * size``.

    All random numbers come from torch's global CPU generator, whatever the images' device: seed it before the call.
    The module has no state, so ``to(device)`` changes nothing.

    Args:
        size: side of the output in pixels.
        scale: range of the crop's area, as a fraction of the image's.
        ratio: range of the crop's width to height.
        jitter: brightness, contrast and saturation factors are uniform in 1 ± jitter, and not below 0.
        grayscale, flip: probability of each.

    Raises:
        ValueError: a range is empty or not positive, ``jitter`` is negative, or a probability is outside [0, 1].
    """

    def __init__(self, size, scale=(0.2, 1.0), ratio=(3 / 4, 4 / 3), jitter=0.4, grayscale=0.2, flip=0.0):
        super().__init__()
        for name, (low, high) in {"scale": scale, "ratio": ratio}.items():
            if not 0 < low <= high:
                raise ValueError(f"Augment: {name}=({low}, {high}) given, but 0 < low <= high is needed.")
        if jitter < 0:
            raise ValueError(f"Augment: jitter={jitter} given, but a number from 0 up is needed.")
        for name, probability in {"grayscale": grayscale, "flip": flip}.items():
            if not 0 <= probability <= 1:
                raise ValueError(f"Augment: {name}={probability} given, but a probability in [0, 1] is needed.")
        self.size, self.scale, self.ratio = size, scale, ratio
        self.jitter, self.grayscale, self.flip = jitter, grayscale, flip

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Augment (B, 3, H, W), uint8 or float in [0, 1], to (B, 3, size, size), float32 in [0, 1]."""
        images = self._reduced(images)
        return self._augmented(images, *self.draw(len(images), *images.shape[-2:]))

    @torch.no_grad()
    def from_numbers(self, images: Tensor, uniform: Tensor, order: list[int]) -> Tensor:
        """Augment (B, 3, H, W) with random numbers of the caller's, which may so depend on each image alone.

        Args:
            images: as for :meth:`forward`.
            uniform: (B, ``NUMBERS``) in [0, 1), on the CPU.
            order: of brightness, contrast and saturation, as indices of ``JITTER``.
        """
        images = self._reduced(images)
        return self._augmented(images, self._convert(uniform, *images.shape[-2:]), order)

    def _reduced(self, images):
        images = to_float(images)
        if min(images.shape[-2:]) > 2 * self.size:  # the crop does not filter, so large images would alias
            images = plain(images, 2 * self.size)
        return images

    def _augmented(self, images, parameters, order):
        parameters = parameters.to(images.device, non_blocking=True)  # the call's one transfer; nothing waits for the device
        boxes, flips, keep_colour = parameters[:, :4], parameters[:, 4], parameters[:, 5]
        factors = parameters[:, 6:]
        views = resized_crop(images, boxes, flips, self.size)
        for step in order:
            views = JITTER[step](views, factors[:, step])
        return adjust_saturation(views, keep_colour)  # grayscale is a saturation of 0

    def draw(self, count: int, height: int, width: int) -> tuple[Tensor, list[int]]:
        """Draw the parameters of ``count`` views of images (3, height, width), on the CPU.

        Returns:
            (count, 9) float32: left, top, width and height of the crop, 1 for a flip, 0 for grayscale and else 1, and
            the factors of brightness, contrast and saturation; and the order of these three as indices of ``JITTER``.
        """
        parameters = self._convert(torch.rand(count, NUMBERS), height, width)
        return parameters, torch.randperm(len(JITTER)).tolist()

    def _convert(self, uniform, height, width):
        boxes = crop_boxes(uniform[:, 5:], height, width, self.scale, self.ratio)
        flips = (uniform[:, :1] < self.flip).float()
        keep_colour = (uniform[:, 1:2] >= self.grayscale).float()
        low, high = max(0.0, 1 - self.jitter), 1 + self.jitter
        factors = low + (high - low) * uniform[:, 2:5]
        return torch.cat([boxes, flips, keep_colour, factors], 1)


def crop_boxes(uniform: Tensor, height: int, width: int, scale, ratio) -> Tensor:
    """Turn random numbers into crops as torchvision's ``RandomResizedCrop.get_params`` does.

    Each image has ten tries; the first crop that fits into the image counts. Where none does, the crop is central and
    as large as the image and ``ratio`` allow.

    Args:
        uniform: (B, 22) in [0, 1): ten areas, ten ratios, and the position in x and y.
        height, width: of the images.
        scale, ratio: see :class:`Augment`.

    Returns:
        (B, 4): left, top, width and height, whole numbers as float32.
    """
    areas, ratios, position = uniform.split([TRIES, TRIES, 2], 1)
    image = torch.tensor([width, height])
    area = height * width * (scale[0] + (scale[1] - scale[0]) * areas)
    root = (math.log(ratio[0]) + math.log(ratio[1] / ratio[0]) * ratios).div(2).exp()  # of width to height
    sides = torch.stack([area.sqrt() * root, area.sqrt() / root], 2).round()  # (B, tries, 2)
    fits = ((sides >= 1) & (sides <= image)).all(2)
    first = fits.int().argmax(1)  # the first of equal values
    side = sides[torch.arange(len(sides)), first]
    corner = (position * (image - side + 1)).floor()

    whole = [min(width, max(1, round(height * ratio[1]))), min(height, max(1, round(width / ratio[0])))]
    central = torch.tensor([(width - whole[0]) // 2, (height - whole[1]) // 2, *whole], dtype=torch.float32)
    return torch.where(fits.any(1, keepdim=True), torch.cat([corner, side], 1), central)


def resized_crop(images: Tensor, boxes: Tensor, flips: Tensor, size: int) -> Tensor:
    """Crop each image to its box, resize it bilinearly and mirror it where asked, in one ``grid_sample``.

    Args:
        images: (B, C, H, W), float32.
        boxes: (B, 4): left, top, width and height in pixels.
        flips: (B,): 1 to mirror the crop from left to right, 0 to leave it.
        size: side of the output in pixels.

    Returns:
        (B, C, size, size).
    """
    centres = (torch.arange(size, device=images.device) + 0.5) / size  # of the output's pixels, as a fraction
    mirrored = centres + flips[:, None] * (1 - 2 * centres)
    grid = images.new_empty(len(images), size, size, 2)
    for axis, (along, side) in enumerate([(mirrored, images.shape[-1]), (centres, images.shape[-2])]):
        start, length = boxes[:, axis, None], boxes[:, axis + 2, None]
        # no pixel outside the box may blend in, hence the clamp to the middles of its first and last pixel
        pixel = (start + along * length).clamp(start + 0.5, start + length - 0.5)
        grid[..., axis] = (2 * pixel / side - 1).unsqueeze(1 + axis)
    return grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Scale each image (B, 3, H, W) by its factor (B,), in place, as torchvision's ``adjust_brightness`` does."""
    return images.mul_(_each(factor)).clamp_(0, 1)


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blend each image with its mean gray, in place, as torchvision's ``adjust_contrast`` does."""
    mean = gray(images.mean((2, 3), keepdim=True))
    return images.mul_(_each(factor)).add_(mean * (1 - _each(factor))).clamp_(0, 1)


def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Blend each image with its gray version, in place, as torchvision's ``adjust_saturation`` does."""
    return torch.lerp(gray(images), images, _each(factor), out=images).clamp_(0, 1)


JITTER = (adjust_brightness, adjust_contrast, adjust_saturation)


def gray(images: Tensor) -> Tensor:
    """Convert (B, 3, H, W) to (B, 1, H, W), by torchvision's weights of red, green and blue."""
    red, green, blue = images.split(1, 1)
    return red.mul(0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114)


def _each(factor: Tensor) -> Tensor:
    return factor[:, None, None, None]


def plain(images: Tensor, size: int) -> Tensor:
    """Resize without augmentation.

    Args:
        images: (B, 3, H, W), uint8 or float in [0, 1].
        size: side of the output in pixels; other sizes are resized by an antialiased bicubic filter.

    Returns:
        (B, 3, size, size), float32 in [0, 1].
    """
    images = to_float(images)
    if images.shape[-2:] != (size, size):
        images = interpolate(images, (size, size), mode="bicubic", align_corners=False, antialias=True)
    return images.clamp(0, 1)


def to_float(images: Tensor) -> Tensor:
    """Convert uint8 in 0 to 255, or float in [0, 1], to float32 in [0, 1]."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images.float()
