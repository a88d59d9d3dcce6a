"""The next run goes on from the last: it encodes new photographs only, keeps numbers, and takes up the page's changes."""

import csv
import json
import os
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from pgjr_lib.cli import main
from pgjr_lib.errors import PGJRError
from pgjr_lib.photos import encoding, reading
from pgjr_lib.photos.cluster import ClusterOptions, cluster_folder
from pgjr_lib.photos.grouping import keep_numbers
from pgjr_lib.photos.index import Index
from pgjr_lib.photos.store import Contents, Store

OPTIONS = ["--prior", "class-name", "--head", "kmeans", "-k", "3"]


def run(photos, out, *more):
    return main(["cluster", str(photos), *OPTIONS, "--out", str(out), *more])


def rows(out):
    with (out / "clusters.csv").open(newline="") as stream:
        return {row["file"]: row for row in csv.DictReader(stream)}


def clusters(out):
    return {file: row["cluster"] for file, row in rows(out).items()}


def page_of(out):
    return json.loads(re.search(r'id="data">(.*?)</script>', (out / "index.html").read_text(), re.S)[1])


def settle(photos):
    """Make all files look as if they had been there for a while, so that size and time suffice."""
    for path in photos.rglob("*.png"):
        os.utime(path, (1_600_000_000, 1_600_000_000))


@pytest.fixture
def read_files(monkeypatch):
    """Collect the names of the files that are read from now on."""
    names, read_photo = [], reading.read_photo

    def watched(path, size):
        names.append(path.name)
        return read_photo(path, size)

    monkeypatch.setattr(reading, "read_photo", watched)
    monkeypatch.setattr(reading, "FEW", 10**6)  # in this process, where they can be watched
    return names


def test_one_photo_more_reads_one_more_and_changes_no_other(photos, tmp_path, capsys, read_files):
    settle(photos)
    out = tmp_path / "out"
    assert run(photos, out) == 0 and len(read_files) == 36
    before = clusters(out)
    Image.new("RGB", (40, 50), (215, 45, 40)).save(photos / "new.png")
    read_files.clear(), capsys.readouterr()
    assert run(photos, out) == 0 and read_files == ["new.png"]
    err = capsys.readouterr().err
    assert "37 images: 1 encoded now, 0 renamed or moved, 0 gone since the last run." in err
    assert "Clusters: 3 clusters kept their numbers. Of 36 photographs of the last run, 0 changed their cluster." in err
    after = clusters(out)
    assert {file: after[file] for file in before} == before
    assert after["new.png"] == before["roll 0/deep/00-0.png"]  # both are red


def test_an_unchanged_folder_is_not_read_and_keeps_its_results(photos, tmp_path, capsys, read_files):
    settle(photos)
    out = tmp_path / "out"
    assert run(photos, out) == 0
    table, page = (out / "clusters.csv").read_bytes(), page_of(out)
    read_files.clear(), capsys.readouterr()
    assert run(photos, out) == 0 and read_files == []
    assert "Nothing has changed since the last run" in capsys.readouterr().err
    assert (out / "clusters.csv").read_bytes() == table and page_of(out) == page


def test_a_renamed_file_is_recognised_and_a_deleted_one_leaves(photos, tmp_path, capsys, monkeypatch):
    settle(photos)
    out = tmp_path / "out"
    assert run(photos, out) == 0
    before = clusters(out)
    (photos / "roll 0" / "deep" / "00-0.png").rename(photos / "renamed.png")
    (photos / "roll 0" / "deep" / "02-2.png").unlink()
    capsys.readouterr()
    assert run(photos, out) == 0
    assert "35 images: 0 encoded now, 1 renamed or moved, 1 gone since the last run." in capsys.readouterr().err
    after = clusters(out)
    assert after["renamed.png"] == before["roll 0/deep/00-0.png"] and len(after) == 35
    (part,) = (out / "features").glob("*/part-*.safetensors")
    from pgjr_lib.storage import load_tensors

    assert len(load_tensors(part)[0]["embedding"]) == 35  # what was kept of the deleted one is gone


def test_a_changed_file_of_the_same_size_is_read_again(photos, tmp_path, read_files):
    for i in range(3):  # BMP files of one size
        Image.new("RGB", (40, 40), (60 * i, 9, 9)).save(photos / f"{i}.bmp")
        os.utime(photos / f"{i}.bmp", (1_600_000_000, 1_600_000_000))
    settle(photos)
    assert run(photos, tmp_path / "out") == 0
    read_files.clear()
    Image.new("RGB", (40, 40), "blue").save(photos / "0.bmp")
    assert run(photos, tmp_path / "out") == 0 and read_files == ["0.bmp"]


def test_a_file_that_just_changed_is_not_trusted_by_its_time(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    index = Index(tmp_path / "index.json")
    assert index.scan(tmp_path, [path]) == ["a.png"]
    index.set("a.png", "0" * 64, "")
    index.save()
    again = Index(tmp_path / "index.json")
    assert again.scan(tmp_path, [path]) == ["a.png"]  # it may have changed since, within the clock's grain


def test_copies_are_encoded_once_and_listed_each(photos, tmp_path, capsys):
    shutil.copy(photos / "roll 0" / "deep" / "00-0.png", photos / "copy.png")
    assert run(photos, tmp_path / "out") == 0
    cluster_of = clusters(tmp_path / "out")
    assert len(cluster_of) == 37 and cluster_of["copy.png"] == cluster_of["roll 0/deep/00-0.png"]
    with (tmp_path / "out" / "duplicates.csv").open() as stream:
        pairs = [row for row in csv.DictReader(stream) if row["same bytes as another"] == "yes"]
    assert {row["file"] for row in pairs} == {"copy.png", "roll 0/deep/00-0.png"}
    assert {row["group"] for row in pairs} == {pairs[0]["group"]}


def test_a_stopped_run_encodes_only_the_rest(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(encoding, "PART", 10)
    monkeypatch.setattr(reading, "FEW", 10**6)
    add, count = Store.add, []

    def stop_after_two(store, contents):
        if len(count) == 2:
            raise KeyboardInterrupt
        count.append(1)
        add(store, contents)

    monkeypatch.setattr(Store, "add", stop_after_two)
    assert run(photos, tmp_path / "out") == 130
    monkeypatch.setattr(Store, "add", add)
    assert run(photos, tmp_path / "out") == 0
    assert "36 images: 16 encoded now" in capsys.readouterr().err


def test_features_depend_on_the_photo_alone_and_not_on_its_place(photos, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, files in ((first, sorted(photos.rglob("*.png"))[:4]), (second, sorted(photos.rglob("*.png"))[3:8])):
        folder.mkdir()
        for path in files:
            shutil.copy(path, folder / path.name)
    kept = []
    for folder in (first, second):
        out = tmp_path / f"{folder.name}-out"
        options = ["--prior", "class-name", "--head", "kmeans", "-k", "2", "--views", "2", "--out", str(out)]
        assert main(["cluster", str(folder), *options]) == 0
        (base,) = (out / "features").glob("*/")
        kept.append(Store(base))
    (shared,) = set(kept[0]._where) & set(kept[1]._where)
    one, other = (store.get([shared]) for store in kept)
    assert one.views.shape == (1, 2, 256) and not torch.equal(one.views[0, 0], one.views[0, 1])
    for name in ("embedding", "views"):
        torch.testing.assert_close(getattr(one, name).float(), getattr(other, name).float(), atol=2e-3, rtol=1e-2)


def test_many_new_photos_train_the_head_anew_and_few_do_not(photos, tmp_path, capsys):
    options = ["cluster", str(photos), "--prior", "class-name", "--head", "linear", "--views", "1", "--epochs", "1", "-k", "3",
               "--out", str(tmp_path / "out")]  # fmt: skip
    draw = np.random.default_rng(1)
    assert main(options) == 0 and "training the head" in capsys.readouterr().err
    for count, trains in ((2, False), (6, True)):  # of 36
        for i in range(count):
            Image.fromarray(draw.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(photos / f"{count}-{i}.png")
        assert main(options) == 0 and ("training the head" in capsys.readouterr().err) == trains
    assert main([*options, "--fresh"]) == 0 and "training the head" in capsys.readouterr().err


def test_numbers_stay_where_clusters_persist():
    last = np.array([0, 0, 0, 1, 1, 1, 2, 2, -2, -2])
    renamed, changes = keep_numbers(np.array([2, 2, 2, 0, 0, 0, 3, 3, 1, 1]), last, frozenset({3}))
    assert renamed.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 4, 4]  # the new one gets a number that is free and not taken
    assert (changes.kept, changes.new, changes.gone, changes.moved, changes.shared) == ([0, 1, 2], [4], [], 0, 8)
    renamed, changes = keep_numbers(np.array([0, 0, 0, 0, 0, 0, 0, 0, 0, -1]), last)
    assert changes.gone == [1, 2] and changes.kept == [0] and changes.moved == 5 and renamed[9] == -1


def test_the_store_survives_a_damaged_part_and_joins_small_ones(tmp_path):
    def contents(*names):
        n = len(names)
        return Contents([name * 64 for name in names], torch.rand(n, 4), torch.rand(n, 2, 4).half(), torch.arange(n),
                        *(torch.ones(n, dtype=torch.int32) for _ in range(2)), [name.encode() for name in names])  # fmt: skip

    store = Store(tmp_path)
    store.add(contents("a", "b"))
    store.add(contents("c"))
    store.add(contents("d", "e"))
    middle = tmp_path / "part-00001.safetensors"
    middle.write_bytes(middle.read_bytes()[:-3])
    store = Store(tmp_path)
    assert "a" * 64 in store and "c" * 64 not in store and not middle.exists()
    expected = store.get(["e" * 64, "a" * 64])
    store.keep_only({"a" * 64, "e" * 64})
    assert len(list(tmp_path.iterdir())) == 1
    again = Store(tmp_path).get(["e" * 64, "a" * 64])
    assert again.thumbnails == [b"e", b"a"] and torch.equal(again.embedding, expected.embedding)
    assert again.digests == ["e" * 64, "a" * 64] and torch.equal(again.look, torch.tensor([1, 0]))


# ---- changes made in the page ----


def edits_file(out, path, **changes):
    path.write_text(json.dumps({"format": "pgjr-edits-1", "page": page_of(out)["key"], **changes}))
    return str(path)


def test_edits_of_the_page_are_taken_up_and_stay(photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(photos, out) == 0
    before, page = clusters(out), page_of(out)
    key = next(row[5] for row in page["images"] if row[0] == "roll 0/deep/00-0.png")
    red, green = (before[f"roll {i}/deep/0{i}-{i}.png"] for i in (0, 1))
    blue = ({"0", "1", "2"} - {red, green}).pop()
    changes = {"names": {red: " Roses <b> "}, "merges": {green: int(blue)}, "moves": {key: int(blue)}}
    edits = edits_file(out, tmp_path / "e.json", **changes)
    assert run(photos, out, "--edits", edits) == 0
    after = rows(out)
    assert after["roll 0/deep/00-0.png"]["cluster"] == blue and after["roll 1/deep/03-0.png"]["name"] == "Roses <b>"
    assert {row["cluster"] for row in after.values()} == {red, blue}
    assert "Roses <b>" not in (out / "index.html").read_text()  # as data only, where < is escaped
    assert run(photos, out) == 0 and rows(out) == after  # a later run keeps them
    assert run(photos, out, "--forget-edits") == 0 and clusters(out) == before


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [({"names": {"0": "x" * 81}}, "is no file of edits (names.0: "), ({"names": {"0": "a\nb"}}, "is no file of edits (names.0: "),
     ({"names": {"../0": "x"}}, "is no file of edits"), ({"merges": {"0": "1"}}, "is no file of edits"),
     ({"merges": {"0": 1, "1": 0}}, "merges cluster 0 into itself"), ({"moves": {"xyz": 0}}, "is no file of edits"),
     ({"moves": {"0" * 16: -5}}, "is no file of edits"), ({"more": 1}, "is no file of edits (more: "),
     ({"page": "0" * 16}, "was made in the page of another folder")],
)  # fmt: skip
def test_edits_that_are_none_are_refused_in_one_sentence(tmp_path, changes, sentence):
    from pgjr_lib.photos.edits import read_edits

    path = tmp_path / "e.json"
    path.write_text(json.dumps({"format": "pgjr-edits-1", "page": "a" * 16, **changes}))
    with pytest.raises(PGJRError, match=re.escape(sentence)):
        read_edits(path, "a" * 16)


def test_hdbscan_leaves_out_what_fits_nowhere(photos, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(photos / "odd.png")
    page = cluster_folder(photos, tmp_path / "out", ClusterOptions(prior="class-name", head="kmeans", method="hdbscan"))
    cluster_of = clusters(page.parent)
    assert cluster_of["odd.png"] == "-1" and len({c for c in cluster_of.values() if c != "-1"}) == 3


def test_affordable_views_follow_the_time():
    assert encoding.affordable_views(0.001, 100) == encoding.MOST_VIEWS
    assert encoding.affordable_views(0.01, 2000) == 1 and encoding.affordable_views(1.0, 2000) == 1
