"""Names of persons, when they are asked for: from a list, from spaCy, or from a function of the user's.

A name has no shape of its own, so something that knows the language must say where the names are. This file leaves out
training such a model.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from stepwell.config import Config
from stepwell.data.steps.protect.clues import Span
from stepwell.data.steps.step import needed
from stepwell.errors import DataError

FindNames = Callable[[Sequence[str]], Sequence[Sequence[Span]]]
"""Texts -> for each of them where the names are, in characters."""


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
    return _called(config.function)


def names_in(texts: Sequence[str], find: FindNames) -> list[list[Span]]:
    """Where names are.

    Raises:
        DataError: when the answer is not one for each text, or is not made of pairs within the text.
    """
    answers = find(texts)
    try:
        spans = [[(int(start), int(end)) for start, end in answer] for answer in answers]
    except (TypeError, ValueError):  # its message would have the text in it
        spans = None
    whole = spans is not None and len(spans) == len(texts)
    if (
        spans is None
        or not whole
        or any(
            not 0 <= start < end <= len(text)
            for text, several in zip(texts, spans, strict=True)
            for start, end in several
        )
    ):
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
    names = sorted({line.strip() for line in lines} - {""}, key=lambda name: (-len(name), name))
    if not names:
        raise DataError(f"protect: {path}: no name in it", wanted="one name on each line")
    # A name in letters of an alphabet is a word of its own; a Chinese one stands without spaces.
    spelled = [rf"(?<!\w){re.escape(name)}(?!\w)" if name.isascii() else re.escape(name) for name in names]
    pattern = re.compile("|".join(spelled))
    return lambda texts: [[match.span() for match in pattern.finditer(text)] for text in texts]


def _by_spacy(config: SpacyNames) -> FindNames:
    spacy: Any = needed("spacy", "data", "protect")
    try:
        model = spacy.load(config.model)
    except OSError as error:
        raise DataError(
            f"protect: spaCy has no model {config.model}",
            got=str(error).splitlines()[0],
            do="install the model's package, or name the folder it is in",
        ) from None

    def find(texts: Sequence[str]) -> list[list[Span]]:
        return [
            [(entity.start_char, entity.end_char) for entity in parsed.ents if entity.label_ in config.labels]
            for parsed in model.pipe(texts)
        ]

    return find


def _called(function: str) -> FindNames:
    module, colon, name = function.partition(":")
    try:
        found = getattr(importlib.import_module(module), name) if colon else None
    except (ImportError, AttributeError) as error:
        raise DataError(f"protect: no function {function}", got=str(error), wanted="package.module:name") from None
    if not callable(found):
        raise DataError(f"protect: {function} is no function", wanted="package.module:name")
    call: FindNames = found
    return call
