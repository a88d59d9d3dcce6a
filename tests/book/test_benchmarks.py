"""Every benchmark imports what it needs and starts."""

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parents[2]
START = """
import runpy, sys
modules, sys.argv[1:] = sys.argv[1:], ["--help"]
for module in modules:
    try:
        runpy.run_module(module, run_name="__main__")
    except SystemExit as end:
        assert end.code == 0, module
"""


def test_every_benchmark_starts():
    """Each imports what it needs and prints its help, run as a module, as the Makefile runs it."""
    modules = re.findall(r"python -m (benchmarks\.\w+)", (HERE / "Makefile").read_text())
    scripts = {path.stem for path in (HERE / "benchmarks").glob("*.py")} - {"turns", "pictures"}  # which the others import
    without_data = {f"benchmarks.{name}" for name in scripts - {"cnn"}}
    assert without_data == set(modules)
    done = subprocess.run([sys.executable, "-c", START, *modules, "benchmarks.cnn"], cwd=HERE, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count("usage: ") == len(modules) + 1, done.stderr
