"""Choose which device to use, the half precision that it is fast at, and how many processes may work side by side."""

import os

import torch


def default_device() -> str:
    """Return ``cuda`` where there is a CUDA device, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def workers() -> int:
    """Return the number of processes of one thread that may work at once: ``OMP_NUM_THREADS``, else the cores at hand."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdigit() and int(threads):
        return int(threads)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def fast_half(device) -> torch.dtype | None:
    """Return the half precision a device is fast at: float16 on CUDA, bfloat16 on CPUs that have it, else None."""
    if torch.device(device).type == "cuda":
        return torch.float16
    if hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        return torch.bfloat16 if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else None
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # torch before get_capabilities
    return torch.bfloat16 if any(getattr(torch.cpu, check, bool)() for check in checks) else None


def training_half(device) -> torch.dtype:
    """Return the half precision a device trains fast in: bfloat16, but float16 on CUDA devices before Ampere (T4, V100).

    These emulate bfloat16. float16 has few exponents, so it needs a scaled loss.
    """
    if torch.device(device).type != "cuda":
        return torch.bfloat16
    return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
