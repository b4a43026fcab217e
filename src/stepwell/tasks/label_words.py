"""Labels that a model says in words: it goes on with a text, and how likely each label's word is decides.

No head is needed, so a language model can be asked before it has learned the task (Brown et al., 2020), and what it
knows about the words helps it to learn. This file leaves out how probabilities become labels (`decisions`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepwell.data import Document, Example, PreparedText
from stepwell.errors import DataError
from stepwell.tasks.classification import Classification, DecisionConfig, given
from stepwell.tasks.task import LONGEST_TOKENS, Found
from stepwell.tokenizers import Tokenizer

HERE = "{text}"

TEMPLATES = {"characters": "{text}\n类别：", "pieces": "{text}\nLabel:"}
"""How the text is cut -> what is said about it."""

SHORTEST_TEXT_TOKENS = 4
"""So much of a text stays, or there is no example."""


class LabelWords(Classification):
    """See `ClassificationConfig`, `mode: words`."""

    family = "decoder"
    objectives = ("causal",)
    depth, epochs, tuning_epochs, rate = 2, 12.0, 3.0, 1.0

    @property
    def key(self) -> str:
        return self.config.model_dump_json(exclude={"decision", "ways"})

    def find(self, text: PreparedText) -> Found:
        """Labels, and what is said about a text.

        Raises:
            DataError: as for a head, and when a text has several labels, or a number.
        """
        found = dict(super().find(text))
        problem = found["problem"][0]
        if problem != "single":
            raise DataError(
                "task.mode: words tell one label of each text",
                got="numbers" if problem == "number" else "several labels of a text",
                wanted="one label of a set",
                do="--set task.mode=head",
            )
        if self.config.template is None:
            found["template"] = (TEMPLATES[found["cut"][0]], "the languages of the text")
        return found

    def needs(self) -> Found:
        return {"training.objective.loss.kind": ("cross_entropy", "labels are told token by token")}

    def candidates(self, tokenizer: Tokenizer) -> list[NDArray[np.int64]]:
        """What the model may say: the tokens of each label's word, with an end token.

        Args:
            tokenizer: that the model was trained with.

        Raises:
            DataError: when there are not as many words as labels, or two are the same.
        """
        config = self.config
        words = config.words or config.labels
        if len(words) != len(config.labels) or len(set(words)) < len(words):
            raise DataError(
                "task.words: one word for each label, each another",
                got=", ".join(words),
                wanted=f"words for {', '.join(config.labels)}, in this order",
            )
        _, after = self._around(self.config.decision.template)
        joined = after[-1:].isspace() or not after
        said = [word if joined or not word[0].isascii() else f" {word}" for word in words]
        return [np.array([*ids, tokenizer.eos_id], np.int64) for ids in tokenizer.encode_many(said)]

    def make(self, documents: Sequence[Document], tokenizer: Tokenizer) -> Sequence[Example | str]:
        if self.config.decision.template is not None:  # a way of asking, and not of learning
            plain = self.config.model_copy(update={"decision": DecisionConfig()})
            return LabelWords(plain).make(documents, tokenizer)
        words = self.candidates(tokenizer)
        places = {name: number for number, name in enumerate(self.config.labels)}
        made: list[Example | str] = []
        for document, (ids, left_out) in zip(documents, self.read(documents, tokenizer), strict=True):
            value = given(document.columns.get("label"))
            if value is None:
                made.append("no label")
                continue
            label = self.label(value, places)
            weight = np.zeros(len(ids) + len(words[label]), np.float32)
            weight[len(ids) - 1 : -1] = document.columns.get("weight", 1.0)  # where the next token is one of the word
            of_document: dict[str, Any] = {"label": label, "source_tokens": np.int64(len(ids))}
            whole = np.concatenate([ids, words[label]])
            made.append(Example(whole, aligned={"weight": weight}, of_document=of_document, left_out_tokens=left_out))
        return made

    def read(self, documents: Sequence[Document], tokenizer: Tokenizer) -> list[tuple[NDArray[np.int64], int]]:
        """What the model reads of each text, and how many of its tokens do not fit; a long text loses its end.

        As much of a text is read in each way of asking, so examples in a template lengthen the whole.

        Raises:
            DataError: when the template takes all the room.
        """
        room = (self.config.max_tokens or LONGEST_TOKENS) - max(len(word) for word in self.candidates(tokenizer))
        room -= sum(len(tokenizer.encode(part)) for part in self._around())
        if room < SHORTEST_TEXT_TOKENS:
            raise DataError("task.template: leaves no room for a text", do="raise task.max_tokens, or shorten it")
        before, after = ([*tokenizer.encode(part)] for part in self._around(self.config.decision.template))
        return [
            (np.array([tokenizer.bos_id, *before, *ids[:room], *after], np.int64), max(0, len(ids) - room))
            for ids in tokenizer.encode_many([one.text for one in documents])
        ]

    def _around(self, template: str | None = None) -> tuple[str, str]:
        """What stands before and after a text in a template, by default that of the examples."""
        before, _, after = (template or self.config.template or TEMPLATES["pieces"]).partition(HERE)
        return before, after
