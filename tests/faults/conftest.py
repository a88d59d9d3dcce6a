"""What the tests of faults share: children to kill, and a look at what a fault left behind."""

import multiprocessing
import time
from pathlib import Path

import pytest


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
