"""Keep files that are whole or absent, and contents that are what they were when they were written.

A write goes to a draft beside its target, which then replaces the target. Tensors are stored as safetensors, never
pickle, with a SHA-256 over names, dtypes, shapes, bytes and metadata. JSON that later work rests on carries a seal, a
SHA-256 over everything else in it.
"""

import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import yaml
from filelock import FileLock, Timeout

from pgjr_lib.errors import PGJRError

try:
    import fcntl
except ImportError:  # Windows: drafts that killed processes left stay there
    fcntl = None

DRAFT = ".draft"  # how the name of a file ends that is being written
YAML_NODES = 1_000_000  # values of a YAML document at most; a few aliases of aliases would make billions
SEAL = "seal"  # the entry of a JSON object that holds the checksum of the others


def atomic_write(path, data: bytes | str) -> None:
    """Write ``data`` to ``path``; a reader sees the old file or the new one, never a part.

    Drafts of the same file that killed processes left are removed.

    Raises:
        OSError: the file cannot be written; its ``filename`` is ``path``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(path):
        _remove_drafts(path)
        handle, draft = _new_draft(path)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data.encode() if isinstance(data, str) else data)
                stream.flush()
                os.fsync(stream.fileno())
                os.chmod(draft, 0o644)  # mkstemp's 0600 would hide published files from other readers
                os.replace(draft, path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise


@contextmanager
def naming(path) -> Iterator[None]:
    """Make an OSError, such as that of a full disk, name the file that the user knows."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:  # else it says in words of its own what happened
            error.filename, error.filename2 = os.fspath(path), None
        raise


def _new_draft(path: Path) -> tuple[int, str]:
    """Open a draft of ``path``. It is locked while it is open, so that nobody takes it for a leftover."""
    while True:
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=DRAFT)
        _lock(handle)
        if os.path.exists(draft):
            return handle, draft
        os.close(handle)  # another process removed it in the moment before it was locked


def _remove_drafts(path: Path) -> None:
    """Remove drafts of ``path`` that nobody has open any more."""
    for entry in os.scandir(path.parent):
        if not (entry.name.startswith(f".{path.name}.") and entry.name.endswith(DRAFT)):
            continue
        with suppress(OSError), open(entry.path, "rb") as stream:  # it may be gone by now
            if _lock(stream.fileno()):
                os.unlink(entry.path)


def _lock(handle: int) -> bool:
    """Lock an open file until it is closed; False where another process has it, or the system has no such locks."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextmanager
def exclusive(path: Path, work: str) -> Iterator[None]:
    """Let one process at a time do ``work``; a second one says on stderr that it waits.

    The kernel frees the lock of a process that dies. The empty file stays, because removing it would let two processes
    lock two files of its name.

    Args:
        path: the lock's file, in the folder that the work writes to.
        work: what is done, as the end of a sentence.

    Raises:
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"another process works on {work}: waiting until it has finished.", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


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
    except (ValueError, RecursionError) as error:  # RecursionError: thousands of brackets
        raise PGJRError(f"{path} is not valid JSON ({error}): run the step that made it again.") from None
    if not isinstance(content, dict):
        raise PGJRError(f"{path} holds a JSON {type(content).__name__} instead of an object: run the step that made it again.")
    return content


def seal_of(content: dict) -> str:
    """Return the SHA-256 over a JSON object, as 64 hexadecimal digits: the same however the file is laid out."""
    plain = json.loads(json.dumps(content))  # keys and numbers as they will be read
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def write_sealed(path, content: dict) -> None:
    """Write a JSON object with its seal, atomically. NaN is refused, because JSON has none."""
    write_json(path, {**content, SEAL: seal_of(content)})


def read_sealed(path, known: Collection[str] | None = None) -> dict:
    """Read a JSON object and check its seal. Files of earlier versions have none.

    Args:
        path: the file.
        known: the entries that such a file may have; in a file without a seal, any other is damage.

    Returns:
        The object without its seal.

    Raises:
        PGJRError: as :func:`read_json`, or the file was changed after it was written.
    """
    content = read_json(path)
    seal = content.pop(SEAL, None)
    if (seal is None and known is not None and not content.keys() <= set(known)) or seal not in (None, seal_of(content)):
        remedy = f"restore it, make it again, or remove its entry {SEAL!r} if you edited it"
        raise PGJRError(f"{path} does not match its {SEAL} (it was changed or damaged): {remedy}.")
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


def _expanded(node, sizes: dict) -> float:
    """Count the values below a YAML node as a reader would see them, each alias as what it stands for; one that holds itself
    counts as infinite."""
    if id(node) not in sizes:
        sizes[id(node)] = float("inf")
        children = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for child in children for part in (child if isinstance(child, tuple) else (child,))]
        sizes[id(node)] = 1 + sum(_expanded(part, sizes) for part in parts)
    return sizes[id(node)]


def parse_yaml(text: bytes | str, what: str):
    """Return what YAML ``text`` holds. PGJRError names ``what``, the line and the mistake."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if _expanded(node, {}) > YAML_NODES:
            raise PGJRError(f"{what} repeats itself through aliases to more than {YAML_NODES:,} values: write it without them.")
        return loader.construct_document(node) if node else None
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, OverflowError, RecursionError) as error:
        # beside its own errors, PyYAML raises whatever a wrong date, !!bool, !!timestamp or a thousand brackets lead to
        mark = getattr(error, "problem_mark", None)
        reason = f"line {mark.line + 1}: {error.problem}" if mark else " ".join(str(error).split())
        raise PGJRError(f"{what} cannot be read as YAML ({reason}): correct it.") from None


def file_sha256(path) -> str:
    """Return the SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def tensors_sha256(tensors: dict, metadata: dict[str, str] | None = None) -> str:
    """Return the SHA-256 over ``metadata`` and the names, dtypes, shapes and bytes of ``tensors``, in the order of their names."""
    import torch

    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode() if metadata else b"")
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
    checksum = tensors_sha256(tensors, metadata)
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
    if _checked.get(state) != metadata["checksum"] and not _matches(metadata, tensors):
        raise PGJRError(f"{path} does not match its checksum (it was changed or damaged): delete it and make it again.")
    _checked[state] = metadata["checksum"]
    return tensors, metadata


def _matches(metadata: dict[str, str], tensors: dict) -> bool:
    """Compare the checksum in ``metadata`` with the rest of it and the tensors; earlier versions left the rest out."""
    others = {name: value for name, value in metadata.items() if name != "checksum"}
    return metadata["checksum"] in (tensors_sha256(tensors, others), others and tensors_sha256(tensors))
