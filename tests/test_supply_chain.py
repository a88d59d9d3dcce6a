"""What is installed, fetched and run by the workflows is pinned, and no workflow may do more than its work needs."""

import json
import re
from pathlib import Path

import pytest
import yaml

from pgjr_lib.data.fetch import ARCHIVES
from pgjr_lib.priors.names import BUNDLED, IMAGENET_LABELS
from pgjr_lib.storage import file_sha256, read_sealed

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ALLOWED = {  # job -> what it may write; all others only read the repository
    ("book", "publish"): {"pages": "write", "id-token": "write"},
    ("release", "pypi"): {"id-token": "write"},
    ("release", "asset"): {"contents": "write"},
    ("weekly", "links"): {"contents": "read", "issues": "write"},
}
each = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


@each
def test_a_workflow_may_only_read_and_a_job_only_what_it_needs(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert job.get("permissions") == ALLOWED.get((path.stem, name)), name


@each
def test_actions_are_pinned_by_commit_with_the_version_beside_it(path):
    used = re.findall(r"uses: (.*)", path.read_text())
    assert used or path.stem == "none"
    for action in used:
        assert re.fullmatch(r"[\w-]+/[\w./-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", action), action


@each
def test_no_workflow_keeps_credentials_or_pastes_text_of_others_into_a_shell(path):
    for job in yaml.safe_load(path.read_text())["jobs"].values():
        for step in job["steps"]:
            if "checkout" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False
            assert "github.event" not in step.get("run", "") and "github.head_ref" not in step.get("run", "")


def test_tools_that_workflows_fetch_have_a_version():
    for path in WORKFLOWS:
        for command in re.findall(r"pipx run (.*)", path.read_text()):
            assert re.search(r"[\w-]+==[\d.]+", command), command


def test_known_vulnerabilities_are_looked_up_every_week():
    weekly = yaml.safe_load((ROOT / ".github" / "workflows" / "weekly.yml").read_text())
    assert weekly[True]["schedule"]  # YAML reads the key `on` as a boolean
    commands = [step.get("run", "") for job in weekly["jobs"].values() for step in job["steps"]]
    assert any("pip-audit" in command and "requirements.hashes" in command for command in commands)


def test_the_hashes_are_those_of_the_locked_versions():
    locked = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    text = "\n".join(line for line in (ROOT / "requirements.hashes").read_text().splitlines() if not line.startswith("#"))
    hashed = [entry.split() for entry in text.replace("\\\n", " ").splitlines() if entry.strip()]
    name = lambda pin: re.sub(r"[-_.]+", "-", pin.lower())  # noqa: E731
    assert sorted(name(entry[0]) for entry in hashed) == sorted(map(name, locked))
    for entry in hashed:
        assert entry[1:] and all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", part) for part in entry[1:]), entry[0]


def test_archives_and_weights_have_checksums():
    assert all(re.fullmatch("[0-9a-f]{32}", archive.md5) for archive in ARCHIVES.values())
    assert read_sealed(BUNDLED.with_suffix(".json"))["checksum"] == file_sha256(BUNDLED)
    assert re.fullmatch("[0-9a-f]{64}", read_sealed(IMAGENET_LABELS)["checksum"])


def test_the_sidecars_of_the_package_are_sealed():
    for path in (BUNDLED.with_suffix(".json"), IMAGENET_LABELS):
        assert "seal" in json.loads(path.read_text())
