"""Install what a lone notebook needs and the machine lacks, as on Colab: ``python pgjr_book/colab.py``.

It runs before the package can be imported, so it imports nothing of it.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
DISPLAY = ("matplotlib", "seaborn", "pandas", "myst-nb", "papermill")  # what the book's extra needs inside a notebook
PINNED = ("torch", "torchvision", "numpy")  # a reinstall would break the machine's own CUDA setup


def missing() -> list[str]:
    """Return the requirements that are not installed, in whatever version."""
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    book = [line for line in project["optional-dependencies"]["book"] if re.split(r"[^\w-]", line)[0] in DISPLAY]
    return [line for line in project["dependencies"] + book if _version(re.split(r"[^\w-]", line)[0]) is None]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def main() -> None:
    """Install the missing requirements without touching torch, torchvision and numpy."""
    requirements = missing()
    if not requirements:
        return
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
        constraints.write("".join(f"{name}=={_version(name)}\n" for name in PINNED if _version(name)))
        constraints.flush()
        command = [sys.executable, "-m", "pip", "install", "-q", "-c", constraints.name, *requirements]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
