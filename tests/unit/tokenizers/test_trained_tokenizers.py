"""Tokenizers of every kind that is trained: any text comes back, in a stream too, and no text makes a special token."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from itertools import product
from typing import Any

import pytest
from pydantic import ValidationError

from stepwell.errors import TokenizerError
from stepwell.tokenizers import (
    ByteBPEConfig,
    CharacterConfig,
    StreamDecoder,
    Tokenizer,
    UnigramConfig,
    WordLevelConfig,
    WordPieceConfig,
    train_tokenizer,
)

PIECES = {"byte_bpe": ByteBPEConfig, "unigram": UnigramConfig, "wordpiece": WordPieceConfig}
KINDS: dict[str, Any] = {**PIECES, "character": CharacterConfig}
SPECIAL = ("<|mask|>", "[unused]", "§§")

TEXTS = (
    "",
    "The well is deep.\n\n    and it's 12345 steps",
    "第一回　甄士隐梦幻识通灵，贾雨村风尘怀闺秀。",
    "👩‍👩‍👧 naïve café e\u0301\r\n\t\0",
    "<|endoftext|> <|endoftext|",
    "[unused]",
    "§§ x§§",
    "<unk> <0x41> <0xE4><0xBA><0x95> <0xFF> ## ### a##b # ##the \ufdd0 \ufdd0260 ▁ Ġ",
    "x" * 3000,
    " " * 300 + "a",
    "𠀀𠀁" * 100,
)


@pytest.fixture(scope="module")
def make(small_text):
    """A function from a config's class and settings to a tokenizer; each is trained once."""
    text = small_text("mixed", 12_000) + "In 1984 they paid 1,234,567 coins. <unk> <0x41> ##\n"
    made: dict[str, Tokenizer] = {}

    def one(cls: Any, **settings: Any) -> Tokenizer:
        config = cls(**{"vocab_size": 1000, "special_tokens": SPECIAL} | settings)
        key = repr(config)
        if key not in made:
            made[key] = train_tokenizer(text.splitlines(keepends=True), config)
        return made[key]

    return one


SETTINGS = [
    *product(PIECES, ["gpt4", "gpt2", "whitespace", "none"], [None], ["runs"]),
    *product(PIECES, ["gpt2"], ["single", "threes"], ["characters"]),
    *product(["character"], [""], [None], [""]),
]


def settings_of(kind: str, pre_tokenizer: str, digits: str | None, chinese: str) -> dict[str, Any]:
    return {} if kind == "character" else {"pre_tokenizer": pre_tokenizer, "digits": digits, "chinese": chinese}


@pytest.mark.parametrize(("kind", "pre_tokenizer", "digits", "chinese"), SETTINGS)
def test_any_text_comes_back(make, kind, pre_tokenizer, digits, chinese):
    tokenizer = make(KINDS[kind], **settings_of(kind, pre_tokenizer, digits, chinese))
    assert tokenizer.is_lossless
    assert tokenizer.unk_id is None
    assert (tokenizer.bos_id, tokenizer.mask_id, tokenizer.special_ids) == (0, 1, {0, 1, 2, 3})
    for text in TEXTS:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert not tokenizer.special_ids & set(ids.tolist())
        assert tokenizer.encode(text.encode()).tolist() == ids.tolist()
        stream = StreamDecoder(tokenizer)
        assert "".join(stream.push(int(n)) for n in ids) + stream.finish() == text
    assert {2} == tokenizer.special_ids & set(tokenizer.encode("a[unused]b", special=True).tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_any_random_text_comes_back(make, kind):
    tokenizer, draw = make(KINDS[kind]), random.Random(0)
    letters = [*"ab #<>|§x0AF的河，\u3000\n\r\t\0ﬁ▁Ġ", "##", "<0x", "<0x41>", "<unk>", "👩‍👧", "\U0010ffff", "<|mask|>"]
    for _ in range(200):
        text = "".join(draw.choices(letters, k=draw.randint(1, 30)))
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert not tokenizer.special_ids & set(ids.tolist())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("data", [b"\xff", bytes(range(256)), b"ok \xc3( \xe4\xba ok"])
def test_any_bytes_come_back(make, kind, data):
    tokenizer = make(KINDS[kind])
    assert tokenizer.decode_bytes(tokenizer.encode(data)) == data


@pytest.mark.parametrize("kind", ["unigram", "wordpiece", "character"])
def test_without_bytes_there_is_something_unknown(make, kind, small_text):
    tokenizer = make(KINDS[kind], byte_fallback=False, character_coverage=1.0, vocab_size=2000)
    assert not tokenizer.is_lossless
    known = small_text("mixed", 3_000)
    assert tokenizer.decode(tokenizer.encode(known)) == known
    assert tokenizer.unk_id not in tokenizer.encode(known)
    assert tokenizer.decode(tokenizer.encode("the 𠀀 well")) in (
        "the <unk> well",
        "the<unk> well",
    )  # a word with its blank
    assert tokenizer.unk_id in tokenizer.encode("𠀀")
    assert tokenizer.unk_id not in tokenizer.special_ids


@pytest.mark.parametrize("kind", [*KINDS, "word"])
def test_it_comes_back_from_its_file(make, kind, tmp_path):
    tokenizer = make((KINDS | {"word": WordLevelConfig})[kind])
    tokenizer.save(tmp_path / "tokenizer.json")
    assert [file.name for file in tmp_path.iterdir()] == ["tokenizer.json"]
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    assert (loaded.fingerprint, loaded.roles, loaded.is_lossless) == (
        tokenizer.fingerprint,
        tokenizer.roles,
        tokenizer.is_lossless,
    )
    assert [ids.tolist() for ids in loaded.encode_many(TEXTS)] == [tokenizer.encode(text).tolist() for text in TEXTS]


@pytest.mark.parametrize("kind", PIECES)
def test_pieces_are_learned(make, kind, small_text):
    tokenizer = make(PIECES[kind], vocab_size=1500)
    text = small_text("mixed", 8_000, seed=1)
    assert len(tokenizer.encode(text)) < len(text.encode()) / 3.5
    assert len(tokenizer.encode(text)) < len(make(CharacterConfig).encode(text)) / 2
    assert tokenizer.vocab_size <= 1500


@pytest.mark.parametrize("kind", [*KINDS, "word"])
def test_the_vocabulary_is_never_larger_than_asked_for(make, kind):
    cls = (KINDS | {"word": WordLevelConfig})[kind]
    least = cls(vocab_size=900, special_tokens=SPECIAL).base_size
    for size in (least, least + 1, least + 40):
        tokenizer = make(cls, vocab_size=size)
        assert least <= tokenizer.vocab_size <= size
        assert tokenizer.decode(tokenizer.encode("a 井")) == "a 井" or kind == "word"
    with pytest.raises(ValidationError, match=f"at least {least}"):
        cls(vocab_size=least - 1, special_tokens=SPECIAL)


@pytest.mark.parametrize("kind", [*KINDS, "word"])
@pytest.mark.parametrize("byte_fallback", [True, False])
@pytest.mark.parametrize("num_bytes", [300, 3_000])
def test_asking_for_the_size_that_was_reached_gives_it_again(kind, byte_fallback, num_bytes, small_text):
    """A recipe says the size that a small text gave, and whoever repeats the run must get as many tokens."""
    text = small_text("mixed", num_bytes) + "".join(map(chr, range(0x4E00, 0x4E00 + 200)))  # many characters, no words
    cls = (KINDS | {"word": WordLevelConfig})[kind]
    settings = {"byte_fallback": byte_fallback} if "byte_fallback" in cls.model_fields else {}
    for asked in (1000, 5_000, 50_000):
        reached = train_tokenizer([text], cls(vocab_size=asked, **settings)).vocab_size
        assert train_tokenizer([text], cls(vocab_size=reached, **settings)).vocab_size == reached <= asked


@pytest.mark.parametrize("kind", [*KINDS, "word"])
def test_nothing_to_learn_from(kind):
    tokenizer = train_tokenizer([], (KINDS | {"word": WordLevelConfig})[kind](vocab_size=1000))
    assert tokenizer.decode(tokenizer.encode("井 x")) == ("井 x" if kind != "word" else "<unk> <unk>")


@pytest.mark.parametrize("kind", PIECES)
def test_digits_are_cut(make, kind):
    def numbers(**settings: Any) -> list[str]:
        tokenizer = make(PIECES[kind], vocab_size=2000, **settings)
        return [tokenizer.decode([n], continues=True) for n in tokenizer.encode("1234567")]

    assert numbers(digits="single") == list("1234567")
    assert max(map(len, numbers(digits="threes", pre_tokenizer="whitespace"))) <= 3
    joined = "".join(f"{one}|" for one in numbers(digits="threes", pre_tokenizer="none"))
    assert {3, 6} <= {len(joined[:at].replace("|", "")) for at, sign in enumerate(joined) if sign == "|"}


@pytest.mark.parametrize("kind", PIECES)
def test_chinese_characters_stand_alone(make, kind):
    def longest(chinese: str) -> int:
        tokenizer = make(PIECES[kind], vocab_size=2000, chinese=chinese)
        return max(
            len(text)
            for n in range(tokenizer.vocab_size)
            if (text := tokenizer.decode([n], continues=True))
            and all("\u4e00" <= letter <= "\u9fff" for letter in text)
        )

    assert longest("characters") == 1
    assert longest("runs") > 1


@pytest.mark.parametrize("kind", ["unigram", "wordpiece"])
def test_characters_leave_room_for_pieces(kind, small_text):
    """With more characters than the vocabulary can hold, half of it is for pieces all the same."""
    text = small_text("mixed", 6_000) + "".join(map(chr, range(0x4E00, 0x4E00 + 600)))
    config = KINDS[kind](vocab_size=400, byte_fallback=False, character_coverage=1.0)
    tokenizer = train_tokenizer([text], config)
    lengths = [len(tokenizer.token(n).removeprefix("##")) for n in range(config.base_size, tokenizer.vocab_size)]
    assert tokenizer.vocab_size == 400
    assert 150 < sum(length > 1 for length in lengths) <= 201


@pytest.mark.parametrize("kind", PIECES)
def test_pieces_stay_inside_chinese_words(kind):
    rjieba = pytest.importorskip("rjieba")
    text = "研究生命起源的科学家在北京大学工作。" * 30
    words = set(rjieba.cut(text))
    made = {
        chinese: train_tokenizer([text], PIECES[kind](vocab_size=1000, chinese=chinese))
        for chinese in ("words", "runs")
    }
    for chinese, tokenizer in made.items():
        assert tokenizer.decode(tokenizer.encode(text)) == text
        spelled = {tokenizer.decode([n], continues=True) for n in range(tokenizer.vocab_size)}
        over = [
            piece
            for piece in spelled
            if len(piece) > 1
            and all("\u4e00" <= letter <= "\u9fff" for letter in piece)
            and not any(piece in word for word in words)
        ]
        assert bool(over) == (chinese == "runs")
        assert chinese == "runs" or any(len(piece) > 1 and piece in words for piece in spelled)


def test_words_are_cut_without_rjieba_only_when_asked(monkeypatch):
    monkeypatch.setitem(sys.modules, "rjieba", None)
    with pytest.raises(TokenizerError, match="needs the library rjieba"):
        train_tokenizer(["井"], ByteBPEConfig(vocab_size=300, chinese="words"))
    assert train_tokenizer(["井"], ByteBPEConfig(vocab_size=300)).vocab_size >= 257


def test_rare_characters_are_not_known():
    text = "ab" * 500 + "cdefg井"
    most = train_tokenizer([text], CharacterConfig(vocab_size=900, character_coverage=0.99))
    every = train_tokenizer([text], CharacterConfig(vocab_size=900, character_coverage=1.0))
    assert (most.vocab_size, every.vocab_size) == (257 + 2, 257 + 8)
    assert most.decode(most.encode(text)) == every.decode(every.encode(text)) == text
    assert len(every.encode(text)) == len(text)
    assert len(most.encode("井")) == 3


def test_a_long_text_for_a_slow_kind_is_thinned(monkeypatch, small_text):
    from stepwell.tokenizers import training

    texts = small_text("mixed", 20_000).splitlines()
    seen: list[int] = []
    monkeypatch.setitem(training.TRAINERS, "unigram", lambda some, config: seen.append(len(some)))
    monkeypatch.setattr(training, "MOST_CHARACTERS", sum(map(len, texts)) // 3)
    train_tokenizer(texts, UnigramConfig(vocab_size=1000))
    train_tokenizer([], UnigramConfig(vocab_size=1000))
    assert seen[0] in (-(-len(texts) // 3), -(-len(texts) // 4))
    assert seen[1] == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_training_is_the_same_in_every_process(kind, small_text, tmp_path):
    (tmp_path / "text").write_text(small_text("mixed", 40_000), encoding="utf-8")
    name = KINDS[kind].__name__
    program = (
        "import sys, pathlib; from stepwell.tokenizers import *\n"
        "text = pathlib.Path(sys.argv[1]).read_text(encoding='utf-8')\n"
        f"print(train_tokenizer(text.split('\\n\\n'), {name}(vocab_size=900)).fingerprint)"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "text")],
            capture_output=True,
            check=True,
            env={**os.environ, "RAYON_NUM_THREADS": threads},
        ).stdout
        for threads in ("1", "2", "4")
    }
    assert len(runs) == 1


@pytest.mark.parametrize("special", ["", "x", "<unk>", "<0x41>", "<|endoftext|>"])
def test_special_tokens_that_cannot_be(special):
    for cls in KINDS.values():
        with pytest.raises(ValidationError, match="special_tokens"):
            cls(vocab_size=1000, special_tokens=(special,))


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_named(make, kind, tmp_path):
    path = tmp_path / "tokenizer.json"
    make(KINDS[kind]).save(path)
    tree = json.loads(path.read_text())
    tree["model"]["vocab"] = 3
    path.write_text(json.dumps(tree))
    with pytest.raises(TokenizerError, match="damaged"):
        Tokenizer.load(path)
