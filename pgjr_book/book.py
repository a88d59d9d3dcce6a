"""Make a profile's book: stage its pages and render them.

papermill executes notebooks, Jupyter Book only renders. A book is staged in build/<profile>/src under the
repository's own relative paths, so that the same pages build from a clone and from a stage.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from pgjr_book.address import launch_links, with_address
from pgjr_book.execution import read_executed
from pgjr_book.make import build_root, profile_records
from pgjr_book.manifest import home
from pgjr_book.pdf import NAME, print_book
from pgjr_book.provenance import git
from pgjr_book.show.banner import banner_html, banner_text
from pgjr_book.show.status import status_table
from pgjr_book.toc import toc_notebooks
from pgjr_book.vectors import move_vectors
from pgjr_lib.errors import PGJRError
from pgjr_lib.storage import atomic_write, exclusive, write_json

STAGED = ("_config.yml", "_toc.yml", "book", "pgjr_lib", "experiments.yaml", "tests/test_theorems.py")
STATUS_MARK = "<!-- status -->"  # the table replaces what follows it on the status page
PDF_MARK = "<!-- pdf -->"  # where the front page links the PDF, if there is one
PDF_LINK = f'<a href="../{NAME}">The whole book as a PDF</a>'
UNKNOWN_ADDRESS = "<this repository> && cd <its folder>"  # what pages say where the repository has no address
UNKNOWN_COMMIT = "{the commit you used}"  # what the citation says outside a git clone
BACKBONES = "backbones"  # the experiment of Table 3, whose small CNNs are its subject and no stand-in


def stage(profile: str, pdf: bool = False) -> Path:
    """Assemble build/<profile>/src: the pages, the executed notebooks, the status table and the banner.

    With ``pdf`` the front page links the PDF.

    Raises:
        PGJRError: a notebook of the table of contents has not been executed, or was changed since.
    """
    repository, root = home(), build_root(profile)
    source, links = root / "src", launch_links(repository)
    shutil.rmtree(source, ignore_errors=True)
    for name in STAGED:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        if (repository / name).is_dir():
            shutil.copytree(repository / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
        else:
            shutil.copy(repository / name, source / name)
    executions = {}
    for path in toc_notebooks(repository):
        execution = root / "notebooks" / path.name
        if not execution.is_file():
            raise PGJRError(f"{execution} is missing: run make book PROFILE={profile}, which executes it.")
        notebook = read_executed(execution)
        executions[path.stem] = notebook["metadata"]["pgjr"]
        for cell in notebook["cells"]:  # papermill repeats the parameters, which a reader does not need twice
            if "injected-parameters" in cell["metadata"].get("tags", []):
                cell["metadata"]["tags"].append("remove-cell")
        if changed := _last_changed(path):
            notebook["cells"].append({"cell_type": "markdown", "id": "last-changed", "metadata": {}, "source": [changed]})
        move_vectors(notebook, path.stem, source / "book" / "_static")
        text = json.dumps(notebook, indent=1)
        if links:  # a reader who downloads the page's notebook has no clone
            text = with_address(text, links["repository"]["url"], links["repository"]["branch"])
        atomic_write(source / "notebooks" / path.name, text)
    if links:
        address = links["repository"]["url"]
        for page in (source / "book").glob("*.md"):
            clone = f"{address} && cd {address.rpartition('/')[2]}"
            atomic_write(page, page.read_text().replace(UNKNOWN_ADDRESS, clone))
    front = source / "book" / "intro.md"
    if pdf:
        atomic_write(front, front.read_text().replace(PDF_MARK, PDF_LINK))
    commit = git(repository, "rev-parse", "--short", "HEAD")
    for page in (source / "book").glob("*.md"):
        text = page.read_text().replace(UNKNOWN_COMMIT, f"{{commit {commit}}}" if commit else UNKNOWN_COMMIT)
        atomic_write(page, f"{text}\n{_last_changed(repository / 'book' / page.name)}")
    config = yaml.safe_load((repository / "_config.yml").read_text())
    config["execute"]["execute_notebooks"] = "off"
    config |= links
    atomic_write(source / "_config.yml", yaml.safe_dump(config, sort_keys=False))
    banner = banner_html(profile_records(profile, without=(BACKBONES,)))
    write_json(source / "book" / "banner.json", {"profile": profile, "html": banner})
    status = source / "book" / "status.md"
    text = status.read_text()
    atomic_write(status, text[: text.index(STATUS_MARK)] + status_table(profile, executions))
    return source


def _last_changed(path: Path) -> str:
    """Say when a page was last changed, as its history in git has it, in HTML; "" outside a git clone."""
    day = git(path.parent, "log", "-1", "--format=%cs", "--", path.name)
    return f'<p class="history">This page was last changed on {day}.</p>\n' if day else ""


def build(profile: str, pdf: bool = False) -> Path:
    """Stage and render the book into build/<profile>/html. Warnings are errors, and an older book stays on failure.

    Args:
        profile: its name.
        pdf: print the whole book as a PDF, too, and link it on the front page.

    Raises:
        PGJRError: the build failed; the sentence names the first warning and the log. Or what a PDF needs is missing.
    """
    root = build_root(profile)
    with exclusive(root / ".book.lock", f"the book of profile {profile}"):
        return _build(profile, root, pdf)


def _build(profile: str, root: Path, pdf: bool) -> Path:
    """Build as :func:`build` says, where no other process builds the same book."""
    source = stage(profile, pdf)
    shutil.rmtree(root / "_build", ignore_errors=True)
    pages = _render(source, root, "html")
    if pdf:
        print_book(_render(source, root, "singlehtml"), pages / NAME)
    target, old = root / "html", root / "html.old"
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    pages.rename(target)
    shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(root / "_build", ignore_errors=True)
    records = profile_records(profile)
    write_json(target / "build.json", {"profile": profile, "records": len(records), "banner": banner_text(records)})
    return target / "index.html"


def _render(source: Path, root: Path, builder: str) -> Path:
    """Render a staged book with a builder of Sphinx's and return the folder of its pages. Raises as :func:`build`."""
    pages = root / "_build" / builder
    shutil.rmtree(pages, ignore_errors=True)
    # of this environment, whatever PATH says; it ends with this process, whose death closes its standard input
    call = (
        "import os, threading; threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start();"
        "from jupyter_book.cli.main import main; main()"
    )
    options = ["--path-output", str(root), "--builder", builder, "-n", "-W", "--keep-going"]
    command = [sys.executable, "-c", call, "build", str(source), *options]
    streams = {name: subprocess.PIPE for name in ("stdin", "stdout")}
    with subprocess.Popen(command, **streams, stderr=subprocess.STDOUT, text=True) as done:
        output = done.stdout.read()  # communicate() would close its standard input
    log = root / "book.log"
    atomic_write(log, output)
    if done.returncode or not (pages / "index.html").is_file():
        warnings = [line.strip() for line in output.splitlines() if "WARNING" in line or "ERROR" in line]
        first = warnings[0] if warnings else "no warning; see the log's end"
        raise PGJRError(f"The book did not build ({first}; {len(warnings)} warnings in all): see {log}.")
    return pages
