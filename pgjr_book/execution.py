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
from pgjr_lib.storage import atomic_write


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
        PGJRError: an unknown parameter (papermill would only warn), or a cell that failed, with its error.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    notebook, output = Path(notebook), Path(output)
    known = notebook_parameters(notebook)
    for name in parameters:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}."
            raise PGJRError(f"{notebook} has no parameter {name!r}: {hint}")
    output.parent.mkdir(parents=True, exist_ok=True)
    started, began = datetime.now(UTC), time.perf_counter()
    with tempfile.TemporaryDirectory(dir=output.parent) as folder, tempfile.TemporaryDirectory() as sockets:
        draft = Path(folder) / output.name
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
    atomic_write(output, json.dumps(executed, indent=1) + "\n")


def _device() -> str:
    """Return the name of the GPU that a notebook runs on, or of the processor."""
    if shutil.which("nvidia-smi"):  # without the driver there is no GPU; torch would take seconds to say so
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name()
    return cpu_name()
