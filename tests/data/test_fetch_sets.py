"""`pgjr fetch` against a server of this machine: whole, cut, slow, wrong and hostile archives."""

import hashlib
import io
import os
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from torchvision import datasets

from pgjr_lib.cli import main
from pgjr_lib.data import fetch as module
from pgjr_lib.data.fetch import ARCHIVES, Archive, fetch
from pgjr_lib.data.sets import SETS
from pgjr_lib.errors import PGJRError

FILES = {"toy/train": b"train " * 50_000, "toy/test": b"test " * 50_000, "toy/readme.html": b"not wanted"}


def tar_of(files: dict[str, bytes], **attributes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in attributes.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zip_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


class Server:
    """Serves ``files``; ``cut`` ends the next answers after so many bytes, ``ranges`` lets a download go on."""

    def __init__(self):
        self.files, self.cut, self.ranges, self.asked, self.redirect = {}, [], True, [], {}
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.rpartition("/")[2]
                server.asked.append((name, self.headers.get("Range")))
                if name in server.redirect:
                    self.send_response(302)
                    self.send_header("Location", server.redirect[name])
                    self.end_headers()
                    return
                if name not in server.files:
                    self.send_error(404)
                    return
                content, start = server.files[name], 0
                wanted = self.headers.get("Range")
                if wanted and server.ranges:
                    start = int(wanted.removeprefix("bytes=").rstrip("-"))
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                end = start + server.cut.pop(0) if server.cut else None
                self.wfile.write(content[start:end])

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def server(monkeypatch):
    server = Server()
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.01)
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "PGJR_MIRROR"):
        monkeypatch.delenv(variable, raising=False)
    yield server
    server.http.shutdown()


@pytest.fixture
def publish(server, monkeypatch):
    """A function that serves an archive as that of CIFAR-10."""

    def published(content: bytes, file="toy.tar.gz", md5=None, size=None, wanted=("train", "test")):
        server.files[file] = content
        md5 = md5 or hashlib.md5(content).hexdigest()
        archive = Archive(f"{server.address}/{file}", md5, size or len(content), 600_000, "toy", wanted)
        monkeypatch.setitem(ARCHIVES, "cifar10", archive)
        return archive

    return published


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder.parent).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def visible(folder: Path) -> list[str]:
    """The names in a folder, apart from the lock that stays."""
    return [name for name in os.listdir(folder) if not name.endswith(".lock")]


WANTED = {name: content for name, content in FILES.items() if "readme" not in name}


@pytest.mark.parametrize(("pack", "file"), [(tar_of, "toy.tar.gz"), (zip_of, "toy.zip")])
def test_the_wanted_files_are_unpacked_and_the_archive_goes(publish, server, tmp_path, pack, file, capsys):
    publish(pack(FILES), file)
    folder = fetch("cifar10", tmp_path)
    assert f"{file}: " in (told := capsys.readouterr().err) and "GB are free in" in told  # before it starts
    assert contents(folder) == WANTED and visible(tmp_path) == ["toy"]
    assert len(server.asked) == 1


def test_a_cut_connection_goes_on_where_it_stopped(publish, server, tmp_path):
    content = tar_of(FILES)
    publish(content)
    server.cut = [100, 200]
    assert contents(fetch("cifar10", tmp_path)) == WANTED
    assert [asked for _, asked in server.asked] == [None, "bytes=100-", "bytes=300-"]


def test_a_stopped_command_goes_on_too_and_a_server_without_ranges_begins_again(publish, server, tmp_path, monkeypatch):
    content = tar_of(FILES)
    publish(content)
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    server.cut = [150]
    with pytest.raises(PGJRError, match=r"the connection ended after 150 of [\d,]+ bytes.*goes on where it stopped"):
        fetch("cifar10", tmp_path)
    assert (tmp_path / "toy.tar.gz.part").stat().st_size == 150
    server.ranges = False
    assert contents(fetch("cifar10", tmp_path)) == WANTED
    assert [asked for _, asked in server.asked] == [None, "bytes=150-"]


def test_a_wrong_checksum_is_never_unpacked(publish, server, tmp_path):
    publish(tar_of(FILES), md5="0" * 32)
    with pytest.raises(PGJRError, match="another checksum than the published 0000"):
        fetch("cifar10", tmp_path)
    assert visible(tmp_path) == []


def test_a_mirror_is_asked_first_and_the_official_address_after_it(publish, server, tmp_path, monkeypatch):
    archive = publish(tar_of(FILES))
    other = Server()
    monkeypatch.setenv("PGJR_MIRROR", f"{other.address}/sets/")
    assert contents(fetch("cifar10", tmp_path / "a")) == WANTED  # the mirror has no such file
    assert [name for name, _ in other.asked] == ["toy.tar.gz"] and len(server.asked) == 1
    other.files["toy.tar.gz"] = server.files["toy.tar.gz"]
    fetch("cifar10", tmp_path / "b")
    assert len(server.asked) == 1 and archive.file == "toy.tar.gz"
    other.http.shutdown()


def test_a_mirror_that_answers_with_a_page_does_no_harm(publish, server, tmp_path, monkeypatch):
    publish(tar_of(FILES))
    other = Server()
    monkeypatch.setenv("PGJR_MIRROR", other.address)
    other.files["toy.tar.gz"] = b"<html>please log in</html>"
    assert contents(fetch("cifar10", tmp_path / "a")) == WANTED
    assert [asked for _, asked in server.asked] == [None]  # from its beginning
    other.files["toy.tar.gz"] = bytes(len(server.files["toy.tar.gz"]))  # of the right size, with another content
    assert contents(fetch("cifar10", tmp_path / "b")) == WANTED
    other.http.shutdown()


def test_a_folder_that_is_there_in_part_is_replaced_and_another_layout_is_enough(publish, server, tmp_path, monkeypatch):
    publish(tar_of(FILES))
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "train").write_text("half")
    assert contents(fetch("cifar10", tmp_path)) == WANTED
    monkeypatch.setattr(module, "available", lambda name, split, root: True)
    asked = len(server.asked)
    fetch("cifar10", tmp_path)
    assert len(server.asked) == asked


def test_a_redirect_is_followed(publish, server, tmp_path):
    publish(tar_of(FILES))
    server.files["elsewhere"] = server.files.pop("toy.tar.gz")
    server.redirect["toy.tar.gz"] = f"{server.address}/elsewhere"
    assert contents(fetch("cifar10", tmp_path)) == WANTED


def test_no_server_is_one_sentence(publish, server, tmp_path, monkeypatch, capsys):
    publish(tar_of(FILES))
    server.http.shutdown()
    server.http.server_close()
    assert main(["fetch", "cifar10", "--data", str(tmp_path)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: toy.tar.gz could not be fetched (127.0.0.1:") and "check the network" in error


def test_a_name_that_nobody_knows_is_given_up_at_once(publish, tmp_path, monkeypatch):
    archive = publish(tar_of(FILES))
    monkeypatch.setitem(ARCHIVES, "cifar20", Archive("http://nobody.invalid/x.zip", archive.md5, 1, 1, "toy", ("train",)))
    monkeypatch.setattr(module.time, "sleep", lambda seconds: pytest.fail("waited"))
    with pytest.raises(PGJRError, match="x.zip could not be fetched .nobody.invalid: "):
        fetch("cifar100", tmp_path)


def test_a_silent_server_is_given_up(publish, tmp_path, monkeypatch):
    import socket

    publish(tar_of(FILES))
    silent = socket.create_server(("127.0.0.1", 0))
    archive = ARCHIVES["cifar10"]
    address = f"http://127.0.0.1:{silent.getsockname()[1]}/{archive.file}"
    monkeypatch.setitem(ARCHIVES, "cifar10", Archive(address, archive.md5, archive.size, 1, "toy", ("train",)))
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(module, "ATTEMPTS", 2)
    with pytest.raises(PGJRError, match="could not be fetched .*timed out"):
        fetch("cifar10", tmp_path)
    silent.close()


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "toy/../../evil", "toy\\..\\evil"])
@pytest.mark.parametrize(("pack", "file"), [(tar_of, "toy.tar.gz"), (zip_of, "toy.zip")])
def test_an_archive_that_leads_out_of_its_folder_is_refused(publish, tmp_path, name, pack, file):
    root = tmp_path / "data"
    publish(pack({**FILES, name: b"evil"}), file)
    with pytest.raises(PGJRError, match="leads out of its folder, so nothing was unpacked"):
        fetch("cifar10", root)
    assert visible(tmp_path) == ["data"] and visible(root) == [file]  # the archive alone


def test_a_link_in_an_archive_is_left_alone(publish, tmp_path):
    publish(tar_of({"toy/train": b"", "toy/test": b""}, type=tarfile.SYMTYPE, linkname="/etc/passwd"))
    with pytest.raises(PGJRError, match="lacks toy/train"):
        fetch("cifar10", tmp_path)
    assert not (tmp_path / "toy").exists()


def test_an_archive_without_a_file_or_damaged_is_refused(publish, tmp_path):
    publish(tar_of({"toy/train": b"x"}))
    with pytest.raises(PGJRError, match="lacks toy/test: delete it and fetch toy.tar.gz again"):
        fetch("cifar10", tmp_path)
    publish(b"no archive", "toy.zip")
    with pytest.raises(PGJRError, match="toy.zip cannot be unpacked"):
        fetch("cifar10", tmp_path)


def test_what_would_not_fit_is_not_begun(publish, server, tmp_path):
    publish(tar_of(FILES), size=10**15)
    with pytest.raises(PGJRError, match=r"toy.tar.gz needs 1000000.0 GB on the disk of .*make room"):
        fetch("cifar10", tmp_path)
    assert not server.asked


def test_a_disk_that_fills_up_is_one_sentence_and_keeps_what_it_has(publish, tmp_path, monkeypatch, capsys):
    publish(tar_of(FILES))

    class Full(io.FileIO):
        def write(self, block):
            super().write(block[:10])
            raise OSError(28, "No space left on device", self.name)

    monkeypatch.setattr(module, "open", lambda path, mode="r": Full(path, "wb") if "part" in str(path) else open(path, mode),
                        raising=False)  # fmt: skip
    assert main(["fetch", "cifar10", "--data", str(tmp_path)]) == 2
    assert "No space left on device." in capsys.readouterr().err
    assert (tmp_path / "toy.tar.gz.part").stat().st_size == 10


def test_unknown_and_unneeded_sets_are_named(tmp_path, capsys, monkeypatch):
    for name, words in (("cifar11", "'cifar11' is no known data set: fetch one of cifar10, cifar20, stl10"),
                        ("ViT-B-32/openai", "for a prior write `pgjr fetch --prior ViT-B-32/openai`"),
                        ("digits", "digits needs no fetching: it comes with scikit-learn")):  # fmt: skip
        assert main(["fetch", name, "--data", str(tmp_path)]) == 2
        assert words in capsys.readouterr().err
    assert main(["fetch", "cifar10"]) == 2 and "set PGJR_DATA to the folder" in capsys.readouterr().err
    assert main(["fetch"]) == 2 and "Nothing to fetch" in capsys.readouterr().err


def test_the_list_says_what_is_here(publish, tmp_path, capsys, monkeypatch):
    (tmp_path / "stl10_binary").mkdir()
    for name in ("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin"):
        (tmp_path / "stl10_binary" / name).touch()
    assert main(["fetch", "--list", "--data", str(tmp_path)]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "here" in lines["stl10"] and "2,640 MB" in lines["stl10"]
    assert "missing" in lines["cifar10"] and "170 MB" in lines["cifar10"] and "no licence stated" in lines["cifar10"]
    assert "your copy of ImageNet" in lines["imagenet-10"]
    assert main(["fetch", "--list"]) == 0 and "not set" in capsys.readouterr().out


# ---- ImageNet's subsets ----


def imagenet(root: Path, classes, split="train") -> Path:
    for label in classes:
        (root / split / label).mkdir(parents=True)
        for i in range(2):
            (root / split / label / f"{label}_{i}.JPEG").write_bytes(f"{label} {i}".encode())
    return root


def test_without_imagenet_three_lines_say_what_to_do(tmp_path, capsys):
    assert main(["fetch", "imagenet-10", "--data", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and "https://image-net.org" in lines[1] and "--imagenet path/to/ILSVRC2012_img_train.tar" in lines[2]


def test_only_the_classes_needed_are_copied(tmp_path, capsys):
    classes = SETS["imagenet-10"].class_names
    source = imagenet(imagenet(tmp_path / "in", [*classes, "n00000000"]), classes, "val")
    assert main(["fetch", "imagenet-10", "--imagenet", str(source), "--data", str(tmp_path / "data")]) == 0
    for split in ("train", "test"):
        assert sorted(os.listdir(tmp_path / "data" / "imagenet-10" / split)) == sorted(classes)
    again = fetch("imagenet-10", tmp_path / "other", source / "train")  # a folder of class folders
    assert len(list(again.rglob("*.JPEG"))) == 20 and os.listdir(again) == ["train"]


def test_a_split_that_is_missing_is_copied_later(tmp_path):
    classes = SETS["imagenet-10"].class_names
    source = imagenet(tmp_path / "in", classes)
    folder = fetch("imagenet-10", tmp_path / "data", source)
    assert os.listdir(folder) == ["train"]
    imagenet(source, classes, "val")
    fetch("imagenet-10", tmp_path / "data", source)
    assert sorted(os.listdir(folder)) == ["test", "train"]
    assert fetch("imagenet-10", tmp_path / "data") == folder  # all is here


def test_the_archive_of_archives_gives_its_classes(tmp_path):
    outer = {}
    for label in (*SETS["imagenet-10"].class_names, "n00000000"):
        inner = io.BytesIO()
        with tarfile.open(fileobj=inner, mode="w") as archive:
            info = tarfile.TarInfo(f"../../{label}_1.JPEG")  # only the last part of a name counts
            info.size = 3
            archive.addfile(info, io.BytesIO(b"jpg"))
        outer[f"{label}.tar"] = inner.getvalue()
    path = tmp_path / "ILSVRC2012_img_train.tar"
    with tarfile.open(path, "w") as archive:
        for name, content in outer.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    folder = fetch("imagenet-10", tmp_path / "data", path)
    assert sorted(p.name for p in folder.rglob("*.JPEG")) == sorted(f"{c}_1.JPEG" for c in SETS["imagenet-10"].class_names)


def test_an_incomplete_imagenet_leaves_nothing(tmp_path):
    classes = SETS["imagenet-10"].class_names
    source = imagenet(tmp_path / "in", classes[:-1])
    with pytest.raises(PGJRError, match=f"has no class folder {classes[-1]}"):
        fetch("imagenet-10", tmp_path / "data", source)
    (source / "train" / classes[-1]).mkdir()
    with pytest.raises(PGJRError, match=f"has no images of class {classes[-1]}"):
        fetch("imagenet-10", tmp_path / "data", source)
    damaged = tmp_path / "damaged.tar"
    damaged.write_bytes(b"no archive")
    with pytest.raises(PGJRError, match="is no archive of ImageNet"):
        fetch("imagenet-10", tmp_path / "data", damaged)
    assert not list((tmp_path / "data").rglob("*.JPEG"))


def test_addresses_and_checksums_are_those_of_torchvision():
    for name, official in (("cifar10", datasets.CIFAR10), ("cifar20", datasets.CIFAR100), ("stl10", datasets.STL10)):
        assert (ARCHIVES[name].address, ARCHIVES[name].md5) == (official.url, official.tgz_md5)
        assert ARCHIVES[name].layout in SETS[name].layouts
