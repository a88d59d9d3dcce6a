"""Figure 5's map as HTML; tests/browser opens it in a browser."""

import json
import re

from pgjr_book.show.feature_map import feature_map


def record(label: str) -> dict:
    frames = {str(epoch): {"x": [0.0, 1.0], "y": [1.0, float(epoch)]} for epoch in (0, 5, 10)}
    return {"label": label, "snapshots": {"rows": [3, 7], "labels": [0, 1], "epochs": frames}}


def test_names_reach_the_map_as_data_and_never_as_markup():
    page = feature_map([record("</script><b>")], ["<i>", "dog's"], 'a "set" (all)')
    assert page.count("</script>") == 2 and "<b>" not in page and "<i>" not in page
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', page, re.S)[1])
    assert data["methods"][0]["label"] == "</script><b>" and data["classes"] == ["<i>", "dog's"]
    assert list(data["methods"][0]["epochs"]) == ["0", "5", "10"]  # in their order


def test_the_script_finds_its_own_map():
    page = feature_map([record("GJR")], ["a", "b"], "toys (all)")
    assert 'id="map-toys--all-"' in page and 'getElementById("map-toys--all-")' in page
    assert 'aria-label="t-SNE of the features on toys (all); each point' in page
