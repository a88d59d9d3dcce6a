"""Every benchmark imports what it needs and starts."""

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parents[2]


def test_every_benchmark_starts():
    """Each imports what it needs and prints its help, called as the Makefile calls it."""
    modules = re.findall(r"python -m (benchmarks\.\w+)", (HERE / "Makefile").read_text())
    scripts = {path.stem for path in (HERE / "benchmarks").glob("*.py")} - {"turns"}  # which the others import
    without_data = {f"benchmarks.{name}" for name in scripts - {"cnn"}}
    assert without_data == set(modules)
    for module in [*modules, "benchmarks.cnn"]:
        done = subprocess.run([sys.executable, "-m", module, "--help"], cwd=HERE, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
