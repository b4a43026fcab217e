"""How the tokenizers that stepwell trains cut a text before they look for pieces, and what they learn from.

A cut loses nothing: blanks stay with the words, so that the pieces joined are the text. For learning alone there are
more cuts: between the Chinese words that rjieba finds, and around characters that are too rare to be known. This file
leaves out the cuts of other families (`splitting.py`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, Protocol

import tokenizers
from tokenizers import pre_tokenizers

from stepwell.errors import TokenizerError
from stepwell.tokenizers.config import PreTokenizer
from stepwell.tokenizers.splitting import GPT2, LLAMA3

RULES: dict[PreTokenizer, str] = {
    "gpt4": LLAMA3,
    "gpt2": GPT2,
    "whitespace": r" ?\S+|\s+(?!\S)|\s+",
    "none": r"[^\r\n]*[\r\n]+|[^\r\n]+",
}
"""The rule of a pre-tokenizer; whatever it finds is a piece of its own, and it finds everything."""

DIGITS = {"single": r"\p{N}", "threes": r"\p{N}{1,3}"}

CUT = "\ufdd0"
"""Marks a cut in a text to learn from: no character, so nobody's text has it."""

HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
"""Chinese characters, as a range for a regular expression."""

_HAN_RUN = re.compile(f"[{HAN}]{{2,}}")


class Cutting(Protocol):
    """The settings that decide about cuts."""

    @property
    def pre_tokenizer(self) -> PreTokenizer: ...
    @property
    def digits(self) -> str | None: ...
    @property
    def chinese(self) -> str: ...
    @property
    def every_special_token(self) -> tuple[str, ...]: ...


def cuts_of(config: Cutting) -> list[pre_tokenizers.PreTokenizer]:
    """The cuts, in the order in which they are done.

    Args:
        config: which rule, and what is done to digits and to Chinese characters before it.
    """
    patterns = [RULES[config.pre_tokenizer]]
    if config.digits is not None:
        patterns.insert(0, DIGITS[config.digits])
    if config.chinese == "characters":
        patterns.insert(0, r"\p{Han}")
    cuts = [_alone(pattern) for pattern in patterns]
    cut = pre_tokenizers.Sequence(cuts).pre_tokenize_str
    whole = [token for token in config.every_special_token if len(cut(token)) == 1]
    if whole:  # text that spells a special token must not become one: its first character is cut off
        cuts.insert(0, _alone("|".join(f"{re.escape(token[0])}(?={re.escape(token[1:])})" for token in whole)))
    return cuts


def _alone(pattern: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(tokenizers.Regex(pattern), behavior="isolated")


def learner_of(model: Any, cuts: list[Any], *, byte_level: bool) -> tokenizers.Tokenizer:
    """A backend that only learns: it makes the same cuts, and those that are marked.

    Args:
        model: an empty one.
        cuts: `cuts_of` the settings, perhaps with more.
        byte_level: whether pieces are made of bytes, a letter for each.
    """
    learner = tokenizers.Tokenizer(model)
    marked = pre_tokenizers.Split(CUT, behavior="removed")
    learner.pre_tokenizer = pre_tokenizers.Sequence([marked, *cuts, *([letters()] if byte_level else [])])
    return learner


def letters() -> pre_tokenizers.PreTokenizer:
    """The pre-tokenizer that writes each byte as a letter, and cuts nothing."""
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def at_words(texts: Iterable[str], config: Cutting) -> Iterable[str]:
    """The texts with a mark between any two Chinese words, where the settings ask for that.

    Raises:
        TokenizerError: when rjieba is not installed.
    """
    if config.chinese != "words":
        return texts
    try:
        import rjieba
    except ImportError as error:
        raise TokenizerError(
            "tokenizer.chinese words: needs the library rjieba", got=str(error), do="pip install 'stepwell[data]'"
        ) from None
    cut: Callable[[str], list[str]] = rjieba.cut
    return (_HAN_RUN.sub(lambda run: CUT.join(cut(run[0])), text) for text in texts)


def at_rare(texts: Iterable[str], known: Collection[str]) -> Iterator[str]:
    """The texts with a mark in place of each run of characters that are not known."""
    rare = re.compile(f"[^{re.escape(''.join(known))}{CUT}]+")
    return (rare.sub(CUT, text) for text in texts)


def known_characters(texts: Iterable[str], *, coverage: float, always: Collection[str] = ()) -> list[str]:
    """The characters that a vocabulary knows: those of `always`, then the others, the most frequent first.

    Args:
        texts: to be counted.
        coverage: share of all characters that are to be known, in (0, 1].
        always: characters that are known in any case.
    """
    counts = Counter[str]()
    for text in texts:
        counts.update(text)
    del counts[CUT]
    wanted, covered = coverage * counts.total(), 0
    known = sorted(set(always))
    for letter, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])):
        if covered >= wanted:
            break
        known += [] if letter in always else [letter]
        covered += count
    return known


def learn_in_room(
    known: Sequence[str], *, first: int, room: int, each: int, learn: Callable[[Sequence[str]], list[str]]
) -> tuple[list[str], list[str]]:
    """Share the room of a vocabulary between characters and what is learned of them.

    What is learned has half of the room, if there is so much of it: with a larger vocabulary than the texts give, all
    of both is in it, and asking for the size that was reached gives the same size again.

    Args:
        known: characters, the most important first.
        first: so many of them are in the vocabulary in any case.
        room: ids for both.
        each: ids that a character takes.
        learn: from characters to what is learned, in the order in which it is wanted; at most what is left of the room.

    Returns:
        The characters and what was learned, together within the room.
    """
    some = max(first, room // (2 * each))
    if some >= len(known):
        return list(known), learn(known)
    learned = learn(known[:some])
    if each * len(known) + len(learned) < room:
        return list(known), learn(known)
    return list(known[: (room - len(learned)) // each]), learned
