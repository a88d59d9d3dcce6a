"""benchmarks/GPU.md: every command it names exists, with its options, and asks for experiments there are."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pgjr_book.__main__ import build_parser
from pgjr_book.manifest import load_manifest, variant_runs

HERE = Path(__file__).parents[2]
TEXT = "\n".join(re.findall(r"```bash\n(.*?)```", (HERE / "benchmarks" / "GPU.md").read_text(), re.S))
PLAIN = re.sub(r"#.*", "", TEXT.replace("\\\n", " "))
LINES = [part.strip() for part in re.split(r"[\n;&]+|\bdo\b|\bdone\b", PLAIN) if part.strip()]

BENCHMARKS = [line for line in LINES if line.startswith("python -m benchmarks.")]


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("python -m pgjr_book ")])
def test_a_command_of_the_list_parses(line):
    options = build_parser().parse_args(shlex.split(line.replace("$seed", "1"))[3:])
    if getattr(options, "experiment", None):
        assert variant_runs(load_manifest(), "gpu", options.experiment)


@pytest.mark.parametrize("line", BENCHMARKS)
def test_a_benchmark_of_the_list_knows_its_options(line):
    module, *options = shlex.split(line)[2:]
    source = (HERE / f"{module.replace('.', '/')}.py").read_text()
    assert all(f'"{option}"' in source for option in options if option.startswith("--"))


def test_every_benchmark_starts():
    """Each imports what it needs and prints its help, called as the Makefile calls it."""
    modules = re.findall(r"python -m (benchmarks\.\w+)", (HERE / "Makefile").read_text())
    without_data = {f"benchmarks.{path.stem}" for path in (HERE / "benchmarks").glob("*.py")} - {"benchmarks.cnn"}
    assert without_data == set(modules)
    for module in [*modules, "benchmarks.cnn"]:
        done = subprocess.run([sys.executable, "-m", module, "--help"], cwd=HERE, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_the_list_has_both():
    assert sum(line.startswith("python -m pgjr_book ") for line in LINES) >= 5 and len(BENCHMARKS) >= 5
