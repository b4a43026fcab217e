"""Where tokens stand in their text, for every kind of vocabulary."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stepwell.config import Config, build
from stepwell.tokenizers import Tokenizer, TokenizerConfig, train_tokenizer
from stepwell.tokenizers.places import places_of_bytes

TEXTS = ("The miller 老渔夫 héllo 😀龘x\u3000 end  two", "", "😀", "  a blank before", "把信给他。\n\n第二段")


class _Section(Config):
    tokenizer: TokenizerConfig


@pytest.fixture(scope="module", params=["byte_bpe", "character", "unigram", "wordpiece"])
def tokenizer(request: pytest.FixtureRequest, small_text: Callable[..., str]) -> Tokenizer:
    config = build(_Section, {"tokenizer": {"kind": request.param, "vocab_size": 700}}, where="test").tokenizer
    return train_tokenizer([small_text("mixed", 30_000)], config)


def test_tokens_have_the_ids_of_encode_and_stand_in_order(tokenizer: Tokenizer) -> None:
    for text, (ids, places) in zip(TEXTS, tokenizer.encode_with_places(TEXTS), strict=True):
        assert ids.tolist() == tokenizer.encode(text).tolist()
        assert places.shape == (len(ids), 2)
        assert (places[1:] >= places[:-1]).all()
        assert not len(places) or (places.min() >= 0 and places.max() <= len(text))


def test_each_letter_that_is_no_blank_is_in_a_token(tokenizer: Tokenizer) -> None:
    for text, (_, places) in zip(TEXTS, tokenizer.encode_with_places(TEXTS), strict=True):
        covered = {at for first, last in places.tolist() for at in range(first, last)}
        assert {at for at, letter in enumerate(text) if not letter.isspace()} <= covered


@pytest.mark.parametrize("text", TEXTS)
def test_what_spells_the_text_is_where_its_bytes_are(tokenizer: Tokenizer, text: str) -> None:
    ids, places = tokenizer.encode_with_places([text])[0]
    before = b""
    for at, (token_id, (first, last)) in enumerate(zip(ids.tolist(), places.tolist(), strict=True)):
        spelled = tokenizer.token_bytes(token_id, opens=not at)
        assert text[:first].encode() == before[: len(text[:first].encode())]
        assert len(text[:first].encode()) <= len(before) < len(text[:last].encode()) >= len(before) + len(spelled)
        before += spelled


def test_a_lone_surrogate_moves_nothing(tokenizer: Tokenizer) -> None:
    _, places = tokenizer.encode_with_places(["a\ud800b"])[0]
    assert places.max() == 3


def test_tokens_that_do_not_spell_the_text_are_refused() -> None:
    assert places_of_bytes("ab", [b"a"]) is None
    assert places_of_bytes("é", [b"\xc3", b"\xa9"]).tolist() == [[0, 1], [0, 1]]  # type: ignore[union-attr]
    assert places_of_bytes("a", [b"", b"a", b""]).tolist() == [[0, 0], [0, 1], [1, 1]]  # type: ignore[union-attr]
    assert places_of_bytes("", []).shape == (0, 2)  # type: ignore[union-attr]
