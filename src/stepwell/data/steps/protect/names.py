"""Names of persons, when they are asked for: from a list, from spaCy, or from a function of the user's.

A name has no shape of its own, so something that knows the language must say where the names are. This file leaves out
training such a model, and rjieba: of the names that its tags give in Chinese news, one in four is one (CLUENER).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from stepwell.config import Config
from stepwell.data.steps.annotation.taggers import function_of, spacy_model
from stepwell.data.steps.protect.clues import Span
from stepwell.errors import DataError

FindNames = Callable[[Sequence[str]], Sequence[Sequence[Any]]]
"""Texts -> for each of them (start, end) of the names, in characters; what follows these two is not used."""


class ListedNames(Config):
    """Names that the user lists.

    Attributes:
        path: a file with one name on each line, UTF-8.
    """

    kind: Literal["list"] = "list"
    path: str


class SpacyNames(Config):
    """Names that a model of spaCy finds.

    Attributes:
        model: the name of an installed package or a folder, such as `en_core_web_sm`.
        labels: of its entities, that count as names of persons.
    """

    kind: Literal["spacy"] = "spacy"
    model: str
    labels: tuple[str, ...] = ("PERSON", "PER")


class FunctionNames(Config):
    """Names that a function of the user's finds.

    Attributes:
        function: `package.module:name`; it takes texts and gives for each a list of (start, end) in characters.
    """

    kind: Literal["function"] = "function"
    function: str


NamesConfig = Annotated[ListedNames | SpacyNames | FunctionNames, Field(discriminator="kind")]
"""Who finds names."""


def open_names(config: ListedNames | SpacyNames | FunctionNames) -> FindNames:
    """What finds names.

    Raises:
        DataError: when the file, the model or the function is not there.
    """
    if isinstance(config, ListedNames):
        return _listed(Path(config.path))
    if isinstance(config, SpacyNames):
        return _by_spacy(config)
    return function_of(config.function, "protect")


def names_in(texts: Sequence[str], find: FindNames) -> list[list[Span]]:
    """Where names are.

    Raises:
        DataError: when the answer is not one for each text, or is not made of pairs within the text.
    """
    answers = find(texts)
    spans: list[list[Span]] = []
    with suppress(TypeError, ValueError):  # their message would have the text in it
        spans = [[(int(start), int(end)) for start, end, *_ in answer] for answer in answers]
    of_each = zip(texts, spans, strict=False)
    within = all(0 <= start < end <= len(text) for text, several in of_each for start, end in several)
    if len(spans) != len(texts) or not within:
        raise DataError(
            "protect: the names that were found cannot be used",
            got=f"something else for {len(texts):,} texts",
            wanted="one list for each text, of pairs (start, end) in characters within the text",
        )
    return spans


def _listed(path: Path) -> FindNames:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"protect: {path}: cannot be read", got=str(error), wanted="one name on each line, UTF-8"
        ) from None
    names = {line.strip() for line in lines} - {""}
    if not names:
        raise DataError(f"protect: {path}: no name in it", wanted="one name on each line")
    lengths: dict[str, list[int]] = {}
    for name in sorted(names, key=len, reverse=True):
        held = lengths.setdefault(name[0], [])
        if len(name) not in held:
            held.append(len(name))
    first = re.compile(f"[{re.escape(''.join(sorted(lengths)))}]")

    def find(texts: Sequence[str]) -> list[list[Span]]:
        return [list(_walk(text, first, lengths, names)) for text in texts]

    return find


def _walk(text: str, first: re.Pattern[str], lengths: Mapping[str, Sequence[int]], names: Set[str]) -> Iterator[Span]:
    """Names of a list in a text, the longest first; the work does not depend on how many there are."""
    match = first.search(text)
    while match is not None:
        start = end = match.start()
        for length in lengths[match.group()]:
            name = text[start : start + length]
            if len(name) == length and name in names and _stands_alone(text, start, start + length):
                end = start + length
                yield start, end
                break
        match = first.search(text, max(end, start + 1))


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether a name is no part of a longer word; a Chinese one stands without spaces."""
    return not text[start:end].isascii() or not (
        _WORD_CHARACTER.match(text[start - 1 : start]) or _WORD_CHARACTER.match(text[end : end + 1])
    )


_WORD_CHARACTER = re.compile("[0-9A-Za-z_\u00c0-\u02af]")


def _by_spacy(config: SpacyNames) -> FindNames:
    model = spacy_model(config.model, "protect")

    def find(texts: Sequence[str]) -> list[list[Span]]:
        return [
            [(one.start_char, one.end_char) for one in parsed.ents if one.label_ in config.labels]
            for parsed in model.pipe(texts)
        ]

    return find
