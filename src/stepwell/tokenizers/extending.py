"""More tokens for a tokenizer that exists, so that a new language or domain takes fewer of them.

The words of the new text are written in the old tokens; then the two neighbours that stand together most often become
one, again and again, as in training a BPE, and characters that had no token get one. All old tokens and rules stay as
they are and new merges come after the old ones, so the text of before is written as before or shorter. This file leaves
out embeddings of the new tokens (`models`).
"""

from __future__ import annotations

import heapq
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import tokenizers
from tokenizers import models, pre_tokenizers

from stepwell.errors import TokenizerError
from stepwell.tokenizers.config import BYTE_TOKEN
from stepwell.tokenizers.encoders import NEVER
from stepwell.tokenizers.tokenizer import Tokenizer

MOST_CHARACTERS = 1_000_000
"""Of a text to learn from; of a longer one, every k-th document is taken."""

LONGEST_TOKEN = 48
"""Letters of a new token, or bytes where a letter is a byte."""

SMALLEST_COUNT = 2
"""A token that would stand in the text less often is not made."""

PROMPTED = 0.1
"""Nats by which a new unigram piece is better than its two parts, at least: it is to be used where they stood."""

WORDS = r"▁*[^▁\r\n]+|[▁\r\n]+"
"""The words of a text in a vocabulary that does not cut text before it merges."""

Tree = dict[str, Any]
Symbol = int
"""A token; below zero, something that has none yet."""


@dataclass(frozen=True)
class NewToken:
    """A token that is added.

    Attributes:
        text: as the vocabulary writes it.
        count: how often it was made in the text.
        merged: the two tokens that it is made of; None for a character or word that had no token.
    """

    text: str
    count: int
    merged: tuple[str, str] | None


def extend_tokenizer(tokenizer: Tokenizer, texts: Iterable[str], num_tokens: int) -> Tokenizer:
    """Add tokens learned from texts, those first that save most; the same texts give the same tokenizer.

    Args:
        tokenizer: ours or another family's. It stays as it is.
        texts: of the new language or domain.
        num_tokens: how many tokens are added, at least 1.

    Returns:
        A tokenizer with the same roles, whose old tokens have their old ids; new ones have the ids from
        `tokenizer.vocab_size` on, fewer than asked for where the texts do not give more.

    Raises:
        TokenizerError: for a tokenizer of two languages, or one whose model has no row for some of its tokens.
    """
    if tokenizer.target is not tokenizer or tokenizer.roles.vocab_size is not None:
        raise TokenizerError(
            "tokenizer: cannot be extended",
            got="two languages" if tokenizer.target is not tokenizer else "tokens that its model has no row for",
            wanted="one vocabulary, whose tokens all have a row",
        )
    texts = list(texts)
    texts = texts[:: -(-sum(map(len, texts)) // MOST_CHARACTERS) or 1]
    search = _Search(tokenizer)
    search.read(texts)
    settings: Tree = json.loads(tokenizer._backend.to_str(pretty=False))
    _add(settings, search.find(num_tokens), tokenizer.vocab_size, search.num_symbols)
    return Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(settings)), tokenizer.roles)


def parts_of_new(old: Tokenizer, new: Tokenizer) -> list[list[int]]:
    """How the old tokenizer writes the tokens that only the new one has.

    Args:
        old: before it was extended.
        new: `extend_tokenizer` of it.

    Returns:
        For each id from `old.vocab_size` on, ids of the old one: at least one each.
    """
    write = _writer(old)
    return [write(new.token(token_id)) for token_id in range(old.vocab_size, new.vocab_size)]


def _writer(tokenizer: Tokenizer) -> Callable[[str], list[int]]:
    """A function from a word, as the vocabulary writes it, to token ids."""
    model = tokenizer._plain.model

    def write(word: str) -> list[int]:
        if isinstance(model, models.WordPiece):
            prefix = str(model.continuing_subword_prefix)
            if word.startswith(prefix) and word != prefix:
                # The library only writes whole words, so the part is written behind a letter, which is then taken off.
                return _continuing(model, word.removeprefix(prefix), prefix)
        return [token.id for token in model.tokenize(word)] or [tokenizer.eos_id]

    return write


def _continuing(model: Any, part: str, prefix: str) -> list[int]:
    ids: list[int] = []
    start = 0
    while start < len(part):
        longest = next(
            (end for end in range(len(part), start, -1) if model.token_to_id(prefix + part[start:end]) is not None),
            None,
        )
        if longest is None:
            return [int(model.token_to_id(model.unk_token))]
        ids.append(int(model.token_to_id(prefix + part[start:longest])))
        start = longest
    return ids


@dataclass
class _Word:
    """A word of the text: how often it occurs, and the symbols it is written in."""

    count: int
    symbols: list[Symbol]


@dataclass
class _Search:
    """Finds the tokens that save most, one after the other.

    Attributes:
        tokenizer: to be extended.
        num_symbols: that all texts take, as they are written now.
    """

    tokenizer: Tokenizer
    num_symbols: int = 0
    _words: list[_Word] = field(default_factory=list)
    _texts: dict[Symbol, str] = field(default_factory=dict)  # what each symbol is, as the vocabulary writes it
    _costs: dict[Symbol, int] = field(default_factory=dict)  # of what has no token: how many tokens it takes now
    _unknown: dict[str, Symbol] = field(default_factory=dict)
    _counts: Counter[tuple[Symbol, ...]] = field(default_factory=Counter)
    _places: defaultdict[tuple[Symbol, ...], set[int]] = field(default_factory=lambda: defaultdict(set))

    def __post_init__(self) -> None:
        self._model = self.tokenizer._plain.model
        self._write = _writer(self.tokenizer)
        self._prefix = str(self._model.continuing_subword_prefix) if self._is(models.WordPiece) else ""
        self._unk = _unknown_id(self._model)
        self._merges = not self._is(models.WordLevel) and not _is_of_characters(self.tokenizer)

    def _is(self, *kinds: Any) -> bool:
        return isinstance(self._model, kinds)

    def read(self, texts: Iterable[str]) -> None:
        """Write the words of texts in the tokens that there are."""
        backend = self.tokenizer._plain
        cut = backend.pre_tokenizer or pre_tokenizers.Split(tokenizers.Regex(WORDS), behavior="isolated")
        counts = Counter[str]()
        for text in texts:
            clean = text if backend.normalizer is None else backend.normalizer.normalize_str(text)
            counts.update(word for word, _ in cut.pre_tokenize_str(clean))
        for word, count in sorted(counts.items()):
            self._words.append(_Word(count, self._symbols_of(word)))
        for number, one in enumerate(self._words):
            self.num_symbols += one.count * sum(self._costs.get(symbol, 1) for symbol in one.symbols)
            units = [*zip(one.symbols, one.symbols[1:], strict=False), *((each,) for each in one.symbols if each < 0)]
            for unit in units:
                self._counts[unit] += one.count
                self._places[unit].add(number)

    def _symbols_of(self, word: str) -> list[Symbol]:
        ids = self._write(word)
        if self._is(models.WordPiece, models.WordLevel):
            return [self._without_token(word, 1)] if self._unk in ids else ids
        if not self._is(models.BPE, models.Unigram) or self.tokenizer._spelling.byte_level:
            return ids
        symbols: list[Symbol] = []
        known = ""
        for letter in word:  # characters without a token are cut out, each on its own
            if self._model.token_to_id(letter) is None:
                symbols += self._write(known) if known else []
                symbols.append(self._without_token(letter, len(self._write(letter))))
                known = ""
            else:
                known += letter
        return symbols + (self._write(known) if known else [])

    def _without_token(self, text: str, cost: int) -> Symbol:
        symbol = self._unknown.setdefault(text, -len(self._unknown) - 1)
        self._texts[symbol], self._costs[symbol] = text, cost
        return symbol

    def _saving(self, unit: tuple[Symbol, ...]) -> int:
        """How many tokens it saves to make one of a unit; what had none counts one at least."""
        return self._counts[unit] * (1 if len(unit) == 2 else max(1, self._costs[unit[0]] - 1))

    def _text(self, symbol: Symbol) -> str:
        if symbol not in self._texts:
            self._texts[symbol] = self.tokenizer.token(symbol)
        return self._texts[symbol]

    def _joined(self, unit: tuple[Symbol, ...]) -> str:
        first, *rest = map(self._text, unit)
        return first + "".join(part.removeprefix(self._prefix) for part in rest)

    def _may_be(self, unit: tuple[Symbol, ...], taken: set[str]) -> bool:
        text = self._joined(unit)
        fits = len(text) <= LONGEST_TOKEN and text not in taken and not BYTE_TOKEN.fullmatch(text)
        plain = not any(one in self.tokenizer.special_ids or one == self._unk for one in unit)
        whole = not any(BYTE_TOKEN.fullmatch(self._text(one)) for one in unit)  # a byte is part of a character
        return fits and plain and whole

    def find(self, num_tokens: int) -> list[NewToken]:
        """The tokens to add, in the order in which they were found."""
        taken = set(self.tokenizer._backend.get_vocab(with_added_tokens=True))
        queue: list[tuple[int, str, tuple[Symbol, ...]]] = []
        self._offer(queue, self._counts)
        new: list[NewToken] = []
        while queue and len(new) < num_tokens:
            saving, text, unit = heapq.heappop(queue)
            if -saving != self._saving(unit):  # it was counted before another token took some of its places
                self._offer(queue, [unit])
                continue
            if not self._may_be(unit, taken):
                continue
            symbol = self.tokenizer.vocab_size + len(new)
            self._texts[symbol] = text
            taken.add(text)
            merged = (self._text(unit[0]), self._text(unit[1])) if len(unit) == 2 else None
            new.append(NewToken(text, self._counts[unit], merged))
            self._offer(queue, self._replace(unit, symbol))
        return new

    def _offer(self, queue: list[tuple[int, str, tuple[Symbol, ...]]], units: Iterable[tuple[Symbol, ...]]) -> None:
        """Queue units that stand often enough in the text, and whose symbols have tokens."""
        for unit in units:
            if self._counts[unit] >= SMALLEST_COUNT and (len(unit) == 1 or (self._merges and min(unit) >= 0)):
                heapq.heappush(queue, (-self._saving(unit), self._joined(unit), unit))

    def _replace(self, unit: tuple[Symbol, ...], symbol: Symbol) -> list[tuple[Symbol, ...]]:
        """Write a symbol in place of a unit everywhere.

        Returns:
            The pairs that are new by it.
        """
        made: set[tuple[Symbol, ...]] = set()
        first, last, length = unit[0], unit[-1], len(unit)
        for number in self._places.pop(unit):
            word = self._words[number]
            old, new, at = word.symbols, [], 0
            while at < len(old):
                if old[at] != first or (length == 2 and (at + 1 == len(old) or old[at + 1] != last)):
                    new.append(old[at])
                    at += 1
                    continue
                at += length
                if new:
                    self._counts[new[-1], first] -= word.count
                    self._counts[new[-1], symbol] += word.count
                    made.add((new[-1], symbol))
                    self._places[new[-1], symbol].add(number)
                if at < len(old):
                    self._counts[last, old[at]] -= word.count
                    self._counts[symbol, old[at]] += word.count
                    made.add((symbol, old[at]))
                    self._places[symbol, old[at]].add(number)
                new.append(symbol)
            word.symbols = new
        del self._counts[unit]
        return sorted(made)


def _is_of_characters(tokenizer: Tokenizer) -> bool:
    """Whether every token is one character, so that it would be another kind of tokenizer with longer ones."""
    model = tokenizer._plain.model
    return isinstance(model, models.BPE) and not json.loads(model.__getstate__())["merges"]


def _unknown_id(model: Any) -> int | None:
    if isinstance(model, models.Unigram):
        return None  # what it does not have is found character by character
    token = model.unk_token
    found = None if token is None else model.token_to_id(token)
    return None if found is None else int(found)


def _add(settings: Tree, new: list[NewToken], first_id: int, num_symbols: int) -> None:
    """Write new tokens into the settings of a backend."""
    model = settings["model"]
    if model["type"] == "Unigram":
        _add_pieces(settings, new, first_id, num_symbols)
        return
    # What is beside the vocabulary is numbered anew when it is read, unless it is in the vocabulary too.
    for added in settings["added_tokens"]:
        model["vocab"].setdefault(added["content"], added["id"])
    for token_id, token in enumerate(new, start=first_id):
        model["vocab"][token.text] = token_id
        if token.merged and model["type"] == "BPE":
            model["merges"].append(list(token.merged))


def _add_pieces(settings: Tree, new: list[NewToken], first_id: int, num_symbols: int) -> None:
    vocab: list[Any] = settings["model"]["vocab"]
    by_id = {added["id"]: added["content"] for added in settings["added_tokens"]}
    while len(vocab) < first_id:
        vocab.append([by_id.get(len(vocab), f"\ufdd0{len(vocab)}"), NEVER])
    scores = dict(vocab)
    lowest = min((score for score in scores.values() if score > NEVER / 10), default=0.0)
    for token in new:
        score = math.log(token.count / max(1, num_symbols))
        if token.merged:
            score = max(score, scores[token.merged[0]] + scores[token.merged[1]] + PROMPTED)
        scores[token.text] = min(0.0, max(score, lowest))
        vocab.append([token.text, scores[token.text]])
