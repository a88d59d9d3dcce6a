"""Files that are whole or absent, and tensors that are what they were when they were written.

Every write goes to a temporary name beside its target and is moved over it. Tensors are stored as
safetensors (never pickle) with a SHA-256 over names, dtypes, shapes and bytes in the file's own metadata.
"""

import hashlib
import json
import os
import tempfile
from pathlib import Path

from pgjr_lib.errors import PGJRError


def atomic_write(path, data: bytes | str) -> None:
    """Write ``data`` to ``path``; a reader sees the old file or the new one, never a part."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data.encode() if isinstance(data, str) else data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, 0o644)  # mkstemp's 0600 would hide published files from other readers
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path, obj) -> None:
    """Write ``obj`` as indented JSON, atomically. NaN is refused, because JSON has none."""
    atomic_write(path, json.dumps(obj, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path) -> dict:
    """Read a JSON file.

    Raises:
        PGJRError: the file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise PGJRError(f"{path} does not exist.") from None
    except ValueError as error:
        raise PGJRError(
            f"{path} is not valid JSON ({error}): delete it and run the step that makes it again."
        ) from None


def file_sha256(path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def tensors_sha256(tensors: dict) -> str:
    """SHA-256 over the names, dtypes, shapes and bytes of ``tensors``, in the order of their names."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(memoryview(tensor.reshape(-1).view(torch.uint8).numpy()) if tensor.numel() else b"")
    return digest.hexdigest()


def save_tensors(path, tensors: dict, metadata: dict[str, str] | None = None) -> str:
    """Save ``tensors`` (name -> Tensor) as safetensors, atomically.

    Returns:
        The checksum, which also goes into the file's metadata under ``checksum``.
    """
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    checksum = tensors_sha256(tensors)
    atomic_write(path, save(tensors, {**(metadata or {}), "checksum": checksum}))
    return checksum


def load_tensors(path) -> tuple[dict, dict[str, str]]:
    """Load what :func:`save_tensors` wrote and check it.

    Returns:
        (name -> Tensor, the metadata with its ``checksum``).

    Raises:
        PGJRError: the file is missing, no safetensors file (a pickle is never opened), truncated, or its
            content does not match its checksum.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise PGJRError(f"{path} does not exist.")
    with path.open("rb") as stream:
        head = stream.read(16)
    if head[:2] == b"PK" or head[:1] == b"\x80":
        raise PGJRError(
            f"{path} is a pickle, which can run code when opened, and was not read: give a safetensors file."
        )
    try:
        with safe_open(path, framework="pt") as stream:
            metadata = dict(stream.metadata() or {})
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}
    except (SafetensorError, OSError, ValueError) as error:
        raise PGJRError(f"{path} is truncated or no safetensors file ({error}): delete it and make it again.") from None
    if metadata.get("checksum") != tensors_sha256(tensors):
        raise PGJRError(f"{path} does not match its checksum (it was changed or damaged): delete it and make it again.")
    return tensors, metadata
