"""The single-pass instance loss beside cross-entropy on all logits, materialised or by torch's own chunks: time and memory.

    python -m benchmarks.loss                     # both sizes, the default chunk
    python -m benchmarks.loss --chunks 512 4096   # to choose the default chunk

Loss and gradient by the features. Torch's chunked ``linear_cross_entropy`` takes part where this torch has it. The limit is the
time of the two matrix products alone, of the features with the bank and of the weights with the bank: no exact way does without.
Time: all in one process, in turn, so that what else the machine does meets all; medians. Memory, each way in a
process of its own: `tensors`, the peak of all bytes that torch's allocator hands out during the call (exact), and
`process`, the growth of the resident set from just before the call to its peak (the kernel's VmHWM, reset by
writing 5 to /proc/self/clear_refs), which counts the matrix library's own buffers and the heap's slack too.
Linux only. On a GPU: time, and the peak of what its allocator handed out. Writes benchmarks/results/loss.json, of a
GPU loss-gpu.json.
"""

import argparse
import json
import statistics
import subprocess
import sys
from itertools import accumulate
from pathlib import Path

import torch
import torch.nn.functional as F

from benchmarks.turns import in_turn, ratios, save, wait
from pgjr_lib.devices import default_device
from pgjr_lib.losses import default_chunk, instance_discrimination

SIZES = (60_000, 1_280_000)
BATCH, DIM, TEMPERATURE = 256, 128, 0.1


def problem(size: int, device: str = "cpu"):
    """Features (B, d), their rows (B,) and a bank (N, d)."""
    torch.manual_seed(0)
    bank = torch.empty(size, DIM, device=device)
    for rows in bank.split(60_000):  # in parts: making the bank must not need more memory than the loss
        rows.copy_(F.normalize(torch.randn(rows.shape), dim=1))
    f = F.normalize(torch.randn(BATCH, DIM), dim=1).to(device).requires_grad_()
    return f, torch.randint(size, (BATCH,)).to(device), bank


def single_pass(f, index, bank, chunk):
    return torch.autograd.grad(instance_discrimination(f, index, bank, TEMPERATURE, chunk), f)[0]


def materialised(f, index, bank, _chunk):
    return torch.autograd.grad(F.cross_entropy(f @ bank.T / TEMPERATURE, index), f)[0]


def chunked(f, index, bank, _chunk):
    options = torch.nn.LinearCrossEntropyOptions()  # without options it materialises the logits
    return torch.autograd.grad(F.linear_cross_entropy(f / TEMPERATURE, bank, index, options=options), f)[0]


def products(f, _index, bank, _chunk):
    f = f.detach()
    pull = torch.zeros_like(f)
    for v in bank.split(default_chunk(len(f), f.device)):
        pull.addmm_(f @ v.T, v)
    return pull


WAYS = {"single_pass": single_pass, "materialised": materialised}
if hasattr(torch.nn, "LinearCrossEntropyOptions"):
    WAYS["chunked"] = chunked


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


def gpu_memory(way: str, size: int, chunk: int, device: str) -> dict[str, float]:
    """MiB that one call needs beyond what is there before it, by the GPU's allocator."""
    f, index, bank = problem(size, device)
    WAYS[way](f[:2], index[:2] % 64, bank[:64], chunk)  # libraries loaded
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    WAYS[way](f, index, bank, chunk)
    wait(device)
    return {"tensors": (torch.cuda.max_memory_allocated() - before) / 2**20}


def seconds(size: int, chunks: list[int], repeats: int, device: str) -> dict:
    """Seconds of one call: way or chunk -> one number a round, all of them measured in turn."""
    f, index, bank = problem(size, device)
    calls = {way: lambda way=way: WAYS[way](f, index, bank, 0) for way in WAYS if way != "single_pass"}
    calls["products"] = lambda: products(f, index, bank, 0)
    calls |= {chunk: lambda chunk=chunk: single_pass(f, index, bank, chunk) for chunk in chunks}
    return in_turn(calls, repeats, device)


def main() -> None:
    device = default_device()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", type=int, nargs="+", default=[default_chunk(BATCH, device)])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--memory-of", nargs=3, help=argparse.SUPPRESS)  # how this script calls itself
    options = parser.parse_args()
    if options.memory_of:
        way, size, chunk = options.memory_of
        print(json.dumps(peak_memory(way, int(size), int(chunk))))
        return
    measure = memory if device == "cpu" else lambda *work: gpu_memory(*work, device)
    rows, beside, limits = [], {}, {}
    for size in options.sizes:
        taken = seconds(size, options.chunks, options.repeats, device)
        whole, base = statistics.median(taken["materialised"]), measure("materialised", size, 0)
        used = ", ".join(f"{name} {value:,.1f} MiB" for name, value in base.items())
        print(f"N = {size:,}: materialised {whole:.4f} s, {used}")
        beside[f"N = {size:,}"] = ratios(taken["materialised"], taken[options.chunks[0]])
        limits[f"N = {size:,}"] = ratios(taken["materialised"], taken["products"])["median"]
        print(f"  the products alone {statistics.median(taken['products']):.4f} s")
        if "chunked" in taken:
            used = ", ".join(f"{name} {value:,.1f} MiB" for name, value in measure("chunked", size, 0).items())
            print(f"  torch's linear_cross_entropy {statistics.median(taken['chunked']):.4f} s, {used}")
            beside[f"N = {size:,}, beside torch's chunks"] = ratios(taken["chunked"], taken[options.chunks[0]])
            limits[f"N = {size:,}, beside torch's chunks"] = ratios(taken["chunked"], taken["products"])["median"]
        for chunk in options.chunks:
            mib, faster = measure("single_pass", size, chunk), ratios(taken[chunk], taken["materialised"])
            rows.append({
                "N": size, "chunk": chunk, "seconds": taken[chunk], "materialised_seconds": taken["materialised"],
                "time_ratio": faster, "mib": mib, "materialised_mib": base,
                "memory_ratio": {name: mib[name] / base[name] for name in mib},
            })  # fmt: skip
            print(f"  chunk {chunk:>6,}: {statistics.median(taken[chunk]):.4f} s ({faster['median']:.2f}x)")
            for name, share in rows[-1]["memory_ratio"].items():
                print(f"    {name} {mib[name]:.1f} MiB ({share:.2%})")
    setting = {"batch": BATCH, "dim": DIM, "temperature": TEMPERATURE, "default_chunk": default_chunk(BATCH, device)}
    save("loss", {"setting": setting, "rows": rows, "ratios": beside, "limits": limits}, device)


if __name__ == "__main__":
    main()
