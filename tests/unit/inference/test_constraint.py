"""Output that keeps to a grammar: it always does, whatever the model would rather say."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import pytest
import tokenizers
import torch
from tokenizers import decoders, models

from stepwell.errors import UsageError
from stepwell.inference import Completion, Sampling, SamplingParams, draw, generate, generate_many, stream
from stepwell.models import EncoderDecoderConfig, build_model
from stepwell.tokenizers import (
    ByteBPEConfig,
    Roles,
    Tokenizer,
    TrainedConfig,
    UnigramConfig,
    WordPieceConfig,
    train_tokenizer,
)

pytest.importorskip("llguidance")

TEXTS = ['{"name": "well", "steps": [1, 22, 333], "deep": true}', "the red cat sat; yes, no or 12:30?"] * 20
FAMILIES: dict[str, TrainedConfig] = {
    "bytes": ByteBPEConfig(vocab_size=257),
    "byte pairs": ByteBPEConfig(vocab_size=330),
    "unigram": UnigramConfig(vocab_size=330),
    "word pieces": WordPieceConfig(vocab_size=540),
}


@pytest.fixture(scope="module", params=FAMILIES)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return train_tokenizer(TEXTS, FAMILIES[request.param])


def written(tiny_model: Any, tokenizer: Tokenizer, prompt: str = "x", **asked: Any) -> list[Completion]:
    model = tiny_model(256, vocab_size=tokenizer.vocab_size)
    params = SamplingParams(**{"seed": 1, "n": 8, "max_tokens": 240, **asked})
    return generate(model, tokenizer, prompt, params)


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "steps": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 99}, "maxItems": 3},
        "deep": {"type": "boolean"},
        "kind": {"enum": ["step", "well", "井"]},
    },
    "required": ["name", "steps", "deep", "kind"],
    "additionalProperties": False,
    "x-guidance": {"whitespace_flexible": False},
}


def test_a_schema_is_kept_to(tiny_model, tokenizer):
    for one in written(tiny_model, tokenizer, json_schema=SCHEMA):
        assert one.finish_reason == "stop"
        value = json.loads(one.text)
        assert list(value) == ["name", "steps", "deep", "kind"]
        assert len(value["name"]) <= 6
        assert len(value["steps"]) <= 3
        assert all(0 <= step <= 99 for step in value["steps"])
        assert value["kind"] in SCHEMA["properties"]["kind"]["enum"]


def test_a_regular_expression_is_kept_to(tiny_model, tokenizer):
    texts = [one.text for one in written(tiny_model, tokenizer, regex=r"[0-2][0-9]:[0-5][0-9](, (red|yes) ?)?")]
    assert all(re.fullmatch(r"[0-2][0-9]:[0-5][0-9](, (red|yes) ?)?", text) for text in texts)
    assert len(set(texts)) > 3


CHOICE = ("yes", "yes, no", 'the "cat"', "12\n30", "井\\d")


def test_a_choice_is_kept_to(tiny_model, tokenizer):
    some = CHOICE if tokenizer.is_lossless else CHOICE[:2]
    found = written(tiny_model, tokenizer, choice=some, n=30)
    assert {one.text for one in found} <= set(some)
    assert len({one.text for one in found}) > 1
    assert {one.finish_reason for one in found} == {"stop"}


GRAMMAR = """
start: sum
sum: NUMBER | "(" sum ("+" | "-") NUMBER ")"
NUMBER: /[1-9][0-9]?/
"""


def test_a_grammar_is_kept_to(tiny_model, tokenizer):
    for one in written(tiny_model, tokenizer, grammar=GRAMMAR):
        if one.finish_reason == "stop":
            assert isinstance(eval(one.text), int)
            assert re.fullmatch(r"[()+\-0-9]+", one.text)
        else:
            assert one.text.startswith("((("), "it never ends to open brackets"


@pytest.mark.parametrize("temperature", [0.0, 5.0])
def test_it_is_kept_to_at_any_temperature_and_beside_other_rules(tiny_model, byte_tokenizer, temperature):
    asked = {"temperature": temperature, "top_p": 0.9, "repetition_penalty": 1.3, "presence_penalty": 0.5}
    for one in written(tiny_model, byte_tokenizer, regex="(ab|cd){3}e?", n=5, **asked):
        assert re.fullmatch("(ab|cd){3}e?", one.text)


def test_it_ends_as_soon_as_the_grammar_can_only_stop(tiny_model, byte_tokenizer):
    (one,) = written(tiny_model, byte_tokenizer, regex="[ab]{4}", n=1)
    assert (len(one.token_ids), len(one.text), one.finish_reason) == (4, 4, "stop")
    (open_end,) = written(tiny_model, byte_tokenizer, regex="[ab]{2,3}", n=1, temperature=0, logit_bias={0: 100})
    assert (open_end.text, open_end.token_ids[-1]) == (open_end.text[:2], byte_tokenizer.eos_id)


def test_a_stream_and_a_batch_say_the_same(tiny_model, byte_tokenizer):
    model, params = tiny_model(64), SamplingParams(seed=3, n=2, max_tokens=40, json_schema={"type": "boolean"})
    alone = generate(model, byte_tokenizer, "is it", params)
    (together, _) = generate_many(model, byte_tokenizer, ["is it", "well"], params)
    assert together == alone
    pieces = list(stream(model, byte_tokenizer, "is it", params))
    for index, one in enumerate(alone):
        assert "".join(piece.text for piece in pieces if piece.index == index) == one.text
        assert one.text in ("true", "false")


def test_rows_with_and_without_a_grammar_stand_side_by_side(byte_tokenizer):
    def rows() -> list[Sampling]:
        asked: list[dict[str, Any]] = [{}, {"regex": "[a-f]+"}, {"choice": ["yes", "no"]}, {"temperature": 0}]
        return [Sampling(SamplingParams(seed=2, **one), 0, [], byte_tokenizer) for one in asked]

    together, alone = rows(), rows()
    for step in range(2):
        logits = torch.randn(4, 257, generator=torch.Generator().manual_seed(step))
        logits[:, 0] = -9.0
        assert draw(together, logits) == [draw([one], logits[at : at + 1])[0] for at, one in enumerate(alone)]
    assert [one.is_finished for one in together][:2] == [False, False]


def with_leading_blanks(family: str) -> Tokenizer:
    """A vocabulary whose first token loses its blank: `▁the` as sentencepiece writes it, `the` and `##s` as BERT."""
    words, letters = ["the", "red", "cat", "yes", "no", "or"], sorted(set("theredcatyesnoor"))
    if family == "sentencepiece":
        pieces = ["<unk>", "</s>", "\u2581", *(f"\u2581{word}" for word in words), *letters]
        backend = tokenizers.Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=0))
        blanks = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        backend.decoder = decoders.Sequence(blanks)
    else:
        pieces = ["[UNK]", "</s>", *words, *letters, *(f"##{letter}" for letter in letters)]
        numbers = {piece: n for n, piece in enumerate(pieces)}
        backend = tokenizers.Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
        backend.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    backend.add_special_tokens([pieces[0], "</s>"])
    return Tokenizer(backend, Roles(bos_id=1, eos_id=1))


@pytest.mark.parametrize("family", ["sentencepiece", "BERT"])
def test_a_text_that_opens_is_what_is_shown(family):
    """Of a source another text is made, which begins without the blank that its first token has."""
    tokenizer = with_leading_blanks(family)
    config = EncoderDecoderConfig(
        vocab_size=tokenizer.vocab_size, max_seq_len=48, num_layers=1, d_model=16, num_heads=2, num_kv_heads=2,
        head_dim=8, d_ff=16, prompt="source",
    )  # fmt: skip
    model = build_model(config, seed=1)
    choice = ["the red cat", "yes", "no or yes"]
    found = generate(model, tokenizer, "cat", SamplingParams(seed=1, n=30, choice=choice))
    assert {one.text for one in found} == set(choice)
    whole = {tokenizer.token_id(f"{blank}{word}") for word in ("the", "yes", "no") for blank in ("\u2581", "")}
    assert {one.token_ids[0] for one in found} & whole, "tokens that begin a word begin the text"
    begins = tokenizer.token_id("\u2581the" if family == "sentencepiece" else "the")
    going_on = Sampling(SamplingParams(choice=choice), 0, [], tokenizer)
    assert not going_on.constraint.allowed()[begins]
    blank = Sampling(SamplingParams(choice=[f" {text}" for text in choice]), 0, [], tokenizer)
    assert blank.constraint.allowed()[begins]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"json_schema": {"type": "boolea"}}, "boolea"),
        ({"json_schema": {"type": "string", "minLength": 5, "maxLength": 2}}, "minLength"),
        ({"json_schema": {"type": "array", "uniqueItems": True}}, "uniqueItems"),
        ({"json_schema": {"$ref": "#/nowhere"}}, "nowhere"),
        ({"regex": "a("}, "unclosed group"),
        ({"regex": r"(a)\1"}, "regex"),
        ({"grammar": "start: foo"}, "foo"),
        ({"grammar": "no grammar"}, "no"),
    ],
    ids=str,
)
def test_a_faulty_grammar_is_refused_in_words(byte_tokenizer, asked, words):
    with pytest.raises(UsageError) as error:
        Sampling(SamplingParams(**asked), 0, [], byte_tokenizer)
    (name,) = asked
    assert error.value.what == f"{name}: cannot be used"
    assert words in (error.value.got or "")
    assert error.value.wanted
    assert error.value.do


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"json_schema": "{"}, "json_schema"),
        ({"json_schema": "[1]"}, "json_schema"),
        ({"json_schema": True}, "json_schema"),
        ({"regex": ""}, "regex"),
        ({"choice": ["a", ""]}, "choice"),
        ({"regex": "a", "choice": ["a"]}, "regex and choice: only one"),
        ({"regex": "a", "ignore_eos": True}, "ignore_eos: not with regex"),
    ],
    ids=str,
)
def test_what_is_no_grammar_at_all_is_refused_before(asked, words):
    with pytest.raises(ValueError, match=words):
        SamplingParams(**asked)


def test_a_text_that_the_vocabulary_cannot_write_is_refused():
    tokenizer = with_leading_blanks("sentencepiece")
    one = Sampling(SamplingParams(choice=["井"]), 0, [], tokenizer)
    with pytest.raises(UsageError, match="cannot be followed") as error:
        draw([one], torch.zeros(1, tokenizer.vocab_size))
    assert "NoExtension" in str(error.value)


def test_a_grammar_and_rules_that_leave_nothing(byte_tokenizer):
    one = Sampling(SamplingParams(regex="aa", bad_words="a"), 0, [], byte_tokenizer)
    with pytest.raises(UsageError, match="no token is left") as error:
        draw([one], torch.zeros(1, 257))
    assert "regex='aa'" in str(error.value)


def test_without_the_library_it_says_what_to_install(byte_tokenizer, monkeypatch):
    monkeypatch.setitem(sys.modules, "llguidance", None)
    tokenizer = train_tokenizer([], ByteBPEConfig(vocab_size=257))  # one that no grammar was read with
    with pytest.raises(UsageError, match="stepwell\\[constrained\\]"):
        Sampling(SamplingParams(regex="a"), 0, [], tokenizer)
