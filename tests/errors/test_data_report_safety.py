"""Text of a corpus is text in its report: it cannot run, load or restyle anything, and stays there to be read."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from pathlib import Path
from typing import Any

import hostile
import numpy as np
import pytest
from hostile import elements

from stepwell.data import CorpusFacts, PreparedText, StepFacts
from stepwell.data.facts import DroppedExample, SourceFacts, SplitFacts
from stepwell.studies.report import render_data_report
from stepwell.tokenizers import ByteBPEConfig, train_tokenizer

HOSTILE = [one.replace("\ud800", "") for one in hostile.HOSTILE]
"""Documents are UTF-8, which holds no half of a character."""


def hostile_text(root: Path, text: str) -> PreparedText:
    """A package in which every text, every name and every key that is free is `text`."""
    root.mkdir(exist_ok=True)
    # Twelve documents, so that it is a frequent line, a frequent word and a label with two classes.
    for name in ("train", "validation", "test"):
        data = [f"{text}\n{text} {text}".encode("utf-8", "replace")] * 12
        (root / f"{name}.bin").write_bytes(b"".join(data))
        np.save(root / f"{name}.offsets.npy", np.cumsum([0, *map(len, data)]))
        np.save(root / f"{name}.ends.npy", np.ones(12, bool))
        np.save(root / f"{name}.sources.npy", np.zeros(12, np.int32))
        rows = [json.dumps({text: text if n % 2 else text + "!", "same": text}) for n in range(12)]
        (root / f"{name}.columns.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    findings: dict[str, Any] = {
        text: text, "counts": {text: 3}, "rows": [{text: text, "n": 1}], "list": [text], "map": {text: {text: text}},
        "deep": {text: [text, {text: text}]},
    }  # fmt: skip
    kinds = (text, "near_duplicates", "decontaminate", "protect", "quality")
    steps = [
        StepFacts(kind, 9, 7, 90, 70, 0.5, {text: 2}, {text: 1}, (DroppedExample(text, text, text * 3),), findings)
        for kind in kinds
    ]
    facts = CorpusFacts(
        sources=(SourceFacts(text, 36, 1000),), documents=36, bytes=1000, characters=900, duplicates=2,
        languages={text: 0.6, "zh": 0.4}, splits=dict.fromkeys(("train", "validation", "test"), SplitFacts(12, 300)),
        problems=(text, text), steps=steps,
    )  # fmt: skip
    return PreparedText(text, root, facts)


def page_of(root: Path, text: str) -> str:
    prepared = hostile_text(root, text)
    tokenizer = train_tokenizer([text * 4] * 50, ByteBPEConfig(vocab_size=300))
    return render_data_report(prepared, tokenizer=tokenizer, label_column=text, recipe=text)


@pytest.mark.parametrize("text", HOSTILE, ids=[str(at) for at in range(len(HOSTILE))])
def test_hostile_text_adds_no_element_and_no_attribute(tmp_path: Path, text: str) -> None:
    found, wanted = (elements(page_of(tmp_path / name, one)) for name, one in (("a", text), ("b", "words 词语")))
    assert set(found.tags) <= set(wanted.tags)
    assert set(found.attributes) <= set(wanted.attributes)
    for tag in ("script", "style", "meta", "title", "body", "section", "h2"):
        assert found.tags.count(tag) == wanted.tags.count(tag), tag
    assert not [
        name for name in found.attributes if name.startswith("on") or name in ("href", "src", "style", "srcdoc")
    ]


@pytest.mark.parametrize("text", HOSTILE[:12], ids=[str(at) for at in range(12)])
def test_hostile_text_is_still_there_to_read(tmp_path: Path, text: str) -> None:
    assert html.unescape(page_of(tmp_path, text)).count(text) > 20


def test_unseen_characters_are_shown(tmp_path: Path) -> None:
    page = page_of(tmp_path, HOSTILE[13])
    assert "\u2400\u241b[31m\ufffd\ufffd" in page
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\ud800-\udfff]", page)


def test_the_page_allows_only_its_own_script_and_style(tmp_path: Path) -> None:
    page = page_of(tmp_path, HOSTILE[0])
    head = page[: page.index("<style>")]
    policy = html.unescape(re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', head)[0])
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.S)
        digest = base64.b64encode(hashlib.sha256(content.encode("utf-8")).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


@pytest.mark.slow
def test_very_long_text_does_not_make_a_very_long_page(tmp_path: Path) -> None:
    page = page_of(tmp_path, "x" * 20_000)
    assert len(page) < 400_000
