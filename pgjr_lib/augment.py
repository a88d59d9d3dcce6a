"""Augmentation of whole batches on their device: IDFD's recipe, by kornia, drawn for each sample."""

import kornia.augmentation as K
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate


class Augment(nn.Module):
    """Apply random resized crop, flip, colour jitter and grayscale, in torchvision's order (IDFD; Tao et al., 2021).

    kornia's ``ColorJitter`` follows torchvision's formulas; its ``ColorJiggle`` does not. Crops, flips and factors are
    drawn for each sample, the order of the jitter's three steps once for each batch. The random numbers come from
    torch's global CPU generator on every device: seed it before the call.

    Args:
        size: side of the output in pixels.
        scale: range of the crop's area, as a fraction of the image's.
        ratio: range of the crop's width to height.
        jitter: brightness, contrast and saturation factors are uniform in 1 ± jitter.
        grayscale, flip: probability of each.
    """

    def __init__(self, size, scale=(0.2, 1.0), ratio=(3 / 4, 4 / 3), jitter=0.4, grayscale=0.2, flip=0.0):
        super().__init__()
        self.size = size
        self.steps = nn.Sequential(
            K.RandomResizedCrop((size, size), scale=scale, ratio=ratio, align_corners=False),
            K.RandomHorizontalFlip(p=flip),
            K.ColorJitter(jitter, jitter, jitter, p=1.0),
            K.RandomGrayscale(rgb_weights=torch.tensor([0.299, 0.587, 0.114]), p=grayscale),
        )

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W), uint8 or float in [0, 1] -> (B, 3, size, size), float32 in [0, 1]."""
        images = to_float(images)
        if min(images.shape[-2:]) > 2 * self.size:  # the crop does not filter, so large images would alias
            images = plain(images, 2 * self.size)
        return self.steps(images).clamp_(0, 1)


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
    return images.float() / 255 if images.dtype == torch.uint8 else images.float()
