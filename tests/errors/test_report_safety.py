"""Text of a corpus, a model or a recipe is text in the report: it cannot run, load or restyle anything."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hostile import HOSTILE, elements

from stepwell.studies.report import render_report


def hostile_run(root: Path, text: str) -> Path:
    """A run in which every text, every name and every key that is free is `text`."""
    samples = [{"prompt": text, "text": text + text}]
    finding = {"name": text, "words": text, "evidence": {text: text, "list": [text], "map": {text: text}}}
    record: dict[str, Any] = {
        "round": 1, "diagnosis": text, "evidence": {text: text}, "reason": text, "metric": text,
        "value": 2.0, "low": 1.9, "high": 2.1, "before": None, "accepted": True, "seconds": 3.0,
        "change": {text: [text, text], f"a.{text}": [None, text]},
        "samples": samples, "findings": [finding],
    }  # fmt: skip
    second = record | {"round": 2, "value": 1.8, "low": 1.7, "high": 1.9, "before": 2.0, "metric": text}
    result = {
        "task": text, "metric": text, "target": 1.9, "target_met": False, "stopped_because": text,
        "rounds": 2, "seconds": 9.0,
        "validation": {text: {"value": 1.8, "low": 1.7, "high": 1.9}}, "test": None, "best": {"round": 2, "path": text},
        "baselines": [{"name": text, text: 1.95}], "samples": samples,
    }  # fmt: skip
    facts = {
        "data": {"sources": [{"source": text, "documents": 1, "bytes": 1}], "documents": 1, "languages": {text: 0.5},
                 "splits": {text: {"documents": 1, "bytes": 1, "tokens": 1}}, "problems": [text]},
        "tokenizer": {"kind": text, "vocab_size": 300, "bytes_per_token": {text: 2.0}, "examples": [text]},
        "machine": {text: text}, "environment": {text: {text: text}}, "plan": {text: [text]},
    }  # fmt: skip
    shares = {name: {"value": 0.5, "low": 0.4, "high": 0.6} for name in ("precision", "recall", "f1")}
    tagged = {"text": text, "words": [text, text], "true": ["B-" + text, "O"], "answer": ["O", text]}
    written = {"text": text, "true": text, "answer": text, "worse": text, "values": {text: 1.0}}
    labelled = {"text": text, "true": text, "answer": text, "probability": 0.5, "values": {"loss": 1.0}}
    errors = {
        "task": text, "metric": text, "num_examples": 3, "ranked_by": text, "scheme": "lenient",
        "classes": [{"name": text, "true_count": 1, "chosen_count": 1, **shares}],
        "confusion": {"labels": [text, text], "counts": [[1, 2], [0, 3]]},
        "confused": [{"true": text, "chosen": text, "count": 1, "true_ratio": 0.5, "examples": [text]}],
        "calibration": [{"confidence": 0.5, "accuracy": 0.4, "count": 3}],
        "slices": {"source": [{"key": text, "num_examples": 1, "value": 1.0}], text: [{"key": text, "value": 1.0}]},
        "worst": [tagged, written], "drawn": [labelled],
    }  # fmt: skip
    metrics = [{"kind": "step", "step": 1, "loss": 2.0, "tokens": 9}, {"kind": "evaluation", "step": 1, text: 1.9},
               {"kind": "event", "step": 1, "event": text, "detail": text}]  # fmt: skip
    (root / "rounds" / "01").mkdir(parents=True)
    (root / "rounds" / "01" / "metrics.jsonl").write_text("\n".join(map(json.dumps, metrics)), encoding="utf-8")
    (root / "journal.jsonl").write_text(json.dumps(record) + "\n" + json.dumps(second) + "\n", encoding="utf-8")
    (root / "result.json").write_text(json.dumps(result), encoding="utf-8")
    (root / "errors.json").write_text(json.dumps(errors), encoding="utf-8")
    (root / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
    recipe = text.encode("utf-8", "replace").decode()
    (root / "recipe.yaml").write_text(f"# {recipe}\nname: {json.dumps(recipe)}\n", encoding="utf-8")
    return root


@pytest.mark.parametrize("text", HOSTILE, ids=[str(at) for at in range(len(HOSTILE))])
def test_hostile_text_adds_no_element_and_no_attribute(tmp_path: Path, text: str) -> None:
    page = render_report(hostile_run(tmp_path / "a", text))
    plain = render_report(hostile_run(tmp_path / "b", "words"))
    found, wanted = elements(page), elements(plain)
    assert set(found.tags) <= set(wanted.tags)
    assert set(found.attributes) <= set(wanted.attributes)
    for tag in ("script", "style", "meta", "title", "body"):
        assert found.tags.count(tag) == wanted.tags.count(tag), tag
    assert not [
        name for name in found.attributes if name.startswith("on") or name in ("href", "src", "style", "srcdoc")
    ]


@pytest.mark.parametrize("text", HOSTILE[:12], ids=[str(at) for at in range(12)])
def test_hostile_text_is_still_there_to_read(tmp_path: Path, text: str) -> None:
    page = render_report(hostile_run(tmp_path, text))
    assert text in html.unescape(page)


def test_unseen_characters_are_shown(tmp_path: Path) -> None:
    page = render_report(hostile_run(tmp_path, HOSTILE[13]))
    assert "\u2400\u241b[31m\ufffd\ufffd\ufffd" in page
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\ud800-\udfff]", page)


def test_the_page_allows_only_its_own_script_and_style(tmp_path: Path) -> None:
    page = render_report(hostile_run(tmp_path, HOSTILE[0]))
    head = page[: page.index("<style>")]
    policy = html.unescape(re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', head)[0])
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.S)
        digest = base64.b64encode(hashlib.sha256(content.encode("utf-8")).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_names_of_the_run_directory_are_quoted(tmp_path: Path) -> None:
    run = tmp_path / "a'; rm -rf $HOME; <b>"
    page = html.unescape(render_report(hostile_run(run, "words")))
    assert "'\"'\"'; rm -rf $HOME; <b>'" in page
    assert "<b>'" not in render_report(run)
