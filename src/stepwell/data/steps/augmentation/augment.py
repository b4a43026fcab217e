"""More training documents made of those there are: said a little differently, by draws or by a model.

Each is made of one training document whose digest gives the draws, stands right behind it with its columns, and says in
the column `augmented` how it was made; held-out documents are never touched. This file leaves out what is done to the
words (`rewriting.py`), and whether it helps: the loop measures that.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar, Literal

from stepwell.data.documents import Document
from stepwell.data.steps.augmentation.augment_config import (
    AugmentConfig,
    BackTranslation,
    Dropout,
    Generation,
    Swap,
    Synonyms,
    checkpoints_of,
    fields_of,
)
from stepwell.data.steps.augmentation.rewriting import drop_words, read_synonyms, replace_words, swap_words, units_of
from stepwell.data.steps.step import Arrays, Outcome, Step, Surroundings, TextMaker
from stepwell.errors import DataError

OF_THE_TEXT = ("words", "parts_of_speech", "entities", "content_words")
"""Columns that say something of each word, and are wrong for another text."""


@dataclass(frozen=True)
class _Task:
    """One document to be made.

    Attributes:
        origin: place of what it is made of.
        method: place among the methods.
        draw: its own.
    """

    origin: int
    method: int
    draw: random.Random


class Augment(Step[AugmentConfig]):
    """Put made documents behind those they are made of.

    Raises:
        DataError: when a list, a library or a model that a method needs is not there.
    """

    place: ClassVar[Literal["before_split", "after_split"]] = "after_split"
    draws: ClassVar[bool] = True

    def __init__(self, config: AugmentConfig, around: Surroundings) -> None:
        super().__init__(config, around)
        self._makers: dict[str, TextMaker] = {}
        for method in config.methods:
            if isinstance(method, Synonyms):
                read_synonyms(Path(method.path))
            if checkpoints_of(method) and around.open_model is None:
                raise DataError(
                    f"augment: {method.kind} needs a model", do="take another method, or `stepwell prepare`"
                )

    def __getstate__(self) -> dict[str, Any]:
        return {"config": self.config, "around": self.around, "_makers": {}}

    @cached_property
    def _synonyms(self) -> dict[str, dict[str, list[str]]]:
        paths = {method.path for method in self.config.methods if isinstance(method, Synonyms)}
        return {path: read_synonyms(Path(path)) for path in paths}

    def apply(self, documents: Sequence[Document], known: Arrays | None = None) -> Outcome:
        outcome = Outcome()
        tasks = [task for place, one in enumerate(documents) for task in self._tasks(place, one)]
        made: defaultdict[int, list[tuple[str, str]]] = defaultdict(list)
        for task, text in zip(tasks, self._texts(documents, tasks), strict=True):
            kind = self.config.methods[task.method].kind
            if text is None:
                outcome.findings[f"too_long_for_{kind}"] += 1
            else:
                made[task.origin].append((kind, text))
        for place, document in enumerate(documents):
            outcome.kept.append(document)
            texts = {document.text.strip()}
            for how, text in made[place]:
                plain = text.strip()
                if not plain or plain in texts:
                    outcome.findings["same_as_before" if plain else "empty"] += 1
                    continue
                texts.add(plain)
                outcome.kept.append(_marked(document, text, how))
                outcome.changed[f"made_by_{how}"] += 1
        return outcome

    def _tasks(self, place: int, document: Document) -> Iterator[_Task]:
        if document.split != "train" or "augmented" in document.columns:
            return
        first = self._draw(document, 0)
        count = int(self.config.rate) + (first.random() < self.config.rate % 1)
        for number in range(1, count + 1):
            draw = self._draw(document, number)
            yield _Task(place, draw.randrange(len(self.config.methods)), draw)

    def _draw(self, document: Document, number: int) -> random.Random:
        key = f"augment/{self.around.seed}/{number}/".encode() + document.digest
        return random.Random(blake2b(key, digest_size=16).digest())

    def _texts(self, documents: Sequence[Document], tasks: Sequence[_Task]) -> list[str | None]:
        """What becomes of each task; None where a text is too long for its method. Models get all prompts at once."""
        texts: list[str | None] = [None] * len(tasks)
        by_model: defaultdict[int, list[int]] = defaultdict(list)
        for number, task in enumerate(tasks):
            method, document = self.config.methods[task.method], documents[task.origin]
            if isinstance(method, BackTranslation | Generation):
                if len(document.text) <= method.longest_characters:
                    by_model[task.method].append(number)
            else:
                texts[number] = self._rewritten(document.text, method, task.draw)
        for place, numbers in sorted(by_model.items()):
            method, origins = self.config.methods[place], [documents[tasks[number].origin] for number in numbers]
            if isinstance(method, BackTranslation):
                new = self._translated(origins, method)
            elif isinstance(method, Generation):
                new = self._generated(origins, method)
            for number, text in zip(numbers, new, strict=True):
                texts[number] = text
        return texts

    def _rewritten(self, text: str, method: Dropout | Swap | Synonyms, draw: random.Random) -> str:
        if isinstance(method, Dropout):
            return drop_words(text, method.ratio, method.chinese, draw)
        if isinstance(method, Swap):
            return swap_words(text, method.ratio, method.distance_words, method.chinese, draw)
        return replace_words(text, method.ratio, self._synonyms[method.path], draw)

    def _translated(self, documents: Sequence[Document], method: BackTranslation) -> list[str]:
        there = self._ask(method.there, [method.prompt_there.format(text=one.text) for one in documents])
        back = self._ask(method.back, [method.prompt_back.format(text=text.strip()) for text in there])
        return [text.strip() for text in back]

    def _generated(self, documents: Sequence[Document], method: Generation) -> list[str]:
        beginnings = [_beginning(one.text, method.beginning_ratio) for one in documents]
        prompts = [
            _filled(method.prompt, {**one.columns, "text": one.text, "beginning": beginning})
            for one, beginning in zip(documents, beginnings, strict=True)
        ]
        made = [text.split(method.stop)[0] if method.stop else text for text in self._ask(method.checkpoint, prompts)]
        if not method.prompt.endswith("{beginning}"):
            return [text.strip() for text in made]
        return [f"{beginning}{text}".rstrip() for beginning, text in zip(beginnings, made, strict=True)]

    def _ask(self, checkpoint: str, prompts: Sequence[str]) -> Sequence[str]:
        if checkpoint not in self._makers:
            assert self.around.open_model is not None
            self._makers[checkpoint] = self.around.open_model(Path(checkpoint))
        texts = self._makers[checkpoint](prompts)
        if len(texts) != len(prompts):
            raise DataError(f"augment: {checkpoint}", got=f"{len(texts)} texts", wanted=f"{len(prompts)}, one a prompt")
        return texts


def _marked(document: Document, text: str, kind: str) -> Document:
    """A made document; columns about single words of the other text are left out."""
    columns = {name: value for name, value in document.columns.items() if name not in OF_THE_TEXT}
    return replace(document, text=text, columns={**columns, "augmented": kind})


def _beginning(text: str, ratio: float) -> str:
    """The first words of a text with what stands between them, at least one word and never all."""
    units = units_of(text, "words")
    words = [place for place, unit in enumerate(units) if any(map(str.isalnum, unit))]
    if len(words) < 2:
        return text
    count = min(max(1, round(ratio * len(words))), len(words) - 1)
    return "".join(units[: words[count - 1] + 1])


def _filled(prompt: str, values: Mapping[str, Any]) -> str:
    missing = [name for name in fields_of(prompt) if name not in values]
    if missing:
        raise DataError(
            f"augment: no column {missing[0]} for the prompt",
            got=", ".join(sorted(values)),
            do=f"name it among those that go with each text (data.columns: [{missing[0]}])",
        )
    return prompt.format(**{name: values[name] for name in fields_of(prompt)})
