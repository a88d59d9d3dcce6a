"""Opening a feature folder: mapped into memory and hashed once a process, beside reading and hashing it for every run.

    python -m benchmarks.opening --images 10000 --views 8

`copied` reads every file whole, hashes it and joins it from chunks of 256 images, which is what a run did before. `first` and
`again` are :func:`pgjr_lib.priors.cache.load` in a process that has not seen the folder and in one that has. All in turn.
Features are random numbers of the bundled prior's shapes. Writes benchmarks/results/opening.json.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import torch

from benchmarks.turns import in_turn, ratios, save
from pgjr_lib import storage
from pgjr_lib.priors import cache
from pgjr_lib.priors.config import CHUNK, PLAIN, manifest_name, part_names
from pgjr_lib.storage import save_tensors, tensors_sha256, write_json

SHAPES = {"embedding": (256,), "map": (64, 4, 4)}


def make_folder(folder: Path, images: int, views: int) -> None:
    """Write a feature folder of random numbers."""
    files = {}
    for part in part_names(views):
        tensors = {name: torch.randn(images, *shape).half() for name, shape in SHAPES.items()}
        if part == PLAIN:
            tensors |= {"embedding": tensors["embedding"].float(), "labels": torch.zeros(images, dtype=torch.int64)}
        files[f"{part}.safetensors"] = save_tensors(folder / f"{part}.safetensors", tensors)
    write_json(folder / manifest_name(views), {"files": files, "config": {"views": views}, "class_names": ["a"]})


def copied(folder: Path) -> None:
    for path in sorted(folder.glob("*.safetensors")):
        tensors = {name: tensor.clone() for name, tensor in storage.load_tensors(path)[0].items()}
        tensors_sha256(tensors)
        for tensor in tensors.values():
            torch.cat(tensor.split(CHUNK))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_folder(folder, options.images, options.views)

        def first() -> None:
            storage._checked.clear()  # as in a new process
            cache.load(folder, options.views)

        ways = {"copied": lambda: copied(folder), "first": first, "again": lambda: cache.load(folder, options.views)}
        seconds = in_turn(ways, options.turns)  # its warm-up brings the files into the system's cache
        size = sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 2**20
    for way, values in seconds.items():
        print(f"{way}: {statistics.median(values):.3f} s for {size:.0f} MiB")
    setting = {name: getattr(options, name) for name in ("images", "views", "turns")} | {"mib": size}
    beside = {way: ratios(seconds["copied"], seconds[way]) for way in ("first", "again")}
    save("opening", {"setting": setting, "seconds": seconds, "ratios": beside})


if __name__ == "__main__":
    main()
