"""Literature numbers: read with their sources, beside ours, never mixed up with the paper's."""

from pathlib import Path

import pandas as pd
import pytest

from pgjr_book.show import literature, render
from pgjr_lib.errors import PGJRError

BOOK = Path(__file__).parents[2] / "book"


@pytest.fixture
def published():
    return literature.read(BOOK / "published.csv")


@pytest.fixture
def paper():
    return literature.read(BOOK / "paper.csv")


@pytest.fixture
def ours(synthetic):
    def make(variant, seed, nmi, dataset="cifar10", split="test", **fields):
        labels = {"idfd": "IDFD (no jigsaw)", "pixels": "k-means on pixels"}
        return synthetic.record(variant, seed, nmi, dataset, split=split, label=labels.get(variant, variant), **fields)

    return make


def test_the_committed_tables_are_whole(published, paper):
    assert len(published) > 100 and published["nmi"].dropna().between(0, 100).all() and (published["grade"] != "").all()
    assert paper.empty and list(paper) == list(literature.COLUMNS)  # nothing is ascribed to the paper


def test_ours_stand_first_and_weak_sources_fold_away(published, paper, ours):
    page = literature.main_results([ours("idfd", s, 40 + s) for s in range(3)], published, paper)
    assert page.index("this book") < page.index("the paper") < page.index("PICA")
    assert "41.0 ± 1.0" in page and 'title="3 seeds, test, 10,000 images"' in page
    first, second = page[: page.index("STL-10")], page[page.index("STL-10") :]
    open_part, folded = first.split("from aggregators and user reports", 1)
    assert "user report;" not in open_part and "user report;" in folded and "TAC (no train)" in open_part
    assert "not printed: its full text" in open_part and "<td>test, 10,000</td>" in open_part
    assert first.count('<details class="set" open>') == 1 and '<details class="set" open>' not in second  # what we ran is open


def test_the_literature_is_sorted_by_its_numbers(published, paper):
    page = literature.main_results([], published, paper)
    rows = published[(published["dataset"] == "stl10") & ~published["grade"].str.startswith(literature.FOLDED)]
    best, worst = (rows.loc[getattr(rows["nmi"], which)(), "method"] for which in ("idxmax", "idxmin"))
    block = page[page.index("STL-10") :]
    assert block.index(f"<summary>{best}") < block.index(f"<summary>{worst}")


def test_every_published_number_appears_once(published, paper):
    page = literature.main_results([], published, paper)
    numbers = published[["nmi", "acc", "ari"]].notna().sum().sum()
    kept = published[published["dataset"].isin(["cifar10", "cifar20", "stl10", "imagenet-10", "imagenet-dogs", "tiny-imagenet"])]
    expected = kept[["nmi", "acc", "ari"]].notna().sum().sum()
    cells = pd.Series(page.split("<td>")).str.extract(r"^(\d+\.\d)</td>")[0].notna().sum()
    assert cells == expected <= numbers


def test_sets_whose_labels_trained_a_prior_are_refused_in_its_rows(published, paper, ours):
    both = [ours(method, 0, 40, prior="class-name") for method in ("pgjr", "idfd")]
    page = literature.main_results(both, published, paper)
    assert page.count('<td colspan="3"><em>prior saw these labels</em></td>') == 3  # a row in each of three sets
    page = literature.main_results([ours("pgjr", 0, 40, prior="ViT-B-32-quickgelu/openai")], published, paper)
    assert "prior saw these labels" not in page


def test_several_splits_of_a_set_have_rows_of_their_own(published, paper, ours):
    page = literature.main_results([ours("idfd", 0, 40), ours("idfd", 0, 50, split="train")], published, paper)
    assert page.count("IDFD (no jigsaw)") == 2 and "<td>test, 10,000</td>" in page and "<td>train, 10,000</td>" in page


def test_a_comparison_says_whether_the_split_is_the_same(published, paper, ours):
    records = [ours("idfd", 0, 40.0), ours("pixels", 0, 9.0, split="all")]
    table = literature.comparison(records, published, paper).set_index(["method", "score"])
    assert not table.loc[("IDFD (no jigsaw)", "NMI"), "same split"]
    assert table.loc[("k-means on pixels", "NMI"), "same split"]
    assert table.loc[("k-means on pixels", "NMI"), "difference"] == pytest.approx(0.3)
    written = render.display(table.reset_index()).set_index(["method", "score"]).loc[("k-means on pixels", "NMI")]
    assert written["difference"] == "+0.3" and written["same split"] == "yes" and written["our split"] == "all, 10,000"


def test_a_filled_paper_column_appears(published, tmp_path):
    path = tmp_path / "paper.csv"
    path.write_text("method,dataset,nmi,acc,ari,backbone,split,source,grade\npGJR,cifar10,1.5,2.5,,CLIP,train,a test,primary\n")
    page = literature.main_results([], published, literature.read(path))
    assert "<td>1.5</td><td>2.5</td><td></td>" in page and "not printed: its full text" not in page


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


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(PGJRError, match=r"published\.csv does not exist"):
        literature.read(tmp_path / "published.csv")


def test_names_of_the_literature_are_escaped(paper, published):
    published.loc[0, "method"] = "<b>method</b>"
    page = literature.main_results([], published, paper)
    assert "<b>" not in page and "&lt;b&gt;method" in page
