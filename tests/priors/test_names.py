"""Names of priors: what they stand for, the keys they give, and which names and files are refused."""

import json
import subprocess
import sys
from pathlib import Path

import open_clip
import pytest

from pgjr_lib.errors import PGJRError
from pgjr_lib.priors import names
from pgjr_lib.priors.names import at_hand, prior_checksum, resolve
from pgjr_lib.storage import file_sha256, read_sealed, write_json

MODEL = "ViT-B-32-quickgelu"


@pytest.mark.parametrize(
    ("name", "checksum"),
    [
        ("class-name", "fc5b86527cd59e71320fce5907e35671643d3a9821217729a75c74317fec500e"),
        ("random:class-name", "170f06109a91a60b8a1be60e038a3cd7809776761813caaaa47646fc233f80da"),
        ("random:ViT-B-32-quickgelu/openai", "94d31ecc558342ba81f207f1aeebe8280a2fd6d88a9568ba2fc69ec26256a030"),
        ("random:RN50-quickgelu/openai", "8bd3f8d8a2d4a2376b23b2b76579e1278d4aea003bca15b6a03f0dcfcfda04c3"),
    ],
)
def test_checksums_stay_what_published_records_rest_on(name, checksum):
    assert at_hand(name) and prior_checksum(name) == checksum


def test_names_resolve_without_torch_open_clip_or_a_socket(tmp_path):
    """A plan asks for OpenAI's weights before anything starts, also on a machine that is offline."""
    weights = tmp_path / f"{MODEL}--openai.safetensors"
    weights.write_bytes(b"any bytes")
    preprocessing = {"size": 224, "mean": names.OPENAI_MEAN, "std": names.OPENAI_STD, "interpolation": "bicubic"}
    write_json(weights.with_suffix(".json"), {
        "architecture": MODEL, "activation": "quick_gelu", "preprocessing": preprocessing,
        "training_data": "none", "checksum": file_sha256(weights),
    })  # fmt: skip
    script = f"""
import os, socket, sys
for blocked in ("torch", "open_clip", "huggingface_hub", "timm"):
    sys.modules[blocked] = None
def forbidden(*args, **kwargs):
    raise AssertionError("a socket was opened")
socket.socket = socket.create_connection = forbidden
from pgjr_lib.errors import PGJRError
from pgjr_lib.priors import config, names, supervision
print(names.at_hand("{MODEL}/openai"))
for name in ("{MODEL}/openai", "ViT-B-32/openai", "ViT-B-23-quickgelu/openai", "random:{MODEL}/openai"):
    try:
        print(names.prior_checksum(name))
    except PGJRError as error:
        print(error)
os.environ["PGJR_WEIGHTS"] = {str(tmp_path)!r}
print(names.at_hand("{MODEL}/openai"), names.resolve("{MODEL}/openai")["path"])
print(supervision.classes_seen("{MODEL}/openai"))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=Path(names.__file__).parents[2]
    )
    assert done.returncode == 0, done.stderr
    absent, missing, activation, unknown, random, own, seen = done.stdout.splitlines()
    assert absent == "False" and own == f"True {weights}" and seen == "()"
    assert f"{MODEL}/openai is not on this machine: fetch it with" in missing and "PGJR_WEIGHTS" in missing
    assert f"need QuickGELU: use {MODEL}/openai" in activation
    assert "no model 'ViT-B-23-quickgelu': did you mean ViT-B-32-quickgelu" in unknown
    assert random == prior_checksum(f"random:{MODEL}/openai")


def test_model_configs_are_open_clips_own():
    for model in open_clip.list_models():
        assert names.model_config(model) == open_clip.get_model_config(model)
    assert names.model_config("ViT-Z") is None and names.model_config("hf-hub:any/model") is None
    constants = open_clip.constants
    assert names.OPENAI_MEAN == constants.OPENAI_DATASET_MEAN and names.OPENAI_STD == constants.OPENAI_DATASET_STD


@pytest.mark.parametrize("model", ["ViT-B-32", "RN50"])
def test_openai_weights_without_quickgelu_are_refused(model, tmp_path):
    for name in (f"{model}/openai", f"random:{model}/openai"):
        with pytest.raises(PGJRError, match=f"need QuickGELU: use {model}-quickgelu/openai"):
            resolve(name)
    with pytest.raises(PGJRError, match="need QuickGELU"):
        prior_checksum(f"{model}/openai", weights=tmp_path / "x.safetensors")


def test_names_that_mean_nothing():
    for name in ("clip", "a/b/c"):
        with pytest.raises(PGJRError, match=f"'{name}' is no prior"):
            resolve(name)
    with pytest.raises(PGJRError, match="no model 'ViT-Z'"):
        resolve("ViT-Z/openai")
    with pytest.raises(PGJRError, match="no model 'hf-hub:org'"):
        resolve("hf-hub:org/model")
    with pytest.raises(PGJRError, match="nowhere.safetensors does not exist"):
        resolve("file:/nowhere.safetensors")


def test_random_weights_of_other_tags_need_a_record_of_how_the_model_is_run():
    name = "random:ViT-B-16/laion400m_e32"
    assert not at_hand(name)
    with pytest.raises(PGJRError, match=f"{name} is not on this machine: fetch it with"):
        resolve(name)


def test_truncated_or_changed_weights_are_refused(own_weights):
    whole = own_weights.read_bytes()
    for damaged in (whole[:-100], whole[:-1] + b"\x07"):
        own_weights.write_bytes(damaged)
        with pytest.raises(PGJRError, match="does not match the checksum"):
            resolve(f"{MODEL}/openai")


@pytest.mark.parametrize("field", names.REQUIRED)
def test_a_sidecar_must_say_everything(own_weights, field):
    sidecar = own_weights.with_suffix(".json")
    fields = read_sealed(sidecar)
    del fields[field]
    sidecar.write_text(json.dumps(fields))
    with pytest.raises(PGJRError, match=f"does not say {field}"):
        resolve(f"{MODEL}/openai")


def test_a_bare_file_or_a_wrong_sidecar_is_refused(own_weights):
    sidecar = own_weights.with_suffix(".json")
    fields = read_sealed(sidecar)
    bilinear = {**fields["preprocessing"], "interpolation": "bilinear"}
    for change, sentence in [
        ({"activation": "gelu"}, "names the activation gelu"),
        ({"architecture": "RN50-quickgelu"}, "described as RN50-quickgelu, not as ViT-B-32-quickgelu"),
        ({"architecture": "hf-hub:org/model"}, "'hf-hub:org/model', which open_clip does not have"),
        ({"architecture": ["ViT-B-32"]}, "which open_clip does not have"),
        ({"preprocessing": {"size": 64}}, "preprocessing does not say interpolation, mean, std"),
        ({"preprocessing": bilinear}, "interpolation is 'bilinear', and only bicubic"),
    ]:
        sidecar.write_text(json.dumps({**fields, **change}))
        with pytest.raises(PGJRError, match=sentence):
            resolve(f"{MODEL}/openai")
    sidecar.unlink()
    with pytest.raises(PGJRError, match="has no sidecar"):
        resolve(f"{MODEL}/openai")


def test_a_changed_preprocessing_changes_the_checksum(own_weights):
    before = prior_checksum(f"{MODEL}/openai")
    sidecar = own_weights.with_suffix(".json")
    fields = read_sealed(sidecar)
    fields["preprocessing"]["mean"] = [0.5, 0.5, 0.5]
    sidecar.write_text(json.dumps(fields))
    assert prior_checksum(f"{MODEL}/openai") != before
