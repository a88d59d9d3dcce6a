"""The ledger keeps the runs of a series out of the column of the stand-ins."""

from pgjr_book import verdicts
from pgjr_book.ledger import by_series, leading, ledger, of_column, shown, together
from pgjr_book.show import sentences, tables


def in_series(records: list[dict], **fields) -> list[dict]:
    return [{**r, "key": f"{r['key']} b", "series": "profile clip", "config": {**r["config"], **fields}} for r in records]


def test_a_series_speaks_in_its_own_column_alone(synthetic):
    small = synthetic.jigsaw(3)
    large = in_series(synthetic.jigsaw(-3, ("cifar10",)), backbone="resnet18", epochs=15)
    heads = [{**r, "variant": f"clip/{r['variant'].removeprefix('class-name/')}", "series": "profile clip",
              "config": {**r["config"], "prior": "ViT-B-32-quickgelu/openai", "limit": None, "fold": None}}
             for r in synthetic.heads(3)]  # fmt: skip
    records = {"attribution": [*small, *large], "heads": heads}
    row = ledger(records)[1]
    assert [cell.outcome for cell in row.findings["stand-in"].cells[:2]] == ["gain", "gain"]
    cells = {(c.comparison.name, c.comparison.dataset): c.outcome for c in row.findings["clip"].cells}
    assert cells == {("GJR", "cifar10"): "harm", ("pGJR", "cifar10"): "gain", ("pGJR", "stl10"): "gain"}
    assert row.findings["clip"].verdict == "mixed" and row.findings["paper"].verdict != "mixed"


def test_without_a_series_the_ledger_is_that_of_the_rules(synthetic):
    records = {"attribution": synthetic.jigsaw(3), "heads": synthetic.heads(0)}
    ours, theirs = ledger(records), verdicts.ledger(records)
    assert [row.findings["stand-in"].verdict for row in ours] == [row.findings["stand-in"].verdict for row in theirs]


def test_tables_keep_series_apart(synthetic):
    records = {"attribution": [*synthetic.jigsaw(3), *in_series(synthetic.jigsaw(-3, ("cifar10",)))], "heads": []}
    found = {(row["set"].dataset, row["set"].series): row["NMI difference"] for row in tables.effects(records).to_dict("records")}
    assert found["cifar10", ""] > 2 and found["cifar10", "profile clip"] < -2 and found["stl10", ""] > 2
    assert [len(part["attribution"]) for part in by_series(records)] == [40, 20]
    assert len(of_column(records, "stand-in")["attribution"]) == 40
    assert of_column(records, "clip")["attribution"] == []  # a small ResNet never speaks beside CLIP


def test_pages_show_every_column_that_was_run_and_the_story_follows_a_whole_one(synthetic):
    small, heads = synthetic.jigsaw(3), synthetic.heads(3)
    large = in_series(synthetic.jigsaw(-3, ("cifar10",)), backbone="resnet18", epochs=15)
    row = ledger({"attribution": [*small, *large], "heads": heads})[1]
    assert list(shown(row)) == ["clip", "stand-in"] and leading(row) == "stand-in"  # no head of pGJR on CLIP was run
    own = row.findings["stand-in"]
    assert together(row).verdict == own.verdict and together(row).cells[: len(own.cells)] == own.cells
    assert [cell.outcome for cell in together(row).cells[len(own.cells) :]] == ["harm"]
    text = sentences.evidence(2, shown(row))
    assert text.startswith("With CLIP, short CNN schedule: GJR on ") and ". On our stand-in: GJR on " in text
    verdict = sentences.verdict_by_column(shown(row))
    assert verdict == "with CLIP, short CNN schedule: open (CNNs only, no run with CLIP yet); on our stand-in: open"
    nothing = ledger({})[1]
    assert list(shown(nothing)) == ["stand-in"] and sentences.verdict_by_column(shown(nothing)) == "not run"
