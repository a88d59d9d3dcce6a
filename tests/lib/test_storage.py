"""Files are whole or absent, and damaged ones are refused in one sentence."""

import os
import pickle
import struct

import pytest
import torch
from safetensors.torch import save_file

from pgjr_lib.errors import PGJRError
from pgjr_lib.storage import (
    atomic_write,
    cache_folder,
    file_sha256,
    load_tensors,
    parse_yaml,
    read_json,
    save_tensors,
    tensors_sha256,
    write_json,
)

TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(4, dtype=torch.float16), "empty": torch.zeros(0, 3)}


def refusal(function, *args) -> str:
    """The one sentence with which ``function`` refuses."""
    with pytest.raises(PGJRError) as caught:
        function(*args)
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".")
    return sentence


# ---- atomic writes ----


@pytest.mark.parametrize("failing", ["os.replace", "os.fsync"])
def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, failing):
    path = tmp_path / "record.json"
    atomic_write(path, "old")

    def fail(*_):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr(failing, fail)
        atomic_write(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["record.json"]
    atomic_write(path, b"new")
    assert path.read_bytes() == b"new"


def test_what_is_being_written_is_never_seen_under_the_files_name(tmp_path, monkeypatch):
    path, seen, replace = tmp_path / "x", [], os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (seen.append(path.exists()), replace(a, b)))
    atomic_write(path, "whole")
    assert seen == [False] and path.read_text() == "whole"


def test_folders_are_made_and_files_are_readable_by_others(tmp_path):
    path = tmp_path / "a" / "b" / "x"
    atomic_write(path, "text")
    assert path.stat().st_mode & 0o777 == 0o644


def test_json_round_trip_and_refusals(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"b": [1, 2.5], "a": "ü"})
    assert read_json(path) == {"b": [1, 2.5], "a": "ü"}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"loss": float("nan")})
    assert read_json(path)["a"] == "ü"  # the old file is still there
    path.write_text(path.read_text()[:10])
    assert "x.json is not valid JSON" in refusal(read_json, path)
    assert "does not exist" in refusal(read_json, tmp_path / "none.json")
    path.write_text("[1]")
    assert "x.json holds a JSON list instead of an object" in refusal(read_json, path)


def test_yaml_reads_numbers_as_people_write_them_and_refuses_what_it_would_lose():
    assert parse_yaml("[1e-3, 5E4, .5e1, 1, 1.5, e3, '1e-3']", "x") == [0.001, 50000.0, 5.0, 1, 1.5, "e3", "1e-3"]
    assert parse_yaml("{a: &a {x: 1, y: 2}, b: {<<: *a, x: 3}, c: *a}", "x")["b"] == {"x": 3, "y": 2}
    assert "f.yaml cannot be read as YAML (line 3: 'a' stands twice)" in refusal(parse_yaml, "a: 1\nb: 2\na: 3", "f.yaml")
    for text in ("[x", "2024-13-41", b"a: \xff", "{[1]: 2}"):
        assert "f.yaml cannot be read as YAML" in refusal(parse_yaml, text, "f.yaml")


# ---- tensors ----


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_tensors(path, TENSORS, {"note": "as written"})
    return path


def test_tensors_come_back_as_they_went(saved):
    tensors, metadata = load_tensors(saved)
    assert {name: t.dtype for name, t in tensors.items()} == {name: t.dtype for name, t in TENSORS.items()}
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert metadata == {"note": "as written", "checksum": tensors_sha256(TENSORS, {"note": "as written"})}
    assert save_tensors(saved, TENSORS, {"note": "as written"}) == metadata["checksum"]


def test_views_and_gradients_can_be_saved(tmp_path):
    tensors = {"t": torch.randn(3, 4).T, "p": torch.nn.Parameter(torch.randn(2))}
    save_tensors(tmp_path / "x.safetensors", tensors)
    assert torch.equal(load_tensors(tmp_path / "x.safetensors")[0]["t"], tensors["t"])


def test_the_checksum_covers_names_types_shapes_and_bytes():
    a = TENSORS["a"]
    variants = [{"a": a}, {"b": a}, {"a": a.view(3, 2)}, {"a": a.int()}, {"a": a + 1}, {"a": a, "b": a}]
    assert len({tensors_sha256(variant) for variant in variants}) == len(variants)
    assert tensors_sha256({"x": a, "y": a}) == tensors_sha256({"y": a, "x": a})


def test_a_missing_file_is_refused(tmp_path):
    assert "none.safetensors does not exist" in refusal(load_tensors, tmp_path / "none.safetensors")


@pytest.mark.parametrize("keep", [0, 4, 40, -1])
def test_a_truncated_file_is_refused(saved, keep):
    saved.write_bytes(saved.read_bytes()[:keep])
    assert "weights.safetensors is truncated or no safetensors file" in refusal(load_tensors, saved)


def test_every_changed_byte_of_the_data_is_noticed(saved):
    whole = saved.read_bytes()
    start = 8 + struct.unpack("<Q", whole[:8])[0]
    for position in range(start, len(whole)):
        saved.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        assert "weights.safetensors does not match its checksum" in refusal(load_tensors, saved)


def test_a_file_without_checksum_is_refused(tmp_path):
    save_file(TENSORS, tmp_path / "foreign.safetensors")
    assert "carries no checksum" in (told := refusal(load_tensors, tmp_path / "foreign.safetensors"))
    assert "delete" not in told


class Bomb:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, fuse):
        self.fuse = fuse

    def __reduce__(self):
        return open, (str(self.fuse), "w")


@pytest.mark.parametrize("writer", ["pickle", "torch", "torch-legacy"])
def test_a_pickle_is_refused_and_never_opened(tmp_path, writer):
    path, fuse = tmp_path / "weights.safetensors", tmp_path / "fired"
    if writer == "pickle":
        path.write_bytes(pickle.dumps(Bomb(fuse)))
    else:
        torch.save({"a": Bomb(fuse)}, path, _use_new_zipfile_serialization=writer == "torch")
    assert "is a pickle, which can run code when opened, and was not read" in refusal(load_tensors, path)
    assert not fuse.exists()


def test_file_sha256_is_that_of_the_bytes(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert file_sha256(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_no_length_of_a_header_is_taken_for_a_pickle(tmp_path):
    firsts = set()
    for note in range(300):  # a file's first byte is its header's length: one of 32 is the byte that pickles begin with
        path = tmp_path / "x.safetensors"
        save_tensors(path, TENSORS, {"note": "x" * note})
        firsts.add(path.read_bytes()[0])
        assert load_tensors(path)[1]["note"] == "x" * note
    assert 0x80 in firsts


def test_the_cache_lies_where_it_is_set_or_with_the_user(tmp_path, monkeypatch):
    (tmp_path / "experiments.yaml").touch()  # of the book, which the library knows nothing of
    monkeypatch.setenv("PGJR_CACHE", str(tmp_path / "cache"))
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("PGJR_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert cache_folder() == tmp_path / "home/.cache/pgjr"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg/pgjr"
