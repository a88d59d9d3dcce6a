"""What every test stands on: fixed seeds, no network, and nothing of the machine's own data or weights."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import settings

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
def synthetic() -> SimpleNamespace:
    """Functions that make records as ``make.ensure`` returns them: ``record``, ``curve``, ``paired`` and ``race``."""
    return SimpleNamespace(record=_record, curve=_curve, paired=_paired, race=_race)


def _record(method, seed, nmi, dataset="digits", history=(), extract=0.0, variant=None, label=None, panel=None, value=None,
            **fields) -> dict:  # fmt: skip
    """A record with the parts that tables and verdicts read. The variant is the method, or pgjr-no-jigsaw."""
    from pgjr_book.run_config import RESULTS_VERSION, RunConfig

    config = RunConfig(method=method, dataset=dataset, seed=seed, **{"split": "all", **fields}).model_dump()
    off = method == "pgjr" and config["jigsaw"] == "off"
    return {
        "key": f"{method}{dataset}{seed}{sorted(fields.items())}", "config": config,
        "results_version": RESULTS_VERSION,
        "variant": variant or ("pgjr-no-jigsaw" if off else method), "label": label or variant or method,
        "panel": panel, "value": value,
        "history": [{"epoch": e, "seconds": s, "nmi": v, "acc": v, "ari": v} for e, s, v in history],
        "scores": {"plain": {name: [nmi / 100] * 2 for name in ("acc", "nmi", "ari", "inertia")}},
        "timings": {"extract_s": extract, "total_s": 1.0},
        "data": {"name": dataset, "split": config["split"], "count": 10_000, "note": ""},
        "provenance": {"device": "cpu", "host_cpu": "x"},
    }  # fmt: skip


def _curve(step, end=0.6, epochs=20) -> list[tuple]:
    """A curve that reaches its end at epoch 10, ``step`` seconds an epoch."""
    return [(e, e * step, end * min(1, e / 10)) for e in range(epochs + 1)]


def _paired(gain, seeds, noise=0.2, dataset="digits", **fields) -> list[dict]:
    """GJR above IDFD by ``gain`` points over ``seeds`` seeds, and the same for pGJR over ten."""
    rng, records = np.random.default_rng(0), []
    for seed in range(seeds):
        base = 50 + rng.normal()
        records.append(_record("idfd", seed, base, dataset, backbone="thin", **fields))
        records.append(_record("gjr", seed, base + gain + noise * rng.normal(), dataset, backbone="thin", **fields))
    for seed in range(10):
        base = 60 + rng.normal()
        prior = {"prior": "class-name", **fields}
        records.append(_record("pgjr", seed, base, dataset, jigsaw="off", **prior))
        records.append(_record("pgjr", seed, base + gain + noise * rng.normal(), dataset, **prior))
    return records


def _race(seeds, gjr_step, pgjr_step, extract=1.0, dataset="digits") -> list[dict]:
    """GJR and pGJR that reach the same end, with so many seconds an epoch."""
    records = []
    for seed in range(seeds):
        slow = _curve(gjr_step * (1 + 0.01 * seed))
        records.append(_record("gjr", seed, 60, dataset, slow, backbone="thin"))
        records.append(_record("pgjr", seed, 60, dataset, _curve(pgjr_step), extract, prior="class-name"))
    return records
