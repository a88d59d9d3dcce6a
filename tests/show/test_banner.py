"""The banner names what stands in for the paper's setting."""

from pgjr_book.run_config import RESULTS_VERSION
from pgjr_book.scored import setting
from pgjr_book.show.banner import banner_html, banner_text

CLIP = {"prior": "ViT-B-32-quickgelu/openai", "dataset": "cifar10"}


def record(note="", **changes) -> dict:
    """The parts of a record that the banner reads."""
    config = {"method": "pgjr", "prior": "class-name", "backbone": "resnet18", "epochs": 2000, "dataset": "digits"}
    config |= {"limit": None, "split": "all"} | changes
    data = {"name": config["dataset"], "split": "all", "count": 1797, "note": note}
    weights = {"name": config["prior"]} if config["prior"] else None
    return {"config": config, "data": data, "weights": weights, "results_version": RESULTS_VERSION}


def test_the_banner_names_what_stands_in():
    text = banner_text([record(), record(method="gjr", prior=None, backbone="thin")])
    assert text.startswith("A stand-in, not the paper’s setting")
    for part in ("class-name prior in place of CLIP", "thin ResNet", "digits (all, 1,797 images)"):
        assert part in text


def test_a_set_of_which_several_parts_were_used_is_named_once():
    parts = [{**record(dataset="cifar10"), "data": {"name": "cifar10", "split": s, "count": n, "note": ""}}
             for s, n in (("test", 10_000), ("train", 5_000))]  # fmt: skip
    assert "on CIFAR-10 (up to 10,000 images) and digits (all, 1,797 images)." in banner_text([*parts, record()])


def test_a_prior_from_a_file_has_the_name_of_the_manifest():
    text = banner_text([record(prior="file:results/weights/half-trained.safetensors"), record(prior="imagenet-labels")])
    assert "the half-trained class-name prior and the ImageNet-label prior in place of CLIP" in text


def test_the_banner_says_when_nothing_was_run_and_never_hides_another_setting():
    assert "Nothing has been run" in banner_text([])
    assert banner_text([record(**CLIP), record(method="gjr", prior=None, dataset="cifar10")]) == ""
    assert "digits" in banner_text([record(**CLIP | {"dataset": "digits"})])
    assert "CIFAR-10" in banner_text([record(**CLIP, limit=500)])
    assert "shorter training" in banner_text([record(method="gjr", prior=None, dataset="cifar10", epochs=20)])


def test_the_banner_and_the_verdicts_mean_the_same_by_the_papers_setting():
    for changes in ({}, {"limit": 500}, {"prior": "class-name"}, {"note": "re-encoded"}, {"dataset": "stl10"},
                    {"method": "gjr", "prior": None, "epochs": 1999}, {"method": "gjr", "prior": None}):  # fmt: skip
        one = record(**CLIP | changes)
        assert (banner_text([one]) == "") == (setting(one) == "paper"), changes


def test_controls_and_generated_sets_are_no_stand_in():
    random = record(**CLIP | {"prior": "random:ViT-B-32-quickgelu/openai"})
    assert banner_text([record(**CLIP), random]) == "" and "place of CLIP" not in banner_text([record(), random, record(**CLIP)][1:])
    assert banner_text([record(**CLIP), record(method="gjr", prior=None, dataset="pieces", epochs=100)]) == ""


def test_the_banner_is_escaped():
    assert "&lt;b&gt;" in banner_html([record(prior="file:<b>")]) and "<b>" not in banner_html([record(prior="file:<b>")])


def test_the_banner_says_that_earlier_code_made_some_of_the_runs():
    old = {**record(method="gjr", prior=None, backbone="thin"), "results_version": RESULTS_VERSION - 1}
    assert banner_text([record(), old]).endswith("Sets marked ° were run by earlier code.")
    assert "earlier" not in banner_text([record()])
