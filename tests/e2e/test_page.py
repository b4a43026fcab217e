"""The page of the server in a real browser: what people do with it, and what it asks of the server.

The server is a small one (`page_server`), so that each fault can be brought about. The tests are skipped where there
is no Chromium: STEPWELL_CHROMIUM names one, else the usual names are looked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from page_server import MODELS, PageServer, answers, asked, say, told

pytestmark = pytest.mark.slow

HOSTILE = '<img src=x onerror="window.hurt=1"><b>bold</b><script>window.hurt=2</script> **stars** &amp;'

Open = Callable[..., Any]


def test_a_conversation_is_streamed_and_goes_on(open_page: Open, server: PageServer) -> None:
    page = open_page()
    say(page, "hello there")
    assert answers(page) == ["river-135m heard: hello there"]
    say(page, "and then?")
    assert answers(page)[1] == "river-135m heard: and then?"
    first, second = asked(server)
    assert [path for path, _ in server.asked] == ["/v1/chat/completions"] * 2
    assert told(first) == [("user", "hello there")]
    assert told(second) == [
        ("user", "hello there"),
        ("assistant", "river-135m heard: hello there"),
        ("user", "and then?"),
    ]
    assert (first["model"], first["stream"], first["stream_options"]) == ("river-135m", True, {"include_usage": True})
    assert page.input_value("#message") == ""
    assert page.locator(".meta").first.text_content().startswith("4 tokens")  # type: ignore[union-attr]
    assert page.text_content("#news") == "The answer is finished."


def test_a_conversation_survives_loading_the_page_again(open_page: Open, server: PageServer) -> None:
    page = open_page()
    say(page, f"first {HOSTILE}")
    page.reload()
    page.wait_for_selector("#models label")
    assert answers(page) == [f"river-135m heard: first {HOSTILE}"]
    assert page.evaluate("window.hurt") is None
    say(page, "second")
    assert [text for _, text in told(asked(server)[1])] == [
        f"first {HOSTILE}",
        f"river-135m heard: first {HOSTILE}",
        "second",
    ]
    page.locator(".answer").first.get_by_role("button", name="Once more").click()
    page.wait_for_selector("body:not(.busy)")
    assert told(asked(server)[2]) == [("user", f"first {HOSTILE}")]
    page.reload()
    page.wait_for_selector("#models label")
    assert len(answers(page)) == 1, "what was cut away stays away"
    page.fill("#message", "slow")
    page.press("#message", "Control+Enter")
    page.locator(".token").nth(6).wait_for()
    page.reload()
    page.wait_for_selector("#models label")
    assert page.locator(".said .text").all_inner_texts()[1:] == ["slow"], "what was asked is kept while it is answered"
    page.click("#chat-clear")
    page.reload()
    page.wait_for_selector("#models label")
    assert answers(page) == []


def test_a_system_message_is_sent_while_its_field_is_open(open_page: Open, server: PageServer) -> None:
    page = open_page()
    page.click("#system-switch")
    page.fill("#system", "Be brief.")
    say(page, "hi")
    page.click("#system-switch")
    say(page, "ho")
    assert told(asked(server)[0])[0] == ("system", "Be brief.")
    assert [role for role, _ in told(asked(server)[1])] == ["user", "assistant", "user"]


def test_sampling_is_sent_as_it_is_set_and_remembered(open_page: Open, server: PageServer) -> None:
    page = open_page()
    say(page, "plain")
    plain = asked(server)[0]
    known = {"model", "messages", "stream", "stream_options", "logprobs", "top_logprobs", "max_tokens"}
    assert (set(plain), plain["max_tokens"]) == (known, 256), "what is empty is left to the model"
    values = {"temperature": 0.7, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "repetition_penalty": 1.1, "seed": 3}
    for name, value in values.items():
        page.fill(f"#set-{name}", str(value))
    page.fill("#set-stop-texts", "\\n\\nUser:\nEND")
    page.press("#set-max_tokens", "ArrowUp")
    page.uncheck("#wants-logprobs")
    say(page, "set")
    wanted = {**values, "max_tokens": 257, "stop": ["\n\nUser:", "END"]}
    assert {name: asked(server)[1].get(name) for name in wanted} == wanted
    assert "logprobs" not in asked(server)[1]
    page.reload()
    page.wait_for_selector("#models label")
    assert page.input_value("#set-temperature") == "0.7"
    page.click("#defaults")
    assert [page.input_value(f"#set-{name}") for name in ("temperature", "seed", "stop-texts")] == ["", "", ""]
    assert page.input_value("#set-max_tokens") == "256"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("temperature", "hot", "Temperature: a number from 0 to 2"),
        ("temperature", "NaN", "Temperature: a number from 0 to 2"),
        ("top_p", "1.5", "Top p: a number from 0.01 to 1"),
        ("top_k", "2.5", "Top k: a whole number"),
        ("max_tokens", "0", "Longest answer: a number from 1"),
        ("seed", "-1", "Seed: a number from 0"),
    ],
)
def test_a_wrong_setting_is_said_and_nothing_is_sent(
    open_page: Open, server: PageServer, name: str, value: str, words: str
) -> None:
    page = open_page()
    page.fill(f"#set-{name}", value)
    assert page.text_content(f"#set-{name}-wrong") == words
    page.fill("#message", "keep me")
    page.press("#message", "Control+Enter")
    assert page.evaluate("document.activeElement.id") == f"set-{name}"
    assert (page.input_value("#message"), server.asked) == ("keep me", [])


def test_probabilities_are_told_by_pointing_and_by_keys(open_page: Open) -> None:
    page = open_page()
    say(page, "one two three")
    spans = page.locator(".answer .token")
    assert spans.all_text_contents() == ["river-135m", " heard:", " one", " two", " three"]
    card = page.locator("#token-card")
    spans.nth(1).hover()
    rows = [" ".join(text.split()) for text in card.locator("li").all_inner_texts()]
    assert rows == ["␣heard: 40.7% drawn", "other 33.3%", "␣some 11.1%", "↵ 1.8%"]
    page.hover(".brand")
    assert card.is_hidden()
    page.focus(".answer .tokens")
    page.keyboard.press("ArrowRight")
    assert "98%" in card.inner_text()
    page.keyboard.press("End")
    assert spans.nth(4).evaluate("one => one === document.activeElement")
    assert "0.25%" in card.inner_text()
    page.keyboard.press("Escape")
    assert card.is_hidden()
    page.check("#shade")
    assert "unlikely-4" in (spans.nth(4).get_attribute("class") or "")


def test_several_models_answer_side_by_side(open_page: Open, server: PageServer) -> None:
    page = open_page()
    page.check("#model-1")
    say(page, "hello")
    assert answers(page) == ["river-135m heard: hello", "hill-60m heard: hello"]
    one, two = (page.locator(".answer").nth(place).bounding_box() for place in (0, 1))
    assert one["y"] == two["y"]
    assert one["x"] + one["width"] <= two["x"]
    say(page, "again")
    by_model = {body["model"]: told(body) for body in asked(server)[2:]}
    assert by_model["hill-60m"][1] == ("assistant", "hill-60m heard: hello"), "each goes on with its own words"
    assert by_model["river-135m"][1] == ("assistant", "river-135m heard: hello")
    page.uncheck("#model-0")
    page.click("#model-1")
    assert page.is_checked("#model-1"), "one has to answer"


@pytest.mark.parametrize("how", ["Escape", "button"])
def test_an_answer_is_stopped(open_page: Open, server: PageServer, how: str) -> None:
    page = open_page()
    page.fill("#message", "slow")
    page.press("#message", "Control+Enter")
    page.locator(".token").nth(6).wait_for()
    if how == "Escape":
        page.keyboard.press("Escape")
    else:
        page.click("#chat-stop")
    page.wait_for_selector("body:not(.busy)")
    assert server.left.acquire(timeout=10), "the server saw that the client went"
    assert "stopped" in page.inner_text(".meta")
    assert page.is_visible("#send")
    say(page, "go on")
    assert told(asked(server)[1])[1][1].startswith("river-135m heard: slow more"), "what was said so far counts"


def test_an_answer_is_drawn_once_more(open_page: Open, server: PageServer) -> None:
    page = open_page()
    say(page, "first")
    say(page, "second")
    page.locator(".turn").nth(1).get_by_role("button", name="Once more").click()
    page.wait_for_selector("body:not(.busy)")
    assert told(asked(server)[2]) == told(asked(server)[1])
    page.locator(".turn").nth(0).get_by_role("button", name="Once more").click()
    page.wait_for_selector("body:not(.busy)")
    assert told(asked(server)[3]) == [("user", "first")]
    assert page.locator(".turn").count() == 1, "what came after it is gone"


def test_a_message_is_edited_and_sent_again(open_page: Open, server: PageServer) -> None:
    page = open_page()
    say(page, "first")
    say(page, "second")
    page.locator(".turn").nth(0).get_by_role("button", name="Edit").click()
    page.keyboard.press("Escape")
    assert page.locator(".said textarea").count() == 0
    page.locator(".turn").nth(0).get_by_role("button", name="Edit").click()
    field = page.locator(".said textarea")
    assert field.input_value() == "first"
    field.fill("better")
    field.press("Control+Enter")
    page.wait_for_selector("body:not(.busy)")
    assert told(asked(server)[2]) == [("user", "better")]
    assert answers(page) == ["river-135m heard: better"]


def test_what_is_said_is_never_read_as_html(open_page: Open, server: PageServer) -> None:
    server.models[0]["id"] = "<i>river</i>"
    page = open_page()
    say(page, HOSTILE)
    page.reload()
    page.wait_for_selector("#models label")
    say(page, HOSTILE)
    assert page.locator(".said .text").all_inner_texts() == [HOSTILE] * 2
    assert answers(page) == [f"<i>river</i> heard: {HOSTILE}"] * 2, "the first as it was remembered"
    page.click("#tab-completion")
    page.fill("#prompt", HOSTILE)
    page.click("#complete")
    page.wait_for_selector("#completions .acts button")
    assert page.locator("main img, main b, main i, main main script, #settings i").count() == 0
    assert page.evaluate("window.hurt") is None


def test_a_conversation_is_copied_exported_and_cleared(open_page: Open, tmp_path: Path) -> None:
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    page.check("#model-1")
    say(page, "hello")
    page.locator(".answer").nth(1).get_by_role("button", name="Copy").click()
    page.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == "hill-60m heard: hello"
    with page.expect_download() as download:
        page.click("#chat-export")
    download.value.save_as(tmp_path / "said.json")
    saved = json.loads((tmp_path / "said.json").read_text(encoding="utf-8"))
    assert download.value.suggested_filename == "conversation.json"
    assert saved["sampling"] == {"max_tokens": 256}
    assert saved["conversations"][1] == {
        "model": "hill-60m",
        "messages": [
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": "hill-60m heard: hello"},
        ],
    }
    page.click("#chat-clear")
    assert page.locator(".turn").count() == 0
    assert page.is_visible("#chat h1")
    assert page.is_disabled("#chat-export")


@pytest.mark.parametrize(
    ("said", "english", "chinese"),
    [
        ("busy", "The server is busy. Try again in 7 s.", "服务器繁忙，请在 7 秒后再试。"),
        ("long", "This is longer than the model can read.", "内容超出了模型的读取长度。"),
        ("fault", "The server refused this.\n\ntemperature: at most 2", "服务器拒绝了该请求。"),
        ("break", "The connection broke off before the answer was finished.", "回答尚未结束，连接中断。"),
        ("fail", "Something went wrong in the server.\n\nthe model gave NaN", "服务器出错。"),
    ],
)
def test_faults_are_said_in_words(open_page: Open, said: str, english: str, chinese: str) -> None:
    for locale, words in (("en-US", english), ("zh-CN", chinese)):
        page = open_page(locale=locale)
        say(page, said)
        assert words in page.inner_text(".answer .trouble")
        page.get_by_role("button", name=re.compile("Try again|重试")).click()
        page.wait_for_selector("body:not(.busy)")
        assert page.locator(".turn").count() == 1


def test_a_server_that_is_gone_and_comes_back(open_page: Open, server: PageServer) -> None:
    page = open_page()
    page.context.set_offline(True)
    say(page, "hello")
    assert page.inner_text(".answer .trouble") == "The server cannot be reached. Is it running?"
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    page.wait_for_selector(".answer .token")
    say(page, "nothing")
    assert answers(page)[-1] == "(nothing: the model ended at once)"
    say(page, "cut")
    assert "cut at the longest length" in page.locator(".meta").last.inner_text()
    assert told(asked(server)[-1]) == [("user", "hello"), ("assistant", "river-135m heard: hello"), ("user", "cut")]


def test_a_key_is_asked_for_and_kept_in_the_tab_alone(open_page: Open, server: PageServer) -> None:
    server.key = "secret"
    page = open_page(loaded=False)
    page.wait_for_selector("#key-field:focus")
    assert page.inner_text("#trouble") == ""
    page.fill("#message", "too early")
    page.press("#message", "Control+Enter")
    page.wait_for_selector("#key-field:focus")
    assert (page.input_value("#message"), server.asked) == ("too early", [])
    page.fill("#key-field", "wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector("#trouble .wrong")
    assert "The server does not take this key." in page.inner_text("#trouble")
    page.fill("#key-field", "secret")
    page.keyboard.press("Enter")
    page.wait_for_selector("#models label")
    assert page.is_hidden("#key")
    say(page, "hello")
    assert answers(page) == ["river-135m heard: hello"]
    assert "secret" not in page.evaluate("JSON.stringify(localStorage)")
    page.reload()
    page.wait_for_selector("#models label")
    server.key = "another"
    say(page, "hello")
    assert "does not take this key" in page.locator(".answer .trouble").last.inner_text()
    assert page.is_visible("#key-field")


def test_a_text_is_gone_on_with(open_page: Open, server: PageServer) -> None:
    page = open_page("#completion")
    assert page.locator("#models label").count() == 3, "models without a chat template can do this"
    page.check("#model-2")
    page.fill("#prompt", "Once upon")
    page.press("#prompt", "Control+Enter")
    page.wait_for_selector("#completions .answer:nth-child(2) .acts button")
    page.wait_for_selector("body:not(.busy)")
    path, body = server.asked[0]
    assert (path, body["prompt"], body["logprobs"]) == ("/v1/completions", "Once upon", 5)
    assert {body["model"] for body in asked(server)} == {"river-135m", "novel"}
    page.locator("#completions .token").nth(0).hover()
    assert page.locator("#token-card li").count() == 4
    page.locator(".answer").nth(1).get_by_role("button", name="Take over").click()
    assert page.input_value("#prompt") == "Once upon" + "novel heard: Once upon"
    page.locator(".answer").nth(1).get_by_role("button", name="Once more").click()
    page.wait_for_selector("body:not(.busy)")
    assert (asked(server)[2]["prompt"], asked(server)[2]["model"]) == ("Once upon", "novel")
    assert page.locator(".answer").count() == 2
    page.fill("#prompt", "slow")
    page.press("#prompt", "Control+Enter")
    page.locator(".token").nth(12).wait_for()
    page.keyboard.press("Escape")
    page.wait_for_selector("body:not(.busy)")
    assert server.left.acquire(timeout=10)


def test_task_models_have_a_pane(open_page: Open, server: PageServer) -> None:
    page = open_page("#tasks")
    assert page.locator("#task-model option").all_text_contents() == [
        "reviews · labels",
        "news · tags",
        "en-zh · translation",
    ]
    assert page.is_hidden("#settings")
    page.fill("#texts", "A fine room.\n\n🚆 The way to Vienna.")
    page.press("#texts", "Control+Enter")
    page.wait_for_selector("#told li")
    assert server.asked == [("/classify", {"model": "reviews", "input": ["A fine room.", "🚆 The way to Vienna."]})]
    assert " ".join(page.locator("#told .drawn").first.inner_text().split()) == "good 84%"
    page.select_option("#task-model", index=1)
    page.click("#ask")
    page.wait_for_selector("#told mark")
    assert page.inner_text("#told mark") == "ViennaPLACE"
    assert page.locator("#told > li").first.inner_text().endswith("nothing found")
    page.select_option("#task-model", index=2)
    page.click("#ask")
    page.wait_for_selector("#told bdi")
    assert page.locator("#told bdi").all_text_contents() == ["译：A fine room.", "译：🚆 The way to Vienna."]


def test_only_what_the_models_can_do_is_shown(open_page: Open, server: PageServer) -> None:
    server.models = [dict(MODELS[0])]
    page = open_page("#tasks")
    assert page.is_hidden("#tab-tasks")
    assert page.is_visible("#message")
    server.models = [{"id": "bare"}]  # a server that tells no more than OpenAI's
    page = open_page()
    say(page, "hello")
    assert answers(page) == ["bare heard: hello"]
    server.models = [dict(MODELS[2])]
    page = open_page()
    assert page.is_visible("#prompt"), "a model without a chat template goes on with texts"
    server.models = [dict(MODELS[3])]
    page = open_page(loaded=False)
    page.wait_for_selector("#texts", state="visible")
