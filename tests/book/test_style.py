"""The mechanical part of how we write: plain words in every page, notebook, docstring and message."""

import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "book").glob("*.md")), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md"))]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CODE = [path for folder in ("pgjr_lib", "pgjr_book", "tools") for path in sorted((ROOT / folder).rglob("*.py"))]
PATTERNS = {  # what not to write -> why, or what to write instead
    r" — |—": "no dashes that join two thoughts: make two sentences",
    r"\bwhich is so\b": "say what is so",
    r"\b(is|are) told\b": "name who says it",
    r"\bin its place\b": "name the thing",
    r"\bstands? behind\b": "say which runs or records",
    r"\bin order to\b": "to",
    r"\b(utili[sz]e|leverage)\b": "use",
    r"\b(very|quite|rather|simply|obviously|clearly) (?!near)": "leave the word out",
    r"\bnot un\w+": "say it without the two negations",
    r"\bdue to the fact that\b": "because",
    r"\bthe the\b|\bis is\b|\ba a\b": "a word stands twice",
    r"\bcifar-?10\b(?![\w/-]|`)|\bstl-?10\b(?![\w/-]|`)": "CIFAR-10, STL-10",
}


def prose_of(path: Path) -> str:
    """Return the sentences of a page or notebook: without code, equations, links' targets and quoted names."""
    if path.suffix == ".ipynb":
        cells = json.loads(path.read_text())["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    else:
        text = path.read_text()
    text = re.sub(r"^(`{3,}|:{3,}).*?^\1\s*$", "", text, flags=re.M | re.S)
    return re.sub(r"`[^`\n]*`|\$[^$]*\$|\]\([^)]*\)|<[^>]*>", " ", text)


def sentences_of(path: Path) -> str:
    """Return the docstrings of a module."""
    nodes = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)]
    return re.sub(r"``[^`]*``|`[^`]*`", " ", "\n".join(filter(None, map(ast.get_docstring, nodes))))


@pytest.mark.parametrize("path", [*PAGES, *NOTEBOOKS, *CODE], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_words_are_plain(path):
    text = sentences_of(path) if path.suffix == ".py" else prose_of(path)
    for pattern, reason in PATTERNS.items():
        found = re.search(pattern, text, re.M | (re.I if "cifar" not in pattern else 0))
        assert not found, f"{text[max(0, found.start() - 40) : found.end() + 40]!r}: {reason}"


def test_the_check_finds_what_it_looks_for(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("A thought — and another.\n\n```\ncode — is not prose\n```\n\nSee `a — b`.\n")
    assert re.findall("—", prose_of(page)) == ["—"]
