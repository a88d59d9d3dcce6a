"""What a prior's name stands for: a checkpoint, the JSON beside it, and the checksum of both.

A checkpoint file alone does not say how it wants to be run, and open_clip then assumes something. So every
file needs a JSON beside it that names architecture, activation, preprocessing, training data and checksum.
Nothing here imports torch or open_clip before a name of open_clip's is asked for, so that planning and reading records
is light.
"""

import json
import os
import socket
import zipfile
from difflib import get_close_matches
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlparse

from pgjr_lib.errors import PGJRError
from pgjr_lib.storage import file_sha256, read_json, refuse_pickle

BUNDLED = Path(__file__).parents[1] / "weights" / "class-name-prior.safetensors"
REQUIRED = ("architecture", "activation", "preprocessing", "training_data", "checksum")
CACHED_NAMES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)


@lru_cache  # the checkpoint's bytes are checked again otherwise, for every run
def classes_seen(name: str) -> tuple[str, ...]:
    """WordNet ids of the classes whose labels a prior was trained with; none for CLIP and random weights."""
    if name != "class-name" and not name.startswith("file:"):
        return ()
    return tuple(resolve(name).get("classes_seen", ()))


def at_hand(name: str) -> bool:
    """Whether a prior can be built without asking a network."""
    if "/" not in name or name.startswith(("random:", "file:")):
        return True
    from open_clip.pretrained import get_pretrained_cfg

    model, _, tag = name.partition("/")
    return _local_checkpoint(model, tag) is not None or _cached(get_pretrained_cfg(model, tag)) is not None


def prior_checksum(name: str, *, weights=None) -> str:
    """SHA-256 over a prior's weights and how they are run, without building it."""
    return digest(resolve(name, weights))


def resolve(name, weights=None, fetch=True) -> dict:
    """All that a name stands for: sidecar fields, and ``path`` (None for random weights, which fetch nothing)."""
    if weights is None and name.startswith("random:"):
        return {
            **resolve(name.removeprefix("random:"), fetch=False),
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
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

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
    if isinstance(architecture, dict):
        config = architecture
    else:
        import open_clip

        config = open_clip.get_model_config(architecture)
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
    from huggingface_hub import try_to_load_from_cache

    repository = known.get("hf_hub", "").rstrip("/")
    found = (try_to_load_from_cache(repository, file) for file in CACHED_NAMES if repository)
    return next((path for path in found if isinstance(path, str)), None)


def _download(name, known) -> str:
    """The hub's file, from its cache or the network; says at once what to do where there is none."""
    from huggingface_hub import constants
    from open_clip.pretrained import download_pretrained

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


def digest(spec) -> str:
    """SHA-256 over weights and how they are run: a changed sidecar must change every key made from it."""
    fields = [spec[key] for key in ("checksum", "architecture", "activation", "preprocessing")]
    return sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
