"""Fetching weights: from the hub's cache or the network, recorded once, and refused when they change."""

import hashlib
import json
import socket

import pytest
import torch

from pgjr_lib.cli import main
from pgjr_lib.errors import PGJRError
from pgjr_lib.priors import fetch as module
from pgjr_lib.priors import names
from pgjr_lib.priors.encoder import load_prior
from pgjr_lib.priors.fetch import fetch
from pgjr_lib.priors.names import at_hand, prior_checksum, resolve

NAME = "ViT-B-32-quickgelu/openai"
FOLDER = "models--timm--vit_base_patch32_clip_224.openai"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """An empty cache of the model hub, and a network that must not be used."""
    monkeypatch.setattr(module.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(module, "download_pretrained", lambda known: pytest.fail("asked the network"))
    return tmp_path / "hub"


def put(hub, content, file="open_clip_model.safetensors", folder=FOLDER):
    """Store a file as huggingface_hub does: a blob named by its hash, and a link to it in a snapshot."""
    blob = hub / folder / "blobs" / hashlib.sha256(content).hexdigest()
    link = hub / folder / "snapshots" / "c0ffee" / file
    for path in (blob, link, hub / folder / "refs" / "main"):
        path.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    link.unlink(missing_ok=True)
    link.symlink_to(blob)
    (hub / folder / "refs" / "main").write_text("c0ffee")
    return link


def test_weights_in_the_hubs_cache_are_recorded_once_and_resolve_from_then_on(hub, monkeypatch):
    link = put(hub, b"weights")
    assert not at_hand(NAME)
    with pytest.raises(PGJRError, match=f"{NAME} is not on this machine: fetch it with `pgjr fetch --prior {NAME}`"):
        prior_checksum(NAME)
    spec = fetch(NAME)
    assert at_hand(NAME) and resolve(NAME) == spec and spec["path"] == link
    monkeypatch.setattr(module, "file_sha256", lambda path: pytest.fail("hashed the file again"))
    assert fetch(NAME) == spec
    assert spec["supervision"] == "CLIP: 400 million image-text pairs (OpenAI)"
    record = json.loads(names.fetch_record_path("ViT-B-32-quickgelu", "openai").read_text())
    assert record["size"] == 7 and record["path"] == str(link) and record["revision"] == "c0ffee"
    # the key is over the weights and how they are run, not over where they lie
    preprocessing = {
        "size": 224, "interpolation": "bicubic",
        "mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711],
    }  # fmt: skip
    fields = [hashlib.sha256(b"weights").hexdigest(), "ViT-B-32-quickgelu", "quick_gelu", preprocessing]
    assert prior_checksum(NAME) == hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def test_safetensors_are_preferred_and_a_file_that_open_clip_names_is_looked_for(hub):
    put(hub, b"older", "open_clip_pytorch_model.bin")
    assert fetch("ViT-B-32-quickgelu/openai")["path"].suffix == ".bin"
    put(hub, b"tensors")
    assert fetch("ViT-B-32-quickgelu/openai")["path"].suffix == ".bin"  # the record stays while its file does
    names.fetch_record_path("ViT-B-32-quickgelu", "openai").unlink()
    assert fetch("ViT-B-32-quickgelu/openai")["path"].suffix == ".safetensors"
    put(hub, b"named", "pytorch_model.bin", "models--jienengchen--ViTamin-S")
    assert fetch("ViTamin-S/datacomp1b")["path"].name == "pytorch_model.bin"


@pytest.mark.parametrize("damage", ["other size", "gone", "record cut off", "record of another model"])
def test_a_record_whose_file_is_not_there_any_more_is_refused(hub, damage):
    link, record = put(hub, b"weights"), names.fetch_record_path("ViT-B-32-quickgelu", "openai")
    fetch(NAME)
    if damage == "other size":
        link.resolve().write_bytes(b"cut")
    elif damage == "gone":
        link.unlink()
    elif damage == "record cut off":
        record.write_text(record.read_text()[:-20])
    else:
        record.write_text(json.dumps({**json.loads(record.read_text()), "architecture": "RN50-quickgelu"}))
    assert not at_hand(NAME)
    with pytest.raises(PGJRError, match="is not on this machine: fetch it with"):
        resolve(NAME)


def test_a_changed_file_is_not_taken_for_the_fetched_one(hub):
    link = put(hub, b"weights")
    before = fetch(NAME)
    for content in (b"WEIGHTS", b"cut"):  # the first has the same size, which only loading notices
        link.resolve().write_bytes(content)
        with pytest.raises(PGJRError, match="changed since it was fetched: delete it"):
            load_prior(NAME)
    put(hub, b"weights")
    assert fetch(NAME) == before


def test_a_fetched_prior_is_built(hub, vit, monkeypatch):
    config = names.model_config("ViT-B-32-quickgelu")
    config["vision_cfg"]["image_size"] = 64  # as the random weights have it
    monkeypatch.setattr(names, "model_config", lambda model: config)
    put(hub, (vit[0] / "ViT-B-32-quickgelu--openai.safetensors").read_bytes())
    prior, own = load_prior(NAME), load_prior(f"file:{vit[0] / 'ViT-B-32-quickgelu--openai.safetensors'}")
    assert prior.checksum == own.checksum == prior_checksum(NAME) and prior.map_shape == (768, 2, 2)
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(prior.encode(images)[0], own.encode(images)[0]) and prior.classes_seen == ()


def test_no_connection_is_one_sentence_at_once(hub, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no network")

    for variable in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(module.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "create_connection", refuse)
    for ask in (load_prior, fetch):
        with pytest.raises(PGJRError, match="could not be fetched.*set PGJR_WEIGHTS.*class-name") as caught:
            ask(NAME)
        assert "no connection to huggingface.co" in str(caught.value) and "\n" not in str(caught.value)


def test_the_hubs_own_switches_count(hub, monkeypatch):
    def tried(known):
        raise FileNotFoundError("Failed to download file\nand a traceback")

    monkeypatch.setattr(socket, "create_connection", lambda *args, **kwargs: pytest.fail("probed the network"))
    monkeypatch.setattr(module.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(PGJRError, match=r"could not be fetched \(HF_HUB_OFFLINE is set\)"):
        fetch(NAME)
    monkeypatch.setattr(module.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("https_proxy", "http://proxy.invalid:3128")
    monkeypatch.setattr(module, "download_pretrained", tried)
    with pytest.raises(PGJRError, match=r"could not be fetched \(Failed to download file\): connect"):
        fetch(NAME)


def test_a_download_is_recorded_like_a_cached_file(hub, monkeypatch, tmp_path):
    (tmp_path / "downloaded.safetensors").write_bytes(b"weights")
    probed = []
    monkeypatch.setattr(module.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(module.constants, "ENDPOINT", "http://mirror.invalid:8080")
    monkeypatch.setattr(module, "getproxies", dict)
    monkeypatch.setattr(module, "_probe", lambda *place: probed.append(place))
    monkeypatch.setattr(module, "download_pretrained", lambda known: str(tmp_path / "downloaded.safetensors"))
    assert fetch(NAME)["path"] == tmp_path / "downloaded.safetensors"
    assert probed == [("mirror.invalid", 8080)] and at_hand(NAME)


def test_weights_that_cannot_be_run_here_are_not_downloaded(hub):
    with pytest.raises(PGJRError, match="no weights 'mine'.*it knows: openai"):
        load_prior("ViT-B-32-quickgelu/mine")
    with pytest.raises(PGJRError, match="need QuickGELU: use ViT-B-32-quickgelu/metaclip_400m"):
        fetch("ViT-B-32/metaclip_400m")
    with pytest.raises(PGJRError, match="MobileCLIP-S1/datacompdr: interpolation is 'bilinear'"):
        fetch("MobileCLIP-S1/datacompdr")


def test_what_is_at_hand_needs_no_fetch(hub, own_weights):
    for name in (NAME, f"random:{NAME}", "class-name", f"file:{own_weights}"):
        assert fetch(name) == resolve(name)
    assert not names.fetch_record_path("ViT-B-32-quickgelu", "openai").exists()


def test_random_weights_download_nothing(hub):
    name = "random:ViT-B-16/laion400m_e32"
    spec = fetch(name)
    assert spec["path"] is None and spec["supervision"] == "none (random)" and at_hand(name)
    assert prior_checksum(name) == "8562076685f2f8a5f9e0775f28b2a7266ac4a24e2cdaa427371ca76f686bce2d"
    assert not at_hand("ViT-B-16/laion400m_e32")


def test_from_a_shell(hub, capsys):
    link = put(hub, b"weights")
    assert main(["fetch", "--prior", NAME, "--prior", "random:ViT-B-16/laion400m_e32"]) == 0
    assert capsys.readouterr().out == f"{NAME}: {link}\nrandom:ViT-B-16/laion400m_e32: random weights\n"
    assert main(["fetch", *(part for name in ("random:ViT-B-16/laion400m_e32", "clip", NAME) for part in ("--prior", name))]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("error: 'clip' is no prior") and len(out.splitlines()) == 1
