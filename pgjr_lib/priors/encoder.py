"""Load frozen encoders: the bundled class-name prior, the ImageNet-label prior, CLIP, or any checkpoint with a sidecar."""

from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from pgjr_lib.errors import PGJRError
from pgjr_lib.priors.backbones import Backbone, build
from pgjr_lib.priors.backends import Encoding, choose, make_runner
from pgjr_lib.priors.fetch import fetch
from pgjr_lib.priors.names import digest, resolve
from pgjr_lib.storage import atomic_write, file_sha256, write_sealed


class Prior:
    """A frozen image encoder.

    Attributes:
        name: as it was asked for.
        checksum: SHA-256 over the weights and how they are run.
        embed_dim, map_shape: D and (C, H, W) of what ``encode`` returns.
        image_size, mean, std: the input that the encoder expects; side in pixels, and the normalisation per channel.
        supervision: what the encoder was trained on, in words.
        training_seconds: how long it was trained; None where its sidecar does not say.
        classes_seen: WordNet ids of the classes whose labels it was trained with; sets that hold them are not scored.
        device: where it runs.
        encoding: how it runs: the kind of device, the backend and the precision.
        visual: the torch module of the image tower.
    """

    def __init__(self, name: str, spec: dict, backbone: Backbone, device: str | torch.device, encoding: Encoding):
        self.name, self.checksum, self.supervision = name, digest(spec), spec["supervision"]
        self.training_seconds = spec.get("training", {}).get("seconds")
        self.classes_seen = tuple(spec.get("classes_seen", ()))
        self.image_size = backbone.image_size
        self.mean, self.std = (tuple(spec["preprocessing"][key]) for key in ("mean", "std"))
        self.device, self.encoding, self.visual = torch.device(device), encoding, backbone.visual
        self._run = make_runner(backbone, self.device, encoding)
        embedding, maps = self.encode(torch.zeros(1, 3, self.image_size, self.image_size))
        self.embed_dim, self.map_shape = embedding.shape[1], tuple(maps.shape[1:])

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode a batch of images.

        Args:
            images: (B, 3, S, S) float in [0, 1], where S is ``image_size``.

        Returns:
            (embedding (B, D), map (B, C, H, W)), both float32 and on ``device``.
        """
        return self._run(images.to(self.device))


def load_prior(
    name: str, device="cpu", *, weights=None, image_size=None, backend: str | None = None, precision: str | None = None
) -> Prior:
    """Build a prior, after fetching its weights if they are not at hand.

    Args:
        name: ``class-name`` (bundled), ``imagenet-labels`` (the extra ``priors``), ``random:<any other name>`` (its
            architecture, random weights, seed 0), ``<open_clip model>/<tag>`` (``$PGJR_WEIGHTS/<model>--<tag>.safetensors``
            or ``.pt`` with its sidecar, else the model hub) or ``file:/path/x.safetensors`` (with sidecar ``x.json``).
        device: where it runs.
        weights: a checkpoint file to read instead of the one that ``name`` stands for.
        image_size: run it at another input size than its own (a ViT's position embedding is interpolated).
        backend, precision: by default what :func:`pgjr_lib.priors.backends.choose` takes.

    Raises:
        PGJRError: unknown name, no file and no connection, sidecar missing or incomplete, checksum wrong, a
            pickle or TorchScript archive, OpenAI weights without QuickGELU, weights of another model, a backend or
            precision that is not available.
    """
    spec = fetch(name) if weights is None else resolve(name, weights)
    encoding = choose(spec["architecture"], device, backend, precision)
    path = spec["path"]
    # names.py checks every byte of a file with a sidecar, but of fetched weights the size alone
    if path and "size" in spec and file_sha256(path) != spec["checksum"]:
        raise PGJRError(f"{path.resolve()} changed since it was fetched: delete it and fetch {name} again.")
    return Prior(name, spec, build(spec, image_size), device, encoding)


def save_prior(path, state: dict, **sidecar) -> str:
    """Write a checkpoint that ``load_prior`` accepts: half-precision safetensors and its sidecar.

    Args:
        path: ``x.safetensors``; the sidecar becomes ``x.json``.
        state: the whole open_clip model's state dict.
        sidecar: every field of ``names.REQUIRED`` but the checksum, and any other.

    Returns:
        The file's SHA-256.
    """
    half = {k: (v.half() if v.is_floating_point() else v).cpu().contiguous() for k, v in state.items()}
    atomic_write(path, save(half))
    sidecar["checksum"] = file_sha256(path)
    write_sealed(Path(path).with_suffix(".json"), sidecar)
    return sidecar["checksum"]
