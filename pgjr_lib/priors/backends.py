"""Decide how a prior runs: on which device, by which backend, and in which precision.

Torch is the reference. On a CPU, OpenVINO (the extra ``fast``) runs the same network faster; its results do not depend
on the number of threads or on the other images of a batch. Features differ between backends and precisions, so the
choice is a fixed one: the same prior on the same machine always runs the same way.
"""

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from types import ModuleType

import torch
from torch import Tensor

from pgjr_lib.devices import fast_half
from pgjr_lib.errors import PGJRError
from pgjr_lib.priors.backbones import Backbone

# The precision on a CPU. Rule: half precision where k-means NMI stays within 0.3 points of float32's, both on CIFAR-10's
# and on STL-10's test images, else float32. The differences that benchmarks/encoding.py measured stand beside it.
CPU_PRECISION = {  # architecture -> backend -> precision; an architecture that is not listed was not measured
    "resnet10t_stride16": {"openvino": "bf16", "torch": "bf16"},  # +0.24 and -0.05; torch +0.29 and +0.15
    "tf_efficientnet_lite0": {"openvino": "bf16", "torch": "bf16"},  # -0.22 and +0.03; torch -0.04 and -0.00
}
PRECISIONS = {"torch": ("fp32", "bf16", "fp16"), "openvino": ("fp32", "bf16")}  # backend -> what it offers
BATCH = 16  # images that OpenVINO encodes at once on a thread: few enough that a layer's results stay in its cache
_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Encoding:
    """How images are encoded. Features that differ in any of these fields are not interchangeable.

    Attributes:
        device: ``cpu`` or ``cuda``.
        backend: ``torch`` or ``openvino``.
        precision: ``fp32``, ``bf16`` or ``fp16``.
    """

    device: str
    backend: str
    precision: str

    def __str__(self):
        return f"{self.backend} in {self.precision} on {self.device}"


def has_openvino() -> bool:
    """Say whether OpenVINO is installed, without importing it."""
    return find_spec("openvino") is not None


def choose(
    architecture: str | dict, device: str | torch.device, backend: str | None = None, precision: str | None = None
) -> Encoding:
    """Choose how a prior runs.

    On CUDA it is torch in float16. On a CPU it is OpenVINO where it is installed, else torch, in the precision that
    ``CPU_PRECISION`` gives; float32 where the CPU is not fast at bfloat16.

    Args:
        architecture: as :func:`pgjr_lib.priors.names.resolve` returns it.
        device: a torch device.
        backend, precision: taken instead of the choice, where they are given.

    Raises:
        PGJRError: a backend or precision that does not exist, or that this machine does not have.
    """
    kind = torch.device(device).type
    if backend is None:
        backend = "openvino" if kind == "cpu" and has_openvino() else "torch"
    if backend not in PRECISIONS:
        raise PGJRError(f"There is no backend {backend!r}: use {' or '.join(PRECISIONS)}.")
    if backend == "openvino" and kind != "cpu":
        raise PGJRError(f"The backend openvino encodes on CPUs, not on {kind}: use device='cpu' or backend='torch'.")
    if backend == "openvino" and not has_openvino():
        raise PGJRError("OpenVINO is not installed: `pip install 'pgjr[fast]'` installs it.")
    if precision is None and kind == "cpu":
        measured = CPU_PRECISION.get(_network(architecture), {}).get(backend, "fp32")
        precision = measured if fast_half(kind) is not None else "fp32"
    elif precision is None:
        precision = "fp16" if kind == "cuda" else "fp32"
    if precision not in PRECISIONS[backend]:
        raise PGJRError(f"{backend} has no precision {precision!r}: use {' or '.join(PRECISIONS[backend])}.")
    return Encoding(kind, backend, precision)


def make_runner(
    backbone: Backbone, device: str | torch.device, encoding: Encoding
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Return a function that runs ``backbone`` as ``encoding`` says.

    It maps images (B, 3, S, S), float32 in [0, 1] and on ``device``, to the embedding (B, D) and the map (B, C, H, W),
    both float32 and on ``device``.

    Raises:
        PGJRError: OpenVINO cannot run the network, or not in this precision.
    """
    backbone.to(device, memory_format=torch.channels_last)
    return _openvino_runner(backbone, encoding) if encoding.backend == "openvino" else _torch_runner(backbone, encoding)


def _network(architecture) -> str:
    """Return the name of the network that an architecture runs; "" where it has none."""
    if isinstance(architecture, str):
        return architecture
    return architecture.get("timm_model") or architecture.get("vision_cfg", {}).get("timm_model_name", "")


def _torch_runner(backbone, encoding):
    half = _HALF.get(encoding.precision)

    @torch.no_grad()
    def run(images):
        with torch.autocast(encoding.device, half, enabled=half is not None):
            embedding, maps = backbone(images)
        return embedding.float(), maps.float()

    return run


def _openvino_runner(backbone, encoding):
    openvino, size, threads = _import_openvino(), backbone.image_size, torch.get_num_threads()
    hint = {"fp32": "f32", "bf16": "bf16"}[encoding.precision]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's tracer warns of every Python number in a network
            example = torch.zeros(2, 3, size, size)
            model = openvino.convert_model(backbone, example_input=example, input=[-1, 3, size, size])
        compiled = openvino.compile_model(model, "CPU", {
            "INFERENCE_PRECISION_HINT": hint,
            # one thread a stream: nothing is added in another order, and no thread waits for another
            "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": threads,
            "ENABLE_CPU_PINNING": False,  # processes side by side would be pinned to the same cores
        })  # fmt: skip
    except Exception as error:  # its converter raises many types
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise PGJRError(f"OpenVINO cannot run this prior ({reason}): use backend='torch', or uninstall openvino.") from error
    if (actual := compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()) != hint:
        raise PGJRError(f"OpenVINO would run in {actual} on this CPU, not in {hint}: use precision='fp32'.")
    queue = openvino.AsyncInferQueue(compiled, threads)

    def keep(request, place):
        outputs, part = place
        outputs[part] = [tensor.data.copy() for tensor in request.output_tensors]

    queue.set_callback(keep)

    def run(images):
        parts = images.contiguous().split(BATCH)
        outputs = [None] * len(parts)
        for part, batch in enumerate(parts):
            queue.start_async({0: batch.numpy()}, (outputs, part), share_inputs=True)
        queue.wait_all()
        embeddings, maps = zip(*outputs, strict=True)
        return tuple(torch.cat([torch.from_numpy(part) for part in kind]) for kind in (embeddings, maps))

    return run


def _import_openvino() -> ModuleType:
    """Import OpenVINO without its telemetry, which would report every use over the network without asking."""
    name = "openvino_telemetry"
    before = {name: sys.modules[name]} if name in sys.modules else {}
    sys.modules[name] = None  # as if it were not installed
    try:
        import openvino
    finally:
        del sys.modules[name]
        sys.modules |= before
    return openvino
