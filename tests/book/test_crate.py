"""The crate holds every committed record, described so that it can be read without the repository."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from pgjr_book.__main__ import main
from pgjr_book.crate import FILES, write_crate
from pgjr_lib.errors import PGJRError

ROOT = Path(__file__).parents[2]
pytest.importorskip("rocrate")


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A clone with two records and one figure of a built book."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "results").mkdir()
    for path in sorted((ROOT / "results").glob("*.json"))[:2]:
        shutil.copy(path, tmp_path / "results")
    vectors = tmp_path / "build" / "published" / "html" / "_static" / "vectors"
    vectors.mkdir(parents=True)
    (vectors / "figure-4-04-0.svg").write_text("<svg/>")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_crate_describes_every_file_that_it_holds(clone, capsys):
    assert main(["crate", "--out", "out/crate.zip"]) == 0 and "out/crate.zip: 2 records" in capsys.readouterr().out
    with zipfile.ZipFile("out/crate.zip") as archive:
        held = {name for name in archive.namelist() if not name.startswith("ro-crate-")}
        graph = {item["@id"]: item for item in json.loads(archive.read("ro-crate-metadata.json"))["@graph"]}
        records = {path.name: path.read_bytes() for path in (clone / "results").iterdir()}
        assert {name: archive.read(f"results/{name}") for name in records} == records
    assert held == {*(f"results/{name}" for name in records), *FILES, "figures/figure-4-04-0.svg"} and held <= set(graph)
    one = json.loads(next(iter(records.values())))
    described = graph[f"results/{one['key']}.json"]
    assert described["softwareVersion"] == one["provenance"]["commit"] and f"seed {one['config']['seed']}" in described["name"]
    assert [path.name for path in Path("out").iterdir()] == ["crate.zip"]


def test_without_records_there_is_nothing_to_pack(clone):
    shutil.rmtree(clone / "results")
    with pytest.raises(PGJRError, match="holds no records: there is nothing to pack"):
        write_crate(Path("crate.zip"))
