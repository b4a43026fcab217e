"""The page in a real browser with the real server behind it, on tiny models."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from served_models import Running, make_models, serving

from stepwell.serving import ServeConfig
from stepwell.serving.gate import Keys

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    names = ("talker", "writer", "labels", "tags", "translator")
    models = make_models(tmp_path_factory.mktemp("models"))
    with serving({name: models[name] for name in names}, ServeConfig(weights="plain"), Keys(["secret"])) as found:
        yield found


def test_the_page_and_the_server_know_each_other(browser: Any, running: Running) -> None:
    complaints: list[str] = []
    context = browser.new_context(locale="en-US")
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.on(
        "console", lambda one: complaints.append(one.text) if "401" not in one.text and "400" not in one.text else None
    )
    page.on("pageerror", lambda fault: complaints.append(str(fault)))
    page.goto(running.url)
    page.wait_for_selector("#key-field:focus")
    page.fill("#key-field", "secret")
    page.keyboard.press("Enter")
    page.wait_for_selector("#models label")
    assert page.locator("#models .name").all_text_contents() == ["talker"]

    for name, value in {"max_tokens": 20, "seed": 3, "min_p": 0.01, "repetition_penalty": 1.2, "top_k": 50}.items():
        page.fill(f"#set-{name}", str(value))
    page.fill("#message", "Who goes there?")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".answer .acts button >> text=Once more")
    assert re.match(r"\d+ tokens", page.inner_text(".meta"))
    page.locator(".answer .token[tabindex]").first.hover()
    assert page.locator("#token-card .drawn").count() >= 1
    assert page.locator("#token-card li").count() >= 5
    text = page.inner_text(".answer .text")
    page.get_by_role("button", name="Once more").click()
    page.wait_for_selector("body:not(.busy)")
    assert page.inner_text(".answer .text") == text, "the same seed, the same answer"

    page.fill("#message", "too long " * 100)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".turn:nth-child(2) .trouble .wrong")
    assert "longer than the model can read" in page.locator(".turn:nth-child(2) .trouble").inner_text()

    page.click("#tab-completion")
    assert page.locator("#models .name").all_text_contents() == ["talker", "writer"]
    page.check("#model-1")
    page.fill("#prompt", "Once upon")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#completions .answer:nth-child(2) .acts button")
    page.wait_for_selector("body:not(.busy)")
    counted = [re.match(r"\d+ tokens", one) for one in page.locator("#completions .meta").all_inner_texts()]
    assert len(counted) == 2
    assert all(counted)

    page.click("#tab-tasks")
    page.fill("#texts", "A fine room.\n🚆 The way to Vienna.")
    for place, (task, found) in enumerate(
        {"labels": ".scores li", "tags": ":is(.tagged, .how)", "translation": ".label"}.items()
    ):
        assert task in page.locator("#task-model option").nth(place).inner_text()
        page.select_option("#task-model", index=place)
        page.click("#ask")
        page.wait_for_selector(f"#told {found}")
        assert page.locator("#told > li").count() == 2
        assert page.locator("#told .wrong").count() == 0
    context.close()
    assert complaints == []
