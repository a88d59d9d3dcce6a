"""How long a user waits for the commands themselves: `pgjr --help`, `import pgjr_lib`, and with --book the default book.

    python -m benchmarks.commands            # seconds of starting
    python -m benchmarks.commands --book     # also `make book`, in a new clone and again: about twelve minutes

Every start is a process of its own, beside an empty one of the same Python. The book is made twice in a fresh clone whose
environment is this checkout's, so that the installation does not count: once from nothing, and once with nothing to do.
Writes benchmarks/results/commands.json.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks.turns import in_turn, save

ROOT = Path(__file__).parents[1]
STARTS = {
    "nothing": "pass",
    "import pgjr_lib": "import pgjr_lib",
    "pgjr --help": "from pgjr_lib.cli import main; main(['--help'])",
}


def start(code: str) -> None:
    """Run a line of Python in a process of its own. ``--help`` ends in exit status 0."""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)


def book() -> dict[str, float]:
    """Make the default book in a new clone, then again. Returns the seconds of both.

    Raises:
        subprocess.CalledProcessError: git or make failed.
    """
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        (clone / ".venv").symlink_to(Path(sys.executable).parents[1])
        for name in ("cold", "warm"):
            began = time.perf_counter()
            subprocess.run(["make", "-o", ".venv/installed", "book"], cwd=clone, check=True, capture_output=True)
            seconds[name] = time.perf_counter() - began
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--book", action="store_true", help="make the default book, too")
    options = parser.parse_args()
    seconds = in_turn({name: partial(start, code) for name, code in STARTS.items()}, options.turns)
    if options.book:
        seconds |= {f"make book, {name}": [value] for name, value in book().items()}
    for name, values in seconds.items():
        print(f"{name}: {statistics.median(values):.2f} s")
    save("commands", {"setting": {"turns": options.turns}, "seconds": seconds})


if __name__ == "__main__":
    main()
