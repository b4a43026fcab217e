"""The page of the server to the eye and to the hand: languages, light and dark, contrast, keys, a small phone."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from page_server import say

pytestmark = pytest.mark.slow

Open = Callable[..., Any]


def test_the_language_is_that_of_the_browser_until_it_is_switched(open_page: Open) -> None:
    page = open_page(locale="zh-CN")
    assert page.inner_text("h1 >> visible=true") == "想问点什么？"
    assert page.get_attribute("html", "lang") == "zh-Hans"
    say(page, "你好")
    assert "个词元" in page.inner_text(".meta")
    unsaid = "[...document.querySelectorAll('[data-say]')].filter(one => one.textContent === one.dataset.say).length"
    assert page.evaluate(unsaid) == 0
    page.click("#language")
    assert page.get_attribute("html", "lang") == "en"
    assert "tokens" in page.inner_text(".meta")
    assert not re.search("[一-鿿]", page.inner_text("#settings"))
    page.reload()
    assert page.get_by_role("button", name="Once more").count() == 1, "what the tab remembers is in its language too"
    page.click("#chat-clear")
    assert page.inner_text("h1 >> visible=true") == "What would you like to ask?"


def test_light_and_dark(open_page: Open) -> None:
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light, dark = "rgb(251, 252, 252)", "rgb(15, 22, 25)"
    assert open_page(color_scheme="light").evaluate(ground) == light
    page = open_page(color_scheme="dark")
    assert page.evaluate(ground) == dark
    page.click("#theme")
    assert page.evaluate(ground) == light
    page.reload()
    assert page.evaluate(ground) == light


CONTRAST = """() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, n) => sum + c * [0.2126, 0.7152, 0.0722][n], 0);
  const ground = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const colour = channels(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
    }
  };
  const found = [];
  for (const one of document.querySelectorAll("body *")) {
    const says = [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!says || !one.checkVisibility({ checkOpacity: true }) || one.disabled) continue;
    const [high, low] = [light(channels(getComputedStyle(one).color)), light(ground(one))].sort((a, b) => b - a);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5) found.push(`${one.tagName} ${one.className} ${one.textContent.slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out_from_its_ground(open_page: Open, scheme: str) -> None:
    page = open_page(color_scheme=scheme)
    say(page, "busy")
    say(page, "hello")
    page.fill("#set-top_k", "x")
    page.emulate_media(reduced_motion="reduce")
    page.wait_for_timeout(200)  # a colour that is on its way has arrived
    assert page.evaluate(CONTRAST) == []
    page.click("#tab-tasks")
    page.fill("#texts", "good")
    page.click("#ask")
    page.wait_for_selector("#told li")
    assert page.evaluate(CONTRAST) == []


NAMELESS = """() => [...document.querySelectorAll("button, input, textarea, select, [tabindex='0']")]
  .filter((one) => one.checkVisibility())
  .filter((one) => !(one.labels?.length || one.getAttribute("aria-label") || one.textContent.trim()))
  .map((one) => one.outerHTML)"""


def test_the_keyboard_goes_everywhere_and_everything_has_a_name(open_page: Open) -> None:
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    say(page, "hello")
    assert page.evaluate(NAMELESS) == []
    page.focus(".skip")
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.className"))
        if reached[-1] == "shade" or (reached[-1] == "wants-logprobs" and page.is_disabled("#shade")):
            break
    order = ["tab-chat", "theme", "language", "text tokens", "message", "system-switch", "send", "model-0",
             "set-temperature", "set-stop-texts", "defaults", "wants-logprobs"]  # fmt: skip
    assert [one for one in reached if one in order] == order
    page.focus("#tab-chat")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-completion"
    assert page.is_visible("#prompt")
    assert page.url.endswith("#completion")


@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
def test_a_phone_of_360_pixels(open_page: Open, locale: str) -> None:
    page = open_page(width=360, locale=locale, has_touch=True, is_mobile=True)
    too_wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    outside = """() => [...document.querySelectorAll("button, input, textarea, select")]
      .filter((one) => one.checkVisibility() && !one.closest(".unseen"))
      .filter((one) => one.getBoundingClientRect().right > innerWidth || one.getBoundingClientRect().left < 0)
      .map((one) => one.id)"""
    inside_box = """() => document.querySelector("#send").getBoundingClientRect().right
      < document.querySelector("#chat .box").getBoundingClientRect().right"""
    page.fill("#message", "a" * 200)
    page.tap("#send")
    page.wait_for_selector(".answer .token")
    page.wait_for_selector("body:not(.busy)")
    assert (page.evaluate(too_wide), page.evaluate(outside), page.evaluate(inside_box)) == (0, [], True)
    assert page.is_hidden("#set-temperature")
    page.locator(".token").first.tap()
    assert "98" in page.inner_text("#token-card")
    page.tap("#open-settings")
    assert page.get_attribute("#open-settings", "aria-expanded") == "true"
    assert page.evaluate("document.activeElement.id") == "close-settings"
    page.fill("#set-temperature", "9")
    assert (page.evaluate(too_wide), page.evaluate(outside)) == (0, [])
    page.keyboard.press("Escape")
    assert page.is_hidden("#set-temperature")
    assert page.evaluate("document.activeElement.id") == "open-settings"
    page.fill("#message", "wrong setting")
    page.tap("#send")
    assert page.evaluate("document.activeElement.id") == "set-temperature", "the sheet opens where the fault is"
    page.tap("#close-settings")
    for name in ("completion", "tasks"):
        page.tap(f"#tab-{name}")
        assert (page.evaluate(too_wide), page.evaluate(outside)) == (0, [])
