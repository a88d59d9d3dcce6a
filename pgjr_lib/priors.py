"""Frozen open_clip encoders: the bundled class-name prior, OpenAI's CLIP, or any checkpoint with a sidecar.

A checkpoint file alone does not say how it wants to be run, and open_clip then assumes something. So every
file needs a JSON beside it that names architecture, activation, preprocessing, training data and checksum.
"""

import json
import logging
import os
import socket
import tempfile
import zipfile
from difflib import get_close_matches
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from pickle import UnpicklingError
from urllib.parse import urlparse

import open_clip
import timm
import torch
from huggingface_hub import constants, try_to_load_from_cache
from open_clip.model import resize_pos_embed
from open_clip.pretrained import download_pretrained, get_pretrained_cfg, list_pretrained_tags_by_model
from safetensors.torch import save
from torch import Tensor, nn

from pgjr_lib.errors import PGJRError
from pgjr_lib.storage import atomic_write, file_sha256, read_json, refuse_pickle, write_json

BUNDLED = Path(__file__).parent / "weights" / "class-name-prior.safetensors"
REQUIRED = ("architecture", "activation", "preprocessing", "training_data", "checksum")
CACHED_NAMES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)


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
    spec = _resolve(name, weights)
    visual = _build(spec, image_size)
    preprocessing = {**spec["preprocessing"], **({"size": image_size} if image_size else {})}
    seen = spec.get("classes_seen", ())
    return Prior(name, visual, _digest(spec), preprocessing, spec["supervision"], seen, device)


@lru_cache  # the checkpoint's bytes are checked again otherwise, for every run
def classes_seen(name: str) -> tuple[str, ...]:
    """WordNet ids of the classes whose labels a prior was trained with; none for CLIP and random weights."""
    if name != "class-name" and not name.startswith("file:"):
        return ()
    return tuple(_resolve(name).get("classes_seen", ()))


def at_hand(name: str) -> bool:
    """Whether a prior can be built without asking a network."""
    if "/" not in name or name.startswith(("random:", "file:")):
        return True
    model, _, tag = name.partition("/")
    return _local_checkpoint(model, tag) is not None or _cached(get_pretrained_cfg(model, tag)) is not None


def prior_checksum(name: str, *, weights=None) -> str:
    """SHA-256 over a prior's weights and how they are run, without building it."""
    return _digest(_resolve(name, weights))


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


def _resolve(name, weights=None, fetch=True) -> dict:
    """All that a name stands for: sidecar fields, and ``path`` (None for random weights, which fetch nothing)."""
    if weights is None and name.startswith("random:"):
        return {
            **_resolve(name.removeprefix("random:"), fetch=False),
            "path": None,
            "checksum": "random, seed 0",
            "classes_seen": (),
            "supervision": "none (random)",
        }
    if weights is None and name == "class-name":
        return _sidecar(BUNDLED)
    if weights is None and name.startswith("file:"):
        return _sidecar(Path(name.removeprefix("file:")).expanduser())
    if name.count("/") != 1 or name.startswith("file:"):
        if weights is not None:
            return _sidecar(Path(weights))
        raise PGJRError(
            f"{name!r} is no prior: use class-name, random:<prior>, file:/path/x.safetensors, or"
            " <open_clip model>/<tag> such as ViT-B-32-quickgelu/openai."
        )
    model, tag = name.split("/")
    config = open_clip.get_model_config(model)
    if config is None:
        near = get_close_matches(model, open_clip.list_models(), 3, 0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "see open_clip.list_models() for its names."
        raise PGJRError(f"open_clip has no model {model!r}: {hint}")
    quick = bool(config.get("quick_gelu"))
    known = get_pretrained_cfg(model, tag)
    if (tag == "openai" or known.get("quick_gelu")) and not quick:
        raise PGJRError(
            f"{name} would run with the wrong activation, because its weights need QuickGELU:"
            f" use {model}-quickgelu/{tag}."
        )
    if (path := Path(weights) if weights else _local_checkpoint(model, tag)) is not None:
        spec = _sidecar(path)
        if spec["architecture"] != model:
            raise PGJRError(f"{path} is described as {spec['architecture']}, not as {model}: ask for that model.")
        return spec
    if not known:
        tags = ", ".join(list_pretrained_tags_by_model(model)) or "none"
        raise PGJRError(f"open_clip knows no weights {tag!r} for {model} (it knows: {tags}).")
    path = Path(_download(name, known)) if fetch else None
    size = config["vision_cfg"]["image_size"]
    preprocessing = {"size": size, **{k: known[k] for k in ("mean", "std", "interpolation")}}
    origin = "400 million image-text pairs (OpenAI)" if tag == "openai" else f"image-text pairs ({tag})"
    return {
        "architecture": model, "activation": "quick_gelu" if quick else "gelu",
        "preprocessing": preprocessing,
        "supervision": f"CLIP: {origin}", "checksum": path and file_sha256(path), "path": path,
    }  # fmt: skip


def _sidecar(path) -> dict:
    """Read and check the sidecar of a checkpoint, and the checkpoint's bytes against it."""
    path = Path(path)
    side = path.with_suffix(".json")
    if not path.is_file():
        raise PGJRError(f"The checkpoint {path} does not exist: check the path, or use the class-name prior.")
    _refuse_code(path)
    if not side.is_file():
        raise PGJRError(f"{path} has no sidecar: write {side} with {', '.join(REQUIRED)}.")
    spec = read_json(side)
    if missing := [field for field in REQUIRED if field not in spec]:
        raise PGJRError(f"{side} does not say {', '.join(missing)}: add it, or it would be run by guesswork.")
    if missing := {"size", "mean", "std", "interpolation"} - set(spec["preprocessing"]):
        raise PGJRError(f"{side}: preprocessing does not say {', '.join(sorted(missing))}: add it.")
    if spec["preprocessing"]["interpolation"] != "bicubic":
        raise PGJRError(f"{side}: interpolation is {spec['preprocessing']['interpolation']!r}: only bicubic is done here.")
    config = _config(spec["architecture"], side)
    if bool(config.get("quick_gelu")) != (spec["activation"] == "quick_gelu"):
        raise PGJRError(f"{side} names the activation {spec['activation']}, not its architecture's: correct it.")
    if spec["checksum"] != file_sha256(path):
        raise PGJRError(f"{path} does not match the checksum in {side} (truncated or changed): fetch or make it again.")
    return {"supervision": str(spec["training_data"]), **spec, "path": path}


def _config(architecture, side):
    """open_clip's model config of a sidecar's architecture, a name or the config itself."""
    config = architecture if isinstance(architecture, dict) else open_clip.get_model_config(architecture)
    if not config:
        raise PGJRError(f"{side} names the architecture {architecture!r}, which open_clip does not have: correct it.")
    return config


def _refuse_code(path):
    """Refuse files that are programs rather than tensors."""
    refuse_pickle(path, zipped=path.suffix == ".safetensors")
    with path.open("rb") as stream:
        archive = stream.read(2) == b"PK"
    if archive:
        try:
            names = zipfile.ZipFile(path).namelist()
        except zipfile.BadZipFile:
            raise PGJRError(f"{path} is truncated: fetch or make it again.") from None
        if any("/code/" in name or name.endswith("constants.pkl") for name in names):
            raise PGJRError(
                f"{path} is a TorchScript archive, which is a program: convert its state dict to safetensors."
            )


def _local_checkpoint(model, tag):
    folder = os.environ.get("PGJR_WEIGHTS")
    if not folder:
        return None
    stems = [Path(folder).expanduser() / f"{model}--{tag}{suffix}" for suffix in (".safetensors", ".pt")]
    return next((path for path in stems if path.is_file()), None)


def _cached(known) -> str | None:
    """The hub's file in its cache."""
    repository = known.get("hf_hub", "").rstrip("/")
    found = (try_to_load_from_cache(repository, file) for file in CACHED_NAMES if repository)
    return next((path for path in found if isinstance(path, str)), None)


def _download(name, known) -> str:
    """The hub's file, from its cache or the network; says at once what to do where there is none."""
    if cached := _cached(known):
        return cached
    try:
        if not (os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")):
            # the hub's client would retry for a minute before it says so
            socket.create_connection((urlparse(constants.ENDPOINT).hostname, 443), timeout=10).close()
        return download_pretrained(known)
    except Exception as error:
        why = "no connection" if isinstance(error, OSError) else type(error).__name__
        raise PGJRError(
            f"{name} is not here and could not be fetched ({why}): connect to the network, or set PGJR_WEIGHTS"
            f" to a folder with {name.replace('/', '--')}.safetensors and a .json beside it that describes it, or use class-name."
        ) from error


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


def _digest(spec) -> str:
    """SHA-256 over weights and how they are run: a changed sidecar must change every key made from it."""
    fields = [spec[key] for key in ("checksum", "architecture", "activation", "preprocessing")]
    return sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
