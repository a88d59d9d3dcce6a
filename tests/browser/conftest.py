"""A headless Chromium (Debian's, or Playwright's own); the tests are skipped where there is none."""

import pytest

from pgjr_book.pdf import launch
from pgjr_lib.errors import PGJRError

sync_api = pytest.importorskip("playwright.sync_api")


@pytest.fixture(scope="module")  # closed before another test opens its own: Playwright wants to be alone
def browser():
    with sync_api.sync_playwright() as playwright:
        try:
            chromium = launch(playwright)
        except PGJRError:
            pytest.skip("no Chromium on this machine")
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser):
    """Open a file in a page of its own; what the console and the network had to say stands in ``page.trouble``."""
    contexts = []

    def open_page(path, width=1200, height=900, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.trouble = []
        page.on("console", lambda m: page.trouble.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: page.trouble.append(str(e)))
        page.on("requestfailed", lambda r: page.trouble.append(f"failed: {r.url[:100]}"))
        page.on("request", lambda r: page.trouble.append(f"left the machine: {r.url[:100]}")
                if not r.url.startswith(("file:", "data:", "blob:")) else None)  # fmt: skip
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
