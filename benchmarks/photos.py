"""`pgjr cluster` on a folder of photographs, beside the same by hand, and beside reading and encoding alone.

    python -m benchmarks.photos                                 # 2,000 photographs, all ways in turn
    python -m benchmarks.photos --photos 20000 --ours-alone     # first run and unchanged run on a large folder

The photographs are generated: JPEG files of 640x480, blurred noise with a colour for each of ten groups. By hand means what
one would write first: PIL and torchvision read one file after another, torch encodes batches in float32 with the same prior,
KMeans(n_init=20) clusters, and a CSV is written. ``encoding`` is the part of `pgjr cluster` before it clusters. Each way is a
process of its own, started anew in every turn, so that imports count; ``again`` is `pgjr cluster` once more on an unchanged
folder. The peak of memory is the process's own. Writes benchmarks/results/photos.json, or
photos-N.json for another number of photographs.
"""

import argparse
import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from benchmarks.turns import ratios, save
from pgjr_lib.devices import default_device

PHOTOS, GROUPS, SIZE = 2000, 10, (640, 480)
BATCH = 64  # photographs that the loop by hand encodes at once


def generate(folder: Path, count: int) -> None:
    """Write ``count`` JPEG files."""
    generator = np.random.default_rng(0)
    colours = generator.integers(0, 256, (GROUPS, 3))
    folder.mkdir(parents=True)
    for i in range(count):
        noise = generator.integers(0, 256, (48, 64, 3))
        pixels = (0.5 * noise + 0.5 * colours[i % GROUPS]).astype(np.uint8)
        picture = Image.fromarray(pixels).resize(SIZE, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(2))
        picture.save(folder / f"{i:06}.jpg", quality=90)


def cluster(folder: Path, out: Path) -> None:
    """Run the command."""
    from pgjr_lib.cli import main

    main(["cluster", str(folder), "--out", str(out), "-k", str(GROUPS)])


def encoding(folder: Path, out: Path) -> None:
    """Do what the command does before it clusters."""
    from pgjr_lib import data
    from pgjr_lib.photos.cluster import default_prior
    from pgjr_lib.photos.encoding import store_folder
    from pgjr_lib.photos.index import Index
    from pgjr_lib.photos.output import INDEX, OutputFolder
    from pgjr_lib.photos.scan import bring_up_to_date
    from pgjr_lib.photos.store import Store

    device, (prior, _), output = default_device(), default_prior(), OutputFolder(out, folder)
    index, store = Index(output.cache / INDEX), Store(store_folder(output.cache, prior, device))
    bring_up_to_date(index, store, folder, *data.list_images(folder), output, prior, device, 0)


def by_hand(folder: Path, out: Path) -> None:
    """Do the same as one would write it first."""
    import torch
    from sklearn.cluster import KMeans
    from torchvision import transforms

    from pgjr_lib.photos.cluster import default_prior
    from pgjr_lib.priors.encoder import load_prior

    prior = load_prior(default_prior()[0], default_device(), backend="torch", precision="fp32")
    side = prior.image_size
    prepare = transforms.Compose([transforms.Resize(side), transforms.CenterCrop(side), transforms.ToTensor()])
    files, features = sorted(folder.glob("*.jpg")), []
    for start in range(0, len(files), BATCH):
        batch = torch.stack([prepare(Image.open(file).convert("RGB")) for file in files[start : start + BATCH]])
        features.append(prior.encode(batch)[0].cpu())
    points = torch.nn.functional.normalize(torch.cat(features), dim=1).numpy()
    clusters = KMeans(GROUPS, n_init=20, random_state=0).fit_predict(points)
    out.mkdir()
    with (out / "clusters.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", "cluster"], *zip([f.name for f in files], clusters.tolist(), strict=True)])


WAYS = {"pgjr cluster": cluster, "encoding": encoding, "by hand": by_hand}


def measure(way: str, folder: Path, out: Path) -> dict[str, float]:
    """Run a way in a process of its own: its seconds and its peak of memory in MiB."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.photos", "--way", way, str(folder), str(out)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return {"seconds": time.perf_counter() - began, "peak_mib": json.loads(done.stdout.splitlines()[-1])}


def run_way(way: str, folder: Path, out: Path) -> None:
    """Run a way and print the peak of its process in MiB."""
    WAYS[way](folder, out)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=PHOTOS)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--ours-alone", action="store_true", help="run `pgjr cluster` alone")
    parser.add_argument("--way", nargs=3, help=argparse.SUPPRESS)  # how this script calls itself
    options = parser.parse_args()
    if options.way:
        run_way(options.way[0], Path(options.way[1]), Path(options.way[2]))
        return
    taken: dict[str, list[dict]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "photos"
        generate(folder, options.photos)
        for turn in range(options.turns):
            for way in ["pgjr cluster"] if options.ours_alone else WAYS:
                taken.setdefault(way, []).append(measure(way, folder, Path(place) / f"{way}-{turn}"))
            taken.setdefault("again", []).append(measure("pgjr cluster", folder, Path(place) / f"pgjr cluster-{turn}"))
    seconds = {way: [run["seconds"] for run in runs] for way, runs in taken.items()}
    for way, runs in taken.items():
        print(way, *(f"{run['seconds']:.1f} s, {run['peak_mib']:.0f} MiB" for run in runs), sep="; ")
    beside = {way: ratios(seconds[way], seconds["pgjr cluster"]) for way in ("encoding", "by hand") if way in seconds}
    name = "photos" if options.photos == PHOTOS else f"photos-{options.photos}"
    setting = {"photos": options.photos, "turns": options.turns, "size": SIZE}
    save(name, {"setting": setting, "taken": taken, "ratios": beside}, default_device())


if __name__ == "__main__":
    main()
