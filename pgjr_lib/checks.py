"""Check an installation against the outside world: files, losses against their formulas, and CLIP's published accuracy."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from pgjr_lib.data.loading import available
from pgjr_lib.errors import PGJRError
from pgjr_lib.losses import MemoryBank, feature_decorrelation, instance_discrimination
from pgjr_lib.priors.names import names_hub_weights, prior_checksum, resolve
from pgjr_lib.priors.zero_shot import PUBLISHED, TOLERANCE, accuracy
from pgjr_lib.storage import file_sha256


@dataclass(frozen=True)
class Check:
    """One line of the result: what was checked, whether it is as it should be (None: not checked), and the numbers."""

    name: str
    passed: bool | None
    detail: str


def check_installation(clip: str, device: str | None = None) -> Iterator[Check]:
    """Yield the checks one after another, as they end.

    Args:
        clip: the CLIP model to check, ``<open_clip model>/<tag>``.
        device: where to encode; None takes a GPU where there is one.

    Raises:
        PGJRError: as :func:`pgjr_lib.priors.zero_shot.accuracy`.
    """
    if not names_hub_weights(clip):
        raise PGJRError(f"{clip} has no text tower that can be checked: give an open_clip model, as <model>/<tag>.")
    yield Check("the bundled prior's checksum", True, prior_checksum("class-name")[:16])
    yield Check("IDFD's losses and memory bank", *_idfd_parity())
    try:
        spec = resolve(clip)
        same = file_sha256(spec["path"]) == spec["checksum"]
        yield Check(f"{clip}: checksum", same, f"{spec['checksum'][:16]}, {spec['path']}")
    except PGJRError as error:
        yield Check(f"{clip}: checksum", None, str(error))
        return
    for dataset, published in PUBLISHED.get(clip, {}).items():
        name = f"{clip}: zero-shot on {dataset} (test)"
        if not available(dataset, "test"):
            yield Check(name, None, f"not checked: `pgjr fetch {dataset}` brings the images")
            continue
        points = accuracy(clip, dataset, device=device)
        yield Check(name, abs(points - published) <= TOLERANCE, f"{points:.2f}, published {published:.2f} +- {TOLERANCE:g}")
    if clip not in PUBLISHED:
        yield Check(f"{clip}: zero-shot", None, "not checked: its accuracy with these prompts is not on record here")


def _idfd_parity() -> tuple[bool, str]:
    """Hold the losses, their gradients and the bank against plain formulas on random features, in float64."""
    generator = torch.Generator().manual_seed(0)
    f = F.normalize(torch.randn(32, 16, generator=generator, dtype=torch.float64), dim=1).requires_grad_()
    bank, index = MemoryBank(100, 16).double(), torch.randperm(100, generator=generator)[:32]
    ours = instance_discrimination(f, index, bank.vectors, 1.0) + feature_decorrelation(f, 2.0)
    columns = F.normalize(f, dim=0)
    theirs = F.cross_entropy(f @ bank.vectors.T, index) + F.cross_entropy(columns.T @ columns / 2.0, torch.arange(16))
    gradients = [torch.autograd.grad(loss, f)[0] for loss in (ours, theirs)]
    expected = bank.vectors.clone()
    expected[index] = F.normalize(0.5 * expected[index] + 0.5 * f.detach(), dim=1)
    bank.update(index, f.detach())
    differences = [ours - theirs, gradients[0] - gradients[1], bank.vectors - expected]
    largest = max(difference.abs().max().item() for difference in differences)
    return largest < 1e-10, f"largest difference from their formulas {largest:.0e}"
