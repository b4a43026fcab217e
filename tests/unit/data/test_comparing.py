"""Tokenizers compared on held-out text: the figures beside plain counting, and the choice that follows from them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from stepwell.data import (
    DataConfig,
    TokenizerFigures,
    choose_tokenizer,
    compare_tokenizers,
    comparison_table,
    prepare_text,
)
from stepwell.data.tokens import comparing
from stepwell.data.tokens.comparing import Compression
from stepwell.errors import DataError
from stepwell.tokenizers import ByteBPEConfig, CharacterConfig, UnigramConfig, WordLevelConfig, train_tokenizer

CHOICES = [
    ByteBPEConfig(vocab_size=400),
    ByteBPEConfig(vocab_size=800, digits="single"),
    UnigramConfig(vocab_size=800),
    CharacterConfig(byte_fallback=False, vocab_size=60, character_coverage=1.0),
    WordLevelConfig(vocab_size=300),
]


@pytest.fixture(scope="module")
def texts(small_text) -> list[str]:
    return [*small_text("en", 20_000).split("\n\n"), *small_text("zh", 20_000).split("\n\n")]


@pytest.fixture(scope="module")
def figures(texts) -> list[TokenizerFigures]:
    return compare_tokenizers(texts, CHOICES)


def test_figures_are_those_of_plain_counting(texts, figures):
    held_out, train = texts[::10], [text for n, text in enumerate(texts) if n % 10]
    for config, found in zip(CHOICES, figures, strict=True):
        tokenizer = train_tokenizer(train, config)
        ids = [tokenizer.encode(text) for text in held_out]
        assert found.vocab_size == tokenizer.vocab_size
        assert found.whole.tokens == sum(map(len, ids))
        assert found.whole.bytes == sum(len(text.encode()) for text in held_out)
        assert found.round_trip_ratio == sum(map(lambda a, b: tokenizer.decode(a) == b, ids, held_out)) / len(held_out)
        used = {int(n) for one in ids for n in one}
        pieces = {n for n in range(tokenizer.vocab_size) if len(tokenizer.token_bytes(n)) > 1}  # the rest costs nothing
        pieces -= set(tokenizer.special_ids)
        assert found.used_ratio == pytest.approx(len(used & pieces) / len(pieces))
        learned = [0] * tokenizer.vocab_size
        for text in train:
            for n in tokenizer.encode(text):
                learned[n] += 1
        assert found.rare_ratio == pytest.approx(sum(learned[n] < 10 for n in pieces) / len(pieces))
        unknown = sum(int((one == tokenizer.unk_id).sum()) for one in ids) if tokenizer.unk_id is not None else 0
        assert found.whole.unknown == unknown
        assert (found.whole.unknown_ratio > 0) == (config.kind == "character")  # 58 characters are too few here


def test_languages_are_told_apart(figures):
    for one in figures:
        assert set(one.by_language) == {"en", "zh"}
        for name in ("bytes", "tokens", "words", "unknown"):
            assert sum(getattr(part, name) for part in one.by_language.values()) == getattr(one.whole, name)
    characters = figures[3].by_language
    assert characters["en"].bytes_per_token == 1
    assert 2 < characters["zh"].bytes_per_token <= 3


def test_words_and_chinese_characters_are_counted():
    assert len(comparing.WORD.findall("It's 12 lanterns, 井在河边。x")) == 9
    counted = {"bytes": 12, "tokens": 4, "words": 2, "unknown": 1}
    ratios = {"bytes_per_token": 3.0, "fertility": 2.0, "unknown_ratio": 0.25}
    assert Compression(**counted).as_dict() == counted | ratios
    assert Compression().as_dict()["bytes_per_token"] == 0


def test_prepared_text_brings_its_splits(texts, tmp_path):
    (tmp_path / "a.txt").write_text("\n\n".join(texts), encoding="utf-8")
    prepared = prepare_text(DataConfig(sources=(str(tmp_path / "a.txt"),)), tmp_path)
    (found,) = compare_tokenizers(prepared, [ByteBPEConfig(vocab_size=500)])
    tokenizer = train_tokenizer(list(prepared.texts("train")), ByteBPEConfig(vocab_size=500))
    assert found.whole.tokens == sum(len(tokenizer.encode(text)) for text in prepared.texts("validation"))
    assert json.loads(json.dumps(found.as_dict())) == found.as_dict()


def test_one_that_is_there_already(texts):
    tokenizer = train_tokenizer(texts[1:9], ByteBPEConfig(vocab_size=400))
    given, trained = compare_tokenizers(texts, [tokenizer, ByteBPEConfig(vocab_size=400)])
    assert given.name == f"given {tokenizer.fingerprint[:6]}"
    assert given.config == {}
    assert given.whole.bytes_per_token < trained.whole.bytes_per_token  # it learned from less


def test_the_choice(figures):
    assert choose_tokenizer(figures, most_rare_ratio=1.0).whole.bytes_per_token == max(
        one.whole.bytes_per_token for one in figures if one.round_trip_ratio == 1
    )
    assert choose_tokenizer(figures, most_rare_ratio=0.0).rare_ratio == min(
        one.rare_ratio for one in figures if one.round_trip_ratio == 1
    )
    small, large = (replace(figures[0], name=name, rare_ratio=rare) for name, rare in (("small", 0.1), ("large", 0.3)))
    large = replace(large, whole=replace(large.whole, tokens=large.whole.tokens // 2))
    assert [choose_tokenizer([small, large], most_rare_ratio=ratio).name for ratio in (0.05, 0.2, 0.4)] == [
        "small",
        "small",
        "large",
    ]


def test_the_table_is_short(figures):
    lines = comparison_table(figures).split("\n")
    assert len(lines) == 1 + len(CHOICES)
    assert len({len(line) for line in lines}) == 1
    assert {"zh", "en"} <= set(lines[0].split())
    assert lines[2].split()[:3] == ["byte_bpe", "digits=single", f"{figures[1].vocab_size:,}"]
    assert "zh" not in comparison_table(figures, most_languages=0)


@pytest.mark.parametrize("texts", [[], [""], ["", "", ""], ["only one"]])
def test_nothing_to_compare_on(texts):
    with pytest.raises(DataError, match="nothing to compare"):
        compare_tokenizers(texts, CHOICES[:1])


@pytest.mark.slow
def test_kinds_on_real_text(real_data):
    """On real English and Chinese: a larger vocabulary writes more bytes a token, and each kind does its work."""
    import gzip

    english = real_data("lm/wikitext2-valid.txt").read_text(encoding="utf-8")[:200_000]
    chinese = gzip.decompress(real_data("lm/xiyouji.zh.txt.gz").read_bytes()).decode()[:70_000]
    texts = [text[at : at + 1000] for text in (english, chinese) for at in range(0, len(text), 1000)]
    small, large, unigram, characters = compare_tokenizers(
        texts,
        [
            ByteBPEConfig(vocab_size=1024),
            ByteBPEConfig(vocab_size=4096),
            UnigramConfig(vocab_size=4096),
            CharacterConfig(),
        ],
    )
    for language in ("en", "zh"):
        lengths = [one.by_language[language].bytes_per_token for one in (characters, small, large)]
        assert lengths[1] < lengths[2]
        assert lengths[0] < lengths[2]  # in Chinese a token of few bytes is less than a character
        assert unigram.by_language[language].bytes_per_token > 0.9 * large.by_language[language].bytes_per_token
    assert all(one.round_trip_ratio == 1 for one in (small, large, unigram, characters))
    assert small.rare_ratio < large.rare_ratio
