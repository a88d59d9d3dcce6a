"""What every test stands on: fixed seeds, no network, and nothing of the machine's own data or weights."""

import io
import json
import os
import shutil
from collections import defaultdict
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[1]
FAULTS = ROOT / "tests" / "faults" / "record.json"
_counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])  # kind -> cases tried, cases in which nothing was lost
os.environ["HF_HUB_OFFLINE"] = "1"
settings.register_profile("book", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("book")


@pytest.fixture(scope="session")
def _cache(tmp_path_factory):
    """One cache for all tests, which have digests of the same files in it."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _alone(monkeypatch, _cache):
    """Seeded, and blind to the data sets and weights of whoever runs the tests."""
    import torch

    monkeypatch.delenv("PGJR_DATA", raising=False)
    monkeypatch.delenv("PGJR_WEIGHTS", raising=False)
    monkeypatch.setenv("PGJR_CACHE", str(_cache))
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tally():
    """A function that counts a fault of a kind, and whether nothing was lost. The book shows the counts."""

    def count(kind: str, held: bool = True, cases: int = 1) -> None:
        _counts[kind][0] += cases
        _counts[kind][1] += cases * bool(held)

    return count


def pytest_sessionfinish(session):
    """Write the counts of faults to record.json where PGJR_RECORD_FAULTS asks for it; kinds that did not run keep theirs."""
    if not os.environ.get("PGJR_RECORD_FAULTS") or not _counts:
        return
    from pgjr_book.provenance import checkout, cpu_name, versions
    from pgjr_lib.storage import write_json

    kinds = json.loads(FAULTS.read_text())["kinds"] if FAULTS.exists() else {}
    origin = {"date": datetime.now(UTC).date().isoformat(), **checkout()}
    kinds |= {kind: {"tried": tried, "held": held, **origin} for kind, (tried, held) in _counts.items()}
    write_json(FAULTS, {"kinds": dict(sorted(kinds.items())), "machine": cpu_name(), "versions": versions()})


@pytest.fixture(scope="session")
def copy_repository():
    """A function that copies what a profile needs into a folder of its own, where a test can change it."""

    def copy(clone: Path) -> None:
        clone.mkdir()
        for name in ("_config.yml", "_toc.yml", "Snakefile", "experiments.yaml"):
            shutil.copy(ROOT / name, clone / name)
        for name in ("book", "notebooks", "pgjr_lib", "pgjr_book", "profiles", "tests"):
            shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))

    return copy


@pytest.fixture(scope="session")
def photographs():
    """A function that makes what ``pgjr cluster`` writes: images in three clusters, one of ``photographs.colours`` each.

    It takes the number of images and, where they matter, their names. The first and the fourth are near-duplicates.
    """
    from PIL import Image

    from pgjr_lib.photos.duplicates import Copy
    from pgjr_lib.photos.page import Photographs

    def make(count: int, files: list[str] | None = None) -> Photographs:
        rng, clusters = np.random.default_rng(0), np.arange(count) % 3
        thumbnails = []
        for colour in make.colours:
            stream = io.BytesIO()
            Image.new("RGB", (96, 96), colour).save(stream, "JPEG")
            thumbnails.append(stream.getvalue())
        neighbours = np.stack([(np.arange(count) + 3 * step) % count for step in range(1, 5)], 1)  # of the same colour
        return Photographs(
            files or [f"picture {i:03d}.png" for i in range(count)], [sha256(str(i).encode()).hexdigest() for i in range(count)],
            clusters, rng.random(count), (np.eye(3)[clusters][:, :2] + 0.2 * rng.random((count, 2))) / 1.2,
            np.full(count, 640), np.full(count, 480), np.arange(count) * 1000 + 5000,
            np.where(clusters == 1, np.arange(count) % 2, -1), neighbours,
            [thumbnails[c] for c in clusters], [Copy(1, 3, True, False), Copy(1, 0, False, False)] * (count > 3),
        )  # fmt: skip

    make.colours = [(230, 20, 20), (20, 200, 20), (20, 20, 230)]
    return make


@pytest.fixture(scope="session")
def synthetic() -> SimpleNamespace:
    """Functions that make records as ``make.ensure`` returns them."""
    return SimpleNamespace(record=_record, curve=_curve, side=_side, jigsaw=_jigsaw, heads=_heads, race=_race)


def _record(method, seed, nmi, dataset="digits", history=(), extract=0.0, variant=None, label=None, panel=None, value=None,
            **fields) -> dict:  # fmt: skip
    """A record with the parts that tables and verdicts read. The variant is the method where none is given."""
    from pgjr_book.run_config import RESULTS_VERSION, RunConfig

    config = RunConfig(method=method, dataset=dataset, seed=seed, **{"split": "all", **fields}).model_dump()
    return {
        "key": f"{method}{dataset}{seed}{sorted(fields.items())}", "config": config,
        "results_version": RESULTS_VERSION,
        "variant": variant or method, "label": label or variant or method,
        "panel": panel, "value": value,
        "history": [{"epoch": e, "seconds": s, "nmi": v, "acc": v, "ari": v} for e, s, v in history],
        "scores": {"plain": {name: [nmi / 100] * 2 for name in ("acc", "nmi", "ari", "inertia")}},
        "timings": {"extract_s": extract, "train_s": 0.5, "evaluate_s": 0.5, "total_s": extract + 1.0}, "weights": None,
        "data": {"name": dataset, "split": config["split"], "count": 10_000, "note": ""},
        "provenance": {"device": "cpu", "host_cpu": "x"},
    }  # fmt: skip


def _curve(step, end=0.6, epochs=20) -> list[tuple]:
    """A curve that reaches its end at epoch 10, ``step`` seconds an epoch."""
    return [(e, e * step, end * min(1, e / 10)) for e in range(epochs + 1)]


def _side(variant, mean, dataset="cifar10", method="gjr", count=10, noise=0.1, first=100, **fields) -> list[dict]:
    """Runs of a variant around a mean; those of one seed share a part of their noise with any other variant's."""
    rng = np.random.default_rng(sum(map(ord, variant)))
    own = {"prior": "class-name"} if method in ("pgjr", "prior") else {"backbone": "small"}
    fields = {"split": "test", **own, **fields}
    values = [mean + i % 3 + noise * rng.normal() for i in range(count)]
    return [_record(method, first + i, value, dataset, variant=variant, **fields) for i, value in enumerate(values)]


def _jigsaw(gain, sets=("cifar10", "stl10"), **fields) -> list[dict]:
    """GJR above IDFD by ``gain`` points."""
    return [r for s in sets for v, m in (("idfd", 20), ("gjr", 20 + gain)) for r in _side(v, m, s, **fields)]


def _heads(gain, prior="class-name", sets=("cifar10", "stl10")) -> list[dict]:
    """pGJR above itself without jigsaw by ``gain`` points; on CIFAR-10 in folds."""
    folds = {"cifar10": {"split": "train", "limit": 5000}}
    variants = (("off", 40), ("pgjr", 40 + gain))
    runs = [r for s in sets for v, m in variants for r in _side(f"{prior}/{v}", m, s, "pgjr", **folds.get(s, {}))]
    for run in runs:
        if run["config"]["limit"]:
            run["config"]["fold"] = run["config"]["seed"] % 10
    return runs


def _race(gjr_epochs, pgjr_epochs, gjr_end=0.3, pgjr_end=0.5, gjr_s=10.0, pgjr_s=1.0, extract=5.0, count=10) -> dict:
    """Curves and timed runs of GJR and pGJR that rise to their ends in so many epochs: experiment -> records."""
    curves, timed = [], []
    for variant, method, epochs, end, step, extract_s, own in (
        ("gjr", "gjr", gjr_epochs, gjr_end, gjr_s, 0.0, {"backbone": "small"}),
        ("class-name/pgjr", "pgjr", pgjr_epochs, pgjr_end, pgjr_s, extract, {"prior": "class-name"}),
    ):
        fields = {"variant": variant, "split": "test", **own}
        for seed in range(100, 100 + count):
            points = [(e, e * step, end * min(1, (e + 1e-9) / (epochs + seed % 2))) for e in range(16)]
            curves.append(_record(method, seed, 100 * end, "cifar10", points, **fields))
        run = _record(method, 100, 1, "cifar10", [(e, e * step, 0.1) for e in range(4)], extract_s, **fields)
        run["timings"] |= {"alone": True, "plain_s": extract_s / 5}
        timed.append(run)
    return {"convergence": curves, "timing": timed}
