"""Execute notebooks with papermill: parameters are checked first, the result is written atomically and stamped."""

import ast
import difflib
import json
import os
import shutil
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from pgjr_book.provenance import checkout, cpu_name
from pgjr_lib.errors import PGJRError
from pgjr_lib.storage import SEAL, atomic_write, exclusive, naming, read_json, seal_of


def notebook_parameters(notebook: Path) -> dict:
    """Return the names and defaults in the notebook's ``parameters`` cell.

    Raises:
        PGJRError: no such notebook, or none of its cells is tagged ``parameters``.
    """
    if not notebook.is_file():
        raise PGJRError(f"{notebook} does not exist.")
    for cell in json.loads(notebook.read_text())["cells"]:
        if "parameters" in cell.get("metadata", {}).get("tags", []):
            assigned = [node for node in ast.parse("".join(cell["source"])).body if isinstance(node, ast.Assign)]
            return {node.targets[0].id: ast.literal_eval(node.value) for node in assigned}
    raise PGJRError(f"{notebook} has no cell tagged parameters: tag the one that sets them.")


def execute_notebook(notebook: Path, output: Path, parameters: dict) -> None:
    """Run ``notebook`` into ``output``, atomically, and stamp its time, duration, device and commit.

    Raises:
        PGJRError: an unknown parameter (papermill would only warn), one that is no plain value, or a cell that failed,
            with its error.
    """
    notebook, output = Path(notebook), Path(output)
    known = notebook_parameters(notebook)
    for name in parameters:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}."
            raise PGJRError(f"{notebook} has no parameter {name!r}: {hint}")
    if wrong := [name for name, value in parameters.items() if not _is_plain(value)]:
        raise PGJRError(f"The parameter {wrong[0]} of {notebook} is no text, number, list or mapping of these: give it as one.")
    with exclusive(output.parent / f".{output.stem}.lock", f"{output.name}"):
        draft = output.parent / f".{output.stem}.executing" / output.name
        shutil.rmtree(draft.parent, ignore_errors=True)  # of a killed execution
        draft.parent.mkdir(parents=True)
        try:
            with naming(output):
                _execute(notebook, output, draft, parameters)
        finally:
            shutil.rmtree(draft.parent, ignore_errors=True)


def _execute(notebook: Path, output: Path, draft: Path, parameters: dict) -> None:
    """Run ``notebook`` into ``draft``, and write it with its stamp and seal to ``output``."""
    import papermill
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    started, began = datetime.now(UTC), time.perf_counter()
    with tempfile.TemporaryDirectory() as sockets:
        try:
            papermill.execute_notebook(
                os.path.relpath(notebook),
                os.path.relpath(draft),
                parameters=parameters,
                language="python",
                start_timeout=180,  # seconds; a busy machine needs many
                cwd=notebook.parent,
                kernel_name="python3",
                progress_bar=False,
                log_output=False,
                # Parallel kernels would race for TCP ports, and for the default socket names. Only the Python API
                # can set the transport. Each kernel gets a folder, in /tmp because socket paths must be short.
                config=Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}}),
            )
        except PapermillExecutionError as error:
            failed = output.with_suffix(".failed.ipynb")
            shutil.move(draft, failed)
            raise PGJRError(f"{notebook} failed with {error.ename}: {error.evalue} (all cells: {failed}).") from None
        except RuntimeError as error:  # the kernel did not start, or died
            raise PGJRError(f"{notebook} could not be executed: {error}; run it again.") from None
        executed = json.loads(draft.read_text())
    executed["metadata"].pop("papermill", None)  # it holds the machine's paths
    executed["metadata"]["pgjr"] = {
        "parameters": parameters,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - began, 1),
        "device": _device(),
        **checkout(),
    }
    executed["metadata"]["pgjr"][SEAL] = seal_of(executed)
    atomic_write(output, json.dumps(executed, indent=1) + "\n")


def read_executed(path: Path) -> dict:
    """Read a notebook that :func:`execute_notebook` wrote, and check its seal.

    Returns:
        The notebook, with its stamp in ``metadata.pgjr``.

    Raises:
        PGJRError: it is no such notebook, or was changed since.
    """
    notebook = read_json(path)
    stamp = notebook["metadata"].get("pgjr") if isinstance(notebook.get("metadata"), dict) else None
    seal = stamp.pop(SEAL, None) if isinstance(stamp, dict) else None
    if seal is None or seal != seal_of(notebook):
        raise PGJRError(f"{path} is not as its execution left it (changed or damaged): delete it, and make book executes it again.")
    return notebook


def _is_plain(value) -> bool:
    """Say whether a parameter can be written as JSON; YAML also has dates, sets and bytes, and lists that hold themselves."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _device() -> str:
    """Return the name of the GPU that a notebook runs on, or of the processor."""
    if shutil.which("nvidia-smi"):  # without the driver there is no GPU; torch would take seconds to say so
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name()
    return cpu_name()
