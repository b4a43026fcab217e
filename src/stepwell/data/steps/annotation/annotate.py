"""What libraries know of each document, as columns beside it: words, parts of speech, names, words without stop words.

No text is changed. Chinese is divided into words by rjieba, other languages at blanks or by a model of spaCy, which is
named. This file leaves out who finds what (`taggers.py`), and languages other than Chinese that write words together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from stepwell.data.documents import Document
from stepwell.data.languages import language_scores
from stepwell.data.steps.annotation.stop_words import STOP_WORDS
from stepwell.data.steps.annotation.taggers import (
    Entity,
    Tagged,
    by_rjieba,
    by_spaces,
    by_spacy,
    function_of,
    spacy_model,
)
from stepwell.data.steps.step import Arrays, Outcome, Step, StepConfig
from stepwell.errors import DataError


class AnnotateConfig(StepConfig):
    """Which columns are written.

    Attributes:
        words: column `words`, a list.
        parts_of_speech: column `parts_of_speech`, one for each of the words: tags of ICTCLAS for Chinese, universal
            ones where `model` is used.
        entities: column `entities`, lists of beginning, end (in characters) and kind of each name.
        content_words: column `content_words`, the words that are no stop words, in small letters.
        stop_words: a file with one stop word on each line, in place of those of English and Chinese.
        model: pipeline of spaCy for text that is not Chinese, by the name of its package or folder.
        chinese_model: likewise for Chinese, in place of rjieba.
        function: `package.module:name` of a function that finds names: texts -> a list of entities for each.
        prefix: begins the names of the columns, where a table has some of the same names.
    """

    kind: Literal["annotate"] = "annotate"
    words: bool = True
    parts_of_speech: bool = False
    entities: bool = False
    content_words: bool = False
    stop_words: str | None = None
    model: str | None = None
    chinese_model: str | None = None
    function: str | None = None
    prefix: str = ""

    def reads(self) -> Sequence[str]:
        """The file of stop words."""
        return () if self.stop_words is None else (self.stop_words,)


class Annotate(Step[AnnotateConfig]):
    """Write columns; what nobody could find is missing in its document, and counted.

    Raises:
        DataError: when a library, a model or a file is not there, a column is there already, or a function of the
            user's gives what it should not.
    """

    place: ClassVar[Literal["before_split", "after_split"]] = "after_split"

    def apply(self, documents: Sequence[Document], known: Arrays | None = None) -> Outcome:
        outcome = Outcome()
        texts = [one.text for one in documents]
        tagged = self._tagged(texts)
        names = self._names(texts, tagged) if self.config.entities else [None] * len(texts)
        stop_words = _stop_words(self.config.stop_words) if self.config.content_words else frozenset()
        for document, one, entities in zip(documents, tagged, names, strict=True):
            columns = dict(self._columns(one, entities, stop_words))
            missing = self.config.parts_of_speech and "parts_of_speech" not in columns
            if missing or (self.config.entities and "entities" not in columns):
                outcome.findings["documents_without_a_model"] += 1
            outcome.findings["words"] += len(one.words)
            named = {f"{self.config.prefix}{name}": value for name, value in columns.items()}
            if there := sorted(named.keys() & document.columns.keys()):
                raise DataError(
                    f"annotate: column {there[0]} is there already",
                    got=", ".join(sorted(document.columns)),
                    do="choose a prefix (--set data.steps.annotate.prefix=NAME_)",
                )
            outcome.kept.append(document.with_columns(named))
        return outcome

    def _columns(
        self, one: Tagged, entities: Sequence[Entity] | None, stop_words: frozenset[str]
    ) -> Iterator[tuple[str, Any]]:
        settings = self.config
        if settings.words:
            yield "words", one.words
        if settings.parts_of_speech and one.parts_of_speech is not None:
            yield "parts_of_speech", one.parts_of_speech
        if settings.entities and entities is not None:
            yield "entities", [list(entity) for entity in entities]
        if settings.content_words:
            small = (word.lower().replace("’", "'") for word in one.words)
            yield "content_words", [word for word in small if word not in stop_words]

    def _tagged(self, texts: Sequence[str]) -> list[Tagged]:
        """What is known of each text; those in Chinese and the others are done together."""
        settings = self.config
        chinese = [is_chinese(text) for text in texts]
        ours = [text for text, is_so in zip(texts, chinese, strict=True) if is_so]
        others = [text for text, is_so in zip(texts, chinese, strict=True) if not is_so]
        if settings.chinese_model is None:
            tags = settings.parts_of_speech or (settings.entities and settings.function is None)
            of_ours = by_rjieba(ours, tags) if ours else []
        else:
            of_ours = by_spacy(_model(settings.chinese_model), ours)
        of_others = by_spaces(others) if settings.model is None else by_spacy(_model(settings.model), others)
        first, second = iter(of_ours), iter(of_others)
        return [next(first) if is_so else next(second) for is_so in chinese]

    def _names(self, texts: Sequence[str], tagged: Sequence[Tagged]) -> Sequence[Sequence[Entity] | None]:
        path = self.config.function
        if path is None:
            return [one.entities for one in tagged]
        found = list(function_of(path, "annotate")(texts))
        if len(found) != len(texts):
            raise DataError(
                f"annotate: {path} gave names for {len(found):,} texts", wanted=f"a list for each of {len(texts):,}"
            )
        return [_checked(path, text, names) for text, names in zip(texts, found, strict=True)]


def _checked(path: str, text: str, names: Sequence[Any]) -> list[Entity]:
    try:
        entities = [(int(start), int(end), str(kind)) for start, end, kind in names]
    except (TypeError, ValueError):
        raise DataError(
            f"annotate: {path} gave what is no entity", got=repr(names)[:200], wanted="(start, end, kind) of each name"
        ) from None
    for start, end, _ in entities:
        if not 0 <= start < end <= len(text):
            raise DataError(
                f"annotate: {path} gave a name outside its text",
                got=f"{start} to {end}",
                wanted=f"0 to {len(text):,}, in characters",
            )
    return entities


def is_chinese(text: str) -> bool:
    """Whether most of the beginning of a text is Chinese."""
    return not text.isascii() and next(iter(language_scores(text.strip())), "") == "zh"


@lru_cache(maxsize=4)
def _model(name: str) -> Any:
    return spacy_model(name, "annotate")


@lru_cache(maxsize=4)
def _stop_words(path: str | None) -> frozenset[str]:
    if path is None:
        return STOP_WORDS
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"annotate: {path}: cannot be read", got=str(error), wanted="one stop word on each line, UTF-8"
        ) from None
    return frozenset(line.strip().lower() for line in lines) - {""}
