"""No page has a serious fault of accessibility, by axe-core (vendored, MPL-2.0, https://github.com/dequelabs/axe-core)."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent
BOOK = HERE.parents[1] / "build" / "published" / "html"
PAGES = [page for folder in ("book", "notebooks") for page in sorted((BOOK / folder).glob("*.html"))]
AXE = (HERE / "axe.min.js").read_text()
OFF = {"label-content-name-mismatch": {"enabled": False}}  # of the theme's own buttons

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not PAGES, reason="no book is built: make book PROFILE=published")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_has_no_serious_fault(visit, path, scheme):
    page = visit(path, scheme=scheme)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(500)  # formulas are set after the page has loaded
    page.evaluate(AXE)
    report = page.evaluate("rules => axe.run(document, {resultTypes: ['violations'], rules})", OFF)
    serious = [(v["id"], v["nodes"][0]["html"][:200]) for v in report["violations"] if v["impact"] in ("serious", "critical")]
    assert not serious
