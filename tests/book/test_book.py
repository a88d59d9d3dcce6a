"""Staging and building a book."""

import json
from pathlib import Path

import nbformat
import pytest
import yaml

from pgjr_book import book
from pgjr_book.execution import execute_notebook
from pgjr_lib.errors import PGJRError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def clone(tmp_path, monkeypatch, write_notebook):
    """A clone with one page and one notebook."""
    for name in ("experiments.yaml", "_config.yml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    toc = {"format": "jb-book", "root": "book/status", "chapters": [{"file": "notebooks/a"}]}
    (tmp_path / "_toc.yml").write_text(yaml.safe_dump(toc))
    for folder in ("book", "tests", "pgjr_lib", "results"):
        (tmp_path / folder).mkdir()
    (tmp_path / "book" / "status.md").write_text(f"# Status\n\n{book.STATUS_MARK}\n\nexecuted by the book itself\n")
    (tmp_path / "tests" / "test_theorems.py").write_text("")
    (tmp_path / "pgjr_lib" / "jigsaw.py").write_text("")
    write_notebook(tmp_path / "notebooks" / "a.ipynb", "print(steps)")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_staging_asks_for_a_notebook_that_was_not_executed(clone):
    with pytest.raises(PGJRError, match=r"a.ipynb is missing: run make book PROFILE=published"):
        book.stage("published")


def test_staging_assembles_the_executed_book(clone):
    execute_notebook(clone / "notebooks" / "a.ipynb", clone / "build/published/notebooks/a.ipynb", {})
    source = book.stage("published")
    assert source == clone / "build" / "published" / "src"
    assert json.loads((source / "notebooks" / "a.ipynb").read_text())["metadata"]["pgjr"]
    assert yaml.safe_load((source / "_config.yml").read_text())["execute"]["execute_notebooks"] == "off"
    status = (source / "book" / "status.md").read_text()
    assert "[a](../notebooks/a.ipynb)" in status and "by the book itself" not in status
    assert "Nothing has been run" in json.loads((source / "book" / "banner.json").read_text())["html"]
    assert (source / "pgjr_lib" / "jigsaw.py").is_file()


def test_a_page_s_own_notebook_knows_where_its_repository_is(clone, monkeypatch, write_notebook):
    address = {"repository": {"url": "https://github.com/someone/book", "branch": "0123abc", "path_to_book": ""}}
    monkeypatch.setattr(book, "launch_links", lambda home: address)
    write_notebook(clone / "notebooks" / "a.ipynb", 'repository, commit = "", "main"')
    execute_notebook(clone / "notebooks" / "a.ipynb", clone / "build/published/notebooks/a.ipynb", {})
    (clone / "book" / "reproduce.md").write_text(f"# Reproduce\n\ngit clone {book.UNKNOWN_ADDRESS}\n")
    source = book.stage("published")
    assert "git clone https://github.com/someone/book && cd book" in (source / "book" / "reproduce.md").read_text()
    staged = nbformat.read(source / "notebooks" / "a.ipynb", 4)
    assert staged.cells[-1].source == 'repository, commit = "https://github.com/someone/book", "0123abc"'
    assert nbformat.read(clone / "notebooks" / "a.ipynb", 4).cells[-1].source == 'repository, commit = "", "main"'


def test_a_book_that_does_not_build_is_refused_and_the_old_one_stays(clone):
    execute_notebook(clone / "notebooks" / "a.ipynb", clone / "build/published/notebooks/a.ipynb", {})
    (clone / "_config.yml").write_text("title: a book\nexecute: {}\n")
    old = clone / "build" / "published" / "html"
    old.mkdir()
    (clone / "book" / "status.md").write_text(f"# Status\n\n[gone](gone.md)\n\n{book.STATUS_MARK}\n")
    with pytest.raises(PGJRError, match=r"did not build .*gone.*book.log"):
        book.build("published")
    assert old.is_dir()


def test_the_page_that_tells_how_to_clone_is_filled_in_where_the_address_is_known():
    assert book.UNKNOWN_ADDRESS in (ROOT / "book" / "reproduce.md").read_text()


def test_pages_say_when_they_last_changed_and_the_citation_names_the_commit(clone, monkeypatch):
    answers = {"log": "2026-01-31", "rev-parse": "0123abc"}
    monkeypatch.setattr(book, "git", lambda folder, command, *rest: answers[command])
    execute_notebook(clone / "notebooks" / "a.ipynb", clone / "build/published/notebooks/a.ipynb", {})
    (clone / "book" / "cite.md").write_text(f"# Cite\n\nnote = {book.UNKNOWN_COMMIT}\n")
    source = book.stage("published")
    page = (source / "book" / "cite.md").read_text()
    assert "note = {commit 0123abc}" in page and "last changed on 2026-01-31" in page
    assert "last changed on 2026-01-31" in nbformat.read(source / "notebooks" / "a.ipynb", 4).cells[-1].source
    monkeypatch.setattr(book, "git", lambda *arguments: None)
    assert "last changed" not in (book.stage("published") / "book" / "cite.md").read_text()


def test_the_citation_of_the_book_waits_for_its_commit():
    assert (ROOT / "book" / "cite.md").read_text().count(book.UNKNOWN_COMMIT) == 1


def test_the_svg_of_a_figure_becomes_a_file_and_its_page_names_it(clone, monkeypatch, write_notebook):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    code = ("%matplotlib inline", "import matplotlib.pyplot as plt", "from pgjr_book.show import figures",
            "for _ in range(steps):", "    plt.figure(); plt.plot([1, 2]); plt.show()")  # fmt: skip
    write_notebook(clone / "notebooks" / "a.ipynb", "\n".join(code))
    execute_notebook(clone / "notebooks" / "a.ipynb", clone / "build/published/notebooks/a.ipynb", {"steps": 2})
    source = book.stage("published")
    notebook = json.loads((source / "notebooks" / "a.ipynb").read_text())
    (cell,) = [cell for cell in notebook["cells"] if len(cell.get("outputs", [])) == 2]
    assert [sorted(output["data"]) for output in cell["outputs"]] == [["image/png", "text/plain"]] * 2
    name = cell["metadata"]["mystnb"]["image"]["classes"].removeprefix("svg-")
    files = sorted((source / "book" / "_static" / "vectors").iterdir())
    assert [path.name for path in files] == [f"{name}-0.svg", f"{name}-1.svg"] and "<svg" in files[1].read_text()


def test_the_front_page_links_the_pdf_only_where_there_is_one(clone):
    execute_notebook(clone / "notebooks" / "a.ipynb", clone / "build/published/notebooks/a.ipynb", {})
    (clone / "book" / "intro.md").write_text((ROOT / "book" / "intro.md").read_text())
    links = [book.NAME in (book.stage("published", pdf) / "book" / "intro.md").read_text() for pdf in (True, False)]
    assert links == [True, False]
