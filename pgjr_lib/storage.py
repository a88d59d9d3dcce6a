"""Keep files that are whole or absent, and tensors that are what they were when they were written.

A write goes to a temporary file beside its target, which then replaces the target. Tensors are stored as
safetensors, never pickle, with a SHA-256 over names, dtypes, shapes and bytes in the file's metadata.
"""

import hashlib
import json
import os
import re
import tempfile
from pathlib import Path

import yaml

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


def cache_folder() -> Path:
    """Return the folder for what can be computed or fetched again; it need not exist yet.

    It is ``$PGJR_CACHE``, else ``pgjr`` in the user's cache.
    """
    if folder := os.environ.get("PGJR_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "pgjr"


def write_json(path, obj) -> None:
    """Write ``obj`` as indented JSON, atomically. NaN is refused, because JSON has none."""
    atomic_write(path, json.dumps(obj, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path) -> dict:
    """Read a JSON file that holds an object.

    Raises:
        PGJRError: the file is missing, is not JSON, or holds something else.
    """
    try:
        content = json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise PGJRError(f"{path} does not exist.") from None
    except ValueError as error:
        raise PGJRError(f"{path} is not valid JSON ({error}): run the step that made it again.") from None
    if not isinstance(content, dict):
        raise PGJRError(f"{path} holds a JSON {type(content).__name__} instead of an object: run the step that made it again.")
    return content


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses repeated keys and reads 1e-3 as a number, as YAML 1.2 does."""

    def compose_mapping_node(self, anchor):
        node, names = super().compose_mapping_node(anchor), set()
        for key, _ in node.value:  # what << brings is not among them yet
            if (name := (key.tag, str(key.value))) in names:
                raise yaml.composer.ComposerError(problem=f"{name[1]!r} stands twice", problem_mark=key.start_mark)
            names.add(name)
        return node


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def parse_yaml(text: bytes | str, what: str):
    """Return what YAML ``text`` holds. PGJRError names ``what``, the line and the mistake."""
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
        mark = getattr(error, "problem_mark", None)
        reason = f"line {mark.line + 1}: {error.problem}" if mark else " ".join(str(error).split())
        raise PGJRError(f"{what} cannot be read as YAML ({reason}): correct it.") from None


def file_sha256(path) -> str:
    """Return the SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def tensors_sha256(tensors: dict) -> str:
    """Return the SHA-256 over the names, dtypes, shapes and bytes of ``tensors``, in the order of their names."""
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


def refuse_pickle(path: Path, zipped: bool = True) -> None:
    """Refuse a pickle, or a zip archive that may hold one, because opening it can run code.

    Raises:
        PGJRError: ``path`` is one. ``zipped=False`` lets archives pass.
    """
    with path.open("rb") as stream:
        head = stream.read(9)
    # safetensors begin with the length of a JSON object, whose first byte may be a pickle's
    tensors = head[8:] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size
    if (head[:1] == b"\x80" and not tensors) or (zipped and head[:2] == b"PK"):
        raise PGJRError(
            f"{path} is a pickle, which can run code when opened, and was not read: give a safetensors file."
        )


_checked: dict[tuple, str] = {}  # files whose content this process has hashed, with the checksum


def load_tensors(path) -> tuple[dict, dict[str, str]]:
    """Load what :func:`save_tensors` wrote and check it; a file that does not change is hashed once in a process.

    The tensors are mapped into memory: what nobody reads stays on disk.

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
    refuse_pickle(path)
    status = path.stat()
    state = path.resolve(), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    try:
        with safe_open(path, framework="pt") as stream:
            metadata = dict(stream.metadata() or {})
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}
    except (SafetensorError, OSError, ValueError) as error:
        raise PGJRError(f"{path} is truncated or no safetensors file ({error}): make or fetch it again.") from None
    if "checksum" not in metadata:
        raise PGJRError(f"{path} carries no checksum of its tensors, so pgjr did not write it: give a file of pgjr's.")
    if _checked.get(state) != metadata["checksum"] and metadata["checksum"] != tensors_sha256(tensors):
        raise PGJRError(f"{path} does not match its checksum (it was changed or damaged): delete it and make it again.")
    _checked[state] = metadata["checksum"]
    return tensors, metadata
