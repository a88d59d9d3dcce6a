"""A captured step does what the step does, on a machine with a GPU."""

from dataclasses import replace

import pytest
import torch

from pgjr_lib.augment import Augment, plain
from pgjr_lib.captured import WARM_CALLS, CapturedStep
from pgjr_lib.errors import PGJRError
from pgjr_lib.losses import MemoryBank
from pgjr_lib.models import GJR
from pgjr_lib.options import HeadOptions, TrainingOptions
from pgjr_lib.training import FeatureSource, ImageSource, fit, train_head

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="a CUDA graph needs a GPU")
OPTIONS = TrainingOptions(epochs=3, batch_size=64, lr=0.01, smallest_batch=2)


def test_a_graph_that_cannot_be_captured_is_refused():
    images = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    source = ImageSource(images, Augment(32), lambda x: plain(x, 32))
    with pytest.raises(PGJRError, match="captured=True needs a CUDA device"):
        fit(GJR("small", dim=8), source, MemoryBank(4, 8), OPTIONS, captured=True)


@needs_gpu
def test_a_captured_step_reads_its_new_arguments():
    total = torch.zeros(2, device="cuda")
    step = CapturedStep(lambda x: total.add_(x.sum(0)))
    batches = [torch.full((3, 2), float(i), device="cuda") for i in range(WARM_CALLS + 4)]
    for batch in [*batches, batches[1][:2]]:  # the last is shorter
        step(batch)
    assert step._graph is not None
    assert total.tolist() == [sum(3.0 * i for i in range(WARM_CALLS + 4)) + 2.0] * 2


@needs_gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("schedule", ["constant", "steps"])
def test_a_cnn_trains_alike_with_and_without_the_graph(precision, schedule):
    images = torch.randint(0, 256, (300, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).cuda()
    histories, banks = [], []
    for captured in (False, True):
        torch.manual_seed(0)
        model, bank = GJR("small", dim=32).to("cuda", memory_format=torch.channels_last), MemoryBank(300, 32).to("cuda")
        source = ImageSource(images, Augment(32), lambda x: plain(x, 32))
        options = replace(OPTIONS, precision=precision, schedule=schedule)
        histories.append([row["loss"] for row in fit(model, source, bank, options, captured=captured)[1:]])
        banks.append(bank.vectors)
    assert histories[1] == pytest.approx(histories[0], rel=1e-5)
    torch.testing.assert_close(banks[1], banks[0], rtol=0, atol=2e-3)


@needs_gpu
def test_a_head_trains_alike_with_and_without_the_graph(monkeypatch):
    torch.manual_seed(0)
    views = [torch.randn(500, 24) for _ in range(3)], [torch.randn(500, 8, 4, 4) for _ in range(3)]
    source = FeatureSource(torch.randn(500, 24), torch.randn(500, 8, 4, 4), *views)
    options = replace(OPTIONS, beta=0.1)
    captured = train_head(source, HeadOptions(), options, device="cuda")
    monkeypatch.setattr("pgjr_lib.training.CapturedStep", lambda step: step)
    eager = train_head(source, HeadOptions(), options, device="cuda")
    losses = [[row["loss"] for row in head.history[1:]] for head in (captured, eager)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
