"""Frames become HTML and CSV: rounded there, and never read back."""

import ast
import base64
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgjr_book import verdicts
from pgjr_book.scored import ScoredSet
from pgjr_book.show import numbers, render, tables

SHOW = Path(render.__file__).parent
points = st.floats(-1e4, 1e4)
STL10, CIFAR10, CIFAR20 = ScoredSet("stl10", "test"), ScoredSet("cifar10", "train"), ScoredSet("cifar20", "train")


def read_csv(page: str) -> pd.DataFrame:
    """The table that a page's link holds."""
    return pd.read_csv(io.BytesIO(base64.b64decode(re.search(r'base64,([^"]+)', page)[1])))


def test_html_escapes_names_and_carries_its_csv():
    page = render.table(pd.DataFrame({"file": ["<script>alert(1)</script>", "a,b"]}), "x")
    assert "<script>" not in page and "&lt;script&gt;" in page and 'download="x.csv"' in page
    data = re.search(r"base64,([^\"]+)", page)[1]
    assert base64.b64decode(data).decode() == 'file\n<script>alert(1)</script>\n"a,b"\n'
    assert "Not run" in render.table(pd.DataFrame(), "x")


def test_a_table_as_csv_is_numbers():
    frame = pd.DataFrame({"set": [ScoredSet("digits", "all"), STL10], "NMI": [38.31, 37.0], "NMI sd": [0.28, np.nan],
                          "95 % interval low": [-1.0, 0.021], "95 % interval high": [2.0, 0.52], "note": [["a to b"], ["c"]],
                          "still gaining": [True, False]})  # fmt: skip
    table = pd.read_csv(io.StringIO(render.csv(frame)))
    assert list(table) == ["set", "NMI", "NMI sd", "95 % interval low", "95 % interval high", "note", "still gaining"]
    assert list(table["set"]) == ["digits", "STL-10 (test)"] and list(table["NMI"]) == [38.3, 37.0]
    assert table["NMI sd"][0] == 0.3 and np.isnan(table["NMI sd"][1]) and list(table["95 % interval low"]) == [-1.0, 0.02]
    display = render.display(frame)
    assert list(display) == ["set", "NMI", "95 % interval", "note", "still gaining"]
    assert list(display["NMI"]) == ["38.3\u00a0±\u00a00.3", "37.0"]
    assert list(display["set"]) == ["digits\u00a0†", "STL-10\u00a0(test)\u00a0†"]
    assert list(display["95 % interval"]) == ["-1.0 to +2.0", "+0.02 to +0.5"] and list(display["still gaining"]) == ["yes", "no"]


def test_the_csv_of_a_table_has_the_rounded_numbers_of_its_frame(records, study):
    frames = [tables.components(records), tables.comparisons(records, [("with", "without")]), tables.sensitivity(study, "start")]
    for frame in frames:
        table = read_csv(render.table(frame, "x"))
        assert list(table) == list(frame) and len(table) == len(frame)
        for name in frame.select_dtypes("float"):
            assert table[name].tolist() == pytest.approx([round(value, 1) for value in frame[name]], nan_ok=True)
        for name in frame.select_dtypes("int"):
            assert table[name].tolist() == frame[name].tolist()


def test_a_column_of_deviations_is_left_out_where_no_row_has_one():
    frame = pd.DataFrame({"NMI": [1.0, 2.0], "NMI sd": [np.nan, np.nan]})
    assert render.csv(frame) == "NMI\n1.0\n2.0\n" and list(render.display(frame)["NMI"]) == ["1.0", "2.0"]


def test_a_missing_comparison_is_an_empty_cell():
    frame = pd.DataFrame({"NMI against start": [np.nan, 0.004, -2.0]})
    assert list(render.display(frame)["NMI against start"]) == ["", "+0.004", "-2.0"]
    assert list(render.exported(frame)["NMI against start"]) == ["", "0.004", "-2.0"]


def test_values_of_settings_keep_their_digits():
    frame = pd.DataFrame({"value": [0.0006, 1, "2, 1"]})
    numeric = pd.DataFrame({"value": [0.05, 1]})  # pandas makes both fractions
    assert list(render.display(frame)["value"]) == ["0.0006", "1", "2, 1"]
    assert list(render.exported(numeric)["value"]) == ["0.05", "1"]


def test_words_about_numbers_are_the_same_in_both(synthetic):
    landscape = {"inertia": [100.0, 100.5, 120.0], "acc": [0.40, 0.60, 0.20]}
    frame = tables.landscapes([{**synthetic.record("prior", 0, 40), "landscape": landscape}])
    for cells in (render.display(frame), render.exported(frame)):
        assert list(cells)[-1] == "within 1 % of it" and cells["within 1 % of it"][0] == "40.0 to 60.0 (2 starts)"
        assert cells["at the lowest inertia"][0] == "40.0" and cells["highest"][0] == "60.0"
    counts = np.eye(10) * 10
    counts[5, 3], counts[5, 5] = 8, 2
    frame = tables.confused([{**synthetic.record("pgjr", 0, 40, "cifar10"), "exemplars": {"confusion": counts.tolist()}}])
    (row,) = render.exported(frame).to_dict("records")
    assert row["mixed most"] == "cat and dog (at least 80 % of each in one cluster)" and row["found best"] == "airplane (100 %)"


def test_data_sets_are_worded_with_their_splits(synthetic):
    used = synthetic.record("pixels", 0, 20, "cifar10", split="test")
    table = render.display(tables.data_sets([used])).set_index("set")
    assert table.loc["CIFAR-10", "used here"] == "test, 10,000" and table.loc["CIFAR-10", "images"] == "50,000 train + 10,000 test"
    assert table.loc["digits", "images"] == "1,797" and table.loc["STL-10", "used here"] == "not run"
    assert table.loc["Tiny-ImageNet", "note"] == ""


def test_seconds_are_whole():
    frame = pd.DataFrame({"encoding, s": [106.6], "GJR seconds": [4.84]})
    assert render.csv(frame) == '"encoding, s",GJR seconds\n107,4.8\n'


# ---- marks ----


def test_development_sets_are_marked_and_explained(records):
    moved = [{**r, "config": {**r["config"], "dataset": "stl10", "split": "test"}} for r in records]
    frame = tables.components(moved)
    page = render.table(frame, "x")
    assert set(render.display(frame)["set"]) == {"STL-10\u00a0(test)\u00a0†"} and "† development set" in page
    moved = [{**r, "config": {**r["config"], "dataset": "cifar10"}} for r in records]
    assert "†" not in render.table(tables.components(moved), "x")


def test_every_set_has_its_own_mark():
    frame = pd.DataFrame({"set": [STL10, CIFAR10, CIFAR20]})
    marked = ["STL-10\u00a0(test)\u00a0†", "CIFAR-10\u00a0(train)\u00a0‡", "CIFAR-100/20\u00a0(train)"]
    assert list(render.display(frame)["set"]) == marked
    page = render.table(frame[1:], "x")
    assert "‡ its labels scored early trials" in page and "development set" not in page
    assert render.marks(frame[2:]) == ""


# ---- numbers ----


def test_a_difference_near_zero_shows_its_side():
    written = [numbers.signed(x) for x in (0.02, -0.04, 1.26, -3, 0.004, 0.0)]
    assert written == ["+0.02", "-0.04", "+1.3", "-3.0", "+0.004", "0"]
    assert [numbers.unsigned(x) for x in (0.02, -0.04, 1.26, 0.0)] == ["0.02", "-0.04", "1.3", "0"]


def test_a_mean_without_deviation_stands_alone():
    assert numbers.mean_sd(41.04, 1.0) == "41.0 ± 1.0" and numbers.mean_sd(41.04, float("nan")) == "41.0"


@given(points, st.one_of(st.floats(0, 1e3), st.just(float("nan"))), points, points)
def test_any_numbers_are_written_without_being_read_back(mean, sd, low, high):
    low, high = sorted((low, high))
    frame = pd.DataFrame({"NMI": [mean], "NMI sd": [sd], "NMI difference": [mean], "95 % interval low": [low],
                          "95 % interval high": [high]})  # fmt: skip
    (row,) = pd.read_csv(io.StringIO(render.csv(frame))).to_dict("records")
    assert row["NMI"] == round(mean, 1) and ("NMI sd" in row) == (not np.isnan(sd))
    assert np.isnan(sd) or row["NMI sd"] == round(sd, 1)
    for name, number in (("NMI difference", mean), ("95 % interval low", low), ("95 % interval high", high)):
        assert row[name] == round(number, max(1, numbers.decimals_of(number))) or abs(number) < 1e-6
        assert np.sign(row[name]) == np.sign(number) or abs(number) < 1e-6
    (display,) = render.display(frame).to_dict("records")
    assert display["NMI"] == (f"{mean:.1f}" if np.isnan(sd) else f"{mean:.1f}\u00a0±\u00a0{sd:.1f}")
    assert display["95 % interval"] == f"{numbers.signed(low)} to {numbers.signed(high)}"


def test_nothing_in_show_reads_text_back():
    """No number is made from text, and no text is split: numbers stay numbers until they are written."""
    forbidden = {"split", "rsplit", "partition", "rpartition", "fullmatch", "extract", "isdigit", "splitlines"}
    for path in sorted(SHOW.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                assert node.func.attr not in forbidden, f"{path.name}, line {node.lineno}: {node.func.attr}"
                if path.name != "literature.py":  # it reads a CSV, whose cells are text
                    assert node.func.attr != "to_numeric", path.name
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                assert "re" not in names, path.name
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("float", "int"):
                assert _is_number(node.args[0]), f"{path.name}, line {node.lineno}: {node.func.id}() of something else"


def _is_number(node: ast.expr) -> bool:
    """An array's or frame's own number, or the word for a missing one."""
    calls = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    return calls and node.func.attr in {"mean", "std", "max", "min", "median", "sum"} or (
        isinstance(node, ast.Constant) and node.value == "nan"
    )


def test_what_earlier_code_made_is_marked_explained_and_stands_apart(records):
    """Half of the records were made by earlier code: they have rows of their own, and no pair crosses the two."""
    mixed = [{**r, "results_version": r["results_version"] - (r["config"]["seed"] % 2)} for r in records]
    frame = tables.components(mixed)
    html = render.table(frame, "mixed")
    assert "digits° †" in html.replace("\u00a0", " ") and "made by earlier code" in html
    assert {place.earlier for place in frame["set"]} == {False, True}
    assert "made by earlier code" not in render.table(tables.components(records), "new")
    for here in verdicts.pairs(mixed, "gjr", "idfd").values():
        assert all(a["results_version"] == b["results_version"] for a, b in here)


# ---- blocks, bold scores, sorting ----


def test_the_best_of_a_block_is_bold_with_its_ties(synthetic):
    rows = [("a", 40, STL10), ("b", 40.1, STL10), ("c", 30, STL10), ("a", 20, CIFAR10), ("b", 25, CIFAR10)]
    frame = pd.DataFrame([{"set": where, "variant": v, "NMI": nmi, "NMI sd": 0.3, "seeds": 5} for v, nmi, where in rows])
    assert render.best_scores(frame) == {(0, "NMI"), (1, "NMI"), (4, "NMI")}
    page = render.table(frame, "x")
    assert page.count("<strong>") == 3 and "Bold: the best" in page and page.count('class="block"') == 2
    assert page.index("STL-10") < page.index("CIFAR-10") and "<button type=\"button\">set</button>" not in page
    single = frame.assign(seeds=1, **{"NMI sd": np.nan})
    assert render.best_scores(single) == {(1, "NMI"), (4, "NMI")}  # nothing tells how far one run may be off
    also = frame.assign(variant=["a", "the same, memory bank", "c", "a", "b"])
    assert (1, "NMI") not in render.best_scores(also)


def test_a_table_with_a_row_a_set_has_no_blocks():
    frame = pd.DataFrame({"set": [STL10, CIFAR10], "NMI": [1.0, 2.0]})
    page = render.table(frame, "x")
    assert 'class="block"' not in page and "STL-10" in page and "<strong>" not in page


def test_cells_carry_the_number_they_sort_by():
    frame = pd.DataFrame({"set": [STL10] * 2, "variant": ["<b>", "c"], "NMI": [10.04, 9.0], "NMI sd": [0.5, np.nan]})
    page = render.table(frame, "x")
    assert 'data-sort="10.04"' in page and "&lt;b&gt;" in page and "<b>" not in page
