"""Executing notebooks."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from pgjr_book.__main__ import main
from pgjr_book.execution import execute_notebook, notebook_parameters
from pgjr_lib.errors import PGJRError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("name", "told"), [("step", "did you mean steps?"), ("colour", "known are profile, steps")])
def test_an_unknown_parameter_is_refused_before_anything_runs(tmp_path, name, told, write_notebook):
    source = write_notebook(tmp_path / "a.ipynb", "open('ran', 'w')")
    with pytest.raises(PGJRError, match=name) as caught:
        execute_notebook(source, tmp_path / "out" / "a.ipynb", {name: 1})
    assert told in str(caught.value)
    assert not (tmp_path / "ran").exists() and not (tmp_path / "out").exists()


def test_a_notebook_without_parameters_and_a_missing_one_are_named(tmp_path):
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "bare.ipynb")
    with pytest.raises(PGJRError, match="bare.ipynb has no cell tagged parameters"):
        notebook_parameters(tmp_path / "bare.ipynb")
    with pytest.raises(PGJRError, match="none.ipynb does not exist"):
        notebook_parameters(tmp_path / "none.ipynb")


def test_an_executed_notebook_tells_when_how_long_and_on_what_and_no_paths(tmp_path, write_notebook):
    source, output = write_notebook(tmp_path / "src" / "a.ipynb", "print(steps * 2)"), tmp_path / "out" / "a.ipynb"
    execute_notebook(source, output, {"steps": 21})
    made = json.loads(output.read_text())
    assert any("42" in "".join(o.get("text", "")) for cell in made["cells"] for o in cell.get("outputs", []))
    stamp = made["metadata"]["pgjr"]
    assert stamp["parameters"] == {"steps": 21} and stamp["seconds"] > 0 and stamp["device"] and "commit" in stamp
    assert str(tmp_path) not in output.read_text()
    assert sorted(p.name for p in output.parent.iterdir()) == [".a.lock", "a.ipynb"] and len(list(source.parent.iterdir())) == 1


def test_a_failing_cell_leaves_no_output_and_keeps_the_old_one(tmp_path, write_notebook):
    source, output = write_notebook(tmp_path / "a.ipynb", "raise KeyError('lost')"), tmp_path / "out" / "a.ipynb"
    with pytest.raises(PGJRError, match="KeyError.*lost"):
        execute_notebook(source, output, {})
    assert not output.exists() and (output.parent / "a.failed.ipynb").is_file()
    output.write_text("old")
    with pytest.raises(PGJRError):
        execute_notebook(source, output, {})
    assert output.read_text() == "old"


def test_notebooks_executed_at_the_same_time_do_not_meet(tmp_path, write_notebook):
    code = (
        "import sys; from pathlib import Path; from pgjr_book.execution import execute_notebook;"
        "execute_notebook(Path(sys.argv[1]), Path(sys.argv[2]), {'steps': int(sys.argv[3])})"
    )
    source, running = write_notebook(tmp_path / "a.ipynb", "print('answer', steps)"), []
    for i in range(3):
        command = [sys.executable, "-c", code, str(source), str(tmp_path / "out" / f"{i}.ipynb"), str(i)]
        running.append(subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True))
    for i, process in enumerate(running):
        assert process.wait(120) == 0, process.stderr.read()
        assert f"answer {i}" in (tmp_path / "out" / f"{i}.ipynb").read_text()


def test_the_command_line_says_one_sentence(capsys):
    assert main(["notebook", "figure-1", "-p", "sied", "3"]) == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith("error: ") and "did you mean side?" in told and "\n" not in told
