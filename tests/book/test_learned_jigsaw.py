"""What a record says of the jigsaw that its run has learned."""

import json

import pytest
import torch

from pgjr_book import train
from pgjr_book.run_config import RunConfig
from pgjr_lib.controls import build_jigsaw
from pgjr_lib.models import GJR
from pgjr_lib.priors.cache import FeatureSet


def trained(**fields) -> dict:
    run = RunConfig(**fields)
    return train.compute(run, train.load_images(run))


@pytest.mark.parametrize("kind", ["on", "zero", "permuted", "shifted"])
def test_a_record_holds_the_matrix_that_gjr_has_learned(kind, tiny, monkeypatch):
    models = []
    make_cnn = train.make_cnn
    monkeypatch.setattr(train, "make_cnn", lambda run: models.append(make_cnn(run)) or models[-1])
    stored = json.loads(json.dumps(trained(**tiny | {"jigsaw": kind, "epochs": 1})["jigsaw"]))
    operator = getattr(models[0].jigsaw, "inner", models[0].jigsaw)
    torch.testing.assert_close(torch.tensor(stored["matrix"]), operator.matrix().detach(), rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.tensor(stored["offset"]), operator.offset().detach(), rtol=0, atol=1e-5)
    assert all(number == round(number, 5) for row in stored["matrix"] for number in row)
    assert [row[r] for r, row in enumerate(stored["matrix"])] == [0.0] * 4  # as A acts: no grid sees itself
    start = build_jigsaw(kind, 0, 64, (2, 2))
    start = getattr(start, "inner", start).matrix()
    assert not torch.allclose(torch.tensor(stored["matrix"]), start, atol=1e-5)


def test_a_record_of_pgjr_holds_it_too_and_keeps_what_a_grid_keeps():
    torch.manual_seed(0)
    features = FeatureSet(
        torch.randn(64, 6), torch.randn(64, 3, 6, 6), [torch.randn(64, 6)], [torch.randn(64, 3, 6, 6)],
        torch.arange(64) % 4, list("abcd"), {},
    )  # fmt: skip
    fields = dict(method="pgjr", dataset="digits", split="all", prior="class-name", map="spatial", views=1, epochs=1, dim=8,
                  kmeans_seeds=1, n=3, mode="reference")  # fmt: skip
    stored = train.compute(RunConfig(**fields), features)["jigsaw"]
    assert len(stored["matrix"]) == len(stored["offset"]) == 9
    assert stored["matrix"][0] == [1.0] + [0.0] * 8 and stored["matrix"][4][4] == 0.0
    assert train.compute(RunConfig(**fields | {"branch": "none"}), features)["jigsaw"] is None


@pytest.mark.parametrize("change", [*({"jigsaw": kind} for kind in ("off", "frozen", "blur", "mean", "dense")), {"per_channel": True}])
def test_a_run_without_one_learned_matrix_records_none(change, tiny):
    run = RunConfig(**tiny | change)
    model = train.make_cnn(run)
    assert isinstance(model, GJR) and train.learned_jigsaw(run, model.jigsaw) is None
    idfd = RunConfig(**tiny | {"method": "idfd"})  # whatever the jigsaw's fields say
    assert train.learned_jigsaw(idfd, train.make_cnn(idfd).jigsaw) is None
