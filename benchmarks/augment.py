"""Compare Augment, one ``grid_sample`` a batch, with kornia's augmentation: seconds a batch of 128.

    python -m benchmarks.augment

The other ways are the same four steps by kornia: ``slice`` cuts the images out one by one, ``resample`` warps the whole
batch. All ways alternate within one process, on one thread. Writes benchmarks/results/augment.json.
"""

import argparse
import statistics
from functools import partial

import kornia.augmentation as K
import torch
from torch import Tensor, nn

from benchmarks.turns import in_turn, ratios, save
from pgjr_lib.augment import Augment, plain

BATCH = 128
CASES = ((32, 32), (64, 64), (96, 64), (32, 128))  # side of the images, side of the views


class Kornia(nn.Module):
    """The same recipe by kornia.

    ``slice`` resizes as torchvision does. ``resample`` always maps the centres of a crop's corner pixels to those of the
    output; this is ``align_corners=True``, which torchvision does not have.
    """

    def __init__(self, size: int, cropping_mode: str):
        super().__init__()
        self.size = size
        self.steps = nn.Sequential(
            K.RandomResizedCrop(
                (size, size), (0.2, 1.0), align_corners=cropping_mode == "resample", cropping_mode=cropping_mode
            ),
            K.RandomHorizontalFlip(p=0.0),
            K.ColorJitter(0.4, 0.4, 0.4, p=1.0),  # ColorJiggle does not follow torchvision's formulas
            K.RandomGrayscale(rgb_weights=torch.tensor([0.299, 0.587, 0.114]), p=0.2),
        )

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        images = images.float() / 255
        if min(images.shape[-2:]) > 2 * self.size:
            images = plain(images, 2 * self.size)
        return self.steps(images).clamp_(0, 1)


def seconds(side: int, size: int, turns: int) -> dict[str, list[float]]:
    """Return the seconds of each way, one number a turn."""
    images = torch.randint(0, 256, (BATCH, 3, side, side), dtype=torch.uint8)
    ways = {"ours": Augment(size), "slice": Kornia(size, "slice"), "resample": Kornia(size, "resample")}
    return in_turn({name: partial(augment, images) for name, augment in ways.items()}, turns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=25)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    rows, beside = [], {}
    for side, size in CASES:
        taken = seconds(side, size, options.turns)
        rows.append({"side": side, "size": size, "seconds": taken})
        print(f"{side} -> {size}: ours {statistics.median(taken['ours']) * 1e3:.1f} ms")
        for name in ("slice", "resample"):
            faster = ratios(taken[name], taken["ours"])
            beside[f"{name}, {side} to {size}"] = faster
            print(f"  kornia's {name} {statistics.median(taken[name]) * 1e3:.1f} ms, ours is {faster['median']:.2f} "
                  f"times as fast (turns: {faster['least']:.2f} to {faster['most']:.2f})")  # fmt: skip
    setting = {"batch": BATCH, "turns": options.turns, "threads": options.threads}
    save("augment", {"setting": setting, "rows": rows, "ratios": beside})


if __name__ == "__main__":
    main()
