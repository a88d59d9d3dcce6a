"""The front door: what the files at the root promise is what is there."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pgjr_lib.cli import build_parser

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements(*extras) -> dict[str, Requirement]:
    """Canonical name -> requirement, of the core and the named extras."""
    lines = PROJECT["dependencies"] + [line for extra in extras for line in PROJECT["optional-dependencies"][extra]]
    return {canonicalize_name(r.name): r for r in map(Requirement, lines)}


# ---- environments ----


@pytest.mark.parametrize(
    ("path", "torch", "project"),
    [("environment.yml", "pytorch-gpu", "."), ("binder/environment.yml", "pytorch-cpu", "..")],
)
def test_conda_environments_say_what_pyproject_says(path, torch, project):
    environment = yaml.safe_load((ROOT / path).read_text())
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    lines = [line for line in environment["dependencies"] if isinstance(line, str) and line != "pip"]
    (pip,) = [line["pip"] for line in environment["dependencies"] if isinstance(line, dict)]
    assert pip.pop() == f"-e {project}" and (ROOT / path).parent.joinpath(project).resolve() == ROOT
    found = {canonicalize_name(r.name): r.specifier for r in map(Requirement, [*lines, *pip])}
    assert found.pop("python") == Requirement(f"python{PROJECT['requires-python']}").specifier
    expected = {name: r.specifier for name, r in requirements("book", "fast", "priors").items()}
    expected[torch] = expected.pop("torch")  # conda-forge's name
    assert found == expected


def test_the_lock_holds_one_version_of_everything_and_satisfies_pyproject():
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    locked = dict(line.split("==") for line in lines)
    assert len(locked) == len(lines)
    for line in lines:  # no addresses, no local labels such as +cpu: the lock must install anywhere
        assert re.fullmatch(r"[\w.-]+==[\w.!]+", line), line
    versions = {canonicalize_name(name): version for name, version in locked.items()}
    for name, requirement in requirements("book", "dev", "fast", "priors").items():
        version = versions[name]
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement} is locked at {version}"


def test_core_dependencies_have_lower_bounds_only():
    for requirement in requirements().values():
        assert [s.operator for s in requirement.specifier] == [">="], f"{requirement} could force a reinstall"


def imported(path: Path) -> set[str]:
    """The top-level names of everything that ``path`` imports, wherever in the file."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in names}


def test_everything_imported_is_declared():
    modules = {"sklearn": "scikit-learn", "PIL": "pillow", "yaml": "pyyaml", "open_clip": "open-clip-torch"}
    # packages that others bring: papermill brings nbformat and traitlets
    brought = {"nbformat": "papermill", "traitlets": "papermill", "IPython": "ipykernel", "markupsafe": "jinja2"}
    core, book, dev = requirements("fast", "heic"), requirements("book"), requirements("dev")
    needs_dev = {"pdf.py": "playwright", "crate.py": "rocrate"}  # which say so where the extra is missing
    own = {"pgjr_lib", "pgjr_book", "tools"}
    for folder, known in (("pgjr_lib", core), ("tools", core), ("pgjr_book", book)):
        for path in (ROOT / folder).rglob("*.py"):
            for top in imported(path) - set(sys.stdlib_module_names) - own:
                package = canonicalize_name(modules.get(top) or brought.get(top) or top)
                declared = package in known or (needs_dev.get(path.name) == package and package in dev)
                assert declared, f"{path.name} imports {top}, which pyproject.toml does not declare"


def test_the_command_and_the_weights_are_packaged():
    assert PROJECT["scripts"] == {"pgjr": "pgjr_lib.cli:main"}
    (commands,) = [action.choices for action in build_parser()._actions if isinstance(action.choices, dict)]
    assert set(commands) == {"fetch", "extract", "cluster", "search", "undo", "verify"}  # what a user without a clone can use
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = settings["package-data"]["pgjr_lib"]
    packaged = {path for pattern in patterns for path in (ROOT / "pgjr_lib").glob(pattern)}
    others = {p for p in (ROOT / "pgjr_lib").rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")}
    assert packaged == others and any(path.suffix == ".safetensors" for path in packaged)


# ---- what the documents promise ----

README = (ROOT / "README.md").read_text()
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md"]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_a_document_names_exists(document):
    text, folder = (ROOT / document).read_text(), (ROOT / document).parent
    named = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link and not link.startswith("#")]
    named += re.findall(r"`([\w./-]+\.(?:md|py|yml|yaml|toml|lock|csv|cff|ipynb)|\.ci/\w+)`", text)
    named += re.findall(r"\b(?:notebooks|benchmarks|tests)/[\w.-]+\.\w+", text)
    places = (folder, ROOT, ROOT / "pgjr_lib", ROOT / "pgjr_book")
    assert not [name for name in named if not any((place / name).exists() for place in places)]


def test_the_readmes_profiles_and_targets_exist():
    rows = re.findall(r"^\| `(\w+)`", README, re.MULTILINE)
    profiles = yaml.safe_load((ROOT / "experiments.yaml").read_text())["profiles"]
    assert set(rows) == {name for name, profile in profiles.items() if "like" not in profile}
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for document in DOCUMENTS:
        assert set(re.findall(r"(?:`|^)make ([\w-]+)", (ROOT / document).read_text(), re.MULTILINE)) <= set(targets)


def test_the_readmes_notebook_command_uses_parameters_that_exist():
    from pgjr_book.execution import notebook_parameters

    ((notebook, name),) = re.findall(r"papermill (\S+) \S+ -p (\w+)", README)
    assert name in notebook_parameters(ROOT / notebook)


def test_the_readmes_code_runs(tmp_path):
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    statements = [line for line in block.splitlines() if line and not line.startswith(("import", "from"))]
    assert len(statements) == 10
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    scores = ast.literal_eval(done.stdout.strip().splitlines()[-1])
    assert set(scores) == {"acc", "nmi", "ari", "inertia"} and all(len(values) == 5 for values in scores.values())
    assert min(scores["nmi"]) > 0.05  # it has learnt something: a random partition stays below


def test_versions_agree():
    import pgjr_lib

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == pgjr_lib.__version__
    assert f"## {pgjr_lib.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert citation["license"] == PROJECT["license"] == "MIT"
    assert [a["family-names"] for a in citation["preferred-citation"]["authors"]] == ["Song", "Hu", "Hong"]
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
