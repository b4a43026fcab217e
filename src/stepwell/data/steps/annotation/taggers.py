"""What finds words, parts of speech and names in a text: rjieba, models of spaCy, functions of the user's.

Each gives tokens and entities with their places in characters. This file leaves out training such a model.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from stepwell.data.steps.step import needed
from stepwell.errors import DataError

Entity = tuple[int, int, str]
"""Beginning, end (in characters) and kind of a name."""

FindEntities = Callable[[Sequence[str]], Sequence[Sequence[Entity]]]
"""Texts -> the names in each."""


@dataclass(frozen=True)
class Tagged:
    """What is known of a text.

    Attributes:
        words: its words; punctuation and blanks are none.
        parts_of_speech: of each word, in the tags of who found it; None where nobody did.
        entities: names in it; None where nobody looked for them.
    """

    words: list[str] = field(default_factory=list)
    parts_of_speech: list[str] | None = None
    entities: list[Entity] | None = None


_WORD = re.compile(r"\w+(?:['’-]\w+)*")
_JIEBA_ENTITIES = {"nr": "PERSON", "nrfg": "PERSON", "nrt": "PERSON", "ns": "LOC", "nt": "ORG"}


def by_spaces(texts: Sequence[str]) -> list[Tagged]:
    """Words of languages that write them apart; `don't` and `well-known` are one each."""
    return [Tagged(_WORD.findall(text)) for text in texts]


def by_rjieba(texts: Sequence[str], tags: bool) -> list[Tagged]:
    """Chinese words by dictionary and hidden Markov model, with the tags of ICTCLAS; persons, places, organisations.

    Args:
        texts: Chinese; words of Latin letters among them are words too.
        tags: whether parts of speech and names are wanted; words alone take half the time.

    Raises:
        DataError: when rjieba is not installed.
    """
    jieba: Any = needed("rjieba", "data", "annotate: Chinese words")
    if not tags:
        return [Tagged([word for word in jieba.cut(text) if _is_word(word)]) for text in texts]
    tagged = []
    for text in texts:
        words: list[str] = []
        parts_of_speech: list[str] = []
        entities: list[tuple[int, int, str]] = []
        start = 0
        for word, tag in jieba.tag(text):
            if _is_word(word):
                words.append(word)
                parts_of_speech.append(tag)
            if kind := _JIEBA_ENTITIES.get(tag):
                entities.append((start, start + len(word), kind))
            start += len(word)
        tagged.append(Tagged(words, parts_of_speech, entities))
    return tagged


def _is_word(word: str) -> bool:
    return any(map(str.isalnum, word))


def spacy_model(name: str, what: str) -> Any:
    """A pipeline of spaCy.

    Args:
        name: of an installed package, or a folder.
        what: asks for it; begins the message.

    Raises:
        DataError: when spaCy or the pipeline is not there.
    """
    spacy: Any = needed("spacy", "data", what)
    try:
        return spacy.load(name)
    except OSError as error:
        raise DataError(
            f"{what}: spaCy has no model {name}",
            got=str(error).splitlines()[0],
            do="install the model's package, or name the folder it is in",
        ) from None


def by_spacy(model: Any, texts: Sequence[str]) -> list[Tagged]:
    """Words, universal parts of speech and names, as a pipeline of spaCy finds them.

    Args:
        model: from `spacy_model`; what it has no component for is missing.
        texts: in its language.
    """
    tagged = []
    model.max_length = max([model.max_length, *(len(text) + 1 for text in texts)])  # its own limit is of memory
    for parsed in model.pipe(texts):
        words = [token for token in parsed if _is_word(token.text)]
        has_tags = any(token.pos_ for token in words)
        tagged.append(
            Tagged(
                [token.text for token in words],
                [token.pos_ or "X" for token in words] if has_tags else None,
                [(one.start_char, one.end_char, one.label_) for one in parsed.ents] if _finds_names(model) else None,
            )
        )
    return tagged


def _finds_names(model: Any) -> bool:
    return "doc.ents" in {assigned for name in model.pipe_names for assigned in model.get_pipe_meta(name).assigns}


def function_of(path: str, what: str) -> FindEntities:
    """A function of the user's that finds names.

    Args:
        path: `package.module:name`.
        what: asks for it; begins the message.

    Raises:
        DataError: when there is no such function.
    """
    module, colon, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name) if colon else None
    except (ImportError, AttributeError, ValueError) as error:
        raise DataError(f"{what}: no function {path}", got=str(error), wanted="package.module:name") from None
    if not callable(found):
        raise DataError(f"{what}: {path} is no function", wanted="package.module:name")
    call: FindEntities = found
    return call
