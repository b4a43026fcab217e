"""Tokenizers of every kind that stepwell trains, as transformers reads them; unigram pieces beside sentencepiece's."""

from __future__ import annotations

import gzip
import io
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell.export.tokenizer_files import write_tokenizer
from stepwell.tokenizers import (
    ByteBPEConfig,
    CharacterConfig,
    Tokenizer,
    UnigramConfig,
    WordLevelConfig,
    WordPieceConfig,
    extend_tokenizer,
    read_tokenizer,
    train_tokenizer,
)

transformers = pytest.importorskip("transformers")

CONFIGS: dict[str, Any] = {
    "byte_bpe": ByteBPEConfig(vocab_size=600, pre_tokenizer="gpt2", digits="single"),
    "unigram": UnigramConfig(vocab_size=700),
    "unigram without bytes": UnigramConfig(vocab_size=700, byte_fallback=False, chinese="characters"),
    "wordpiece": WordPieceConfig(vocab_size=900),
    "wordpiece without bytes": WordPieceConfig(vocab_size=600, byte_fallback=False, pre_tokenizer="whitespace"),
    "character": CharacterConfig(vocab_size=400),
    "word": WordLevelConfig(vocab_size=400),
}
TEXTS = [
    "The miller forgot the gate, by the river.",
    "  two  blanks\n\n\tand 12345 lines \r\n",
    "老渔夫在河边带来了一盏灯。第一回　甄士隐",
    "👩‍👩‍👧 ☃ naïve \0 ## <unk> <0x41>",
]
LETTERS = [*"abdeghilmnorstuwy ,.'017\n\t的河，\u3000éÉ☃👧ﬁ▁#<>|", "  ", "##", "<0x41>", " the"]


@pytest.fixture(scope="module")
def made(small_text, tmp_path_factory) -> dict[str, tuple[Tokenizer, Any, Path]]:
    """For each kind the tokenizer, transformers' of its export, and the folder."""
    texts = small_text("mixed", 15_000).splitlines(keepends=True)
    found = {}
    for name, config in CONFIGS.items():
        ours = train_tokenizer(texts, config)
        found[name] = ours
    found["extended"] = extend_tokenizer(found["unigram"], ["甄士隐梦幻识通灵"] * 4, 20)
    pairs = {}
    for name, ours in found.items():
        folder = tmp_path_factory.mktemp("export")
        write_tokenizer(folder, ours, max_seq_len=64)
        pairs[name] = (ours, transformers.AutoTokenizer.from_pretrained(folder), folder)
    return pairs


@pytest.mark.parametrize("name", [*CONFIGS, "extended"])
@pytest.mark.parametrize("text", TEXTS)
def test_transformers_writes_the_same_ids(made, name, text):
    ours, theirs, _ = made[name]
    ids = ours.encode(text).tolist()
    assert theirs(text)["input_ids"] == [ours.bos_id, *ids]
    assert theirs(text, add_special_tokens=False)["input_ids"] == ids
    if ours.is_lossless:
        assert theirs.decode(ids, skip_special_tokens=True) == text


@pytest.mark.parametrize("name", [*CONFIGS, "extended"])
def test_text_spells_no_special_token_there(made, name):
    ours, theirs, _ = made[name]
    assert 0 not in theirs("a <|endoftext|> b", add_special_tokens=False)["input_ids"]
    assert theirs.eos_token_id == ours.eos_id


@pytest.mark.parametrize("name", [*CONFIGS, "extended"])
def test_the_export_is_read_back(made, name):
    ours, _, folder = made[name]
    back = read_tokenizer(folder)
    assert [ids.tolist() for ids in back.encode_many(TEXTS)] == [ids.tolist() for ids in ours.encode_many(TEXTS)]
    assert (back.vocab_size, back.eos_id, back.special_ids) == (ours.vocab_size, ours.eos_id, ours.special_ids)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(LETTERS), max_size=25).map("".join))
def test_any_text(made, text):
    for ours, theirs, _ in made.values():
        assert theirs(text, add_special_tokens=False)["input_ids"] == ours.encode(text).tolist()


@pytest.mark.slow
@pytest.mark.parametrize(("language", "vocab_size"), [("en", 3000), ("zh", 5000)])
def test_unigram_pieces_are_as_good_as_those_of_sentencepiece(real_data, language, vocab_size):
    """As many pieces of the same words, and they write held-out words in as few tokens."""
    sentencepiece = pytest.importorskip("sentencepiece")
    if language == "en":
        words = re.findall(r"[A-Za-z]+", real_data("lm/wikitext2-valid.txt").read_text(encoding="utf-8"))[:60_000]
    else:
        novel = gzip.decompress(real_data("lm/xiyouji.zh.txt.gz").read_bytes()).decode()
        words = re.findall("[\u4e00-\u9fff]+", novel)[:15_000]
    lines = [" ".join(words[at : at + 50]) for at in range(0, len(words), 50)]
    held_out, lines = lines[::10], [line for n, line in enumerate(lines) if n % 10]
    settings = {"pre_tokenizer": "whitespace", "character_coverage": 1.0, "byte_fallback": False}
    ours = train_tokenizer(lines, UnigramConfig(vocab_size=vocab_size, **settings))
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        vocab_size=ours.vocab_size,
        character_coverage=1.0,
        normalization_rule_name="identity",
        hard_vocab_limit=False,
        minloglevel=2,
    )
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    assert theirs.get_piece_size() >= 0.98 * ours.vocab_size
    assert sum(map(len, ours.encode_many(held_out))) <= 1.01 * sum(map(len, theirs.encode(held_out)))
