"""Algorithm 1: schedule, batches, resume, and what it refuses."""

import json
import pickle
from dataclasses import replace

import pytest
import torch

from pgjr_lib import training
from pgjr_lib.devices import training_half
from pgjr_lib.errors import PGJRError
from pgjr_lib.jigsaw import GridJigsaw
from pgjr_lib.losses import MemoryBank, instance_discrimination
from pgjr_lib.models import GJR, PGJR
from pgjr_lib.options import FIXED_JIGSAWS, JIGSAWS, HeadOptions, TrainingOptions
from pgjr_lib.storage import load_tensors
from pgjr_lib.training import FeatureSource, ImageSource, embed, epoch_batches, fit, learning_rate, save, train_head

N = 70


@pytest.fixture
def one_thread():
    """Sums in one order: their last bits, and so a float16 training of 20 images, depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def feature_source():
    g = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=g)  # noqa: E731
    return FeatureSource(draw(N, 12), draw(N, 4, 4, 4), draw(3, N, 12).half(), draw(3, N, 4, 4, 4).half())


def head():
    torch.manual_seed(1)
    model = PGJR(12, (4, 4, 4), GridJigsaw(2, 1), dim=8)
    torch.manual_seed(2)
    return model, MemoryBank(N, 8)


def image_source():
    images = torch.randint(0, 256, (20, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    noisy = lambda x: (x / 255 + 0.1 * torch.rand(x.shape)).clamp(0, 1)  # noqa: E731
    return ImageSource(images, noisy, lambda x: x / 255)


OPTIONS = TrainingOptions(epochs=4, batch_size=16, lr=0.05, tau1=0.5, smallest_batch=1, seed=3)


def without_seconds(history):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


@pytest.mark.parametrize("kill_after", [1, 2, 3])
def test_a_killed_run_resumes_bit_identically(tmp_path, feature_source, kill_after):
    model, bank = head()
    whole = fit(model, feature_source, bank, OPTIONS)

    def kill(model, epoch, row):
        if epoch == kill_after + 1:
            raise KeyboardInterrupt
        return {}

    path = tmp_path / "checkpoint.safetensors"
    first, first_bank = head()
    with pytest.raises(KeyboardInterrupt):
        fit(first, feature_source, first_bank, OPTIONS, checkpoint=path, identity="a", on_epoch=kill, checkpoint_seconds=0)
    second, second_bank = head()
    resumed = fit(second, feature_source, second_bank, OPTIONS, checkpoint=path, identity="a")
    assert without_seconds(resumed) == without_seconds(whole)
    assert torch.equal(second_bank.vectors, bank.vectors)
    assert all(torch.equal(a, b) for a, b in zip(second.state_dict().values(), model.state_dict().values(), strict=True))


def test_a_cnn_resumes_bit_identically(tmp_path):
    def start():
        torch.manual_seed(0)
        return GJR("thin", GridJigsaw(2, 1), dim=8), MemoryBank(20, 8)

    torch.manual_seed(0)
    whole_model, whole_bank = GJR("thin", GridJigsaw(2, 1), dim=8), MemoryBank(20, 8)
    options = TrainingOptions(epochs=2, batch_size=8, lr=0.05, tau1=1.0)
    whole = fit(whole_model, image_source(), whole_bank, options)
    path = tmp_path / "c.safetensors"
    model, bank = start()

    def kill(model, epoch, row):
        if epoch == 2:
            raise KeyboardInterrupt
        return {}

    with pytest.raises(KeyboardInterrupt):
        fit(model, image_source(), bank, options, checkpoint=path, identity="x", on_epoch=kill, checkpoint_seconds=0)
    model, bank = start()
    assert without_seconds(fit(model, image_source(), bank, options, checkpoint=path, identity="x")) == without_seconds(whole)
    assert torch.equal(bank.vectors, whole_bank.vectors)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_follows_float32_and_resumes_with_its_scale(tmp_path, monkeypatch, one_thread, half):
    """float16 has a scaled loss, which the checkpoint keeps."""

    def run(precision, epochs, path=None):
        torch.manual_seed(0)
        model, bank = GJR("thin", GridJigsaw(2, 1), dim=8), MemoryBank(20, 8)
        options = TrainingOptions(epochs=epochs, batch_size=8, lr=0.02, precision=precision, schedule="constant")
        return fit(model, image_source(), bank, options, checkpoint=path, identity="x"), bank

    monkeypatch.setattr(training, "training_half", lambda device: half)
    (exact, _), (near, bank) = run("fp32", 4), run("half", 4)
    for a, b in zip(exact[1:], near[1:], strict=True):
        # rounding differs by processor, and training lets it grow from epoch to epoch
        assert b["loss"] == pytest.approx(a["loss"], rel=0.02 if b["epoch"] == 1 else 0.05)
    path = tmp_path / "c.safetensors"
    run("half", 2, path)
    assert (json.loads(load_tensors(path)[1]["scale"]) != {}) == (half is torch.float16)
    resumed, resumed_bank = run("half", 4, path)
    assert without_seconds(resumed) == without_seconds(near) and torch.equal(resumed_bank.vectors, bank.vectors)


def test_old_cards_train_in_float16_and_newer_ones_in_bfloat16(monkeypatch):
    for capability, half in (((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, found=capability: found)
        assert training_half("cuda") is half
    assert training_half("cpu") is torch.bfloat16


def test_the_loss_falls_and_features_lie_on_the_sphere(feature_source):
    model, bank = head()
    history = fit(model, feature_source, bank, TrainingOptions(epochs=20, batch_size=16, lr=0.05, tau1=0.2))
    assert history[-1]["instance"] < history[1]["instance"] - 0.1
    points = embed(model, feature_source)
    assert points.shape == (N, 8)
    torch.testing.assert_close(points.norm(dim=1), torch.ones(N))


def test_total_loss_is_equation_11(feature_source):
    model, bank = head()
    options = TrainingOptions(epochs=1, batch_size=N, lr=0.01, tau1=0.5, alpha=0.3, beta=2.0)
    z = feature_source.plain(torch.arange(N))[1]
    plain_only = FeatureSource(
        feature_source.embeddings, feature_source.maps, torch.empty(0, N, 12), torch.empty(0, N, 4, 4, 4)
    )
    error = model.jigsaw.regression_error(z).item()  # before the step, on the same maps
    row = fit(model, plain_only, bank, options)[1]
    assert error > 0
    assert row["loss"] == pytest.approx(row["instance"] + 0.3 * row["decorrelation"] + 2.0 * error, rel=1e-5)


def test_learning_rate_falls_at_idfds_milestones():
    options = TrainingOptions(epochs=2000, batch_size=128, lr=0.03, tau1=1.0)
    rates = {epoch: learning_rate(epoch, options) for epoch in (0, 599, 600, 949, 950, 1299, 1300, 1649, 1650)}
    expected = [0.03, 0.03, 0.003, 0.003, 3e-4, 3e-4, 3e-5, 3e-5, 3e-6]
    assert list(rates.values()) == pytest.approx(expected)


def test_batches_cover_each_epoch_once_and_differ_between_epochs_and_seeds():
    options = TrainingOptions(epochs=1, batch_size=16, lr=1, tau1=1)
    batches = epoch_batches(N, 0, options)
    assert [len(b) for b in batches] == [16, 16, 16, 16, 6]  # the last batch is kept, as in IDFD
    assert sorted(torch.cat(batches).tolist()) == list(range(N))
    assert torch.cat(batches).tolist() != torch.cat(list(epoch_batches(N, 1, options))).tolist()
    dropped = TrainingOptions(epochs=1, batch_size=16, lr=1, tau1=1, smallest_batch=16)
    assert [len(b) for b in epoch_batches(N, 0, dropped)] == [16, 16, 16, 16]


def test_another_models_checkpoint_is_refused(tmp_path, feature_source):
    path = tmp_path / "c.safetensors"
    model, bank = head()
    fit(model, feature_source, bank, TrainingOptions(1, 16, 0.1, 1.0), checkpoint=path, identity="one")
    with pytest.raises(PGJRError, match="c.safetensors is the checkpoint of another model"):
        fit(model, feature_source, bank, TrainingOptions(2, 16, 0.1, 1.0), checkpoint=path, identity="two")


@pytest.mark.parametrize("damage", ["truncated", "flipped", "pickle"])
def test_damaged_checkpoints_are_refused_and_a_pickle_is_never_opened(tmp_path, feature_source, damage):
    path, fired = tmp_path / "c.safetensors", tmp_path / "fired"
    model, bank = head()
    save(path, "one", model, bank, torch.optim.SGD(model.parameters(), 0.1), [])
    data = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "flipped":
        data[-3] ^= 1
        path.write_bytes(data)
    else:
        class Bomb:
            def __reduce__(self):
                return open, (str(fired), "w")

        path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(PGJRError, match="c.safetensors"):
        fit(model, feature_source, bank, OPTIONS, checkpoint=path, identity="one")
    assert not fired.exists()


def test_a_loss_that_is_not_finite_is_told_in_a_sentence(feature_source):
    model, bank = head()
    with pytest.raises(PGJRError, match="not finite in epoch 1: lower the learning rate"), torch.no_grad():
        model.project.weight[0, 0] = float("nan")
        with torch.enable_grad():
            fit(model, feature_source, bank, OPTIONS)


def test_a_model_trained_with_the_regression_loss_carries_no_hook(feature_source):
    model, bank = head()
    fit(model, feature_source, bank, TrainingOptions(epochs=1, batch_size=16, lr=0.05, tau1=0.5, beta=1.0))
    assert not model.jigsaw._forward_pre_hooks and pickle.dumps(model)


def test_the_history_starts_before_training(feature_source):
    model, bank = head()
    untrained = embed(model, feature_source)
    seen = []

    def score(model, epoch, row):
        seen.append((epoch, embed(model, feature_source)))
        return {"nmi": epoch / 10}

    history = fit(model, feature_source, bank, TrainingOptions(epochs=2, batch_size=16), on_epoch=score)
    assert [row["epoch"] for row in history] == [0, 1, 2] == [epoch for epoch, _ in seen]
    assert history[0] == {"epoch": 0, "seconds": 0.0, "loss": None, "instance": None, "decorrelation": None, "nmi": 0.0}
    assert torch.equal(seen[0][1], untrained) and not torch.equal(seen[1][1], untrained)


def test_extra_tensors_survive_a_kill(tmp_path, feature_source):
    """What on_epoch keeps at epochs 0 to 2 is there after a kill in epoch 3."""
    path = tmp_path / "checkpoint.safetensors"

    def keep(kept, last):
        def on_epoch(model, epoch, row):
            if epoch > last:
                raise KeyboardInterrupt
            kept[f"epoch-{epoch}"] = torch.full((2,), float(epoch))
            return {}

        return on_epoch

    (model, bank), kept = head(), {}
    with pytest.raises(KeyboardInterrupt):
        fit(model, feature_source, bank, OPTIONS, checkpoint=path, identity="a", on_epoch=keep(kept, 2), extra=kept)
    (model, bank), resumed = head(), {}
    fit(model, feature_source, bank, OPTIONS, checkpoint=path, identity="a", on_epoch=keep(resumed, 4), extra=resumed)
    assert {name: value.tolist() for name, value in resumed.items()} == {f"epoch-{e}": [e, e] for e in range(5)}


@pytest.mark.parametrize("branch", ["supplement", "none"])
@pytest.mark.parametrize("map", ["spatial", "embedding"])
def test_a_head_starts_from_its_seed_alone_and_its_bank_from_its_features(feature_source, map, branch):
    options = TrainingOptions(epochs=0, batch_size=16, seed=5)
    torch.manual_seed(17)
    first = train_head(feature_source, HeadOptions(map=map, branch=branch, dim=8), options)
    torch.manual_seed(99)
    second = train_head(feature_source, HeadOptions(map=map, branch=branch, dim=8), options)
    states = zip(first.model.state_dict().values(), second.model.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in states)
    torch.testing.assert_close(first.bank.vectors, embed(first.model, feature_source))
    assert (first.model.jigsaw is None) == (branch == "none") and len(first.history) == 1
    standardised = (feature_source.embeddings - first.model.mean) / first.model.std
    torch.testing.assert_close(standardised.mean(0), torch.zeros(12), atol=1e-5, rtol=0)


def test_sampled_negatives_train_a_head_and_resume(feature_source, tmp_path):
    options = TrainingOptions(epochs=4, batch_size=16, lr=0.05, tau1=0.5, seed=3, negatives=20, schedule="constant")
    whole = train_head(feature_source, HeadOptions(), options)
    path = tmp_path / "c.safetensors"
    train_head(feature_source, HeadOptions(), replace(options, epochs=2), checkpoint=path, identity="x")
    resumed = train_head(feature_source, HeadOptions(), options, checkpoint=path, identity="x")
    assert without_seconds(resumed.history)[-1] == without_seconds(whole.history)[-1]
    exact = train_head(feature_source, HeadOptions(), replace(options, negatives=None))
    assert whole.history[-1]["instance"] != exact.history[-1]["instance"]
    assert whole.history[-1]["instance"] == pytest.approx(exact.history[-1]["instance"], rel=0.05)


def test_a_head_and_its_controls_share_their_start(feature_source):
    options = TrainingOptions(epochs=0, batch_size=16, seed=5)
    heads = {kind: train_head(feature_source, HeadOptions(jigsaw=kind, dim=8), options).model for kind in JIGSAWS}
    for kind, model in heads.items():
        assert torch.equal(model.project.weight, heads["on"].project.weight), kind
        if kind != "off":
            operator = getattr(model.jigsaw, "inner", model.jigsaw)
            if kind not in ("zero", *FIXED_JIGSAWS):  # which have another start, or no weights
                assert torch.equal(operator.weight, heads["on"].jigsaw.weight), kind
                assert operator.weight.requires_grad == (kind != "frozen")
    assert heads["off"].jigsaw is None


def test_a_map_too_small_for_its_blocks_is_named(feature_source):
    with pytest.raises(ValueError, match="4x4 is too small for blocks of 12x12"):
        train_head(feature_source, HeadOptions(n=3, g=4), TrainingOptions(epochs=1))


@pytest.mark.parametrize("epochs", [1, 2, 3, 5, 30])
def test_the_first_epoch_of_any_training_has_the_full_rate(epochs):
    options = TrainingOptions(epochs=epochs, lr=0.5)
    rates = [learning_rate(epoch, options) for epoch in range(epochs)]
    assert rates[0] == 0.5 and rates == sorted(rates, reverse=True)
    for epoch, rate in enumerate(rates):  # a milestone counts once that fraction of training lies before the epoch
        passed = sum(epoch / epochs >= share for share in (0.3, 0.475, 0.65, 0.825))
        assert rate == pytest.approx(0.5 * 0.1**passed)
    constant = TrainingOptions(epochs=epochs, lr=0.5, schedule="constant")
    assert {learning_rate(epoch, constant) for epoch in range(epochs)} == {0.5}


def test_pixel_statistics_do_not_depend_on_the_order_of_the_images(monkeypatch):
    """The images are sorted from dark to light, as stored images are often sorted by class."""
    monkeypatch.setattr(training, "PIXEL_SAMPLES", 500)
    grey = torch.linspace(0, 255, 4000).to(torch.uint8)
    images = grey[:, None, None, None].expand(-1, 3, 8, 8).contiguous()
    source = ImageSource(images, None, lambda x: x / 255)
    torch.testing.assert_close(source.mean.flatten(), torch.full((3,), 0.5), atol=0.04, rtol=0)
    torch.testing.assert_close(source.std.flatten(), torch.full((3,), 12**-0.5), atol=0.03, rtol=0)


@pytest.mark.parametrize("combine", ["residual", "concat"])
@pytest.mark.parametrize("map", ["spatial", "embedding"])
def test_an_untrained_head_knows_the_statistics_of_its_features(feature_source, map, combine):
    head = train_head(feature_source, HeadOptions(map=map, dim=8, combine=combine), TrainingOptions(epochs=0, seed=5))
    evaluated = embed(head.model, feature_source)
    with torch.no_grad():  # in training mode BatchNorm takes the batch's own statistics, here of all samples
        whole = head.model.train()(*feature_source.plain(torch.arange(N)))
    torch.testing.assert_close(evaluated, whole, atol=2e-2, rtol=0)  # the running variance is not Bessel's
    entering = head.model.arrange(*feature_source.plain(torch.arange(N))).flatten(1).double()
    fresh = train_head(feature_source, HeadOptions(map=map, dim=8, combine=combine), TrainingOptions(epochs=0, seed=5))
    torch.testing.assert_close(fresh.model.phi[1].running_mean.double(), entering.mean(0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(fresh.model.phi[1].running_var.double(), entering.var(0, correction=0), atol=1e-5, rtol=1e-4)


def test_heads_of_one_seed_share_what_they_draw_for_shared_inputs(feature_source):
    options = TrainingOptions(epochs=0, seed=5)
    variants = {"linear": HeadOptions(branch="none", dim=8), "off": HeadOptions(jigsaw="off", dim=8), "on": HeadOptions(dim=8),
                "concat": HeadOptions(combine="concat", dim=8)}  # fmt: skip
    weights = {}
    for name, settings in variants.items():
        project = train_head(feature_source, settings, options).model.project
        weights[name] = project.weight.detach() * project.in_features**0.5  # without the scale of torch's initialisation
    assert torch.equal(weights["on"], weights["off"])
    torch.testing.assert_close(weights["linear"], weights["on"][:, :12])
    torch.testing.assert_close(weights["concat"][:, : weights["on"].shape[1]], weights["on"])


def test_a_checkpoint_waits_for_its_time_but_not_at_the_end(tmp_path, feature_source, monkeypatch):
    saved = []
    monkeypatch.setattr(training, "save", lambda path, *_: saved.append(path))
    model, bank = head()
    fit(model, feature_source, bank, OPTIONS, checkpoint=tmp_path / "c.safetensors", identity="a")
    assert len(saved) == 1
    model, bank = head()
    fit(model, feature_source, bank, OPTIONS, checkpoint=tmp_path / "c.safetensors", identity="a", checkpoint_seconds=0)
    assert len(saved) == 1 + OPTIONS.epochs


def test_the_chunk_of_the_loss_is_reachable_and_changes_rounding_only(feature_source, monkeypatch):
    chunks = []

    def loss(f, index, bank, temperature, chunk=None, negatives=None):
        chunks.append(chunk)
        return instance_discrimination(f, index, bank, temperature, chunk)

    monkeypatch.setattr(training, "instance_discrimination", loss)
    histories = []
    for chunk in (None, 7):
        model, bank = head()
        histories.append(fit(model, feature_source, bank, OPTIONS, chunk=chunk))
    assert set(chunks) == {None, 7}
    assert [row["loss"] for row in histories[0][1:]] == pytest.approx([row["loss"] for row in histories[1][1:]], rel=1e-4)


def test_every_epoch_draws_new_views_of_every_sample(feature_source):
    torch.manual_seed(0)
    first, second = feature_source.choose_views(), feature_source.choose_views()
    assert first.shape == (N,) and set(first.tolist()) == {0, 1, 2} and not torch.equal(first, second)
    index = torch.tensor([5, 3])
    c, z = feature_source.draw(index, first)
    assert torch.equal(c, feature_source.view_embeddings[first[index], index].float())
    assert torch.equal(z, feature_source.view_maps[first[index], index].float())
