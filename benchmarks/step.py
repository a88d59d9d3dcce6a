"""Algorithm 1 beside a plain IDFD loop: training images a second, ResNet-18, batch 128, 32x32, a bank of 50,000.

    python -m benchmarks.step

Ours is ``training.fit`` itself: batches augmented on their device, channels_last, the single-pass loss, in bf16
(autocast) and in fp32. On a GPU its steps are a captured graph, and bf16 runs without one too. The other is IDFD as one
would write it from its description: PIL augmentation by torchvision in a worker for each core, fp32, NCHW, torchvision's
ResNet-18, the whole matrix of logits. All run in turn, on a GPU where there is one. The plain loop is timed from its
first batch on, which leaves its workers a head start.

The ceiling is the rate at which the convolutions alone could run: the operations of ResNet-18's forward and backward
pass, counted by torch, over those that a large bf16 matrix product reaches here. And a step of ours and a plain step on
the same views must agree: the two losses are followed for 50 steps from one start. Writes benchmarks/results/step.json,
of a GPU step-gpu.json.
"""

import argparse
import statistics
import time

import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode
from torchvision import transforms

from benchmarks.pictures import Pictures, augmented
from benchmarks.turns import in_turn, ratios, save, wait
from pgjr_lib.augment import Augment, plain
from pgjr_lib.devices import default_device, workers
from pgjr_lib.losses import MemoryBank
from pgjr_lib.models import GJR
from pgjr_lib.options import TrainingOptions
from pgjr_lib.training import ImageSource, epoch_batches, fit

BATCH, SIZE, BANK, DIM = 128, 32, 50_000, 128
TAU1, TAU2, MU, LR, MOMENTUM, DECAY = 1.0, 2.0, 0.5, 0.03, 0.9, 5e-4
NORMALISED = [transforms.ToTensor(), transforms.Normalize((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))]
FOLLOWED = 50  # steps over which the two losses are compared


def options_of(precision: str, epochs: int = 1) -> TrainingOptions:
    """Return IDFD's options, at a constant rate."""
    return TrainingOptions(epochs, BATCH, LR, TAU1, TAU2, momentum=MOMENTUM, weight_decay=DECAY, precision=precision,
                           schedule="constant")  # fmt: skip


class Ours:
    """``fit`` for exactly one pass over the images, timed by itself."""

    def __init__(self, images: torch.Tensor, precision: str, device: str, captured: bool | None = None):
        self.source = ImageSource(images.to(device), Augment(SIZE), lambda x: plain(x, SIZE))
        self.model = GJR("resnet18", dim=DIM).to(device, memory_format=torch.channels_last)
        self.bank, self.precision, self.captured = MemoryBank(BANK, DIM, MU).to(device), precision, captured

    def seconds(self) -> float:
        return fit(self.model, self.source, self.bank, options_of(self.precision), captured=self.captured)[-1]["seconds"]


class PlainIDFD:
    """IDFD from its description, with nothing of the library's."""

    def __init__(self, device: str, workers: int):
        self.device, self.workers = device, workers
        self.net = torchvision.models.resnet18(num_classes=DIM)
        self.net.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
        self.net.maxpool = nn.Identity()
        self.net.to(device)
        self.bank = F.normalize(torch.randn(BANK, DIM, device=device), dim=1)
        self.optimizer = torch.optim.SGD(self.net.parameters(), LR, MOMENTUM, weight_decay=DECAY)

    def step(self, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        f = F.normalize(self.net(x), dim=1)
        instance = F.cross_entropy(f @ self.bank.T / TAU1, index)
        columns = F.normalize(f, dim=0)
        loss = instance + F.cross_entropy(columns.T @ columns / TAU2, torch.arange(DIM, device=self.device))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            self.bank[index] = F.normalize(MU * self.bank[index] + (1 - MU) * f, dim=1)
        return loss.detach()

    def seconds(self, images: torch.Tensor) -> float:
        pictures = Pictures(images, [*augmented(SIZE), *NORMALISED])
        loader = DataLoader(pictures, BATCH, shuffle=True, num_workers=self.workers, pin_memory=self.device != "cpu")
        batches = iter(loader)
        batch = next(batches, None)
        began = time.perf_counter()
        while batch is not None:
            self.step(batch[0].to(self.device, non_blocking=True), batch[1].to(self.device, non_blocking=True))
            batch = next(batches, None)
        wait(self.device)
        return time.perf_counter() - began


class Recorded:
    """A source whose views are given, so that two loops see the same: (steps, B, 3, S, S)."""

    def __init__(self, views: torch.Tensor):
        self.views, self.step = views, 0

    def __len__(self):
        return BATCH

    def choose_views(self) -> None:
        """Choose nothing: the views are given."""

    def draw(self, index: torch.Tensor, views: None) -> tuple[torch.Tensor]:
        self.step += 1
        return (self.views[self.step - 1][index],)


def losses_apart(device: str) -> float:
    """Train both in fp32 from one start on the same views; return the largest relative difference of their losses."""
    torch.manual_seed(0)
    theirs = PlainIDFD(device, 0)
    views = torch.randn(FOLLOWED, BATCH, 3, SIZE, SIZE).to(device)
    ours, bank = GJR("resnet18", dim=DIM).to(device), MemoryBank(BANK, DIM, MU).to(device)
    pairs = list(zip(ours.state_dict().values(), theirs.net.state_dict().values(), strict=True))
    for mine, other in pairs:
        mine.copy_(other)
    bank.vectors.copy_(theirs.bank)
    source = Recorded(views)
    history = fit(ours, source, bank, options_of("fp32", FOLLOWED))[1:]
    their = []
    for step in range(FOLLOWED):
        (index,) = epoch_batches(BATCH, step, options_of("fp32", FOLLOWED), device)
        their.append(float(theirs.step(views[step][index], index)))
    return max(abs(row["loss"] / loss - 1) for row, loss in zip(history, their, strict=True))


def ceiling(device: str) -> dict[str, float]:
    """Return operations an image, operations a second of a large bf16 product, and the images a second they allow."""
    net = GJR("resnet18", dim=DIM).to(device)
    x = torch.randn(BATCH, 3, SIZE, SIZE, device=device)
    with FlopCounterMode(display=False) as counter:
        net(x).sum().backward()
    side = 2048 if device == "cpu" else 8192
    a, b = (torch.randn(side, side, device=device).bfloat16() for _ in range(2))
    seconds = statistics.median(in_turn({"product": lambda: a @ b}, 5, device)["product"])
    rate, image = 2 * side**3 / seconds, counter.get_total_flops() / BATCH
    return {"operations_per_image": image, "operations_per_second": rate, "images_per_second": rate / image}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, help="batches a turn (default: 6, on a GPU 390)")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--workers", type=int, default=workers(), help="of the plain loop (default: one a core)")
    options = parser.parse_args()
    device = default_device()
    steps = options.steps or (6 if device == "cpu" else 390)  # of at most BANK images
    torch.manual_seed(0)
    images = torch.randint(0, 256, (steps * BATCH, 3, SIZE, SIZE), dtype=torch.uint8)
    fast, exact = Ours(images, "bf16", device), Ours(images, "fp32", device)
    other = PlainIDFD(device, options.workers)
    ways = {"ours_bf16": fast.seconds, "ours_fp32": exact.seconds, "plain_idfd": lambda: other.seconds(images)}
    if device != "cpu":
        ways["ours_bf16_uncaptured"] = Ours(images, "bf16", device, captured=False).seconds
    taken = in_turn(ways, options.turns, device)
    rates = {name: [len(images) / seconds for seconds in values] for name, values in taken.items()}
    for name, values in rates.items():
        print(f"{name}: {statistics.median(values):.1f} images/s")
    beside = {name[5:]: ratios(taken["plain_idfd"], seconds) for name, seconds in taken.items() if name.startswith("ours_")}
    for name, ratio in beside.items():
        print(f"ours in {name} / plain_idfd: {ratio['median']:.2f} (turns: {ratio['least']:.2f} to {ratio['most']:.2f})")
    limit, apart = ceiling(device), losses_apart(device)
    print(f"ceiling of a bf16 product: {limit['images_per_second']:.0f} images/s")
    print(f"losses of {FOLLOWED} steps differ by at most {apart:.2%}")
    limits = {"bf16": limit["images_per_second"] / statistics.median(rates["plain_idfd"])}
    setting = {"batch": BATCH, "size": SIZE, "bank": BANK, "dim": DIM, "steps": steps, "turns": options.turns,
               "workers": options.workers}  # fmt: skip
    save("step", {"setting": setting, "images_per_second": rates, "ratios": beside, "limits": limits, "ceiling": limit,
                  "losses_apart": {"steps": FOLLOWED, "most": apart}}, device)  # fmt: skip


if __name__ == "__main__":
    main()
