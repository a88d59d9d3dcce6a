"""Frozen open_clip encoders: the bundled class-name prior, OpenAI's CLIP, or any checkpoint with a sidecar."""

import logging
import tempfile
from pathlib import Path
from pickle import UnpicklingError

import open_clip
import timm
import torch
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.model import resize_pos_embed
from safetensors.torch import save
from torch import Tensor, nn

from pgjr_lib.devices import fast_half
from pgjr_lib.errors import PGJRError
from pgjr_lib.priors.fetch import fetch
from pgjr_lib.priors.names import digest, resolve
from pgjr_lib.storage import atomic_write, file_sha256, write_json


@timm.models.register_model
def resnet10t_stride16(pretrained=False, **kwargs):
    """Build timm's resnet10t without the max-pool of its stem, so that its last map has output stride 16."""
    model = timm.create_model("resnet10t", pretrained=False, **kwargs)
    model.maxpool = nn.Identity()
    return model


class Prior:
    """A frozen image encoder in eval mode, in half precision where the device is fast at it.

    Attributes:
        name: as it was asked for.
        checksum: SHA-256 over the weights and how they are run.
        embed_dim, map_shape: D and (C, H, W) of what ``encode`` returns.
        image_size, mean, std: the input that the encoder expects; side in pixels, and the normalisation per channel.
        supervision: what the encoder was trained on, in words.
        classes_seen: WordNet ids of the classes whose labels it was trained with; sets that hold them are not scored.
        device, half: where it runs, and in which half precision (None: float32).
    """

    def __init__(self, name, visual, checksum, preprocessing, supervision, classes_seen, device):
        self.name, self.checksum, self.supervision = name, checksum, supervision
        self.classes_seen = tuple(classes_seen)
        self.image_size = preprocessing["size"]
        self.mean, self.std = tuple(preprocessing["mean"]), tuple(preprocessing["std"])
        self.device = torch.device(device)
        self.visual = visual.eval().requires_grad_(False).to(self.device, memory_format=torch.channels_last)
        self.half = fast_half(self.device)
        self._normal = [torch.tensor(v, device=self.device).view(1, 3, 1, 1) for v in (self.mean, self.std)]
        self._maps = None
        probe = torch.zeros(1, 3, self.image_size, self.image_size)
        maps = self._forward(probe.to(self.device))["image_intermediates"]
        # the last map at output stride 16 or finer; a ViT with larger patches has only its own grid
        fine = [i for i, m in enumerate(maps) if m.shape[-1] * 16 >= self.image_size]
        self._maps = list(range(fine[-1] if fine else len(maps) - 1, len(maps)))
        embedding, last = self.encode(probe)
        self.embed_dim, self.map_shape = embedding.shape[1], tuple(last.shape[1:])

    def _forward(self, images):
        x = ((images - self._normal[0]) / self._normal[1]).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, self.half or torch.bfloat16, enabled=self.half is not None):
            # normalize_intermediates applies a ViT's last norm to its tokens; a convnet ignores it
            return self.visual.forward_intermediates(x, indices=self._maps, normalize_intermediates=True)

    @torch.no_grad()
    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode a batch of images.

        Args:
            images: (B, 3, S, S) float in [0, 1], where S is ``image_size``.

        Returns:
            (embedding (B, D), map (B, C, H, W)), both float32 and on ``device``.
        """
        out = self._forward(images.to(self.device))
        return out["image_features"].float(), out["image_intermediates"][0].float()


def load_prior(name: str, device="cpu", *, weights=None, image_size=None) -> Prior:
    """Build a prior, after fetching its weights if they are not at hand.

    Args:
        name: ``class-name`` (bundled), ``random:<any other name>`` (its architecture, random weights, seed 0),
            ``<open_clip model>/<tag>`` (``$PGJR_WEIGHTS/<model>--<tag>.safetensors`` or ``.pt`` with its
            sidecar, else the model hub) or ``file:/path/x.safetensors`` (with sidecar ``x.json``).
        device: where it runs.
        weights: a checkpoint file to read instead of the one that ``name`` stands for.
        image_size: run it at another input size than its own (a ViT's position embedding is interpolated).

    Raises:
        PGJRError: unknown name, no file and no connection, sidecar missing or incomplete, checksum wrong, a
            pickle or TorchScript archive, OpenAI weights without QuickGELU, weights of another model.
    """
    spec = fetch(name) if weights is None else resolve(name, weights)
    path = spec["path"]
    # names.py checks every byte of a file with a sidecar, but of fetched weights the size alone
    if path and "size" in spec and file_sha256(path) != spec["checksum"]:
        raise PGJRError(f"{path.resolve()} changed since it was fetched: delete it and fetch {name} again.")
    visual = _build(spec, image_size)
    preprocessing = {**spec["preprocessing"], **({"size": image_size} if image_size else {})}
    seen = spec.get("classes_seen", ())
    return Prior(name, visual, digest(spec), preprocessing, spec["supervision"], seen, device)


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
    write_json(Path(path).with_suffix(".json"), sidecar)
    return sidecar["checksum"]


def _build(spec, image_size) -> nn.Module:
    """Build the image tower of an open_clip model, with its weights."""
    architecture, path = spec["architecture"], spec["path"]
    own_size = spec["preprocessing"]["size"]
    size = image_size or own_size
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = str(path) if path else None
        if isinstance(architecture, dict):  # open_clip takes a user's config from a folder, with the weights beside it
            write_json(Path(folder, "open_clip_config.json"), {"model_cfg": architecture})
            if path:
                safe = path.suffix == ".safetensors"
                Path(folder, HF_SAFE_WEIGHTS_NAME if safe else HF_WEIGHTS_NAME).symlink_to(path.resolve())
            architecture, checkpoint = f"local-dir:{folder}", None
        logging.disable(logging.WARNING)  # open_clip warns of random weights, which are asked for here
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                model = open_clip.create_model(architecture, checkpoint, force_image_size=own_size)
                if size != own_size:  # resized in float32: half has no bicubic filter on CPU
                    state = model.state_dict()
                    model = open_clip.create_model(architecture, force_image_size=size)
                    resize_pos_embed(state, model)
                    model.load_state_dict(state)
        except (RuntimeError, KeyError, ValueError, AttributeError, OSError, UnpicklingError) as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise PGJRError(
                f"{path} does not hold the model its sidecar names ({reason}): correct one of them."
            ) from error
        finally:
            logging.disable(logging.NOTSET)
    return model.visual
