"""What the tests of faults share: children to kill, a look at what a fault left behind, and the count of what was tried."""

import json
import multiprocessing
import os
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

import pytest

RECORD = Path(__file__).with_name("record.json")
_counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])  # kind -> cases tried, cases in which nothing was lost


@pytest.fixture(scope="session")
def tally():
    """A function that counts a case of a kind, and whether all was as it should be. The book shows the counts."""

    def count(kind: str, held: bool = True, cases: int = 1) -> None:
        _counts[kind][0] += cases
        _counts[kind][1] += cases * bool(held)

    return count


def pytest_sessionfinish(session):
    """Write the counts to record.json where PGJR_RECORD_FAULTS asks for it; kinds that did not run keep theirs."""
    if not os.environ.get("PGJR_RECORD_FAULTS") or not _counts:
        return
    from pgjr_book.provenance import checkout, cpu_name, versions
    from pgjr_lib.storage import write_json

    kinds = json.loads(RECORD.read_text())["kinds"] if RECORD.exists() else {}
    origin = {"date": datetime.now(UTC).date().isoformat(), **checkout()}
    kinds |= {kind: {"tried": tried, "held": held, **origin} for kind, (tried, held) in _counts.items()}
    write_json(RECORD, {"kinds": dict(sorted(kinds.items())), "machine": cpu_name(), "versions": versions()})


@pytest.fixture(scope="session")
def children():
    """A multiprocessing context whose children have the library imported already, so that they die at work."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pgjr_book.train", "pgjr_book.make", "pgjr_book.book", "pgjr_lib.photos.cluster"])
    return context


@pytest.fixture(scope="session")
def go(children):
    """A function that runs ``work(*arguments)`` in a child, killed after some seconds; returns its exit code, and its seconds."""

    def run(work, *arguments, seconds=None) -> tuple[int, float]:
        child = children.Process(target=work, args=arguments)
        began = time.perf_counter()
        child.start()
        child.join(seconds)
        if child.is_alive():
            child.kill()
            child.join()
        return child.exitcode, time.perf_counter() - began

    return run


@pytest.fixture(scope="session")
def leftovers():
    """A function that lists the files below a folder that nobody needs any more: drafts, parts and working folders."""

    def find(folder: Path) -> list[str]:
        ends = (".draft", ".part", ".unpacked", ".unpacking", ".executing", ".old")
        return [path.name for path in Path(folder).rglob("*") if path.name.endswith(ends) or ".chunk-" in path.name]

    return find
