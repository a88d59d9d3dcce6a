"""Fetch the weights of open_clip's models from the model hub, once, and record what they are.

The record lies in the cache folder, and :mod:`pgjr_lib.priors.names` reads it. So plans, keys and records need neither
a network nor open_clip. From a shell: ``pgjr fetch --prior ViT-B-32-quickgelu/openai``.
"""

import os
import socket
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import constants, try_to_load_from_cache
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.pretrained import download_pretrained, get_pretrained_cfg, list_pretrained_tags_by_model

from pgjr_lib.errors import PGJRError
from pgjr_lib.priors import names
from pgjr_lib.storage import file_sha256, write_sealed

PROBE_SECONDS = 10


def fetch(name: str) -> dict:
    """Resolve a prior's name, after fetching its weights if they are not at hand.

    The weights come from the hub's cache on this machine, else from the network. ``random:<model>/<tag>`` downloads
    nothing: only how the model is run is recorded.

    Args:
        name: as for :func:`pgjr_lib.priors.names.resolve`.

    Returns:
        What :func:`pgjr_lib.priors.names.resolve` returns.

    Raises:
        PGJRError: unknown name or tag, a model that does not fit its weights, no connection, a file that changed
            since it was first fetched.
    """
    if names.at_hand(name) or name == "imagenet-labels":  # that one comes with a package, and resolve says which
        return names.resolve(name)
    model, tag = names.hub_weights(name.removeprefix("random:"))
    known = get_pretrained_cfg(model, tag)
    if not known:
        tags = ", ".join(list_pretrained_tags_by_model(model)) or "none"
        raise PGJRError(f"open_clip knows no weights {tag!r} for {model} (it knows: {tags}).")
    if known.get("quick_gelu"):
        names.require_quick_gelu(model, tag)
    names.require_interpolation(known["interpolation"], f"{model}/{tag}")
    config = names.model_config(model)
    size = config["vision_cfg"]["image_size"]
    origin = "400 million image-text pairs (OpenAI)" if tag == "openai" else f"image-text pairs ({tag})"
    record = {
        "architecture": model, "activation": names.activation(config),
        "preprocessing": {"size": size, **{key: known[key] for key in ("mean", "std", "interpolation")}},
        "supervision": f"CLIP: {origin}",
    }  # fmt: skip
    if not name.startswith("random:"):
        path = Path(_in_hub_cache(known) or _download(name, model, tag, known))
        checksum = file_sha256(path)
        _refuse_changed(path, checksum, model, tag)
        record |= {"checksum": checksum, "size": path.stat().st_size, "path": os.path.abspath(path)}
        if path.parent.parent.name == "snapshots":  # as the hub's cache is laid out
            record["revision"] = path.parent.name
    write_sealed(names.fetch_record_path(model, tag), record)
    return names.resolve(name)


def _in_hub_cache(known) -> str | None:
    """Return the file of these weights in the hub's cache, preferring safetensors, as open_clip does."""
    repository, file = os.path.split(known.get("hf_hub", ""))
    files = [f"{os.path.splitext(file)[0]}.safetensors", file] if file else [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]
    cached = (try_to_load_from_cache(repository, name) for name in files if repository)
    return next((path for path in cached if isinstance(path, str)), None)


def _download(name, model, tag, known) -> str:
    """Download these weights; without a connection, say at once what to do."""
    hub = urlsplit(constants.ENDPOINT)
    try:
        if constants.HF_HUB_OFFLINE:
            raise ConnectionError("HF_HUB_OFFLINE is set")
        # the hub's client would retry for a minute before it gives up; what lies behind a proxy cannot be probed
        if not {"https", "all"} & getproxies().keys():
            _probe(hub.hostname, hub.port or (80 if hub.scheme == "http" else 443))
        return download_pretrained(known)
    except Exception as error:  # the hub's client raises many types
        reason = next(iter(str(error).splitlines()), "").rstrip(".") or type(error).__name__
        raise PGJRError(
            f"{name} is not on this machine and could not be fetched ({reason}): connect to the network, or"
            f" {names.own_file_hint(model, tag)}, or use class-name."
        ) from error


def _probe(host, port):
    try:
        socket.create_connection((host, port), timeout=PROBE_SECONDS).close()
    except OSError as error:
        raise ConnectionError(f"no connection to {host}") from error


def _refuse_changed(path, checksum, model, tag):
    """Refuse a file that is no longer what an earlier fetch recorded at the same place."""
    earlier = names.fetch_record(model, tag) or {}
    if earlier.get("path") == os.path.abspath(path) and earlier.get("checksum") != checksum:
        raise PGJRError(
            f"{path.resolve()} changed since it was fetched: delete it and {names.fetch_record_path(model, tag)},"
            " and fetch again."
        )
