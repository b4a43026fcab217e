"""More tokens for a tokenizer: the new text takes fewer, the old one no more, and nothing else changes."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from stepwell.errors import TokenizerError
from stepwell.tokenizers import (
    ByteBPEConfig,
    CharacterConfig,
    Roles,
    Tokenizer,
    UnigramConfig,
    WordLevelConfig,
    WordPieceConfig,
    extend_tokenizer,
    parts_of_new,
    train_tokenizer,
)
from stepwell.tokenizers.extending import NewToken, _Search

KINDS: dict[str, Any] = {
    "byte_bpe": ByteBPEConfig,
    "unigram": UnigramConfig,
    "wordpiece": WordPieceConfig,
    "character": CharacterConfig,
}
SPECIAL = ("<|mask|>",)


@pytest.fixture(scope="module")
def english(small_text) -> list[str]:
    return small_text("en", 12_000).split("\n\n")


@pytest.fixture(scope="module")
def chinese(small_text) -> list[str]:
    return small_text("zh", 12_000).split("\n\n")


def length(tokenizer: Tokenizer, texts: list[str]) -> int:
    return sum(map(len, tokenizer.encode_many(texts)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("byte_fallback", [True, False])
def test_a_new_language_takes_fewer_tokens(kind, byte_fallback, english, chinese):
    if kind == "byte_bpe" and not byte_fallback:
        return
    settings = {} if kind == "byte_bpe" else {"byte_fallback": byte_fallback}
    old = train_tokenizer(english, KINDS[kind](vocab_size=800, special_tokens=SPECIAL, **settings))
    new = extend_tokenizer(old, chinese, 120)
    assert old.vocab_size < new.vocab_size <= old.vocab_size + 120
    assert new.roles == old.roles
    assert new.is_lossless == old.is_lossless == byte_fallback
    assert [new.token(n) for n in range(old.vocab_size)] == [old.token(n) for n in range(old.vocab_size)]
    if byte_fallback:
        assert length(new, chinese) < 0.6 * length(old, chinese)
        for text in (*chinese, *english, "<|mask|> 井\n\0 ##x"):
            assert new.decode(new.encode(text)) == text
    else:
        unknown = [sum(int((ids == one.unk_id).sum()) for ids in one.encode_many(chinese)) for one in (old, new)]
        assert unknown[1] < unknown[0]
    assert length(new, english) <= length(old, english)
    assert not new.special_ids & {int(n) for text in chinese for n in new.encode(text)}


@pytest.mark.parametrize("kind", ["byte_bpe", "character"])
def test_a_text_that_has_nothing_new_is_written_as_before(kind, english):
    old = train_tokenizer(english, KINDS[kind](vocab_size=600))
    new = extend_tokenizer(old, ["第一回第一回第一回"] * 3, 10)
    assert [ids.tolist() for ids in new.encode_many(english)] == [ids.tolist() for ids in old.encode_many(english)]


def test_new_words(english, chinese):
    old = train_tokenizer(english, WordLevelConfig(vocab_size=200))
    new = extend_tokenizer(old, [*chinese, "oneword otherword otherword"], 200)
    assert new.unk_id in old.encode("灯")
    assert new.unk_id not in new.encode("灯")
    assert new.decode(new.encode("the lantern 灯")) == "the lantern灯"
    assert new.token_id("otherword") is not None
    assert new.token_id("oneword") is None  # it stands in the text once
    assert length(new, english) == length(old, english)


@pytest.mark.parametrize("kind", KINDS)
def test_it_comes_back_from_its_file_and_can_be_extended_again(kind, english, chinese, tmp_path):
    old = train_tokenizer(english, KINDS[kind](vocab_size=700, special_tokens=SPECIAL))
    new = extend_tokenizer(old, chinese, 20)
    assert extend_tokenizer(old, chinese, 20).fingerprint == new.fingerprint != old.fingerprint
    new.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    assert (loaded.fingerprint, loaded.vocab_size) == (new.fingerprint, old.vocab_size + 20)
    again = extend_tokenizer(loaded, chinese, 20)
    assert length(again, chinese) < length(new, chinese) < length(old, chinese)


@pytest.mark.parametrize("kind", KINDS)
def test_parts_spell_the_new_tokens(kind, english, chinese):
    old = train_tokenizer(english, KINDS[kind](vocab_size=700))
    new = extend_tokenizer(old, chinese, 40)
    parts = parts_of_new(old, new)
    assert len(parts) == 40
    for token_id, ids in enumerate(parts, start=old.vocab_size):
        assert max(ids) < old.vocab_size
        assert old.decode_bytes(ids, continues=True) == new.token_bytes(token_id)
    assert parts_of_new(old, old) == []


def plain_merges(texts: list[str], old: Tokenizer, num_tokens: int) -> list[NewToken]:
    """The same search for a byte-level BPE, counting every pair anew after each merge."""
    cut = old._backend.pre_tokenizer
    assert cut is not None
    words = Counter(word for text in texts for word, _ in cut.pre_tokenize_str(text))
    written = {word: [token.value for token in old._backend.model.tokenize(word)] for word in words}
    found: list[NewToken] = []
    taken = set(old._backend.get_vocab())
    while len(found) < num_tokens:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, symbols in written.items():
            for pair in pairwise(symbols):
                pairs[pair] += words[word]
        able = [pair for pair in pairs if pairs[pair] >= 2 and "".join(pair) not in taken]
        if not able:
            break
        best = min(able, key=lambda pair: (-pairs[pair], "".join(pair)))
        found.append(NewToken("".join(best), pairs[best], best))
        taken.add("".join(best))
        for word, symbols in written.items():
            joined: list[str] = []
            for symbol in symbols:
                if joined and (joined[-1], symbol) == best and joined[-1] != "".join(best):
                    joined[-1] += symbol
                else:
                    joined.append(symbol)
            written[word] = joined
    return found


def test_the_tokens_are_those_that_save_most(english, chinese):
    old = train_tokenizer(english, ByteBPEConfig(vocab_size=400))
    texts = [*chinese[:12], *english[:3]]
    search = _Search(old)
    search.read(texts)
    found, wanted = search.find(60), plain_merges(texts, old, 60)
    assert [(token.text, token.count) for token in found] == [(token.text, token.count) for token in wanted]
    assert search.num_symbols == length(old, texts)


def test_each_new_token_saves_what_it_was_counted(english, chinese):
    """Merges are applied as they were found, so the text is as much shorter as they said."""
    old = train_tokenizer(english, ByteBPEConfig(vocab_size=400))
    new = extend_tokenizer(old, chinese, 50)
    search = _Search(old)
    search.read(chinese)
    assert length(old, chinese) - length(new, chinese) == sum(token.count for token in search.find(50))


def test_characters_stay_characters(english, chinese):
    new = extend_tokenizer(train_tokenizer(english, CharacterConfig()), chinese, 50)
    assert max(len(new.decode([n])) for n in range(new.vocab_size)) == 1


def bert(words: list[str]) -> Tokenizer:
    vocab = {token: n for n, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])}
    backend = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    return Tokenizer(backend, Roles(bos_id=2, eos_id=3, pad_id=0, mask_id=4, unk_id=1))


def test_a_vocabulary_of_bert():
    old = bert(["w", "##e", "##l", "the"])
    new = extend_tokenizer(old, ["The WELL 井 well 井 the wells [MASK] [MASK]"], 10)
    assert new.token_id("井") is not None
    assert [new.token(n) for n in new.encode("well the 井")] == ["well", "the", "井"]
    assert parts_of_new(old, new)[new.token_id("##ll") - 9 if new.token_id("##ll") else 0]
    assert new.special_ids == old.special_ids


def test_tokens_beside_the_vocabulary_keep_their_ids(english, chinese):
    """Special tokens that are not in the model's own vocabulary, as Qwen and Llama 3 have them."""
    own = train_tokenizer(english, ByteBPEConfig(vocab_size=400))
    backend = tokenizers.Tokenizer.from_str(own._backend.to_str())
    backend.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    old = Tokenizer(backend)
    new = extend_tokenizer(old, chinese, 30)
    assert (old.vocab_size, new.vocab_size) == (402, 432)
    assert [new.token_id(token) for token in ("<|im_start|>", "<|im_end|>")] == [400, 401]
    assert new.special_ids == {0, 400, 401}
    text = "<|im_end|>" + chinese[0]
    assert new.decode(new.encode(text)) == text


def test_blanks_that_are_written_otherwise(english, chinese):
    """A sentencepiece vocabulary of pairs without pre-tokenizer, as Llama 2 has it: bytes stay bytes."""
    letters = sorted(set("".join(english)) - {" ", "\n"})
    vocab = {t: n for n, t in enumerate(["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), "▁", *letters])}
    backend = tokenizers.Tokenizer(models.BPE(vocab, [], unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    vocab["th"] = len(vocab)
    backend.model = models.BPE(vocab, [("t", "h")], unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    old = Tokenizer(backend, Roles(bos_id=1, eos_id=2, unk_id=0))
    new = extend_tokenizer(old, [*chinese, *english], 300)
    for text in ("the lantern 井 灯", chinese[0], english[0]):
        assert new.decode(new.encode(text)) == text
    assert length(new, chinese) < 0.5 * length(old, chinese)
    assert not any("<0x" in new.token(n)[1:] for n in range(old.vocab_size, new.vocab_size))
    assert any(new.token(n).startswith("▁") for n in range(old.vocab_size, new.vocab_size))
    assert not any("▁" in new.token(n)[1:].strip("▁") for n in range(old.vocab_size, new.vocab_size))


def test_what_cannot_be_extended(chinese):
    made = bert(["a"])
    for one in (
        Tokenizer(made._backend, made.roles, target=made),
        Tokenizer(made._backend, made.roles.model_copy(update={"vocab_size": 5})),
    ):
        with pytest.raises(TokenizerError, match="cannot be extended"):
            extend_tokenizer(one, chinese, 10)


@pytest.mark.parametrize("texts", [[], [""], ["\n"], ["x"]])
def test_nothing_to_learn_from(texts, english):
    for config in (ByteBPEConfig(vocab_size=300), UnigramConfig(vocab_size=400), WordLevelConfig()):
        old = train_tokenizer(english, config)
        assert extend_tokenizer(old, texts, 10).vocab_size == old.vocab_size
