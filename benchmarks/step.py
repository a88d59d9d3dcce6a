"""Algorithm 1 beside a plain IDFD loop: training images a second, ResNet-18, batch 128, 32x32, a bank of 50,000.

    python -m benchmarks.step

Ours is ``training.fit`` itself: batches augmented on their device, channels_last, the single-pass loss,
in bf16 (autocast) and in fp32. The other is IDFD as one would write it from its description: PIL augmentation by
torchvision in two workers, fp32, NCHW, torchvision's ResNet-18, the whole matrix of logits. All three run in turn,
so that what else the machine does meets all of them. The plain loop is timed from its first batch on, which
leaves its workers a head start. Writes benchmarks/results/step.json.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from pgjr_book.provenance import provenance
from pgjr_lib.augment import Augment, plain
from pgjr_lib.losses import MemoryBank
from pgjr_lib.models import GJR
from pgjr_lib.options import TrainingOptions
from pgjr_lib.storage import write_json
from pgjr_lib.training import ImageSource, fit

BATCH, SIZE, BANK, DIM, WORKERS = 128, 32, 50_000, 128, 2
TAU1, TAU2, MU, LR, MOMENTUM, DECAY = 1.0, 2.0, 0.5, 0.03, 0.9, 5e-4
RESULT = Path(__file__).parent / "results" / "step.json"


class Ours:
    """``fit`` for exactly ``steps`` batches, timed by itself."""

    def __init__(self, images: torch.Tensor, precision: str):
        self.source = ImageSource(images, Augment(SIZE), lambda x: plain(x, SIZE))
        self.model = GJR("resnet18", dim=DIM).to(memory_format=torch.channels_last)
        self.bank, self.precision = MemoryBank(BANK, DIM, MU), precision

    def seconds(self) -> float:
        options = TrainingOptions(1, BATCH, LR, TAU1, TAU2, momentum=MOMENTUM, weight_decay=DECAY,
                                  precision=self.precision)  # fmt: skip
        return fit(self.model, self.source, self.bank, options)[-1]["seconds"]


class Pictures(Dataset):
    """Images as PIL would read them, one augmented view each, with their rows in the bank."""

    def __init__(self, images: torch.Tensor):
        self.images = images.permute(0, 2, 3, 1).numpy()
        self.transform = transforms.Compose([
            transforms.RandomResizedCrop(SIZE, scale=(0.2, 1.0)),
            transforms.ColorJitter(0.4, 0.4, 0.4),
            transforms.RandomGrayscale(0.2),
            transforms.ToTensor(),
            transforms.Normalize((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
        ])  # fmt: skip

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.transform(Image.fromarray(self.images[i])), i


class PlainIDFD:
    """IDFD from its description, with nothing of the library's."""

    def __init__(self, images: torch.Tensor):
        self.pictures = Pictures(images)
        self.net = torchvision.models.resnet18(num_classes=DIM)
        self.net.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
        self.net.maxpool = nn.Identity()
        self.bank = F.normalize(torch.randn(BANK, DIM), dim=1)
        self.optimizer = torch.optim.SGD(self.net.parameters(), LR, MOMENTUM, weight_decay=DECAY)

    def seconds(self) -> float:
        batches = iter(DataLoader(self.pictures, BATCH, shuffle=True, num_workers=WORKERS))
        batch = next(batches, None)
        began = time.perf_counter()
        while batch is not None:
            x, index = batch
            f = F.normalize(self.net(x), dim=1)
            instance = F.cross_entropy(f @ self.bank.T / TAU1, index)
            columns = F.normalize(f, dim=0)
            loss = instance + F.cross_entropy(columns.T @ columns / TAU2, torch.arange(DIM))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            with torch.no_grad():
                self.bank[index] = F.normalize(MU * self.bank[index] + (1 - MU) * f, dim=1)
            batch = next(batches, None)
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=6, help="batches a turn")
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    torch.manual_seed(0)
    images = torch.randint(0, 256, (options.steps * BATCH, 3, SIZE, SIZE), dtype=torch.uint8)
    ways = {"ours_bf16": Ours(images, "bf16"), "ours_fp32": Ours(images, "fp32"), "plain_idfd": PlainIDFD(images)}
    rates = {name: [] for name in ways}
    for turn in range(options.turns + 1):
        for name, way in ways.items():
            taken = way.seconds()
            if turn:  # the first is a warm-up
                rates[name].append(len(images) / taken)
    for name, values in rates.items():
        print(f"{name}: {statistics.median(values):.1f} images/s")
    ratios = {}
    for name in ("ours_bf16", "ours_fp32"):
        in_turn = [ours / theirs for ours, theirs in zip(rates[name], rates["plain_idfd"], strict=True)]
        ratios[name] = statistics.median(in_turn)
        print(f"{name} / plain_idfd: {ratios[name]:.2f} (turns: {min(in_turn):.2f} to {max(in_turn):.2f})")
    setting = {"batch": BATCH, "size": SIZE, "bank": BANK, "dim": DIM, "steps": options.steps, "turns": options.turns,
               "workers": WORKERS}  # fmt: skip
    write_json(RESULT, {"setting": setting, "images_per_second": rates, "ratio_to_plain": ratios,
                        "provenance": provenance("cpu", "")})  # fmt: skip


if __name__ == "__main__":
    main()
