"""The house rules on imports: which package may import which, no circles, and what works without torch."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("pgjr_lib", "pgjr_book", "tools")
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}


@cache
def imports(name: str) -> frozenset[str]:
    """The full names of everything that a module imports, at its top or inside its functions."""
    names = set()
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


@cache
def modules_used(name: str) -> frozenset[str]:
    """The modules of this repository that a module imports."""
    used = {imported if imported in FILES else imported.rpartition(".")[0] for imported in imports(name)}
    return frozenset(used & set(FILES) - {name})


def test_the_library_knows_nothing_of_the_book_and_neither_knows_the_tools():
    for name in FILES:
        used = {module.split(".")[0] for module in modules_used(name)}
        package = name.split(".")[0]
        allowed = {"pgjr_lib": {"pgjr_lib"}, "pgjr_book": {"pgjr_lib", "pgjr_book"}, "tools": {"pgjr_lib", "tools"}}
        assert used <= allowed[package], f"{name} imports {used - allowed[package]}"


def test_no_module_takes_part_in_a_circle():
    done, path = set(), []

    def visit(name):
        if name in path:
            pytest.fail(f"a circle: {' -> '.join([*path[path.index(name):], name])}")
        if name not in done:
            path.append(name)
            for used in sorted(modules_used(name)):
                visit(used)
            path.pop()
            done.add(name)

    for name in FILES:
        visit(name)
    assert done == set(FILES)


@pytest.mark.parametrize(
    "name",
    ["jigsaw", "controls", "losses", "models", "evaluation", "kmeans", "kmeans_torch", "projection", "baselines.spherical",
     "baselines.turtle", "baselines.temi"],
)  # fmt: skip
def test_the_method_knows_tensors_and_arrays_only(name):
    allowed = {"torch", "numpy", "scipy", "sklearn", "threadpoolctl", "joblib", "timm"}
    allowed |= {"collections", "concurrent", "copy", "dataclasses", "functools", "itertools", "time"}  # neither files nor printing
    own = {f"pgjr_lib.{module}" for module in ("options", "jigsaw", "controls", "evaluation", "kmeans", "kmeans_torch")}
    assert modules_used(f"pgjr_lib.{name}") <= own
    assert {imported.split(".")[0] for imported in imports(f"pgjr_lib.{name}")} <= allowed | {"pgjr_lib"}
    assert_calls_nothing_outside(f"pgjr_lib.{name}")


@pytest.mark.parametrize("name", ["races", "scored", "stats", "verdicts"])
def test_the_rules_know_records_and_numbers_only(name):
    allowed = {"numpy", "scipy", "math", "collections", "dataclasses", "functools", "itertools", "typing"}
    own = {f"pgjr_book.{module}" for module in ("races", "run_config", "scored", "stats")}
    assert modules_used(f"pgjr_book.{name}") <= own | {"pgjr_lib.data.sets", "pgjr_lib.errors"}
    outside = {imported.split(".")[0] for imported in imports(f"pgjr_book.{name}")} - {"pgjr_lib", "pgjr_book"}
    assert outside <= allowed
    assert_calls_nothing_outside(f"pgjr_book.{name}")


def assert_calls_nothing_outside(name):
    calls = [node.func for node in ast.walk(ast.parse(FILES[name].read_text())) if isinstance(node, ast.Call)]
    called = {call.id for call in calls if isinstance(call, ast.Name)}
    assert not called & {"print", "open", "input", "exec", "eval", "__import__", "Path"}


def test_only_make_knows_both_records_and_training():
    both = {"pgjr_book.records", "pgjr_book.train"}
    assert [name for name in FILES if both <= modules_used(name)] == ["pgjr_book.make"]


def test_training_knows_no_records_and_nothing_shows_what_it_trains():
    assert not {"pgjr_book.records", "pgjr_book.make", "pgjr_book.manifest"} & modules_used("pgjr_book.train")
    for name in FILES:
        if name.startswith("pgjr_book.show"):
            assert not {"pgjr_book.make", "pgjr_book.train", "pgjr_book.records"} & modules_used(name), name


@pytest.mark.parametrize(
    "module",
    ["pgjr_lib", "pgjr_lib.options", "pgjr_lib.data", "pgjr_lib.priors.names", "pgjr_lib.priors.supervision", "pgjr_lib.cli",
     "pgjr_book.make", "pgjr_book.manifest", "pgjr_book.records", "pgjr_book.verdicts", "pgjr_book.notebook",
     "pgjr_book.show.tables", "pgjr_book.book", "pgjr_book.__main__"],
)  # fmt: skip
def test_it_imports_without_torch(module):
    code = f"import sys; sys.modules['torch'] = None; import {module}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_prior_in_the_package_has_its_checksum_without_torch():
    code = "import sys; sys.modules['torch'] = None; from pgjr_lib.priors.names import prior_checksum as p; p('class-name')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_name_the_package_offers_is_there():
    import pgjr_lib

    assert all(getattr(pgjr_lib, name) is not None for name in pgjr_lib.__all__)
    assert set(pgjr_lib.__all__) <= set(dir(pgjr_lib))
    with pytest.raises(AttributeError, match="no attribute 'nosuch'"):
        _ = pgjr_lib.nosuch
