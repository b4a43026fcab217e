"""Chat templates: what they may use, and how they fail."""

from __future__ import annotations

import datetime

import pytest

from stepwell.errors import TokenizerError
from stepwell.tokenizers import render_chat
from stepwell.tokenizers.chat import quote_tokens, split_quoted

HELLO = [{"role": "user", "content": "hello"}]


def render(template: str, messages=HELLO, **more) -> str:
    return render_chat(template, messages, **({"add_generation_prompt": True} | more))


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ messages[0].content }}{{ tools is none }}{{ add_generation_prompt }}", "helloTrueTrue"),
        ("  {% if true %}\n  x\n  {% endif %}\n", "  x\n"),
        ("{% for m in messages %}{% generation %}{{ m.role }}{% endgeneration %}{% endfor %}", "user"),
        ("{% for n in [1, 2, 3] %}{% if n == 2 %}{% continue %}{% endif %}{{ n }}{% endfor %}", "13"),
        ("{% for n in [1, 2, 3] %}{% if n == 2 %}{% break %}{% endif %}{{ n }}{% endfor %}", "1"),
        ("{{ {'a': '<中&>'} | tojson }}", '{"a": "<中&>"}'),
        ("{{ [1] | tojson(indent=1) }}", "[\n 1\n]"),
        ("{{ nothing }}{{ bos_token }}", "<s>"),
    ],
)
def test_what_templates_use(template, text):
    assert render(template, tokens={"bos_token": "<s>"}) == text


def test_templates_know_the_day():
    assert render("{{ strftime_now('%Y') }}") in {str(datetime.date.today().year + n) for n in (-1, 0, 1)}


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% for m in messages %}", "is faulty"),
        ("a\n{{ b c }}", "line 2"),
        ("{{ raise_exception('only one turn') }}", "only one turn"),
        ("{{ messages[0].no.such }}", "has no attribute"),
        ("{{ messages[0]['content'] + 1 }}", "refuses these messages"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{% for n in range(10000000) %}{% endfor %}", "Range too big"),
    ],
)
def test_faults_are_named(template, said):
    with pytest.raises(TokenizerError, match=f"(?s)chat template: .*{said}"):
        render(template)


def test_a_conversation_has_a_message():
    with pytest.raises(TokenizerError, match="has no message"):
        render("x", messages=[])


def test_quoting_marks_special_tokens_only():
    messages = [{"role": "user", "content": [{"text": "a<s><s>b \ufdd0<s"}], "n": 3}]
    quoted = quote_tokens(messages, ["<s>", "<s><s>", ""])
    text = quoted[0]["content"][0]["text"]
    assert split_quoted(f"<s>{text}") == [("<s>a", False), ("<s><s>", True), ("b <s", False)]
    assert quoted[0]["n"] == 3
    assert quote_tokens(messages, []) == messages
