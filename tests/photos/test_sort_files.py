"""Sorting into folders: nothing is lost, doubled or overwritten, wherever it is stopped, and undo puts everything back."""

import errno
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pgjr_lib.cli import main
from pgjr_lib.errors import PGJRError
from pgjr_lib.photos import sort_files
from pgjr_lib.photos.sort_files import MODES, carry_out, folder_name, plan, read_manifest, undo

ROOT = Path(__file__).parents[2]


def make_folder(base: Path, count: int) -> Path:
    """Make files with different contents, some of one name in several folders."""
    for i in range(count):
        path = base / "photos" / f"roll {i % 3}" / f"IMG_{i // 3:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"photograph {i} ".encode() * (50 + i))
    return base / "photos"


def contents(*folders: Path) -> dict[str, str]:
    """Map the path of every file but manifests to the hash of its bytes; links are followed."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in folders if folder.is_dir()
        for path in sorted(folder.rglob("*")) if path.is_file() and "pgjr-sort-" not in path.name
    }  # fmt: skip


def planned(folder: Path, target: Path, mode: str) -> Path:
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg"))
    digests = [hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in files]
    return plan(folder, files, digests, [f"cluster {i % 4}" for i in range(len(files))], target, mode)


@pytest.mark.parametrize("mode", MODES)
def test_every_photo_is_sorted_and_put_back(tmp_path, mode):
    folder, target = make_folder(tmp_path, 20), tmp_path / "new" / "sorted"
    before = contents(folder)
    report = carry_out(planned(folder, target, mode))
    assert report.done == 20 and not report.left
    assert sorted(contents(target).values()) == sorted(before.values())
    assert contents(folder) == ({} if mode == "move" else before)
    assert all(path.is_symlink() == (mode == "link") for path in target.rglob("*.jpg"))
    manifest = target / "pgjr-sort-001.json"
    assert read_manifest(manifest).finished
    assert undo(manifest).done == 20
    assert contents(folder) == before and not (tmp_path / "new").exists()


def test_names_never_collide_and_nothing_is_overwritten(tmp_path):
    folder, target = make_folder(tmp_path, 3), tmp_path / "sorted"  # three files of one name
    own = target / "all" / "img_0000.JPG"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"the user's own")
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg"))
    digests = [hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in files]
    path = plan(folder, files, digests, ["all"] * 3, target, "move")
    assert [item.target for item in read_manifest(path).files] == [f"all/IMG_0000 ({i}).jpg" for i in (2, 3, 4)]
    late = target / "all" / "IMG_0000 (3).jpg"  # it came after the plan
    late.write_bytes(b"another of the user's own")
    report = carry_out(path)
    assert report.done == 2 and len(report.left) == 1 and "is there already" in report.left[0]
    assert own.read_bytes() == b"the user's own" and late.read_bytes() == b"another of the user's own"
    assert len(contents(folder)) == 1 and len(contents(target)) == 4


def test_undo_leaves_what_was_changed_since(tmp_path, capsys):
    folder, target = make_folder(tmp_path, 6), tmp_path / "sorted"
    path = planned(folder, target, "copy")
    carry_out(path)
    changed = sorted(target.rglob("*.jpg"))[0]
    changed.write_bytes(b"retouched")
    assert main(["undo", str(path)]) == 2
    err = capsys.readouterr().err
    assert "was changed since it was copied, so it stays." in err and "1 files stay where they are" in err
    assert [p.read_bytes() for p in target.rglob("*.jpg")] == [b"retouched"] and path.exists()
    changed.unlink()
    assert main(["undo", str(path)]) == 0 and not target.exists()


def test_a_move_across_file_systems_copies_whole_and_then_removes(tmp_path, monkeypatch):
    folder, target = make_folder(tmp_path, 6), tmp_path / "sorted"
    before, replace = contents(folder), os.replace

    def other_device(source, goal):
        if (Path(source).suffix, Path(goal).suffix) == (".jpg", ".jpg"):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        replace(source, goal)

    monkeypatch.setattr(os, "replace", other_device)
    path = planned(folder, target, "move")
    assert carry_out(path).done == 6 and not contents(folder)
    assert sorted(contents(target).values()) == sorted(before.values())
    assert undo(path).done == 6 and contents(folder) == before and not target.exists()


def test_a_file_system_without_hard_links_takes_copies(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    folder, target = make_folder(tmp_path, 4), tmp_path / "sorted"
    assert carry_out(planned(folder, target, "copy")).done == 4
    assert sorted(contents(target).values()) == sorted(contents(folder).values())
    assert not list(target.rglob(f"*{sort_files.PARTIAL}"))


def test_a_link_among_the_photos_is_not_moved(tmp_path):
    folder, target = make_folder(tmp_path, 3), tmp_path / "sorted"
    (folder / "link.jpg").symlink_to("roll 0/IMG_0000.jpg")
    report = carry_out(planned(folder, target, "move"))
    assert report.done == 3 and "link.jpg is a link" in report.left[0]


# ---- stops ----

CHILD = "import sys; from pathlib import Path; from pgjr_lib.photos import sort_files; print('go', flush=True); " \
        "getattr(sort_files, sys.argv[1])(Path(sys.argv[2]))"  # fmt: skip


def killed(action: str, manifest: Path, after: float) -> bool:
    """Carry out or undo a sorting in another process and kill it; say whether it was still at work."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, action, str(manifest)], cwd=ROOT, stdout=subprocess.PIPE)
    child.stdout.readline()
    time.sleep(after)
    child.send_signal(signal.SIGKILL)
    child.stdout.close()
    return child.wait() == -signal.SIGKILL


def check_kills(base: Path, kills: int, seed: int, tally) -> None:
    """Kill sortings and undoings at random moments; after each, nothing is lost, and in the end all is as it was."""
    draw, stopped, rounds = random.Random(seed), 0, 0
    while stopped < kills:
        try:
            at_work = check_kill(base / str(rounds), MODES[rounds % 3], draw)
        except AssertionError:
            tally("kill: sorting files", held=False)
            raise
        tally("kill: sorting files", cases=at_work)
        stopped, rounds = stopped + at_work, rounds + 1


def check_kill(base: Path, mode: str, draw: random.Random) -> int:
    """Kill one sorting and, by chance, its undoing; return how many kills found it at work."""
    folder = make_folder(base, 150)
    target, before = base / "sorted", contents(folder)
    manifest = planned(folder, target, mode)
    stopped = killed("carry_out", manifest, draw.uniform(0, 0.05))
    files = contents(folder, target).items()
    whole = [digest for path, digest in files if os.stat(path).st_size and not path.endswith(sort_files.PARTIAL)]
    assert set(whole) == set(before.values())  # nothing is lost
    if mode == "move":
        assert len(whole) == len(before)  # nor doubled
    else:
        assert contents(folder) == before
    if draw.random() < 0.5:
        carry_out(manifest)
        after = contents(target)
        assert sorted(after.values()) == sorted(before.values()) and not [p for p in after if p.endswith(sort_files.PARTIAL)]
    if draw.random() < 0.5 and manifest.exists():
        stopped += killed("undo", manifest, draw.uniform(0, 0.05))
    if manifest.exists():
        report = undo(manifest)
        assert not report.left
    assert contents(folder) == before and not target.exists()
    return stopped


@pytest.mark.parametrize("kills", [pytest.param(3, id="few"), pytest.param(30, id="many", marks=pytest.mark.slow)])
def test_a_kill_at_any_moment_loses_and_doubles_nothing(tmp_path, kills, tally):
    check_kills(tmp_path, kills, kills, tally)


def stop_at(function, count: list, step: int):
    """Wrap a function so that the call after ``step`` ones, of all wrapped functions together, is interrupted."""

    def stop(*arguments, **named):
        count.append(1)
        if len(count) > step:
            raise KeyboardInterrupt
        return function(*arguments, **named)

    return stop


@pytest.mark.parametrize("mode", MODES)
def test_a_stop_at_each_step_can_be_finished_and_undone(tmp_path, monkeypatch, mode):
    """Stop before every call that changes the disk, one after the other, which random kills may miss."""
    calls = ("replace", "link", "unlink", "symlink", "open")
    step = 0
    while True:
        folder = make_folder(tmp_path / f"{mode}{step}", 4)
        target, before = folder.parent / "sorted", contents(folder)
        manifest, count = planned(folder, target, mode), []
        with monkeypatch.context() as patch:
            for name in calls:
                patch.setattr(os, name, stop_at(getattr(os, name), count, step))
            try:
                carry_out(manifest)
                stopped = False
            except KeyboardInterrupt:
                stopped = True
        filled = [digest for path, digest in contents(folder, target).items() if os.stat(path).st_size]
        assert set(before.values()) <= set(filled)
        if step % 2:
            assert not carry_out(manifest).left
            assert sorted(contents(target).values()) == sorted(before.values())
        assert not undo(manifest).left
        assert contents(folder) == before and not target.exists()
        if not stopped:
            break
        step += 1
    assert step > 4


# ---- bad input ----


def test_a_sorting_into_the_photos_themselves_is_refused_but_for_a_move(tmp_path):
    folder = make_folder(tmp_path, 3)
    with pytest.raises(PGJRError, match="lies among the photographs"):
        planned(folder, folder / "sorted", "copy")
    assert carry_out(planned(folder, folder / "sorted", "move")).done == 3


def test_a_second_sorting_waits_for_the_first(tmp_path):
    folder, target = make_folder(tmp_path, 3), tmp_path / "sorted"
    first = planned(folder, target, "copy")
    with pytest.raises(PGJRError, match="is a sorting that was stopped: `pgjr undo"):
        planned(folder, target, "copy")
    carry_out(first)
    assert planned(folder, target, "copy").name == "pgjr-sort-002.json"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({"files": [{"source": "../x", "target": "a", "size": 1, "digest": "0" * 64}]}, "leads out of its folder"),
     ({"files": [{"source": "x", "target": "/etc/a", "size": 1, "digest": "0" * 64}]}, "leads out of its folder"),
     ({"made": ["/somewhere/else"]}, "has nothing to do with"), ({"mode": "burn"}, "is no manifest of a sorting"),
     ({"more": 1}, "is no manifest of a sorting")],
)  # fmt: skip
def test_a_manifest_that_is_none_is_refused(tmp_path, change, sentence, capsys):
    places = {"source": str(tmp_path), "target": str(tmp_path / "t")}
    manifest = {"format": sort_files.FORMAT, "mode": "move", **places, "made": [], "files": []}
    (tmp_path / "m.json").write_text(json.dumps(manifest | change))
    assert main(["undo", str(tmp_path / "m.json")]) == 2 and sentence in capsys.readouterr().err
    assert main(["undo", str(tmp_path / "none.json")]) == 2 and "does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "name"),
    [("Beach", "Beach"), ("../../etc", "etc"), ("a/b\\c:d", "a b c d"), ("  .. ", "_"), ("CON", "CON_"), ("x" * 99, "x" * 60),
     ("a\u0000\u202eb", "a b"), ("Cafe\u0301", "Caf\u00e9"), ("lpt1.txt", "lpt1.txt_")],
)  # fmt: skip
def test_a_folder_gets_a_name_that_every_file_system_takes(text, name):
    assert folder_name(text) == name


def test_the_command_sorts_and_finishes_what_was_stopped(photos, tmp_path, capsys, monkeypatch):
    command = ["cluster", str(photos), "--prior", "class-name", "--head", "kmeans", "-k", "3", "--out", str(tmp_path / "out"),
               "--move-to", str(tmp_path / "sorted")]  # fmt: skip
    before = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in photos.rglob("*.png"))
    relocate, moved = sort_files._relocate, []

    def stop_after_ten(source, target):
        if len(moved) == 10:
            raise KeyboardInterrupt
        moved.append(source)
        relocate(source, target)

    monkeypatch.setattr(sort_files, "_relocate", stop_after_ten)
    assert main(command) == 130
    monkeypatch.setattr(sort_files, "_relocate", relocate)
    capsys.readouterr()
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert "An earlier sorting was stopped: it is finished now" in err and "moved 36 images to" in out
    assert not list(photos.rglob("*.png"))
    assert sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / "sorted").rglob("*.png")) == before
    assert sorted(path.name for path in (tmp_path / "sorted").iterdir() if path.is_dir()) == [f"cluster {i}" for i in range(3)]
    (manifest,) = (tmp_path / "sorted").glob("pgjr-sort-*.json")
    assert main(["undo", str(manifest)]) == 0 and "put back 36 files" in capsys.readouterr().out
    assert len(list(photos.rglob("*.png"))) == 36
