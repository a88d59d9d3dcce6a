"""Frozen open_clip encoders: the bundled class-name prior, OpenAI's CLIP, or any checkpoint with a sidecar."""

import logging
import tempfile
from pathlib import Path
from pickle import UnpicklingError

import open_clip
import timm
import torch
from open_clip.model import resize_pos_embed
from safetensors.torch import save
from torch import Tensor, nn

from pgjr_lib.errors import PGJRError
from pgjr_lib.priors.names import digest, resolve
from pgjr_lib.storage import atomic_write, file_sha256, write_json


@timm.models.register_model
def resnet10t_stride16(pretrained=False, **kwargs):
    """timm's resnet10t without the max-pool of its stem, so that its last map has output stride 16."""
    model = timm.create_model("resnet10t", pretrained=False, **kwargs)
    model.maxpool = nn.Identity()
    return model


class Prior:
    """A frozen image encoder in eval mode, in half precision where the device is fast at it.

    Attributes:
        name, checksum: as asked for; SHA-256 over the weights and how they are run.
        embed_dim, map_shape: D and (C, H, W) of what ``encode`` returns.
        image_size, mean, std: the input it was made for.
        supervision: what it was trained on, in words for the book's banner.
        classes_seen: WordNet ids of classes whose labels it was trained on; sets with them are not scored.
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
        # The last map at output stride 16 or finer; a ViT with larger patches has only its own grid.
        fine = [i for i, m in enumerate(maps) if m.shape[-1] * 16 >= self.image_size]
        self._maps = list(range(fine[-1] if fine else len(maps) - 1, len(maps)))
        embedding, last = self.encode(probe)
        self.embed_dim, self.map_shape = embedding.shape[1], tuple(last.shape[1:])

    def _forward(self, images):
        x = ((images - self._normal[0]) / self._normal[1]).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, self.half or torch.bfloat16, enabled=self.half is not None):
            # normalize_intermediates: a ViT's tokens after its last norm; nothing on a convnet
            return self.visual.forward_intermediates(x, indices=self._maps, normalize_intermediates=True)

    @torch.no_grad()
    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, S, S) float in [0, 1] -> embedding (B, D) float32, map (B, C, H, W) float32."""
        out = self._forward(images.to(self.device))
        return out["image_features"].float(), out["image_intermediates"][0].float()


def load_prior(name: str, device="cpu", *, weights=None, image_size=None) -> Prior:
    """Build a prior.

    Args:
        name: ``class-name`` (bundled), ``random:<any other name>`` (its architecture, random weights, seed 0),
            ``<open_clip model>/<tag>`` (``$PGJR_WEIGHTS/<model>--<tag>.safetensors`` or ``.pt`` with its
            sidecar, else the model hub) or ``file:/path/x.safetensors`` (with sidecar ``x.json``).
        device: where it runs.
        weights: a checkpoint file to read instead of the place that ``name`` stands for.
        image_size: run it at another input size than its own (a ViT's position embedding is interpolated).

    Raises:
        PGJRError: unknown name, no file and no connection, sidecar missing or incomplete, checksum wrong, a
            pickle or TorchScript archive, OpenAI weights without QuickGELU, weights of another model.
    """
    spec = resolve(name, weights)
    visual = _build(spec, image_size)
    preprocessing = {**spec["preprocessing"], **({"size": image_size} if image_size else {})}
    seen = spec.get("classes_seen", ())
    return Prior(name, visual, digest(spec), preprocessing, spec["supervision"], seen, device)


def save_prior(path, state: dict, **sidecar) -> str:
    """Write a checkpoint that ``load_prior`` accepts: half-precision safetensors and the JSON beside it.

    Args:
        path: ``x.safetensors``; the sidecar becomes ``x.json``.
        state: the whole open_clip model's state dict.
        sidecar: every field of ``REQUIRED`` but the checksum, and any other.

    Returns:
        The file's SHA-256.
    """
    half = {k: (v.half() if v.is_floating_point() else v).cpu().contiguous() for k, v in state.items()}
    atomic_write(path, save(half))
    sidecar["checksum"] = file_sha256(path)
    write_json(Path(path).with_suffix(".json"), sidecar)
    return sidecar["checksum"]


def fast_half(device) -> torch.dtype | None:
    """The half precision a device is fast at: float16 on CUDA, bfloat16 on CPUs that have it, else none."""
    if torch.device(device).type == "cuda":
        return torch.float16
    if hasattr(torch.cpu, "get_capabilities"):
        able = torch.cpu.get_capabilities()
        return torch.bfloat16 if able.get("avx512_bf16") or able.get("amx_bf16") else None
    tests = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # older torch
    return torch.bfloat16 if any(getattr(torch.cpu, test, bool)() for test in tests) else None


def _build(spec, image_size) -> nn.Module:
    """The image tower of an open_clip model, with its weights."""
    architecture, path = spec["architecture"], spec["path"]
    size = image_size or spec["preprocessing"]["size"]
    with tempfile.TemporaryDirectory() as folder:
        if isinstance(architecture, dict):  # open_clip takes a config of one's own from a folder
            write_json(Path(folder, "open_clip_config.json"), {"model_cfg": architecture})
            if path:
                Path(
                    folder,
                    "open_clip_model.safetensors" if path.suffix == ".safetensors" else "open_clip_pytorch_model.bin",
                ).symlink_to(path.resolve())
            architecture, checkpoint = f"local-dir:{folder}", None
        else:
            checkpoint = str(path) if path else None
        logging.disable(logging.WARNING)  # open_clip warns of random weights, which are asked for here
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                own = spec["preprocessing"]["size"]
                model = open_clip.create_model(architecture, checkpoint, force_image_size=own)
                if size != own:  # resized in float32: half has no bicubic filter on CPU
                    state = model.state_dict()
                    model = open_clip.create_model(architecture, force_image_size=size)
                    resize_pos_embed(state, model)
                    model.load_state_dict(state)
        except (RuntimeError, KeyError, ValueError, AttributeError, OSError, UnpicklingError) as error:
            reason = str(error).strip().splitlines()[0]
            raise PGJRError(
                f"{path} does not hold the model its sidecar names ({reason}): correct one of them."
            ) from error
        finally:
            logging.disable(logging.NOTSET)
    return model.visual
