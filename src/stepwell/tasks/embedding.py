"""Vectors of texts: those of texts that belong together point alike (Reimers and Gurevych, 2019, "Sentence-BERT").

`retrieval` learns from queries with the document that answers each, and is asked for documents; `embedding` learns
from pairs, from pairs with a number for how alike they are, or from texts with labels. The texts of an example stand
side by side, and each of their tokens knows which side it is on. This file leaves out the loss (`objectives`), and how
documents are looked up (`inference`).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stepwell.config import Config
from stepwell.data import LABEL_COLUMNS, Document, Example, FieldConfig, PreparedText
from stepwell.errors import DataError, UsageError
from stepwell.tasks.task import LONGEST_TOKENS, Found, Task, TaskConfig, one_of
from stepwell.tokenizers import Tokenizer

Pooling = Literal["mean", "first", "last"]
Relation = Literal["pairs", "graded", "classes"]

RankedBy = Literal["vectors", "words", "both"]

MOST_SIDES = 32
"""Texts of an example: a query, its document, and negatives."""

WATCHED_EXAMPLES = 128
"""That are measured on the way: fewer say little of what is found among them."""

JUDGED_BYTES = 4_000_000
"""Of held-out text: what is found depends on how much is searched, so a round is judged by all of it, if it can be."""


class VectorsConfig(TaskConfig):
    """Base of the tasks that give texts vectors.

    Attributes:
        pooling: which hidden state stands for a text: the `mean` of them, the `first` or the `last`.
        temperature: cosines are divided by it before they are compared.
        batch_examples: examples of an update, about: each is told from the others, so more teach more.
        mean_tokens: of an example; found in training text.
        mean_bytes: of an example; found in training text.
    """

    pooling: Pooling = "mean"
    temperature: Annotated[float, Field(gt=0)] = 0.05
    batch_examples: Annotated[int, Field(ge=2)] = 64
    mean_tokens: Annotated[int, Field(ge=1)] | None = None
    mean_bytes: Annotated[int, Field(ge=1)] | None = None


class RankingConfig(Config):
    """How texts are ranked for a query; chosen on validation text, without training again.

    Attributes:
        by: `vectors`, `words` (BM25), or `both` rankings joined.
    """

    by: RankedBy = "vectors"


class RetrievalConfig(VectorsConfig):
    """Documents that answer queries.

    Attributes:
        query: column of the query; found by name.
        document: column of the document that answers it; found by name.
        negative: column of a text, or a list of texts, that look as if they did and do not; may be absent.
        query_prefix: stands before each query, such as `query: ` for models that were trained so.
        document_prefix: likewise before each document.
        decision: how documents are ranked.
    """

    kind: Literal["retrieval"] = "retrieval"
    query: str | None = None
    document: str | None = None
    negative: str | None = None
    query_prefix: str = ""
    document_prefix: str = ""
    decision: RankingConfig = RankingConfig()


class EmbeddingConfig(VectorsConfig):
    """Texts that mean alike.

    Attributes:
        first: column of a text; found by name.
        second: column of a text like it; found by name.
        score: column of a number, how alike they are; found by name.
        label: column of a label, where texts stand alone and those of one label are alike; found by name.
        relation: `pairs` that belong together, `graded` pairs with a score, or texts of `classes`; the columns tell.
        lowest: score of texts that have nothing in common; found in the text.
        highest: score of texts that mean the same; found in the text.
    """

    kind: Literal["embedding"] = "embedding"
    first: str | None = None
    second: str | None = None
    score: str | None = None
    label: str | None = None
    relation: Relation | None = None
    lowest: float | None = None
    highest: float | None = None


ConfigT = TypeVar("ConfigT", bound=VectorsConfig)


class Vectors(Task[ConfigT]):
    """A task that gives texts vectors; see `VectorsConfig`."""

    family = "encoder"
    objectives = ("contrastive",)
    depth, epochs, tuning_epochs, rate = 2, 12.0, 2.0, 0.25

    prefixes: tuple[str, str] = ("", "")
    """What stands before a query, and before a document."""

    @abstractmethod
    def texts_of(self, document: Document) -> list[str] | str:
        """The texts of an example: query, document, negatives; or in a few words why there is none."""

    def two_texts(self, document: Document) -> tuple[str, str]:
        """The two texts of an example whose likeness is asked for.

        Raises:
            UsageError: when there are not two.
        """
        names = list(self.fields())[:2]
        first, second = (_said(document.columns.get(name)) for name in names)
        if not first or not second:
            raise UsageError(
                f"prompt: an example of {self.config.kind} is compared by its two texts",
                got=f"no {names[bool(first)]}",
                wanted=f"jsonl with {' and '.join(names)}",
                do="stepwell search RUN --data CORPUS --text QUERY finds the nearest of many texts",
            )
        return first, second

    def beside(self, document: Document) -> Mapping[str, Any]:
        """What else goes with an example."""
        return {}

    def needs(self) -> Found:
        config = self.config
        found: dict[str, tuple[Any, str]] = {
            "training.objective.pooling": (config.pooling, "as vectors are made later"),
            "training.objective.temperature": (config.temperature, "as the task says"),
        }
        if config.mean_tokens and config.mean_bytes:
            found["training.global_batch_tokens"] = (
                config.batch_examples * config.mean_tokens,
                f"about {config.batch_examples} examples, each told from the others",
            )
            watched = max(30_000, WATCHED_EXAMPLES * config.mean_bytes)
            found["study.watch_bytes"] = (watched, f"about {WATCHED_EXAMPLES} examples or more")
            found["study.validation_bytes"] = (max(JUDGED_BYTES, watched), "what is found depends on what is searched")
        return found

    def measure(self, documents: Sequence[Document], tokenizer: Tokenizer) -> Found:
        made = [one for one in self.make(documents, tokenizer) if isinstance(one, Example)]
        if not made:
            return {}
        tokens = math.ceil(float(np.mean([len(one.token_ids) - 1 for one in made])))
        num_bytes = math.ceil(float(np.mean([one.num_bytes for one in documents])))
        return {"mean_tokens": (tokens, "of training text"), "mean_bytes": (num_bytes, "of training text")}

    def make(self, documents: Sequence[Document], tokenizer: Tokenizer) -> Sequence[Example | str]:
        texts = [self.texts_of(one) for one in documents]
        flat = [text for some in texts if not isinstance(some, str) for text in self._prefixed(some)]
        encoded = iter(tokenizer.encode_many(flat))
        return [
            some if isinstance(some, str) else self._example(document, some, [next(encoded) for _ in some], tokenizer)
            for document, some in zip(documents, texts, strict=True)
        ]

    def _prefixed(self, texts: Sequence[str]) -> list[str]:
        return [self.prefixes[min(side, 1)] + text for side, text in enumerate(texts)]

    def _example(
        self, document: Document, texts: Sequence[str], sides: Sequence[NDArray[Any]], tokenizer: Tokenizer
    ) -> Example | str:
        ends = [tokenizer.eos_id] if tokenizer.adds_eos else []
        around = 1 + len(ends)
        room = (self.config.max_tokens or LONGEST_TOKENS) - around * len(sides)
        if room < len(sides):
            return f"no room for {len(sides)} texts in task.max_tokens"
        kept = fair_lengths([len(one) for one in sides], room)
        rows = [[tokenizer.bos_id, *ids[:length].tolist(), *ends] for ids, length in zip(sides, kept, strict=True)]
        # the last token of an example is a target, which is not read
        side = np.concatenate([np.full(len(row), number, np.uint8) for number, row in enumerate(rows)])
        keys = np.array([key_of_text(text) for text in texts], np.int64)[side]
        return Example(
            np.array([*(one for row in rows for one in row), tokenizer.eos_id], np.int64),
            aligned={"side": np.append(side, side[-1]), "key": np.append(keys, keys[-1])},
            of_document=self.beside(document),
            left_out_tokens=sum(len(ids) for ids in sides) - sum(kept),
        )


class Retrieval(Vectors[RetrievalConfig]):
    """See `RetrievalConfig`."""

    @property
    def metric(self) -> str:
        return "ndcg_at_10"

    @property
    def prefixes(self) -> tuple[str, str]:  # type: ignore[override]
        return self.config.query_prefix, self.config.document_prefix

    def fields(self) -> Mapping[str, FieldConfig]:
        config = self.config
        documents = ("document", "positive", "context", "passage", "text", "answer", "content", "body", "abstract")
        negatives = ("negative", "negatives", "hard_negative", "hard_negatives")
        return {
            "query": FieldConfig(
                columns=one_of(config.query, "query", "question", "anchor", "title", "headline"), is_text=True
            ),
            "document": FieldConfig(columns=one_of(config.document, *documents), is_text=True, is_group=True),
            "negative": FieldConfig(
                columns=one_of(config.negative, *negatives), needed=config.negative is not None, is_answer=True
            ),
        }

    def find(self, text: PreparedText) -> Found:
        """Nothing; but see that there is something to tell documents from.

        Raises:
            DataError: when all training queries have the same document.
        """
        _check_different((_said(one.get("document")) for one in text.each_columns("train")), "document")
        return {}

    def document(self, asked: str | Mapping[str, Any]) -> Document:
        """A query with a document.

        Raises:
            UsageError: for a query alone.
        """
        if isinstance(asked, str):
            raise UsageError(
                "prompt: a model for retrieval is asked for the nearest of many texts",
                got=repr(asked)[:60],
                do="stepwell search RUN --data CORPUS --text QUERY; or give jsonl with query and document",
            )
        return super().document(asked)

    def texts_of(self, document: Document) -> list[str] | str:
        query, answer = (_said(document.columns.get(name)) for name in ("query", "document"))
        if not query or not answer:
            name = "document" if query else "query"
            return f"no {name}" if document.columns.get(name) is None else f"empty {name}"
        negative = document.columns.get("negative")
        several = negative if isinstance(negative, list) else [negative]
        negatives = [said for one in several if (said := _said(one)) and said != answer]
        return [query, answer, *negatives[: MOST_SIDES - 2]]


class Embedding(Vectors[EmbeddingConfig]):
    """See `EmbeddingConfig`."""

    @property
    def metric(self) -> str:
        return "spearman" if self.config.relation == "graded" else "ndcg_at_10"

    def fields(self) -> Mapping[str, FieldConfig]:
        config = self.config
        usual = ("sentence{}", "sentence_{}", "text{}", "text_{}")
        firsts, seconds = ([one.format(n) for one in usual] for n in (1, 2))

        def optional(given: str | None, *columns: str, is_text: bool = False) -> FieldConfig:
            return FieldConfig(columns=one_of(given, *columns), needed=given is not None, is_text=is_text)

        alone = ("premise", "query", "question", "text", "sentence", "title")
        return {
            "first": FieldConfig(
                columns=one_of(config.first, "first", "anchor", *firsts, "text_a", *alone), is_text=True, is_group=True
            ),
            "second": optional(
                config.second, "second", "positive", *seconds, "text_b", "hypothesis", "paraphrase", is_text=True
            ),
            "score": optional(config.score, "score", "similarity", "similarity_score").model_copy(
                update={"is_answer": True}
            ),
            "label": optional(config.label, *LABEL_COLUMNS).model_copy(update={"is_answer": True}),
        }

    def find(self, text: PreparedText) -> Found:
        """What relates the texts, and of scores the lowest and the highest.

        Raises:
            DataError: when there is nothing to learn from.
        """
        columns = list(text.each_columns("train"))
        relation = self.config.relation or _relation_of(columns)
        found: dict[str, tuple[Any, str]] = {"relation": (relation, "as the columns are")}
        if relation == "graded":
            scores = [_number(one.get("score")) for one in columns if one.get("score") is not None]
            if len(set(scores)) < 2:
                raise DataError("task.score: one number only", got=f"{scores[:1]}", wanted="numbers that differ")
            found["lowest"] = (min(scores), "lowest score of the training text")
            found["highest"] = (max(scores), "highest score of the training text")
        elif relation == "pairs":
            _check_different((_said(one.get("second")) for one in columns), "second")
        else:
            _check_classes(Counter(_name(one.get("label")) for one in columns if one.get("label") is not None))
        return found

    def texts_of(self, document: Document) -> list[str] | str:
        relation = self.config.relation or "pairs"
        needed = {"pairs": ("first", "second"), "graded": ("first", "second", "score"), "classes": ("first", "label")}
        for name in needed[relation]:
            value = document.columns.get(name)
            if value is None:
                return f"no {name}"
            if isinstance(value, str) and not value.strip():
                return f"empty {name}"
        texts = [_said(document.columns[name]) for name in needed[relation] if name in ("first", "second")]
        return texts if all(texts) else "a text that is none"

    def beside(self, document: Document) -> Mapping[str, Any]:
        if self.config.relation == "graded":
            return {"score": np.float32(self.cosine_of(document))}
        if self.config.relation == "classes":
            return {"label": key_of_text(_name(document.columns["label"]))}
        return {}

    def cosine_of(self, document: Document) -> float:
        """What the cosine of a graded pair should be: 0 for the lowest score, 1 for the highest."""
        lowest, highest = self.config.lowest or 0.0, 1.0 if self.config.highest is None else self.config.highest
        return (_number(document.columns["score"]) - lowest) / ((highest - lowest) or 1.0)


def fair_lengths(lengths: Sequence[int], room: int) -> list[int]:
    """How much of each text is kept where all do not fit: the longest are cut first, to one length.

    Args:
        lengths: of the texts, in tokens.
        room: for all of them together.

    Returns:
        Lengths whose sum is at most `room`; as they are where they fit.
    """
    kept, left = [0] * len(lengths), room
    order = sorted(range(len(lengths)), key=lambda number: lengths[number])
    for done, number in enumerate(order):
        kept[number] = min(lengths[number], left // (len(order) - done))
        left -= kept[number]
    return kept


def key_of_text(text: str) -> np.int64:
    """A number that stands for a text: equal texts have equal ones."""
    digest = blake2b(" ".join(text.split()).encode(), digest_size=8).digest()
    return np.int64(int.from_bytes(digest, "little", signed=True))


def _said(value: Any) -> str:
    return value.strip() if isinstance(value, str) else "" if value is None else str(value)


def _name(label: Any) -> str:
    return str(int(label) if isinstance(label, float) and label.is_integer() else label).strip()


def _number(value: Any) -> float:
    """A score.

    Raises:
        DataError: when it is none.
    """
    try:
        return float(value)
    except (TypeError, ValueError):
        raise DataError("task.score: is no number", got=repr(value)[:60], wanted="numbers") from None


def _relation_of(columns: Sequence[Mapping[str, Any]]) -> Relation:
    """What relates texts, by the columns that are there.

    Raises:
        DataError: when nothing does.
    """
    there = {name for one in columns for name, value in one.items() if value is not None}
    if "second" in there:
        return "graded" if "score" in there else "pairs"
    if "label" in there:
        return "classes"
    raise DataError(
        "task.second: nothing says which texts are alike",
        got=f"rows with {', '.join(sorted(there)) or 'nothing'}",
        wanted="a second text in each row, with a score or without; or a label",
        do="--set task.second=NAME or task.label=NAME",
    )


def _check_different(texts: Iterable[str], name: str) -> None:
    """See that texts can be told from one another.

    Raises:
        DataError: when all are the same.
    """
    some = {key_of_text(text) for text in texts if text}
    if len(some) < 2:
        raise DataError(
            f"task.{name}: there is one text only, so nothing to tell it from",
            got=f"{len(some)} of them in training text",
            wanted="two or more that differ",
            do="look at the column, or name another one",
        )


def _check_classes(counts: Counter[str]) -> None:
    """See that there are texts alike and others.

    Raises:
        DataError: when all texts have one label, or each its own.
    """
    if len(counts) < 2 or max(counts.values()) < 2:
        raise DataError(
            "task.label: no two texts that are alike, or none that are not",
            got=f"{sum(counts.values()):,} texts of {len(counts):,} labels",
            wanted="two labels or more, with several texts",
        )
