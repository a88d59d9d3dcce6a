"""From records to pages: execute the notebooks, stage a profile's book, build it.

papermill executes, Jupyter Book only renders. A profile's book is staged in build/<profile>/src under the
repository's own relative paths, so that the same pages build from a clone and from a stage.
"""

import argparse
import ast
import difflib
import html
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import yaml

from pgjr_book import runs
from pgjr_book.provenance import checkout, cpu_name, git
from pgjr_lib.errors import PGJRError
from pgjr_lib.storage import atomic_write, write_json

STAGED = ("_config.yml", "_toc.yml", "book", "pgjr_lib", "experiments.yaml", "tests/test_theorems.py")
STATUS_MARK = "<!-- status -->"
UNKNOWN = "<this repository> && cd <its folder>"  # what pages say where the repository has no address
IDFD_EPOCHS = 2000  # the schedule of its published code


def notebook_parameters(notebook: Path) -> dict:
    """The names and defaults in the notebook's ``parameters`` cell.

    Raises:
        PGJRError: no such notebook, or none of its cells is tagged ``parameters``.
    """
    if not notebook.is_file():
        raise PGJRError(f"{notebook} does not exist.")
    for cell in json.loads(notebook.read_text())["cells"]:
        if "parameters" in cell.get("metadata", {}).get("tags", []):
            assigned = [node for node in ast.parse("".join(cell["source"])).body if isinstance(node, ast.Assign)]
            return {node.targets[0].id: ast.literal_eval(node.value) for node in assigned}
    raise PGJRError(f"{notebook} has no cell tagged parameters: tag the one that sets them.")


def experiments_read(notebook: Path, names) -> list[str]:
    """Which of the experiments ``names`` a notebook's code reads: those it names, or all where it goes through all."""
    cells = json.loads(Path(notebook).read_text())["cells"]
    lines = [line for cell in cells if cell["cell_type"] == "code" for line in cell["source"]]
    source = "".join(line for line in lines if not line.startswith("repository, commit ="))
    if "load_manifest().experiments" in source:
        return list(names)
    return [name for name in names if f'"{name}"' in source]


def execute_notebook(notebook: Path, output: Path, parameters: dict) -> None:
    """Run ``notebook`` into ``output``, atomically, and stamp when, how long, on what and from which commit.

    Raises:
        PGJRError: an unknown parameter (papermill would only warn), or a cell that failed, with its error.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    notebook, output = Path(notebook), Path(output)
    known = notebook_parameters(notebook)
    for name in parameters:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}."
            raise PGJRError(f"{notebook} has no parameter {name!r}: {hint}")
    output.parent.mkdir(parents=True, exist_ok=True)
    started, began = datetime.now(UTC), time.perf_counter()
    with tempfile.TemporaryDirectory(dir=output.parent) as folder, tempfile.TemporaryDirectory() as sockets:
        draft = Path(folder) / output.name
        try:
            papermill.execute_notebook(
                os.path.relpath(notebook),
                os.path.relpath(draft),
                parameters=parameters,
                language="python",
                start_timeout=180,  # a busy machine
                cwd=notebook.parent,
                kernel_name="python3",
                progress_bar=False,
                log_output=False,
                # Parallel kernels would race for TCP ports; only the Python API can set the transport. They would
                # race for the default socket names, too: each gets a folder, in /tmp as such paths must be short.
                config=Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}}),
            )
        except PapermillExecutionError as error:
            failed = output.with_suffix(".failed.ipynb")
            shutil.move(draft, failed)
            raise PGJRError(f"{notebook} failed with {error.ename}: {error.evalue} (all cells: {failed}).") from None
        except RuntimeError as error:  # the kernel did not start, or died
            raise PGJRError(f"{notebook} could not be executed: {error}; run it again.") from None
        executed = json.loads(draft.read_text())
    executed["metadata"].pop("papermill", None)  # it holds the machine's paths
    executed["metadata"]["pgjr"] = {
        "parameters": parameters,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - began, 1),
        "device": _device(),
        **checkout(),
    }
    atomic_write(output, json.dumps(executed, indent=1) + "\n")


def _device() -> str:
    """The card that a notebook runs on, or the processor."""
    if shutil.which("nvidia-smi"):  # without the driver there is no card; torch takes seconds to say the same
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name()
    return cpu_name()


def stage(profile: str) -> Path:
    """Assemble build/<profile>/src: the repository's pages, the executed notebooks, the status table, the banner.

    Raises:
        PGJRError: a notebook of the table of contents has not been executed.
    """
    home, root = runs.home(), runs.build_root(profile)
    source, links = root / "src", launch_links(home)
    shutil.rmtree(source, ignore_errors=True)
    for name in STAGED:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        if (home / name).is_dir():
            shutil.copytree(home / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
        else:
            shutil.copy(home / name, source / name)
    executed = {}
    for path in toc_notebooks(home):
        done = root / "notebooks" / path.name
        if not done.is_file():
            raise PGJRError(f"{done} is missing: run make book PROFILE={profile}, which executes it.")
        notebook = json.loads(done.read_text())
        executed[path.stem] = notebook["metadata"]["pgjr"]
        for cell in notebook["cells"]:  # papermill's repetition of the parameters is of no use to a reader
            if "injected-parameters" in cell["metadata"].get("tags", []):
                cell["metadata"]["tags"].append("remove-cell")
        text = json.dumps(notebook, indent=1)
        if links:  # whoever downloads the page's notebook has no clone
            text = _with_address(text, links["repository"]["url"], links["repository"]["branch"])
        atomic_write(source / "notebooks" / path.name, text)
    if links:
        address = links["repository"]["url"]
        for page in (source / "book").glob("*.md"):
            atomic_write(page, page.read_text().replace(UNKNOWN, f"{address} && cd {address.rpartition('/')[2]}"))
    config = yaml.safe_load((home / "_config.yml").read_text())
    config["execute"]["execute_notebooks"] = "off"
    config |= links
    atomic_write(source / "_config.yml", yaml.safe_dump(config, sort_keys=False))
    write_json(source / "book" / "banner.json", {"profile": profile, "html": banner_html(profile)})
    status = source / "book" / "status.md"
    text = status.read_text()
    atomic_write(status, text[: text.index(STATUS_MARK)] + status_table(profile, executed))
    return source


def launch_links(home: Path) -> dict:
    """Jupyter Book's settings for Colab and Binder, from the GitHub remote and commit; none where there is no remote."""
    remote, commit = git(home, "remote", "get-url", "origin"), git(home, "rev-parse", "HEAD")
    found = re.search(r"github\.com[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?$", remote or "")
    if not found or not commit:
        return {}
    buttons = {"colab_url": "https://colab.research.google.com", "binderhub_url": "https://mybinder.org",
               "notebook_interface": "jupyterlab", "thebe": False}  # fmt: skip
    return {"repository": {"url": f"https://github.com/{found[1]}", "branch": commit, "path_to_book": ""},
            "launch_buttons": buttons}  # fmt: skip


README_NOTEBOOK = "notebooks/your-own-images.ipynb"  # what the README's badge opens


def set_address(home: Path, address: str, commit: str) -> int:
    """Write into every notebook's first cell where a lone copy of it, as on Colab, gets the rest from.

    The README's badges for Colab and Binder are made from it too, where it is GitHub's.

    Returns:
        How many notebooks were changed.

    Raises:
        PGJRError: no https address, or a commit that is no name.
    """
    if not re.fullmatch(r"https://[\w./-]+", address) or not re.fullmatch(r"[\w./-]+", commit):
        raise PGJRError(
            f"{address!r} at {commit!r} is no repository: give https://github.com/<owner>/<name> and a commit."
        )
    changed = 0
    for path in toc_notebooks(home):
        text = path.read_text()
        new = _with_address(text, address, commit)
        if new != text:
            atomic_write(path, new)
            changed += 1
    readme, name = home / "README.md", address.removeprefix("https://github.com/")
    if name != address and readme.is_file():
        colab, binder = "https://colab.research.google.com", "https://mybinder.org"
        badges = (f"[![Open in Colab]({colab}/assets/colab-badge.svg)]({colab}/github/{name}/blob/{commit}/{README_NOTEBOOK})"
                  f" [![Binder]({binder}/badge_logo.svg)]({binder}/v2/gh/{name}/{commit})")  # fmt: skip
        atomic_write(readme, re.sub(r"<!-- badges -->.*", f"<!-- badges --> {badges}", readme.read_text()))
    return changed


def _with_address(text: str, address: str, commit: str) -> str:
    """A notebook's JSON ``text`` with the repository's address in its first cell."""
    line = f'repository, commit = "{address}", "{commit}"'.replace('"', r'\\"')
    return re.sub(r'repository, commit = \\"[^"\\]*\\", \\"[^"\\]*\\"', line, text)


def toc_notebooks(home: Path) -> list[Path]:
    """The notebooks that the table of contents names, in its order."""
    toc = yaml.safe_load((home / "_toc.yml").read_text())
    files: list[str] = []

    def walk(node) -> None:
        if isinstance(node, dict):
            files.extend(value for key, value in node.items() if key == "file")
            node = list(node.values())
        if isinstance(node, list):
            for child in node:
                walk(child)

    walk(toc)
    return [home / f"{name.removesuffix('.ipynb')}.ipynb" for name in files if name.startswith("notebooks/")]


def profile_records(profile: str, without: tuple[str, ...] = ()) -> list[dict]:
    """Every record that the profile's book shows, but for those of the experiments ``without`` alone."""
    shown = [found for name, found in runs.plan(profile).experiments.items() if name not in without]
    paths = {path for found in shown for path in found.record_paths if path.exists()}
    return [runs.read_record(path) for path in sorted(paths)]


def banner_text(records: list[dict]) -> str:
    """What stands in for the paper's setting in ``records``, in a sentence; empty where nothing does."""
    from pgjr_book.verdicts import PAPER_SETS  # with scipy's statistics, which a notebook's process does without

    if not records:
        return "Nothing has been run for this book yet: every result below reads “not run”."
    records = [r for r in records if not r["data"]["name"].startswith("pieces")]  # generated, and ours in any setting
    data = sorted({f"{r['data']['name']} ({r['data']['split']}, {r['data']['count']:,} images"
                   f"{', ' + r['data']['note'] if r['data']['note'] else ''})" for r in records})  # fmt: skip
    priors = {r["config"]["prior"] for r in records if r["weights"] and not r["config"]["prior"].startswith("random:")}
    cnns = [r["config"] for r in records if r["config"]["method"] in ("idfd", "gjr")]
    parts = []
    if strangers := sorted(prior for prior in priors if not prior.endswith("/openai")):
        names = " and ".join(f"the {prior} prior" if prior == "class-name" else prior for prior in strangers)
        parts.append(f"{names} in place of CLIP")
    if any(config["backbone"] == "thin" for config in cnns):
        parts.append("a thin ResNet in place of the full one")
    if any(config["epochs"] < IDFD_EPOCHS for config in cnns):
        parts.append("shorter training")
    whole = all(r["config"]["dataset"] in PAPER_SETS and not r["config"]["limit"] for r in records)
    if whole and not parts:
        return ""
    return f"A stand-in, not the paper’s setting: {', '.join([*parts, ''])}on {', '.join(data)}."


def banner_html(profile: str) -> str:
    """The banner as the theme shows it on top of every page."""
    return html.escape(banner_text(profile_records(profile, without=("backbones",))))  # Table 3 has small CNNs on purpose


def status_table(profile: str, executed: dict[str, dict]) -> str:
    """When, how long, on what and from which commit every notebook ran, as Markdown."""
    lines = [f"Profile `{profile}`.", "", "| notebook | executed | seconds | device | commit |"]
    lines.append("|---|---|---:|---|---|")
    for name, made in executed.items():
        commit = f"`{made['commit'][:10]}`{' + changes' if made['dirty'] else ''}" if made["commit"] else "no checkout"
        lines.append(
            f"| [{name}](../notebooks/{name}.ipynb) | {made['started'][:16].replace('T', ' ')} UTC "
            f"| {made['seconds']} | {made['device']} | {commit} |"
        )
    return "\n".join(lines) + "\n"


def build(profile: str) -> Path:
    """Stage and render the book into build/<profile>/html; warnings are errors.

    Raises:
        PGJRError: the build failed; the log's last lines and its path are named.
    """
    root = runs.build_root(profile)
    source = stage(profile)
    shutil.rmtree(root / "_build", ignore_errors=True)
    call = "from jupyter_book.cli.main import main; main()"  # this environment's, on whatever PATH
    options = ["--path-output", str(root), "-n", "-W", "--keep-going"]
    command = [sys.executable, "-c", call, "build", str(source), *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    log = root / "book.log"
    atomic_write(log, done.stdout)
    page = root / "_build" / "html" / "index.html"
    if done.returncode or not page.is_file():
        told = [line for line in done.stdout.splitlines() if "WARNING" in line or "ERROR" in line]
        first = told[0].strip() if told else "no warning, so see its end"
        raise PGJRError(f"the book did not build ({first}; {len(told)} warnings in all): see {log}.")
    target, old = root / "html", root / "html.old"
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    (root / "_build" / "html").rename(target)
    shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(root / "_build", ignore_errors=True)
    records = profile_records(profile)
    write_json(target / "build.json", {"profile": profile, "records": len(records), "banner": banner_text(records)})
    return target / "index.html"


def main(arguments: list[str] | None = None) -> int:
    """``python -m pgjr_book.book notebook NAME | build``, both with ``--profile``."""
    parser = argparse.ArgumentParser(prog="python -m pgjr_book.book", description="Make a profile's book.")
    commands = parser.add_subparsers(dest="command", required=True)
    sub = commands.add_parser("notebook", help="execute one notebook of a profile")
    sub.add_argument("name", help="its name without .ipynb")
    sub.add_argument("--profile", default="embedded")
    sub.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="another parameter")
    sub = commands.add_parser("build", help="stage and render the book")
    sub.add_argument("--profile", default="embedded")
    sub = commands.add_parser("address", help="tell the notebooks where a lone copy finds the repository")
    sub.add_argument("address", help="https://github.com/<owner>/<name>")
    sub.add_argument("--commit", default="main", help="branch, tag or commit (default: main)")
    options = parser.parse_args(arguments)
    try:
        if options.command == "address":
            print(f"{set_address(runs.home(), options.address, options.commit)} notebooks changed")
        elif options.command == "notebook":
            parameters = {"profile": options.profile, **{name: yaml.safe_load(value) for name, value in options.p}}
            output = runs.build_root(options.profile) / "notebooks" / f"{options.name}.ipynb"
            execute_notebook(runs.home() / "notebooks" / f"{options.name}.ipynb", output, parameters)
        else:
            print(f"the book is at {build(options.profile)}")
    except PGJRError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
