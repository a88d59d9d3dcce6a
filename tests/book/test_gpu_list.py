"""benchmarks/GPU.md: every command it names exists, with its options, and asks for experiments there are."""

import re
import shlex
from pathlib import Path

import pytest

from pgjr_book.__main__ import build_parser
from pgjr_book.manifest import load_manifest, variant_runs

HERE = Path(__file__).parents[2]
TEXT = "\n".join(re.findall(r"```bash\n(.*?)```", (HERE / "benchmarks" / "GPU.md").read_text(), re.S))
PLAIN = re.sub(r"#.*", "", TEXT.replace("\\\n", " "))
LINES = [part.strip() for part in re.split(r"[\n;&]+|\bdo\b|\bdone\b", PLAIN) if part.strip()]

SCRIPTS = [line for line in LINES if line.startswith("python ") and not line.startswith("python -m ")]


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("python -m pgjr_book ")])
def test_a_command_of_the_list_parses(line):
    options = build_parser().parse_args(shlex.split(line.replace("$seed", "1"))[3:])
    if getattr(options, "experiment", None):
        assert variant_runs(load_manifest(), "gpu", options.experiment)


@pytest.mark.parametrize("line", SCRIPTS)
def test_a_benchmark_of_the_list_exists_and_knows_its_options(line):
    script, *options = shlex.split(line)[1:]
    source = (HERE / script).read_text()
    assert all(f'"{option}"' in source for option in options if option.startswith("--"))


def test_the_list_has_both():
    assert sum(line.startswith("python -m pgjr_book ") for line in LINES) >= 5 and len(SCRIPTS) >= 6
