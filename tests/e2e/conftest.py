"""A real browser for the tests of the server's page."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from page_server import PageServer, serving

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window; absent, the tests are skipped by name."""
    library = pytest.importorskip("playwright.sync_api")
    found = os.environ.get("STEPWELL_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("no Chromium is there (STEPWELL_CHROMIUM names one)")
    with library.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def server() -> Iterator[PageServer]:
    with serving() as server:
        yield server


@pytest.fixture
def open_page(browser: Any, server: PageServer) -> Iterator[Callable[..., Any]]:
    """A function that opens the page in a fresh browser; what the browser complains of fails the test."""
    complaints: list[str] = []
    contexts = []

    def complain(message: Any) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:
            complaints.append(message.text)

    def open_page(where: str = "", *, width: int = 1200, loaded: bool = True, **context: Any) -> Any:
        context = {"locale": "en-US", "viewport": {"width": width, "height": 800}, **context}
        contexts.append(browser.new_context(**context))
        page = contexts[-1].new_page()
        page.set_default_timeout(10_000)
        page.on("console", complain)
        page.on("pageerror", lambda fault: complaints.append(str(fault)))
        page.goto(server.address + where)
        if loaded:
            page.wait_for_selector("#models label", state="attached")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
