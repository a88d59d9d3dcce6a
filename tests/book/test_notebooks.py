"""Every notebook is clean, parameterised, short and named by the manifest or the table of contents."""

import ast
import json
import re
from pathlib import Path

import pytest
import yaml

from pgjr_book import book as report
from pgjr_book import runs
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
    known = report.notebook_parameters(HERE / "notebooks" / f"{name}.ipynb")
    assert known["profile"] == "published"
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


def test_every_experiment_has_its_notebook_and_every_notebook_its_page():
    pages = {path.stem for path in report.toc_notebooks(HERE)}
    assert pages == {path.stem for path in NOTEBOOKS}
    assert {e.notebook for e in runs.load_manifest(HERE / "experiments.yaml").experiments.values()} <= pages
    assert yaml.safe_load((HERE / "_toc.yml").read_text())["root"] == "book/intro"


def test_what_a_notebook_reads_is_made_before_it_runs():
    names = runs.load_manifest().experiments
    read = {p.stem: report.experiments_read(p, names) for p in (HERE / "notebooks").glob("*.ipynb")}
    assert read["ledger"] == read["table-1"] == list(names) and read["figure-1"] == []
    assert read["figure-7"] == ["components", "sensitivity", "gjr_temperature"]
    assert read["table-6"] == ["priors", "clip_priors", "more_views"]
    for name, entry in names.items():
        assert name in read[entry.notebook]
    for path in (HERE / "notebooks").glob("*.ipynb"):  # every call is one of the forms that are understood
        for argument in re.findall(r"runs\.ensure\((\S+?),", path.read_text()):
            assert argument in ("experiment", "name", "only_some_profiles") or argument.strip('\\"') in names, argument


def test_an_unknown_parameter_is_refused_with_the_nearest_name(tmp_path):
    path = HERE / "notebooks" / "figure-4.ipynb"
    with pytest.raises(PGJRError, match=r"no parameter 'profil': did you mean profile\?"):
        report.execute_notebook(path, tmp_path / "out.ipynb", {"profil": "embedded"})
    assert not (tmp_path / "out.ipynb").exists()


def test_a_notebook_runs_alone_and_says_when_and_where(tmp_path):
    report.execute_notebook(HERE / "notebooks" / "figure-1.ipynb", tmp_path / "out.ipynb", {"side": 96, "g_large": 16})
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
        report.execute_notebook(source, tmp_path / "out" / "figure-x.ipynb", {})
    assert not (tmp_path / "out" / "figure-x.ipynb").exists()
    assert (tmp_path / "out" / "figure-x.failed.ipynb").exists()
