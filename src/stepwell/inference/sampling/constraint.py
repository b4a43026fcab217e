"""Output that keeps to a grammar: a JSON schema, a regular expression, one of several texts, or a Lark grammar.

The library llguidance parses what was written so far and says which tokens can come next; it knows tokens as bytes, so
it works with every family of tokenizers. This file leaves out what becomes of the other tokens (`drawing.py`).
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from types import ModuleType
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from stepwell.errors import UsageError
from stepwell.inference.params import GRAMMARS, SamplingParams
from stepwell.tokenizers import Tokenizer

if TYPE_CHECKING:
    from llguidance import LLMatcher

MOST_GRAMMARS = 64
"""Grammars that are kept ready for each tokenizer."""

FREE = '%llguidance {"no_forcing": true}'
"""Any tokens that spell what must come are allowed, not only those that a tokenizer would cut it into: the model's own
probabilities choose among them, and families that spell a blank with its word need no tokens of a lone blank."""

WANTED = {
    "json_schema": "a JSON schema (draft 2020-12) of the parts that llguidance knows, which can be fulfilled",
    "regex": "a regular expression in the syntax of Rust's regex, without look-around and back references",
    "choice": "texts",
    "grammar": "a grammar in Lark's syntax whose first rule is called start",
}
"""What each kind of grammar has to be."""


class Constraint:
    """What may come next in one sample that keeps to a grammar.

    Args:
        params: one of `json_schema`, `regex`, `choice` and `grammar` is set.
        tokenizer: spells what is written.
        opens: whether the sample is a text of its own, which some families spell without a leading blank.

    Attributes:
        is_finished: whether nothing more can come.

    Raises:
        UsageError: when the grammar is faulty or too large, or llguidance is not installed.
    """

    def __init__(self, params: SamplingParams, tokenizer: Tokenizer, *, opens: bool) -> None:
        self._vocabulary = _vocabulary_of(tokenizer)
        self._matcher = self._vocabulary.matcher(params)
        self._spelled = self._vocabulary.opening if opens else self._vocabulary.inside
        self._allowed: NDArray[np.bool_] | None = None
        self.is_finished = False

    def allowed(self) -> NDArray[np.bool_]:
        """(V,) which tokens can come next; those that end a text where it may end here.

        Raises:
            UsageError: when the grammar has become too large to follow, or a token came that it does not allow.
        """
        if self._allowed is None:
            self._allowed = self._vocabulary.allowed(self._matcher)
        if self._matcher.is_error():
            raise UsageError(
                "the grammar cannot be followed",
                got=self._matcher.get_error().strip(),
                wanted="a grammar that the tokens of this model can write",
                do="take another one, or a simpler one",
            )
        return self._allowed[self._spelled]

    def take(self, token_id: int) -> None:
        """Go on with a token; where the grammar does not allow it, `allowed` says so."""
        followed = self._matcher.consume_token(int(self._spelled[token_id]))
        self._spelled, self._allowed = self._vocabulary.inside, None
        stopped = followed and self._matcher.is_stopped()
        if followed and not stopped and self._matcher.is_accepting():
            self._allowed = self._vocabulary.allowed(self._matcher)
            stopped = set(self._allowed[self._spelled].nonzero()[0].tolist()) <= self._vocabulary.ends
        self.is_finished = stopped


class _Vocabulary:
    """A tokenizer as llguidance knows it, and the grammars that were read with it.

    A token has a second entry where it spells itself otherwise at the beginning of a text.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        spells, size = tokenizer.target, tokenizer.vocab_size
        tokens = [spells.token_bytes(n) for n in range(size)]
        opening = [spells.token_bytes(n, opens=True) for n in range(size)]
        others = [n for n in range(size) if opening[n] != tokens[n]]
        self.inside = np.arange(size)
        self.opening = np.arange(size)
        self.opening[others] = size + np.arange(len(others))
        tokens += [opening[n] for n in others]
        self._num_entries = len(tokens)
        # What spells nothing gets a name that no text holds: 0xff, as llguidance marks special tokens.
        tokens = [spelled or b"\xff<%d>" % n for n, spelled in enumerate(tokens)]
        self.ends = tokenizer.stop_ids
        self._compiled: OrderedDict[str, LLMatcher] = OrderedDict()
        self._lock = Lock()
        self._library = _library()
        self._limits = self._library.LLParserLimits(verbose_errors=False)  # an error says nothing of states
        self._known = _Known(tokens, tokenizer)
        wrapped = self._library.TokenizerWrapper(self._known)
        self._tokens = self._library.LLTokenizer(wrapped, n_vocab=len(tokens), eos_token=sorted(self.ends))

    def matcher(self, params: SamplingParams) -> LLMatcher:
        """At the beginning of a grammar."""
        name = next(name for name in GRAMMARS if getattr(params, name))
        given = getattr(params, name)
        grammar = _grammar(name, given)
        with self._lock:
            return self._read(name, grammar).deep_copy()

    def _read(self, name: str, grammar: str) -> LLMatcher:
        if grammar not in self._compiled:
            matcher = self._library.LLMatcher(self._tokens, grammar, log_level=0, limits=self._limits)
            if matcher.is_error():
                raise UsageError(
                    f"{name}: cannot be used",
                    got=matcher.get_error().strip(),
                    wanted=WANTED[name],
                    do="correct it, or leave it out",
                )
            self._compiled[grammar] = matcher
        self._compiled.move_to_end(grammar)
        if len(self._compiled) > MOST_GRAMMARS:
            self._compiled.popitem(last=False)
        return self._compiled[grammar]

    def allowed(self, matcher: LLMatcher) -> NDArray[np.bool_]:
        """Which entries can come next."""
        mask = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little")
        return mask[: self._num_entries].astype(np.bool_)


class _Known:
    """What llguidance asks a tokenizer for."""

    def __init__(self, tokens: Sequence[bytes], tokenizer: Tokenizer) -> None:
        self.tokens = tokens
        self.special_token_ids = [n for n, spelled in enumerate(tokens) if spelled.startswith(b"\xff<")]
        self.eos_token_id, self.bos_token_id = tokenizer.eos_id, tokenizer.bos_id

    def __call__(self, text: bytes) -> list[int]:
        """Tokens of a text; they are asked for where texts are forced, which is switched off."""
        return []


_VOCABULARIES: WeakKeyDictionary[Tokenizer, _Vocabulary] = WeakKeyDictionary()


def _vocabulary_of(tokenizer: Tokenizer) -> _Vocabulary:
    known = _VOCABULARIES.get(tokenizer)
    if known is None:
        known = _VOCABULARIES[tokenizer] = _Vocabulary(tokenizer)
    return known


def _grammar(name: str, given: str | Sequence[str]) -> str:
    """In Lark's syntax, as llguidance reads it."""
    if isinstance(given, str):
        if name == "json_schema":
            given = f"start: %json {json.dumps(json.loads(given))}"
        elif name == "regex":
            given = f"start: /{_library().regex_to_lark(given)}/"
    else:
        given = f"start: {' | '.join(json.dumps(text, ensure_ascii=False) for text in given)}"
    return f"{given}\n{FREE}\n"


def _library() -> ModuleType:
    try:
        import llguidance
    except ImportError as error:
        raise UsageError(
            "json_schema, regex, choice and grammar: need the library llguidance",
            got=str(error),
            do="pip install 'stepwell[constrained]'",
        ) from None
    return llguidance
