"""Executing notebooks, staging a book, and what the banner and the status page say."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

from pgjr_book import book as report
from pgjr_book import provenance
from pgjr_lib.errors import PGJRError

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


def notebook(path: Path, *code: str, parameters: str = "profile = 'published'\nsteps = 3") -> Path:
    """A small notebook with a parameters cell and the given code cells."""
    cells = [nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    cells += [nbformat.v4.new_code_cell(text) for text in code]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL}), path)
    return path


def record(**changes) -> dict:
    """The parts of a record that the banner reads."""
    config = {"method": "pgjr", "prior": "class-name", "backbone": "resnet18", "epochs": 2000, "dataset": "digits"}
    config |= {"limit": None} | changes
    data = {"name": config["dataset"], "split": "all", "count": 1797, "note": ""}
    return {"config": config, "data": data, "weights": {"name": config["prior"]} if config["prior"] else None}


# ---- executing ----


@pytest.mark.parametrize(("name", "told"), [("step", "did you mean steps?"), ("colour", "known are profile, steps")])
def test_an_unknown_parameter_is_refused_before_anything_runs(tmp_path, name, told):
    source = notebook(tmp_path / "a.ipynb", "open('ran', 'w')")
    with pytest.raises(PGJRError, match=name) as caught:
        report.execute_notebook(source, tmp_path / "out" / "a.ipynb", {name: 1})
    assert told in str(caught.value)
    assert not (tmp_path / "ran").exists() and not (tmp_path / "out").exists()


def test_a_notebook_without_parameters_and_a_missing_one_are_named(tmp_path):
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "bare.ipynb")
    with pytest.raises(PGJRError, match="bare.ipynb has no cell tagged parameters"):
        report.notebook_parameters(tmp_path / "bare.ipynb")
    with pytest.raises(PGJRError, match="none.ipynb does not exist"):
        report.notebook_parameters(tmp_path / "none.ipynb")


def test_an_executed_notebook_tells_when_how_long_and_on_what_and_no_paths(tmp_path):
    source, output = notebook(tmp_path / "src" / "a.ipynb", "print(steps * 2)"), tmp_path / "out" / "a.ipynb"
    report.execute_notebook(source, output, {"steps": 21})
    made = json.loads(output.read_text())
    assert any("42" in "".join(o.get("text", "")) for cell in made["cells"] for o in cell.get("outputs", []))
    stamp = made["metadata"]["pgjr"]
    assert stamp["parameters"] == {"steps": 21} and stamp["seconds"] > 0 and stamp["device"] and "commit" in stamp
    assert str(tmp_path) not in output.read_text()
    assert [p.name for p in output.parent.iterdir()] == ["a.ipynb"] and len(list(source.parent.iterdir())) == 1


def test_a_failing_cell_leaves_no_output_and_keeps_the_old_one(tmp_path):
    source, output = notebook(tmp_path / "a.ipynb", "raise KeyError('lost')"), tmp_path / "out" / "a.ipynb"
    with pytest.raises(PGJRError, match="KeyError.*lost"):
        report.execute_notebook(source, output, {})
    assert not output.exists() and (output.parent / "a.failed.ipynb").is_file()
    output.write_text("old")
    with pytest.raises(PGJRError):
        report.execute_notebook(source, output, {})
    assert output.read_text() == "old"


def test_notebooks_executed_at_the_same_time_do_not_meet(tmp_path):
    code = (
        "import sys; from pathlib import Path; from pgjr_book.book import execute_notebook;"
        "execute_notebook(Path(sys.argv[1]), Path(sys.argv[2]), {'steps': int(sys.argv[3])})"
    )
    source, running = notebook(tmp_path / "a.ipynb", "print('answer', steps)"), []
    for i in range(3):
        command = [sys.executable, "-c", code, str(source), str(tmp_path / "out" / f"{i}.ipynb"), str(i)]
        running.append(subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE, text=True))
    for i, process in enumerate(running):
        assert process.wait(120) == 0, process.stderr.read()
        assert f"answer {i}" in (tmp_path / "out" / f"{i}.ipynb").read_text()


def test_the_command_line_says_one_sentence(capsys):
    assert report.main(["notebook", "figure-1", "-p", "sied", "3"]) == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith("error: ") and "did you mean side?" in told and "\n" not in told


# ---- staging ----


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A clone with one page and one notebook."""
    for name in ("experiments.yaml", "_config.yml"):
        (tmp_path / name).write_text((Path(__file__).parents[2] / name).read_text())
    toc = {"format": "jb-book", "root": "book/status", "chapters": [{"file": "notebooks/a"}]}
    (tmp_path / "_toc.yml").write_text(yaml.safe_dump(toc))
    for folder in ("book", "tests", "pgjr_lib", "results"):
        (tmp_path / folder).mkdir()
    (tmp_path / "book" / "status.md").write_text(f"# Status\n\n{report.STATUS_MARK}\n\nexecuted by the book itself\n")
    (tmp_path / "tests" / "test_theorems.py").write_text("")
    (tmp_path / "pgjr_lib" / "jigsaw.py").write_text("")
    notebook(tmp_path / "notebooks" / "a.ipynb", "print(steps)")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_staging_asks_for_a_notebook_that_was_not_executed(clone):
    with pytest.raises(PGJRError, match=r"a.ipynb is missing: run make book PROFILE=published"):
        report.stage("published")


def test_staging_assembles_the_executed_book(clone):
    report.execute_notebook(clone / "notebooks" / "a.ipynb", clone / "build/published/notebooks/a.ipynb", {})
    source = report.stage("published")
    assert source == clone / "build" / "published" / "src"
    assert json.loads((source / "notebooks" / "a.ipynb").read_text())["metadata"]["pgjr"]
    assert yaml.safe_load((source / "_config.yml").read_text())["execute"]["execute_notebooks"] == "off"
    status = (source / "book" / "status.md").read_text()
    assert "[a](../notebooks/a.ipynb)" in status and "by the book itself" not in status
    assert "Nothing has been run" in json.loads((source / "book" / "banner.json").read_text())["html"]
    assert (source / "pgjr_lib" / "jigsaw.py").is_file()


def test_a_page_s_own_notebook_knows_where_its_repository_is(clone, monkeypatch):
    address = {"repository": {"url": "https://github.com/someone/book", "branch": "0123abc", "path_to_book": ""}}
    monkeypatch.setattr(report, "launch_links", lambda home: address)
    notebook(clone / "notebooks" / "a.ipynb", 'repository, commit = "", "main"')
    report.execute_notebook(clone / "notebooks" / "a.ipynb", clone / "build/published/notebooks/a.ipynb", {})
    (clone / "book" / "reproduce.md").write_text(f"# Reproduce\n\ngit clone {report.UNKNOWN}\n")
    source = report.stage("published")
    assert "git clone https://github.com/someone/book && cd book" in (source / "book" / "reproduce.md").read_text()
    staged = nbformat.read(source / "notebooks" / "a.ipynb", 4)
    assert staged.cells[-1].source == 'repository, commit = "https://github.com/someone/book", "0123abc"'
    assert nbformat.read(clone / "notebooks" / "a.ipynb", 4).cells[-1].source == 'repository, commit = "", "main"'


def test_a_book_that_does_not_build_is_refused_and_the_old_one_stays(clone):
    report.execute_notebook(clone / "notebooks" / "a.ipynb", clone / "build/published/notebooks/a.ipynb", {})
    (clone / "_config.yml").write_text("title: a book\nexecute: {}\n")
    old = clone / "build" / "published" / "html"
    old.mkdir()
    (clone / "book" / "status.md").write_text(f"# Status\n\n[gone](gone.md)\n\n{report.STATUS_MARK}\n")
    with pytest.raises(PGJRError, match=r"did not build .*gone.*book.log"):
        report.build("published")
    assert old.is_dir()


# ---- the banner ----


def test_the_banner_names_what_stands_in():
    text = report.banner_text([record(), record(method="gjr", prior=None, backbone="thin")])
    assert text.startswith("A stand-in, not the paper’s setting")
    for part in ("class-name prior in place of CLIP", "thin ResNet", "digits (all, 1,797 images)"):
        assert part in text


def test_the_banner_says_when_nothing_was_run_and_never_hides_another_setting():
    assert "Nothing has been run" in report.banner_text([])
    paper = {"prior": "ViT-B-32-quickgelu/openai", "dataset": "cifar10"}
    assert report.banner_text([record(**paper), record(method="gjr", prior=None, dataset="cifar10")]) == ""
    assert "digits" in report.banner_text([record(**paper | {"dataset": "digits"})])
    assert "cifar10" in report.banner_text([record(**paper, limit=500)])
    assert "shorter training" in report.banner_text([record(method="gjr", prior=None, dataset="cifar10", epochs=20)])


@pytest.mark.parametrize(("remote", "name"), [
    ("https://github.com/someone/a-book.git", "someone/a-book"), ("git@github.com:some.one/book", "some.one/book"),
    ("https://example.org/someone/book.git", None), (None, None),
])  # fmt: skip
def test_launch_links_follow_the_remote_and_are_left_out_without_one(tmp_path, remote, name):
    call = lambda *arguments: subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)  # noqa: E731
    call("init", "-q")
    call("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x")
    if remote:
        call("remote", "add", "origin", remote)
    links = report.launch_links(tmp_path)
    if name is None:
        assert links == {}
    else:
        commit = call("rev-parse", "HEAD").stdout.strip()
        assert links["repository"] == {"url": f"https://github.com/{name}", "branch": commit, "path_to_book": ""}
        assert links["launch_buttons"]["colab_url"].startswith("https://colab")


def test_the_page_that_tells_how_to_clone_is_filled_in_where_the_address_is_known():
    assert report.UNKNOWN in (Path(__file__).parents[2] / "book" / "reproduce.md").read_text()


def test_every_launched_page_exists_where_the_links_point():
    home = Path(__file__).parents[2]
    tracked = subprocess.run(["git", "ls-files", "notebooks"], cwd=home, capture_output=True, text=True).stdout.split()
    assert {f"notebooks/{path.name}" for path in report.toc_notebooks(home)} <= set(tracked)
    assert (home / "binder" / "environment.yml").is_file()


def test_the_address_is_written_into_every_notebook_and_nothing_else(tmp_path):
    home = Path(__file__).parents[2]
    shutil.copy(home / "_toc.yml", tmp_path)
    shutil.copytree(home / "notebooks", tmp_path / "notebooks")
    paths = report.toc_notebooks(tmp_path)
    assert report.set_address(tmp_path, "https://github.com/someone/book", "v1.0") == len(paths)
    for path in paths:
        cell = "".join(next(c for c in nbformat.read(path, 4).cells if c.cell_type == "code").source)
        assert 'repository, commit = "https://github.com/someone/book", "v1.0"' in cell
        before = (home / "notebooks" / path.name).read_text()
        assert path.read_text().replace("https://github.com/someone/book", "").replace("v1.0", "main") == before
    assert report.set_address(tmp_path, "https://github.com/someone/book", "v1.0") == 0
    for address, commit in (('x"; import os', "main"), ("https://github.com/a/b", 'm"; x')):
        with pytest.raises(PGJRError, match="is no repository"):
            report.set_address(tmp_path, address, commit)


def test_a_lone_notebook_says_what_it_needs(tmp_path):
    home = Path(__file__).parents[2]
    cell = next(c for c in nbformat.read(home / "notebooks" / "figure-4.ipynb", 4).cells if c.cell_type == "code")
    done = subprocess.run([sys.executable, "-c", cell.source], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode and "needs its repository: clone it" in done.stderr and "Traceback" not in done.stderr


def test_a_ledger_tells_which_rules_a_record_was_made_under(tmp_path):
    def git(*arguments):
        done = subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments],
                              cwd=tmp_path, check=True, capture_output=True, text=True)  # fmt: skip
        return done.stdout.strip()

    rules, commits = tmp_path / "rules.py", []
    git("init", "-q")
    for text in ("one\n", "two\n"):
        rules.write_text(text)
        git("add", "rules.py")
        git("commit", "-qm", text)
        commits.append(git("rev-parse", "HEAD"))
    told = provenance.made_under(rules, [*commits, commits[1], None, "f" * 40, "--output=x"])
    assert told == (
        "2 of 6 records were made when rules.py read as it does now, 1 under another version of it,"
        " 3 at a commit that cannot be looked up here."
    )
    alone = "1 of 1 records were made when rules.py read as it does now, 0 under another version of it."
    assert provenance.made_under(rules, [commits[1]]) == alone


def test_the_readmes_badges_are_githubs_and_open_a_notebook_that_exists(tmp_path):
    home = Path(report.__file__).parents[1]
    shutil.copy(home / "_toc.yml", tmp_path)
    (tmp_path / "notebooks").mkdir()
    for path in report.toc_notebooks(home):
        shutil.copy(path, tmp_path / "notebooks")
    (tmp_path / "README.md").write_text("# Title\n\n<!-- badges -->\n\nText.\n")
    for commit in ("v1.0", "v1.1"):  # written again, not twice
        report.set_address(tmp_path, "https://github.com/someone/book", commit)
        text = (tmp_path / "README.md").read_text()
        assert f"mybinder.org/v2/gh/someone/book/{commit})" in text and text.count("Binder") == 1 and text.endswith("\n\nText.\n")
        opened = text.split(f"/github/someone/book/blob/{commit}/")[1].split(")")[0]
        assert (home / opened).is_file()
    report.set_address(tmp_path, "https://example.org/a/b", "v2")
    assert "example.org" not in (tmp_path / "README.md").read_text()
