"""Links to Colab and Binder, and the address that a lone notebook needs."""

import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from pgjr_book.address import launch_links, set_address
from pgjr_book.toc import toc_notebooks
from pgjr_lib.errors import PGJRError

ROOT = Path(__file__).parents[2]


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
    links = launch_links(tmp_path)
    if name is None:
        assert links == {}
    else:
        commit = call("rev-parse", "HEAD").stdout.strip()
        assert links["repository"] == {"url": f"https://github.com/{name}", "branch": commit, "path_to_book": ""}
        assert links["launch_buttons"]["colab_url"].startswith("https://colab")


def test_every_launched_page_exists_where_the_links_point():
    home = ROOT
    tracked = subprocess.run(["git", "ls-files", "notebooks"], cwd=home, capture_output=True, text=True).stdout.split()
    assert {f"notebooks/{path.name}" for path in toc_notebooks(home)} <= set(tracked)
    assert (home / "binder" / "environment.yml").is_file()


def test_the_address_is_written_into_every_notebook_and_nothing_else(tmp_path):
    home = ROOT
    shutil.copy(home / "_toc.yml", tmp_path)
    shutil.copytree(home / "notebooks", tmp_path / "notebooks")
    paths = toc_notebooks(tmp_path)
    assert set_address(tmp_path, "https://github.com/someone/book", "v1.0") == len(paths)
    for path in paths:
        cell = "".join(next(c for c in nbformat.read(path, 4).cells if c.cell_type == "code").source)
        assert 'repository, commit = "https://github.com/someone/book", "v1.0"' in cell
        before = (home / "notebooks" / path.name).read_text()
        assert path.read_text().replace("https://github.com/someone/book", "").replace("v1.0", "main") == before
    assert set_address(tmp_path, "https://github.com/someone/book", "v1.0") == 0
    for address, commit in (('x"; import os', "main"), ("https://github.com/a/b", 'm"; x')):
        with pytest.raises(PGJRError, match="is no repository"):
            set_address(tmp_path, address, commit)


def test_a_lone_notebook_says_what_it_needs(tmp_path):
    home = ROOT
    cell = next(c for c in nbformat.read(home / "notebooks" / "figure-4.ipynb", 4).cells if c.cell_type == "code")
    done = subprocess.run([sys.executable, "-c", cell.source], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode and "needs its repository: clone it" in done.stderr and "Traceback" not in done.stderr


def test_the_readmes_badges_are_githubs_and_open_a_notebook_that_exists(tmp_path):
    home = ROOT
    shutil.copy(home / "_toc.yml", tmp_path)
    (tmp_path / "notebooks").mkdir()
    for path in toc_notebooks(home):
        shutil.copy(path, tmp_path / "notebooks")
    (tmp_path / "README.md").write_text("# Title\n\n<!-- badges -->\n\nText.\n")
    for commit in ("v1.0", "v1.1"):  # written again, not twice
        set_address(tmp_path, "https://github.com/someone/book", commit)
        text = (tmp_path / "README.md").read_text()
        assert f"mybinder.org/v2/gh/someone/book/{commit})" in text and text.count("Binder") == 1 and text.endswith("\n\nText.\n")
        opened = text.split(f"/github/someone/book/blob/{commit}/")[1].split(")")[0]
        assert (home / opened).is_file()
    set_address(tmp_path, "https://example.org/a/b", "v2")
    assert "example.org" not in (tmp_path / "README.md").read_text()


def test_what_a_lone_notebook_lacks_is_installed_and_torch_stays(monkeypatch):
    from pgjr_book import colab

    assert colab.missing() == []
    installed = colab._version
    absent = ("timm", "myst-nb", "open_clip_torch")
    monkeypatch.setattr(colab, "_version", lambda name: None if name in absent else installed(name))
    commands = []

    def run(command, check):
        constraints = Path(command[command.index("-c") + 1]).read_text()
        commands.append((command[-3:], constraints))

    monkeypatch.setattr(colab.subprocess, "run", run)
    colab.main()
    ((requirements, constraints),) = commands
    assert [line.split(">")[0] for line in requirements] == ["open_clip_torch", "timm", "myst-nb"]
    assert f"torch=={installed('torch')}\n" in constraints and f"numpy=={installed('numpy')}\n" in constraints
