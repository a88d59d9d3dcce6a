"""The wheel as a user gets it: built, installed away from the clone, and run command by command."""

import os
import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "pgjr_lib", "pgjr_book", "tools", "tests")
pytestmark = pytest.mark.slow


def run(*command, **options) -> str:
    """Run a command and return its output; a failure shows what it printed."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel from a copy, because setuptools would leave its files among the sources."""
    copy, target = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy)
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        copy,
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-q",
        "-w",
        target,
    )
    (path,) = target.glob("pgjr-*.whl")
    return path


@pytest.fixture(scope="module")
def pgjr(wheel, tmp_path_factory):
    """Install the wheel into a fresh environment; call with a command's arguments, in a folder outside any clone."""
    fresh, empty = tmp_path_factory.mktemp("environment"), tmp_path_factory.mktemp("empty")
    run(sys.executable, "-m", "venv", "--without-pip", fresh)
    python = fresh / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "-q", wheel)
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # Python does not read the .pth files of folders that a .pth file names, so an editable install stays out of sight
    ours = [
        path for path in {*site.getsitepackages(), *sys.path} if Path(path).name in ("site-packages", "dist-packages")
    ]
    (packages / "running-environment.pth").write_text("\n".join(ours))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PGJR"))}
    environment |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PGJR_CACHE": str(empty.parent / "cache")}
    file = run(python, "-c", "import pgjr_lib; print(pgjr_lib.__file__)", cwd=empty, env=environment).strip()
    assert Path(file).is_relative_to(packages)
    return lambda *arguments: run(python.parent / "pgjr", *arguments, cwd=empty, env=environment)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Make 12 images of three colours."""
    folder, draw = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for i in range(12):
        pixels = np.array([(220, 40, 40), (40, 200, 60), (30, 60, 220)][i % 3]) + 15 * draw.standard_normal((32, 32, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{i:02d}.png")
    return folder


def test_the_wheel_holds_the_library_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    folders = {name.split("/")[0] for name in names}
    assert {name for name in folders if not name.endswith(".dist-info")} == {"pgjr_lib"} and len(folders) == 2
    packed = {name for name in names if name.startswith("pgjr_lib/")}
    assert "pgjr_lib/photos/template/page.html" in packed and "pgjr_lib/weights/class-name-prior.safetensors" in packed
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "pgjr_lib").rglob("*") if path.is_file()}
    assert packed == {name for name in sources if "__pycache__" not in name}


def test_the_installed_command_names_itself(pgjr):
    import pgjr_lib

    assert pgjr("--version") == f"pgjr {pgjr_lib.__version__}\n"
    text = pgjr("--help")
    assert all(command in text for command in ("extract", "cluster", "verify"))


def test_every_installed_command_works_outside_a_clone(pgjr, photos, tmp_path):
    features, clusters = tmp_path / "features", tmp_path / "clusters"
    assert "features of 12 images" in pgjr(
        "extract", "--dataset", f"images:{photos}", "--views", "1", "--out", features
    )
    command = ["cluster", photos, "-k", "3", "--head", "pgjr", "--epochs", "2", "--out", clusters]
    assert f"wrote {clusters / 'index.html'}" in pgjr(*command)
    assert pgjr("verify", features, clusters) == f"{features}: whole\n{clusters}: whole\n"
    assert len((clusters / "clusters.csv").read_text().splitlines()) == 13
