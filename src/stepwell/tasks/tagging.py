"""Tagging: a tag for each word, such as where a name begins and of what kind it is, or a part of speech.

Words become one token or more, and the first token of each carries its tag. Which tags there are, in which scheme, and
how words are cut is found in the training text, so a finished model reads plain text. This file leaves out how the best
sequence of tags is found (`tag_decoding`), and metrics.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stepwell.config import Config
from stepwell.data import Document, Example, FieldConfig, PreparedText
from stepwell.errors import DataError
from stepwell.tasks.tag_decoding import FORBIDDEN, Floats
from stepwell.tasks.tag_schemes import (
    OUTSIDE,
    TagScheme,
    all_tags,
    allowed_transitions,
    found_scheme,
    repaired,
    spelled,
)
from stepwell.tasks.task import LONGEST_TOKENS, Found, Task, TaskConfig, one_of
from stepwell.tasks.word_cutting import Cut, Word, cut_words, found_cut, joined, words_in
from stepwell.tokenizers import Tokenizer

MISMATCH = "as many tags as words are needed"
SHOWN = 5
MOST_MISMATCHED = 0.01
SENTENCE_ENDS = frozenset(".!?;。！？；…")
SPLITS: tuple[Literal["train", "validation", "test"], ...] = ("train", "validation", "test")


class TaggingDecisionConfig(Config):
    """Who gives the tags; found on validation text, without training again.

    Attributes:
        members: the `model` that was trained, or a simple one that every run trains beside it (`baselines`).
    """

    members: Annotated[tuple[Literal["model", "word_tagger", "perceptron"], ...], Field(min_length=1, max_length=1)] = (
        "model",
    )


class TaggingConfig(TaskConfig):
    """Tags of words.

    Attributes:
        words: column of the words, a list or a text with blanks between them; found by name.
        tag: column of the tags, one for each word; found by name.
        scheme: how tags are written: BIO, BIOES, BILOU, IO, or `plain` tags without spans; found in the tags.
        tags: all of them, in order; found in the text. Where a table has numbers, the names of 0, 1, 2, ...
        cut: how a plain text becomes words: `characters` each for itself, `blanks`, `signs` at their ends for
            themselves too, or `chinese_words`; found in the training text.
        decision: who gives the tags.
    """

    kind: Literal["tagging"] = "tagging"
    words: str | None = None
    tag: str | None = None
    scheme: TagScheme | None = None
    tags: tuple[str, ...] = ()
    cut: Cut | None = None
    decision: TaggingDecisionConfig = TaggingDecisionConfig()


@dataclass(frozen=True)
class TaggedRead:
    """A text as a model reads it.

    Attributes:
        token_ids: (T,) its tokens.
        firsts: (W,) the place of each word's first token; -1 for words that have none or do not fit.
        left_out_tokens: that do not fit.
    """

    token_ids: NDArray[np.int64]
    firsts: NDArray[np.int64]
    left_out_tokens: int

    def of_words(self, outputs: NDArray[np.floating[Any]]) -> Floats:
        """(W, K) what a model says of each word, of what it says of each token (T, K); 0 where it read none."""
        scores = np.zeros((len(self.firsts), outputs.shape[1]))
        there = self.firsts >= 0
        scores[there] = outputs[self.firsts[there]]
        return scores


class Tagging(Task[TaggingConfig]):
    """See `TaggingConfig`."""

    family = "encoder"
    depth, epochs, tuning_epochs = 2, 5.0, 4.0

    @property
    def metric(self) -> str:
        return "token_accuracy" if self.config.scheme == "plain" else "span_f1"

    def fields(self) -> Mapping[str, FieldConfig]:
        return {
            "words": FieldConfig(columns=one_of(self.config.words, "tokens", "words", "text"), is_text=True),
            "tag": FieldConfig(
                columns=one_of(self.config.tag, "tags", "ner_tags", "labels", "pos_tags", "ner", "pos", "tag", "label"),
                is_answer=True,
            ),
        }

    def find(self, text: PreparedText) -> Found:
        """Scheme, tags, and how words are cut.

        Raises:
            DataError: when words and tags do not go together, there is nothing to tell apart, or held-out text has
                tags that training text has not.
        """
        rows = {split: list(self._rows(text.each_columns(split))) for split in SPLITS}
        several = [row for some in rows.values() for row in some]
        _check_lengths(several)
        counts = Counter(tag for words, tags in rows["train"] if len(words) == len(tags) for tag in tags)
        scheme = self.config.scheme or found_scheme(counts)
        train = [[spelled(tag, scheme) for tag in tags] for _, tags in rows["train"]]
        kinds = {_kind_of(tag, scheme) for tags in train for tag in tags if scheme == "plain" or tag != OUTSIDE}
        if len(kinds) < (2 if scheme == "plain" else 1):
            raise DataError(
                "task.tag: nothing to tell apart",
                got=", ".join(counts) or "no tags at all",
                wanted="two tags or more in the training text",
                do="look at the column, or name another one (--set task.tag=NAME)",
            )
        tags = all_tags(kinds, scheme)
        if not self.config.tags:
            seen = {spelled(tag, scheme) for split in SPLITS[1:] for _, some in rows[split] for tag in some}
            _check_unseen(seen - set(tags), tags)
        changed = sum(repaired(some, scheme)[1] for some in train)
        why = "found in the tags"
        if changed:
            why += f"; {changed:,} of {counts.total():,} do not keep to it and are read as seqeval reads them"
        return {
            "scheme": (scheme, why),
            "tags": (tags, "found in the training text"),
            "cut": (found_cut([words for words, _ in rows["train"]]), "as the words of the training text"),
        }

    def make(self, documents: Sequence[Document], tokenizer: Tokenizer) -> Sequence[Example | str]:
        places = {name: number for number, name in enumerate(self.config.tags)}
        made: list[Example | str] = []
        for document, read in zip(documents, self.read(documents, tokenizer), strict=True):
            tags = self.tags_of(document)
            if tags is None or len(tags) != len(read.firsts):
                made.append("no tags" if tags is None else MISMATCH)
                continue
            labels = np.zeros(len(read.token_ids) + 1, np.int32)
            for first, tag in zip(read.firsts.tolist(), tags, strict=True):
                if first >= 0:
                    labels[first] = places.get(tag, -1) + 1
            if not labels.any():
                made.append("no word with a tag")
                continue
            framed = np.append(read.token_ids, tokenizer.eos_id)  # the last token is a target, which is not read
            weight = np.float32(document.columns.get("weight", 1.0))
            made.append(Example(framed, {"label": labels}, {"weight": weight}, read.left_out_tokens))
        return made

    def read(self, documents: Sequence[Document], tokenizer: Tokenizer) -> list[TaggedRead]:
        """What the model reads of each text; one that is too long loses its end."""
        pieces = [self._pieces(document) for document in documents]
        distinct = list(dict.fromkeys(piece for some in pieces for piece in some))
        ids_of = dict(zip(distinct, tokenizer.encode_many(distinct), strict=True)) if distinct else {}
        room = (self.config.max_tokens or LONGEST_TOKENS) - 2
        found = []
        for some in pieces:
            words = [ids_of[piece] for piece in some]
            lengths = np.array([len(ids) for ids in words], np.int64)
            firsts = np.cumsum(lengths) - lengths
            ids = np.concatenate([np.zeros(0, np.int64), *words]).astype(np.int64)
            framed = np.concatenate([[tokenizer.bos_id], ids[:room], [tokenizer.eos_id]])
            there = (lengths > 0) & (firsts < room)
            found.append(TaggedRead(framed, np.where(there, firsts + 1, -1), max(0, len(ids) - room)))
        return found

    def windows(self, document: Document, tokenizer: Tokenizer) -> list[TaggedRead]:
        """A text of any length as the model reads it: in parts that fit, the end of a sentence after each if it can be.

        Args:
            document: what somebody asks about.
            tokenizer: that the model was trained with.
        """
        words = [word.text for word in self.placed(document)[1]]
        most, found = self.config.max_tokens or LONGEST_TOKENS, []
        while True:
            part, cut = words[:most], len(words)
            (read,) = self.read([replace(document, columns={"words": part})], tokenizer)
            if read.left_out_tokens or len(part) < len(words):
                fitting = np.flatnonzero(read.firsts >= 0)
                cut = max(1, int(fitting[-1]) if len(fitting) else 1)
                ends = [number for number in range(cut // 2, cut) if part[number] in SENTENCE_ENDS]
                cut = ends[-1] + 1 if ends else cut
                (read,) = self.read([replace(document, columns={"words": part[:cut]})], tokenizer)
            found.append(read)
            words = words[cut:]
            if not words:
                return found

    def placed(self, document: Document) -> tuple[str, list[Word]]:
        """The text that somebody asks about, and where its words are."""
        value, cut = document.columns.get("words"), self.config.cut or "blanks"
        if isinstance(value, str):  # where tags are given, blanks say which word each belongs to
            return value, cut_words(value, cut if document.columns.get("tag") is None else "blanks")
        return joined(words_in(value) or [], cut)

    def tags_of(self, document: Document) -> list[str] | None:
        """The right tags of a document, those of its scheme; None where it has none."""
        tags = self._tags(document.columns.get("tag"))
        scheme = self.config.scheme or "plain"
        return None if tags is None else repaired([spelled(tag, scheme) for tag in tags], scheme)[0]

    def transitions(self, learned: NDArray[np.floating[Any]] | None = None) -> Floats:
        """(K + 1, K + 1) scores of tags that follow one another, for `tag_decoding`.

        Args:
            learned: those that a model has; None for none.
        """
        allowed = allowed_transitions(self.config.tags, self.config.scheme or "plain")
        scores = np.zeros(allowed.shape) if learned is None else np.asarray(learned, np.float64)
        return np.where(allowed, scores, FORBIDDEN)

    def needs(self) -> Found:
        found: dict[str, tuple[Any, str]] = {
            "model.task_head.num_outputs": (len(self.config.tags), "one for each tag"),
            "model.task_head.pooling": ("each", "each word has a tag"),
            "model.task_head.transitions": (True, "tags follow one another"),
            "model.task_head.ngrams.dropout": (0.3, "words around a word say much, and are soon learned by heart"),
            "training.objective.kind": ("labels", "what tagging learns from"),
        }
        if self.config.cut == "characters":
            found["tokenizer.kind"] = ("character", "each character has a tag")
        return found

    def _pieces(self, document: Document) -> list[str]:
        """The words of a document, each with the blank before it, if there is one where words are joined.

        Whatever stands between the words of a text that somebody asks about, the model reads them as it learned them.
        """
        words = [word.text for word in self.placed(document)[1]]
        _, placed = joined(words, self.config.cut or "blanks")
        ends = [0, *(word.end for word in placed)]
        return [(" " if word.start > end else "") + word.text for word, end in zip(placed, ends, strict=False)]

    def _rows(self, several: Iterator[Mapping[str, Any]]) -> Iterator[tuple[list[str], list[str]]]:
        for columns in several:
            words, tags = words_in(columns.get("words")), self._tags(columns.get("tag"))
            if words is not None and tags is not None:
                yield words, tags

    def _tags(self, value: Any) -> list[str] | None:
        """Tags of a cell: a list, or a text with blanks between them; numbers by the names that the user gives."""
        if isinstance(value, str):
            return value.split()
        if not isinstance(value, list):
            return None
        names = self.config.tags
        return [names[one] if isinstance(one, int) and 0 <= one < len(names) else str(one) for one in value]


def _kind_of(tag: str, scheme: TagScheme) -> str:
    return tag if scheme == "plain" else tag[2:]


def _check_lengths(rows: Sequence[tuple[Sequence[str], Sequence[str]]]) -> None:
    """See that words and tags go together.

    Raises:
        DataError: with the first row where they do not, when more than one in a hundred are like it, or none is there.
    """
    if not rows:
        raise DataError("task.tag: no row has words and tags", wanted="a list of words, and a list of as many tags")
    wrong = [(words, tags) for words, tags in rows if len(words) != len(tags)]
    if len(wrong) > MOST_MISMATCHED * len(rows):
        words, tags = wrong[0]
        raise DataError(
            "task.tag: words and tags do not go together",
            got=f"{len(wrong):,} of {len(rows):,} rows, the first with {len(words)} words ({' '.join(words)[:40]!r}) "
            f"and {len(tags)} tags",
            wanted="a tag for each word",
            do="mend the rows; up to one in a hundred is left out",
        )


def _check_unseen(unseen: set[str], tags: Sequence[str]) -> None:
    """See that every tag can be learned.

    Raises:
        DataError: naming those that only held-out text has.
    """
    if unseen:
        raise DataError(
            "task.tag: held-out text has tags that training text has not",
            got=", ".join(sorted(unseen)[:SHOWN]),
            wanted=f"tags of training text, such as {', '.join(tags[:SHOWN])}",
            do="add examples of them, or leave such rows out",
        )
