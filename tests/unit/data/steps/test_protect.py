"""Personal data: masked, counted and listed, and its value shown nowhere."""

from __future__ import annotations

import json
import pickle
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from stepwell.config import build
from stepwell.data import DataConfig, prepare_text
from stepwell.data.documents import Document
from stepwell.data.steps.protect.protecting import Protect, ProtectConfig
from stepwell.data.steps.step import Surroundings

VALUES = {
    "zhang.san@163.com.cn": "<EMAIL>",
    "13800138000": "<PHONE>",
    "11010519491231002X": "<ID_CARD>",
    "6222021234567890128": "<BANK_CARD>",
    "93.184.216.34": "<IP>",
    "AKIAIOSFODNN7EXAMPLE": "<SECRET>",
    "GB82 WEST 1234 5698 7654 32": "<IBAN>",
}


def protect(**settings) -> Protect:
    return Protect(ProtectConfig(**settings), Surroundings())


def masked(text: str, **settings) -> str:
    return protect(**settings).apply([Document(text, "a")]).kept[0].text


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("around", ["{}", "我的是{}，请记下。", "see {} or ask", "一{}二", "({})", "<b>{}</b>"])
def test_a_value_is_masked_wherever_it_stands(value: str, around: str) -> None:
    assert masked(around.format(value)) == around.format(VALUES[value])


def test_masks_are_chosen_and_put_in_once() -> None:
    text = "a@b.com 13800138000 a@b.com"
    assert masked(text, masks={"email": "[E]"}) == "[E] <PHONE> [E]"
    assert masked(text, kinds=["phone"]) == "a@b.com <PHONE> a@b.com"
    assert masked(masked(text)) == masked(text)


def test_a_pseudonym_is_the_same_for_the_same_value_within_a_document() -> None:
    text = "A@b.com, c@d.com; a@b.com; 138 0013 8000, +86-13800138000, 13900139000"
    wanted = "<EMAIL_1>, <EMAIL_2>; <EMAIL_1>; <PHONE_1>, <PHONE_1>, <PHONE_2>"
    assert masked(text, pseudonyms=True) == wanted
    assert masked("a@b.com", pseudonyms=True, masks={"email": "E"}) == "E_1"


def test_columns_are_searched_too_unless_it_is_said() -> None:
    document = Document(
        "a", "s", columns={"label": "x", "by": ["b", "a@b.com"], "n": 13800138000, "more": {"t": "拨13800138000"}}
    )
    kept = protect().apply([document]).kept[0]
    assert kept.columns == {"label": "x", "by": ["b", "<EMAIL>"], "n": 13800138000, "more": {"t": "拨<PHONE>"}}
    assert protect(columns=False).apply([document]).kept[0] == document


def test_half_a_character_in_a_column_is_no_fault() -> None:
    document = Document("a", "s", columns={"by": "\ud800 １３８00138000"})
    assert protect().apply([document]).kept[0].columns == {"by": "\ud800 <PHONE>"}


def test_what_is_told_are_places_and_never_values() -> None:
    documents = [
        Document("nothing", "a"),
        Document("write to a@b.com or a@b.com", "a"),
        Document("13800138000", "b"),
        Document("电话13800138000请拨", "a", columns={"by": "c@d.com"}),
    ]
    step = protect()
    looks = [step.look(documents[:2]), step.look(documents[2:])]
    joined = step.join(looks)
    assert joined.findings["masked"] == [
        {"kind": "email", "source": "a", "text": 1, "offset": 9, "length": 7},
        {"kind": "email", "source": "a", "text": 1, "offset": 20, "length": 7},
        {"kind": "phone", "source": "b", "text": 0, "offset": 0, "length": 11},
        {"kind": "phone", "source": "a", "text": 2, "offset": 2, "length": 11},
        {"kind": "email", "source": "a", "text": 2, "offset": 0, "length": 7, "column": 1},
    ]
    first, second = joined.known
    outcome = step.apply(documents[:2], first)
    assert outcome.changed == {"email": 1}
    assert outcome.findings == {"email": 2}
    assert step.apply(documents[2:], second).kept == protect().apply(documents[2:]).kept
    assert not outcome.dropped
    told = json.dumps(joined.findings) + repr([{name: look[name].tolist() for name in look} for look in looks])
    assert not any(value in told for value in ("a@b.com", "c@d.com", "13800138000"))
    assert protect(listed=1).join(looks).findings["masked"] == joined.findings["masked"][:1]


def test_it_is_sent_to_other_processes_after_use() -> None:
    step = protect()
    step.apply([Document("a@b.com", "a")])
    assert pickle.loads(pickle.dumps(step)).apply([Document("a@b.com", "a")]).kept[0].text == "<EMAIL>"


def test_a_shard_without_anything() -> None:
    look = protect().look([])
    assert look["document"].shape == (0,)
    assert all(value.dtype != np.object_ for value in look.values())
    assert protect().apply([], look).kept == []


def ends_of_sentences(texts):
    """A function of a user's: every full stop is a name."""
    return [[(at, at + 1) for at, one in enumerate(text) if one in ".。"] for text in texts]


def test_names_come_from_a_list(tmp_path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("Ann\n王小明\n王小\n\nAnn Lee\n", encoding="utf-8")
    names = {"kind": "list", "path": str(path)}
    assert (
        masked("Ann Lee met Ann, not Annie; 请找王小明或王小二。", names=names)
        == "<NAME> met <NAME>, not Annie; 请找<NAME>或<NAME>二。"
    )
    assert masked("Ann, 王小明, Ann", names=names, pseudonyms=True, masks={"name": "[P]"}) == "[P_1], [P_2], [P_1]"


def test_names_come_from_a_function_and_give_way_to_other_kinds(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "my_names", sys.modules[__name__])
    names = {"kind": "function", "function": "my_names:ends_of_sentences"}
    assert masked("Write to a@b.com. Or not.", names=names) == "Write to <EMAIL><NAME> Or not<NAME>"


def test_names_come_from_spacy(monkeypatch) -> None:
    class Entity:
        def __init__(self, text: str, name: str, label: str) -> None:
            self.start_char, self.label_ = text.index(name), label
            self.end_char = self.start_char + len(name)

    class Model:
        def pipe(self, texts):
            return [SimpleNamespace(ents=[Entity(one, "Ann", "PERSON"), Entity(one, "Rome", "GPE")]) for one in texts]

    monkeypatch.setitem(sys.modules, "spacy", SimpleNamespace(load=lambda model: Model()))
    assert masked("Ann is in Rome", names={"kind": "spacy", "model": "tiny"}) == "<NAME> is in Rome"


def test_a_prepared_corpus_tells_no_value_anywhere(tmp_path, small_text) -> None:
    values = ["zhang.san@163.com", "13800138000", "11010519491231002X", "ghp_16C7e42F292c6912E7710c838347Ae178B4a"]
    filler = [small_text("mixed", 600, seed=number) for number in range(120)]
    rows = [{"text": f"{text} {values[n % 4]} {text[:50]}", "by": values[0]} for n, text in enumerate(filler)]
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    steps = [{"kind": "protect", "pseudonyms": True, "listed": 50}]
    config = build(DataConfig, {"sources": str(source), "columns": ["by"], "steps": steps}, where="test")
    prepared = prepare_text(config, tmp_path / "out")
    told = [path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not any(value.encode() in data for data in told for value in values)
    facts = next(one for one in prepared.facts.steps if one.kind == "protect")
    assert facts.findings["phone"] == 30
    assert facts.findings["email"] == 30 + 120
    assert facts.changed == {"email": 120, "phone": 30, "id_card": 30, "secret": 30}
    assert len(facts.findings["masked"]) == 50
    first = facts.findings["masked"][0]
    assert rows[first["text"]]["text"][first["offset"] :].startswith(values[0])
    assert {column["by"] for column in prepared.columns("train")} == {"<EMAIL_1>"}
    assert "<PHONE_1>" in "".join(prepared.texts("train"))


def test_steps_before_it_show_no_value_either(tmp_path, small_text) -> None:
    """The examples of what an earlier step dropped."""
    rows = [small_text("en", 400, seed=number) for number in range(100)]
    rows += [f"number {number // 2}: 13800138000, a@b.com" for number in range(30)]
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in rows), encoding="utf-8")
    steps = ["duplicates", "protect"]
    prepared = prepare_text(build(DataConfig, {"sources": str(source), "steps": steps}, where="test"), tmp_path / "out")
    duplicates = next(one for one in prepared.facts.steps if one.kind == "duplicates")
    assert {one.text.partition(":")[2] for one in duplicates.examples} == {" <PHONE>, <EMAIL>"}
    told = json.dumps(prepared.facts.as_dict())
    assert not any(value in told for value in ("13800138000", "a@b.com"))


def test_no_line_that_could_not_be_read_is_quoted_with_a_value(tmp_path, small_text) -> None:
    values = ["13800138000", "zhang.san@163.com", "ghp_16C7e42F292c6912E7710c838347Ae178B4a"]
    for number, bad in enumerate(
        ['{"text": "电话13800138000 zhang.san@163.com"', '{"text": "' + "长" * 40 + values[2]]
    ):
        source = tmp_path / f"{number}.jsonl"
        rows = [json.dumps({"text": small_text("mixed", 400, seed=seed)}) for seed in range(120)]
        source.write_text("\n".join([*rows, bad]) + "\n", encoding="utf-8")
        config = build(DataConfig, {"sources": str(source), "steps": ["protect"]}, where="test")
        (problem,) = prepare_text(config, tmp_path / "out").facts.problems
        assert "1 of 121 lines could not be read" in problem
        assert not any(value[:6] in problem for value in values)


@pytest.mark.parametrize("value", VALUES)
def test_half_a_value_at_the_end_of_what_is_shown_is_left_out(value: str) -> None:
    for end in range(1, len(value) + 1):
        assert protect().shown("漫长的" * 140 + value[:end]) == "漫长的" * 140
