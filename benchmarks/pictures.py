"""Images as a plain loop reads them: by PIL, one after another, with torchvision's transforms."""

import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision import transforms


class Pictures(Dataset):
    """Images (N, 3, H, W) uint8, each through PIL and ``steps``, with its row."""

    def __init__(self, images: torch.Tensor, steps: list):
        self.images = images.permute(0, 2, 3, 1).numpy()
        self.transform = transforms.Compose(steps)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.transform(Image.fromarray(self.images[i])), i


def augmented(size: int) -> list:
    """Return the steps of IDFD's recipe: crop, jitter and grayscale."""
    crop = transforms.RandomResizedCrop(size, scale=(0.2, 1.0))
    return [crop, transforms.ColorJitter(0.4, 0.4, 0.4), transforms.RandomGrayscale(0.2)]
