"""Literature numbers: read with their sources, shown beside ours, never mixed up with the paper's."""

from pathlib import Path

import pandas as pd
import pytest
from test_verdicts import record

from pgjr_book.show import literature
from pgjr_lib.errors import PGJRError

BOOK = Path(__file__).parents[2] / "book"


@pytest.fixture
def published():
    return literature.read(BOOK / "published.csv")


@pytest.fixture
def paper():
    return literature.read(BOOK / "paper.csv")


def ours(label, seed, nmi, dataset="cifar10", split="test"):
    made = {**record("idfd", seed, nmi, dataset, split=split), "label": label}
    made["data"] = {"name": dataset, "split": split, "count": 10_000, "note": ""}
    return made


def test_the_committed_tables_are_whole(published, paper):
    assert len(published) > 100 and published["nmi"].dropna().between(0, 100).all() and (published["grade"] != "").all()
    assert paper.empty and list(paper) == list(literature.COLUMNS)  # nothing is ascribed to the paper


def test_ours_stand_first_and_weak_sources_fold_away(published, paper):
    page = literature.main_results([ours("IDFD (no jigsaw)", s, 40 + s) for s in range(3)], published, paper)
    assert page.index("this book") < page.index("the paper") < page.index("PICA")
    assert "41.0 ± 1.0" in page and 'title="3 seeds, test, 10,000 images"' in page
    open_part, folded = page.split("numbers from aggregators")
    assert "user report" not in open_part and "user report" in folded and "TAC (no train)" in open_part
    assert "not printed here" in open_part


def test_every_published_row_is_shown_once(published, paper):
    page = literature.main_results([], published, paper)
    numbers = published[["nmi", "acc", "ari"]].notna().sum().sum()
    kept = published[published["dataset"].isin(["cifar10", "cifar20", "stl10", "imagenet-10", "imagenet-dogs", "tiny-imagenet"])]
    shown = kept[["nmi", "acc", "ari"]].notna().sum().sum()
    cells = pd.Series(page.split("<td>")).str.extract(r"^(\d+\.\d)</td>")[0].notna().sum()
    assert cells == shown <= numbers


def test_cells_say_whether_the_split_is_the_same(published, paper):
    records = [ours("IDFD (no jigsaw)", 0, 40.0), ours("k-means on pixels", 0, 9.0, split="all")]
    table = literature.cells(records, published, paper).set_index(["method", "score"])
    assert table.loc[("IDFD (no jigsaw)", "NMI"), "same split"] == "no"
    assert table.loc[("k-means on pixels", "NMI"), "same split"] == "yes"
    assert table.loc[("k-means on pixels", "NMI"), "difference"] == "+0.3"


def test_a_filled_paper_column_appears(published, tmp_path):
    path = tmp_path / "paper.csv"
    path.write_text("method,dataset,nmi,acc,ari,backbone,split,source,grade\npGJR,cifar10,1.5,2.5,,CLIP,train,a test,primary\n")
    page = literature.main_results([], published, literature.read(path))
    assert "<td>1.5</td><td>2.5</td><td></td>" in page and "not printed here" not in page


@pytest.mark.parametrize(("line", "sentence"), [
    ("X,cifar10,high,1,1,n,test,s,primary", "line 2: nmi is 'high'"),
    ("X,cifar10,101,1,1,n,test,s,primary", "line 2: nmi is '101'"),
    ("X,cifar10,1,1,1,n,test,,primary", "line 2: a number needs a source"),
])  # fmt: skip
def test_a_wrong_line_is_named(tmp_path, line, sentence):
    path = tmp_path / "published.csv"
    path.write_text(f"method,dataset,nmi,acc,ari,backbone,split,source,grade\n{line}\n")
    with pytest.raises(PGJRError, match=sentence):
        literature.read(path)
    path.write_text("method,nmi\n")
    with pytest.raises(PGJRError, match="no column 'dataset'"):
        literature.read(path)
