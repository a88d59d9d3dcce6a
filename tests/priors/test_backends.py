"""How a prior runs: the choice of backend and precision, and OpenVINO beside torch."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pgjr_lib.errors import PGJRError
from pgjr_lib.priors import backends
from pgjr_lib.priors.backends import Encoding, choose
from pgjr_lib.priors.encoder import load_prior
from pgjr_lib.priors.names import resolve

openvino = pytest.mark.skipif(not backends.has_openvino(), reason="pip install 'pgjr[fast]'")
half = pytest.mark.skipif(backends.fast_half("cpu") is None, reason="this CPU has no bfloat16")
SIDES = {"class-name": 64, "random:imagenet-labels": 64, "random:ViT-B-32-quickgelu/openai": 64}


@pytest.fixture
def machine(monkeypatch):
    """A function that pretends what the machine has."""

    def pretend(has_openvino, has_half=True):
        monkeypatch.setattr(backends, "has_openvino", lambda: has_openvino)
        dtypes = {"cuda": torch.float16, "cpu": torch.bfloat16 if has_half else None}
        monkeypatch.setattr(backends, "fast_half", lambda device: dtypes[device])

    return pretend


@pytest.mark.parametrize("backend", ["openvino", "torch"])
def test_the_choice_follows_architecture_and_device(machine, backend):
    machine(backend == "openvino")
    for name, network in (("class-name", "resnet10t_stride16"), ("random:imagenet-labels", "tf_efficientnet_lite0")):
        architecture = resolve(name)["architecture"]
        assert choose(architecture, "cpu") == Encoding("cpu", backend, backends.CPU_PRECISION[network][backend])
        assert choose(architecture, "cuda:1") == Encoding("cuda", "torch", "fp16")
    # what was not measured keeps float32
    assert choose("ViT-B-32-quickgelu", "cpu") == choose({"vision_cfg": {}}, "cpu") == Encoding("cpu", backend, "fp32")


def test_a_cpu_without_bfloat16_computes_in_float32(machine):
    machine(True, has_half=False)
    assert choose(resolve("class-name")["architecture"], "cpu") == Encoding("cpu", "openvino", "fp32")


def test_what_is_asked_for_is_taken_or_refused(machine):
    machine(True)
    assert choose("RN50", "cpu", "torch", "bf16") == Encoding("cpu", "torch", "bf16")
    for arguments, sentence in [
        (("cpu", "onnx"), "no backend 'onnx': use torch or openvino"),
        (("cpu", "openvino", "fp16"), "openvino has no precision 'fp16': use fp32 or bf16"),
        (("cuda", "openvino"), "openvino encodes on CPUs, not on cuda"),
    ]:
        with pytest.raises(PGJRError, match=sentence):
            choose("RN50", *arguments)
    machine(False)
    with pytest.raises(PGJRError, match=r"not installed: `pip install 'pgjr\[fast\]'`"):
        choose("RN50", "cpu", "openvino")


@openvino
@pytest.mark.parametrize("name", SIDES)
def test_openvino_gives_torchs_embedding_and_map(name):
    side = SIDES[name]
    images = torch.rand(20, 3, side, side)
    expected, found = (
        load_prior(name, image_size=side, backend=backend, precision="fp32").encode(images)
        for backend in ("torch", "openvino")
    )
    for one, other in zip(expected, found, strict=True):
        assert other.dtype == torch.float32 and other.shape == one.shape
        torch.testing.assert_close(other, one, atol=1e-3 * float(one.std()), rtol=1e-3)


@openvino
@half
def test_openvino_in_half_precision_is_close_and_not_the_same():
    images = torch.rand(8, 3, 64, 64)
    exact, coarse = (load_prior("class-name", backend="openvino", precision=p).encode(images) for p in ("fp32", "bf16"))
    for one, other in zip(exact, coarse, strict=True):
        assert not torch.equal(one, other)
        assert torch.cosine_similarity(one.flatten(1), other.flatten(1)).min() > 0.999


@openvino
@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=half)])
def test_openvinos_bits_depend_on_neither_threads_nor_the_other_images(precision, monkeypatch):
    images = torch.rand(40, 3, 32, 32)
    found = []
    for threads, size in ((1, 40), (2, 40), (3, 7)):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        prior = load_prior("class-name", image_size=32, backend="openvino", precision=precision)
        found.append([torch.cat(parts) for parts in zip(*map(prior.encode, images.split(size)), strict=True)])
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


@openvino
def test_a_network_that_openvino_cannot_run_is_one_sentence(monkeypatch):
    monkeypatch.setattr(backends._import_openvino(), "convert_model", lambda *a, **k: 1 / 0)
    with pytest.raises(PGJRError, match=r"cannot run this prior \(division by zero\): use backend='torch'"):
        load_prior("class-name", backend="openvino", precision="fp32")


@openvino
def test_openvino_reports_nothing_over_the_network():
    code = """
import socket, sys
def forbidden(*args, **kwargs):
    raise AssertionError("a socket was opened")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = forbidden
from pgjr_lib.priors.encoder import load_prior
load_prior("class-name", backend="openvino", precision="fp32")
from openvino.tools.ovc import convert_impl, telemetry_utils
assert "openvino_telemetry" not in sys.modules
assert {module.tm.__name__ for module in (convert_impl, telemetry_utils)} == {"openvino.tools.ovc.telemetry_stub"}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
