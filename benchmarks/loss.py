"""The single-pass instance loss beside cross-entropy on materialised logits: time and memory of loss and gradient.

    python -m benchmarks.loss                     # both sizes, the default chunk
    python -m benchmarks.loss --chunks 512 4096   # to choose the default chunk

Time: both in one process, in turn, so that what else the machine does meets both; medians. Memory, each way in a
process of its own: `tensors`, the peak of all bytes that torch's allocator hands out during the call (exact), and
`process`, the growth of the resident set from just before the call to its peak (the kernel's VmHWM, reset by
writing 5 to /proc/self/clear_refs), which counts the matrix library's own buffers and the heap's slack too.
Linux only. Writes benchmarks/results/loss.json.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from itertools import accumulate
from pathlib import Path

import torch
import torch.nn.functional as F

from pgjr_book.provenance import provenance
from pgjr_lib.losses import default_chunk, instance_discrimination
from pgjr_lib.storage import write_json

SIZES = (60_000, 1_280_000)
BATCH, DIM, TEMPERATURE = 256, 128, 0.1
DEFAULT_CHUNK = default_chunk(BATCH, "cpu")
RESULT = Path(__file__).parent / "results" / "loss.json"


def problem(size: int):
    """Features (B, d), their rows (B,) and a bank (N, d)."""
    torch.manual_seed(0)
    bank = torch.empty(size, DIM)
    for rows in bank.split(60_000):  # in parts: making the bank must not need more memory than the loss
        rows.copy_(F.normalize(torch.randn(rows.shape), dim=1))
    f = F.normalize(torch.randn(BATCH, DIM), dim=1).requires_grad_()
    return f, torch.randint(size, (BATCH,)), bank


def single_pass(f, index, bank, chunk):
    return torch.autograd.grad(instance_discrimination(f, index, bank, TEMPERATURE, chunk), f)[0]


def materialised(f, index, bank, _chunk):
    return torch.autograd.grad(F.cross_entropy(f @ bank.T / TEMPERATURE, index), f)[0]


WAYS = {"single_pass": single_pass, "materialised": materialised}


def resident(field: str) -> float:
    """A line of /proc/self/status in MiB: VmRSS (now) or VmHWM (peak)."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field)]
    return int(line.split()[1]) / 1024


def peak_memory(way: str, size: int, chunk: int) -> dict[str, float]:
    """MiB that one call needs beyond what is there before it, as the ``process`` sees it and in ``tensors``."""
    f, index, bank = problem(size)
    WAYS[way](f[:2], index[:2] % 64, bank[:64], chunk)  # libraries loaded, threads started
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    WAYS[way](f, index, bank, chunk)
    process = resident("VmHWM") - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiled:
        WAYS[way](f, index, bank, chunk)
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    sizes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]  # freed ones are negative
    return {"process": process, "tensors": max(accumulate(sizes)) / 2**20}


def memory(way: str, size: int, chunk: int) -> dict[str, float]:
    """:func:`peak_memory` in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.loss", "--memory-of", way, str(size), str(chunk)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def seconds(size: int, chunks: list[int], repeats: int) -> dict:
    """Seconds of one call: way or chunk -> one number a round, all of them measured in turn."""
    f, index, bank = problem(size)
    turns = {"materialised": (materialised, 0), **{chunk: (single_pass, chunk) for chunk in chunks}}
    taken = {name: [] for name in turns}
    for turn in range(repeats + 1):
        for name, (function, chunk) in turns.items():
            began = time.perf_counter()
            function(f, index, bank, chunk)
            if turn:  # the first is a warm-up
                taken[name].append(time.perf_counter() - began)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", type=int, nargs="+", default=[DEFAULT_CHUNK])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--memory-of", nargs=3, help=argparse.SUPPRESS)  # how this script calls itself
    options = parser.parse_args()
    if options.memory_of:
        way, size, chunk = options.memory_of
        print(json.dumps(peak_memory(way, int(size), int(chunk))))
        return
    rows = []
    for size in options.sizes:
        taken = seconds(size, options.chunks, options.repeats)
        whole, base = statistics.median(taken["materialised"]), memory("materialised", size, 0)
        print(f"N = {size:,}: materialised {whole:.3f} s, tensors {base['tensors']:,.1f} MiB, "
              f"process {base['process']:,.1f} MiB")  # fmt: skip
        for chunk in options.chunks:
            mib = memory("single_pass", size, chunk)
            in_turn = [ours / theirs for ours, theirs in zip(taken[chunk], taken["materialised"], strict=True)]
            row = {
                "N": size, "chunk": chunk, "seconds": taken[chunk], "materialised_seconds": taken["materialised"],
                "time_ratio": statistics.median(in_turn), "mib": mib, "materialised_mib": base,
                "memory_ratio": {name: mib[name] / base[name] for name in mib},
            }  # fmt: skip
            rows.append(row)
            print(f"  chunk {chunk:>6,}: {statistics.median(taken[chunk]):.3f} s ({row['time_ratio']:.2f}x)")
            for name, share in row["memory_ratio"].items():
                print(f"    {name} {mib[name]:.1f} MiB ({share:.2%})")
    setting = {"batch": BATCH, "dim": DIM, "temperature": TEMPERATURE, "default_chunk": DEFAULT_CHUNK}
    write_json(RESULT, {"setting": setting, "rows": rows, "provenance": provenance("cpu", "")})


if __name__ == "__main__":
    main()
