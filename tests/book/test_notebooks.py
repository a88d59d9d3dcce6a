"""Every notebook is clean, parameterised, short and named by the manifest or the table of contents."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pgjr_book.execution import execute_notebook, notebook_parameters
from pgjr_book.manifest import load_manifest
from pgjr_book.toc import toc_notebooks
from pgjr_lib.errors import PGJRError

HERE = Path(__file__).parents[2]
NOTEBOOKS = sorted((HERE / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return request.param.stem, json.loads(request.param.read_text())


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_is_clean_with_ids_and_no_paths_of_a_machine(notebook):
    name, content = notebook
    assert all(not c["outputs"] and c["execution_count"] is None for c in code_cells(content))
    ids = [cell["id"] for cell in content["cells"]]
    assert len(set(ids)) == len(ids)
    assert not re.search(r"/(home|root|tmp|Users|work)/", json.dumps(content))


def test_has_one_parameters_cell_of_plain_values_and_at_most_ten_code_cells(notebook):
    name, content = notebook
    tagged = [c for c in code_cells(content) if "parameters" in c["metadata"].get("tags", [])]
    assert len(tagged) == 1
    known = notebook_parameters(HERE / "notebooks" / f"{name}.ipynb")
    assert known["profile"] == ("clip" if name == "run-on-a-gpu" else "published")  # that one is opened to be run
    assert all(isinstance(value, str | int | float | bool) for value in known.values())
    assert len(code_cells(content)) <= 10
    assert all(len("".join(c["source"]).splitlines()) <= 20 for c in code_cells(content))


def test_its_code_parses_and_says_how_to_run_it_again(notebook):
    name, content = notebook
    for cell in code_cells(content):
        ast.parse("".join(cell["source"]))
    prose = "".join("".join(c["source"]) for c in content["cells"] if c["cell_type"] == "markdown")
    assert f"papermill notebooks/{name}.ipynb" in prose and "make book" in prose


def test_every_figure_has_an_alternative_text(notebook):
    _, content = notebook
    for cell in code_cells(content):
        source = "".join(cell["source"])
        if re.search(r"^ *figures\.(?!as_html)\w+\(", source, re.M):
            assert len(cell["metadata"]["mystnb"]["image"]["alt"]) > 30


def test_every_notebook_is_a_page_and_in_the_manifest():
    pages = {path.stem for path in toc_notebooks(HERE)}
    assert pages == {path.stem for path in NOTEBOOKS} == set(load_manifest(HERE / "experiments.yaml").notebooks)
    assert yaml.safe_load((HERE / "_toc.yml").read_text())["root"] == "book/intro"


def test_it_reads_its_own_records_and_only_those_that_the_manifest_names(notebook):
    """Every call is ``records_for("<this notebook>", profile)``, and every experiment taken from it is one of its own."""
    name, content = notebook
    source = "\n".join("".join(cell["source"]) for cell in code_cells(content))
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    reads = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "records_for"]
    expected = load_manifest().reads(name)
    pairs = "reproductions(profile)" in source  # the page that holds this machine's runs against the committed ones
    assert len(reads) == (bool(expected) and not pairs)
    for call in reads:
        assert [ast.unparse(argument) for argument in call.args] == [f"'{name}'", "profile"]
    assert not re.search(r"\b(make|ensure|train|extract)\b", source)


def test_notebooks_share_one_import(notebook):
    _, content = notebook
    first, *others = code_cells(content)
    source = "\n".join("".join(cell["source"]) for cell in others)
    book = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ImportFrom) and n.module.startswith("pgjr_book")]
    assert {node.module for node in book} <= {"pgjr_book.notebook"} and len(book) <= 1
    reference = json.loads((HERE / "notebooks" / "figure-1.ipynb").read_text())
    assert first["source"] == code_cells(reference)[0]["source"]  # where a lone copy finds the rest, the same in all


def test_an_unknown_parameter_is_refused_with_the_nearest_name(tmp_path):
    path = HERE / "notebooks" / "figure-4.ipynb"
    with pytest.raises(PGJRError, match=r"no parameter 'profil': did you mean profile\?"):
        execute_notebook(path, tmp_path / "out.ipynb", {"profil": "embedded"})
    assert not (tmp_path / "out.ipynb").exists()


def test_a_notebook_runs_alone_and_says_when_and_where(tmp_path):
    execute_notebook(HERE / "notebooks" / "figure-1.ipynb", tmp_path / "out.ipynb", {"side": 96, "g_large": 16})
    text = (tmp_path / "out.ipynb").read_text()
    made = json.loads(text)["metadata"]["pgjr"]
    assert made["seconds"] > 0 and made["parameters"] == {"side": 96, "g_large": 16}
    assert "image/png" in text and str(tmp_path) not in text


def test_a_failing_notebook_leaves_no_output_but_its_cells(tmp_path):
    content = json.loads((HERE / "notebooks" / "figure-1.ipynb").read_text())
    content["cells"][-1:] = [{"cell_type": "code", "id": "boom", "metadata": {}, "outputs": [], "execution_count": None,
                              "source": "raise RuntimeError('boom')"}]  # fmt: skip
    content["cells"] = [c for c in content["cells"] if "parameters" in c["metadata"].get("tags", []) or c["id"] == "boom"]
    source = tmp_path / "figure-x.ipynb"
    source.write_text(json.dumps(content))
    with pytest.raises(PGJRError, match="figure-x.ipynb failed with RuntimeError: boom"):
        execute_notebook(source, tmp_path / "out" / "figure-x.ipynb", {})
    assert not (tmp_path / "out" / "figure-x.ipynb").exists()
    assert (tmp_path / "out" / "figure-x.failed.ipynb").exists()


def test_a_kernel_does_not_wait_for_the_syntax_of_addresses():
    """jsonschema, which nbformat imports, would load grammars of IRIs, which takes seconds in every kernel."""
    look = "print('nbformat' in sys.modules, 'lark' in sys.modules)"
    code = f"import sys; from pgjr_book.notebook import glue; glue('a', 1, display=False); {look}"
    done = subprocess.run([sys.executable, "-c", code], cwd=HERE, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
