"""Which device to use, and the half precision that it is fast at."""

import torch


def default_device() -> str:
    """Return ``cuda`` where there is a CUDA device, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def fast_half(device) -> torch.dtype | None:
    """Return the half precision a device is fast at: float16 on CUDA, bfloat16 on CPUs that have it, else None."""
    if torch.device(device).type == "cuda":
        return torch.float16
    if hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        return torch.bfloat16 if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else None
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # torch before get_capabilities
    return torch.bfloat16 if any(getattr(torch.cpu, check, bool)() for check in checks) else None
