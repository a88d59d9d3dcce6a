"""The book's pages: what they point at is there, they claim no number, and they ask no network for anything."""

import ast
import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import yaml

from pgjr_book import races, stats, verdicts
from pgjr_book.execution import notebook_parameters
from pgjr_book.manifest import load_manifest
from pgjr_book.toc import toc_notebooks

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "book").glob("*.md"))
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip


def text(name: str) -> str:
    return (ROOT / "book" / name).read_text()


def prose(page: str) -> str:
    """A page without code, equations, roles and addresses."""
    page = re.sub(r"^(`{3,}|:{3,})\{(?!admonition|grid|dropdown).*?^\1\s*$", "", page, flags=re.S | re.M)
    page = re.sub(r"^```.*?^```", "", page, flags=re.S | re.M)
    page = re.sub(r"\]\([^)]*\)|\$\$.*?\$\$|\$[^$]*\$|`[^`]*`|https?://\S+|arXiv:[\d.]+", " ", page, flags=re.S)
    return page


# ---- what pages point at ----


def test_every_page_of_the_table_of_contents_is_there():
    toc = (ROOT / "_toc.yml").read_text()
    for name in [yaml.safe_load(toc)["root"], *re.findall(r"file: (\S+)", toc)]:
        assert list(ROOT.glob(f"{name}.*")), name


def test_every_experiment_has_a_page():
    pages = {path.stem for path in toc_notebooks(ROOT)}
    manifest = load_manifest()
    read = {name for notebook in pages for name in manifest.reads(notebook)}
    assert read == set(manifest.experiments)


def test_every_notebook_is_a_page_and_its_default_profile_trains_nothing():
    pages = toc_notebooks(ROOT)
    assert {p.name for p in pages} == {p.name for p in (ROOT / "notebooks").glob("*.ipynb")}
    for page in pages:
        profile = notebook_parameters(page)["profile"]
        assert profile == ("clip" if page.stem == "run-on-a-gpu" else "published")  # that page asks before it trains


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_included_code_exists_under_its_name(page):
    for path, name in re.findall(r"\{literalinclude\} (\S+)\n(?::pyobject: (\S+))?", page.read_text()):
        body = ast.parse((page.parent / path).read_text()).body
        for part in filter(None, name.split(".")):
            found = [node for node in body if getattr(node, "name", None) == part]
            assert found, f"{path} has no {name}"
            body = found[0].body


def test_twelve_equations_each_with_its_label():
    assert len(re.findall(r"^:label: eq-", text("method.md"), flags=re.M)) == 12


def test_every_equation_is_followed_by_its_code():
    blocks = re.findall(r"^```\{(math|literalinclude)\}", text("method.md"), flags=re.M)
    assert blocks.count("math") == 12
    assert all(after == "literalinclude" for before, after in zip(blocks, [*blocks[1:], ""], strict=True) if before == "math")


def test_every_symbol_of_the_equations_is_in_the_table():
    page = text("method.md")
    equations, table = " ".join(re.findall(r"```\{math\}(.*?)```", page, flags=re.S)), page[page.index("| symbol |") :]
    for symbol in set(re.findall(r"\\(?:tau|alpha|beta|mu|varphi|Phi|phi|hat [A-Z]|tilde c)", equations)):
        assert symbol in table, symbol
    for letter in set(re.findall(r"(?<![\\a-zA-Z{])([A-Zbcfgnsuvw])(?![a-zA-Z])", equations)):
        assert re.search(rf"(?<![a-zA-Z\\]){letter}(?![a-zA-Z])", table), letter


def test_every_theorem_names_a_test_that_exists():
    named = re.findall(r"^Test: `(\w+)`", text("linear-jigsaw.md"), flags=re.M)
    body = ast.parse((ROOT / "tests" / "test_theorems.py").read_text()).body
    tests = {node.name for node in body if hasattr(node, "name")}
    assert len(named) == text("linear-jigsaw.md").count("} Theorem") and set(named) <= tests


def test_the_profiles_of_the_reproduce_page_are_those_of_the_manifest():
    rows = re.findall(r"^\| (`[^|]*`)[^|]* \|", text("reproduce.md"), flags=re.M)
    assert set(re.findall(r"`([\w-]+)`", " ".join(rows[: len(load_manifest().profiles)]))) == set(load_manifest().profiles)


# ---- what pages say ----


def test_the_study_plan_states_the_rules_of_the_code():
    plan = text("plan.md")
    for rule in (
        f"the {100 * stats.EQUIVALENCE_LEVEL:g} % interval of the difference lies within the margin",
        f"the {100 * stats.LEVEL:g} % interval lies above zero",
        f"±{verdicts.MARGIN_HEAD:g} points for heads and ±{verdicts.MARGIN_CNN:g} point for CNNs",
        f"seeds below {verdicts.FIRST_SEED}",
        f"{100 * races.SHARES[-1]:g} % of a method’s own end",
        f"A ratio within {100 * (np.exp(verdicts.MARGIN_RATIO) - 1):.0f} % of one",
    ):
        assert rule in plan, rule


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem != "plan"], ids=lambda path: path.stem)
def test_prose_holds_no_result(page):
    assert not re.findall(r"\d+\.\d+|\d+ ?%", prose(page.read_text()))


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_prose_of_notebooks_holds_no_result(path):
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "markdown"]
    assert cells and not [found for c in cells for found in re.findall(r"\d+\.\d+|\d+ ?%", prose("".join(c["source"])))]


def test_the_front_page_says_what_was_not_read():
    assert "the full text was not consulted" in text("intro.md")
    assert "No number on these pages is the paper’s" in text("intro.md")


def test_the_papers_own_numbers_are_not_filled_in():
    published, paper = text("published.csv").splitlines(), text("paper.csv").splitlines()
    assert paper == [published[0]] and len(published) > 100


# ---- the built book ----


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The published book, built as a reader would in a clone: plain `jupyter-book build`."""
    clone = tmp_path_factory.mktemp("clone")
    folders = ("book", "notebooks", "pgjr_lib", "pgjr_book", "results", "benchmarks", "tests")
    for name in ("_config.yml", "_toc.yml", "experiments.yaml", *folders):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb*"))
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, clone / name)
    call = "from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", call, "build", ".", "-n", "-W", "--keep-going"]
    env = os.environ | {"PYTHONPATH": str(clone)}
    done = subprocess.run(command, cwd=clone, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
    assert done.returncode == 0, done.stdout[-4000:]
    return clone / "_build" / "html"


def pages_of(site: Path) -> list[Path]:
    return sorted([*site.glob("book/*.html"), *site.glob("notebooks/*.html")])


@pytest.mark.slow
def test_the_book_of_a_clone_has_every_page_and_its_banner(site):
    pages = pages_of(site)
    assert len(pages) == len(re.findall(r"(?:file|root): ", (ROOT / "_toc.yml").read_text()))
    for page in pages:
        assert "bd-header-announcement" in page.read_text()


@pytest.mark.slow
def test_no_page_loads_anything_from_elsewhere(site):
    loads = r"<(?:script|img|iframe|source|video|link)\b[^>]*\b(?:src|href)=\"(?:https?:)?//[^\"]*"
    for page in [*pages_of(site), site / "search.html"]:
        assert not re.findall(loads, page.read_text()), page.name
        assert "unpkg" not in page.read_text()


@pytest.mark.slow
@pytest.mark.skipif(not BROWSER, reason="no Chromium here")
def test_in_a_browser_pages_are_whole_and_silent(site):
    """No request leaves, no error is logged, no image is missing or without a text, nothing is wider than a phone."""
    from playwright.sync_api import sync_playwright

    quiet = {"log_message": lambda *_: None}
    handler = functools.partial(type("Silent", (http.server.SimpleHTTPRequestHandler,), quiet), directory=site)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base, wrong = f"http://127.0.0.1:{server.server_port}/", []
    images = "[...document.querySelectorAll('article img')].filter(i => !i.alt || !i.naturalWidth).map(i => i.src)"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=QUIET)
        tab = browser.new_page(viewport={"width": 390, "height": 900})
        known = (base, "data:", "blob:")
        tab.on("request", lambda r: r.url.startswith(known) or wrong.append((tab.url, r.url)))
        tab.on("console", lambda m: m.type == "error" and wrong.append((tab.url, m.text)))
        tab.on("pageerror", lambda e: wrong.append((tab.url, str(e))))
        for page in pages_of(site):
            tab.goto(base + page.relative_to(site).as_posix(), wait_until="load")
            tab.wait_for_timeout(500)
            wrong += [(tab.url, f"image {source}") for source in tab.evaluate(images)]
            wrong += [(tab.url, "a formula")] * tab.evaluate("document.querySelectorAll('mjx-merror').length")
            if tab.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
                wrong.append((tab.url, "wider than a phone"))
        browser.close()
    server.shutdown()
    assert not wrong
