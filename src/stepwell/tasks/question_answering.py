"""Question answering: a question, a text, and the answer, as a passage of that text or in words of the model's own.

An answer is found by telling where it begins and ends; a long text is read in windows that overlap, and in a window
without the answer the place behind the text stands for none. Questions about one text go to one split together. This
file leaves out how the best passage is found (`answer_spans`), and answers that are written (`answer_writing`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from stepwell.data import Document, Example, FieldConfig, PreparedText
from stepwell.errors import DataError
from stepwell.tasks.answer_places import RightAnswer, answers_in, places_of
from stepwell.tasks.answer_spans import AnswerWindow, QuestionRead
from stepwell.tasks.pairs import SearchConfig, WritingConfig
from stepwell.tasks.task import LONGEST_TOKENS, Found, Task, one_of
from stepwell.tasks.translation import LOOKED_AT, language_of
from stepwell.tokenizers import Tokenizer

CANDIDATE, BEGIN, END = 1, 2, 4
"""What a number beside a token says: an answer may begin or end here; a right one begins here; a right one ends."""

LONGEST_QUESTION_RATIO = 0.5
"""Of a window, that a question may take."""

MOST_UNFOUND = 0.1
"""Share of the answers that may stand nowhere in their context; more is an error."""

BY_CHARACTER = ("zh", "ja")
"""Languages whose answers begin and end between any two characters."""

UNFOUND = "no right answer stands in the context; it is measured, and not learned from"
INSIDE = "a right answer begins or ends inside a token"


class AnsweringDecisionConfig(SearchConfig):
    """How an answer is chosen; found on validation text, without training again.

    Attributes:
        least_margin: of passages, where some questions have no answer: one is given when it is so many nats likelier
            than none.
    """

    least_margin: float = 0.0


class QuestionAnsweringConfig(WritingConfig):
    """Questions about texts.

    Attributes:
        mode: `extractive`, the answer is a passage of the text; `generative`, the model writes it.
        question: column of the question; found by name.
        context: column of the text; found by name.
        answers: column of the right answers, a text, a list of texts, or SQuAD's lists of texts and beginnings; empty
            where there is none. Found by name.
        language: of the answers, by which they are compared; found in the questions.
        unanswerable: whether some questions have no answer; found in the training text.
        stride_tokens: how far each window of a long text begins behind the one before; None for half of what a window
            holds of the text.
        max_answer_tokens: longest passage that is given; found in training text.
        template: of a model that writes, how question and text are put to it, `{question}` and `{context}` standing for
            them; None for the question, the text after it, and an end token.
        decision: how an answer is chosen.
    """

    kind: Literal["question_answering"] = "question_answering"
    mode: Literal["extractive", "generative"] = "extractive"
    question: str | None = None
    context: str | None = None
    answers: str | None = None
    language: str | None = None
    unanswerable: bool | None = None
    stride_tokens: Annotated[int, Field(ge=1)] | None = None
    max_answer_tokens: Annotated[int, Field(ge=1)] | None = None
    template: str | None = None
    decision: AnsweringDecisionConfig = AnsweringDecisionConfig()

    @field_validator("template")
    @classmethod
    def _says_where(cls, template: str | None) -> str | None:
        if template is not None and (template.count("{question}") != 1 or template.count("{context}") != 1):
            raise ValueError("a template with {question} and {context} in it, each once")
        return template


def fields_of(config: QuestionAnsweringConfig) -> Mapping[str, FieldConfig]:
    """What an example holds: a question, its context, and answers."""
    return {
        "question": FieldConfig(columns=one_of(config.question, "question", "query"), is_text=True),
        "context": FieldConfig(
            columns=one_of(config.context, "context", "passage", "paragraph", "document", "text"),
            is_text=True,
            is_group=True,
        ),
        "answers": FieldConfig(columns=one_of(config.answers, "answers", "answer"), is_answer=True),
    }


def said(document: Document, field: str) -> str:
    """A field of a document as text; empty where it has none."""
    value = document.columns.get(field)
    return value if isinstance(value, str) else ""


def fault_of(document: Document) -> str | None:
    """Why a document is no example; None where it is one."""
    for field in ("question", "context"):
        if not said(document, field).strip():
            return f"no {field}" if document.columns.get(field) is None else f"empty {field}"
    return None


def right_answers(document: Document) -> list[RightAnswer]:
    """The right answers to a document's question.

    Raises:
        DataError: when they cannot be read.
    """
    return answers_in(document.columns.get("answers"))


def found_in(text: PreparedText) -> Found:
    """The language of answers, and whether every question has one.

    Raises:
        DataError: when no question has an answer, or none can be read.
    """
    answered = sum(bool(answers_in(one.get("answers"))) for one in text.each_columns("train"))
    total = len(text.texts("train"))
    if not answered:
        raise DataError(
            "task.answers: not one question has an answer",
            got=f"{total:,} rows of training text",
            wanted="a text, a list of texts, or {text: [...], answer_start: [...]}",
            do="look at the column, or name another one (--set task.answers=NAME)",
        )
    questions = [str(one.get("question") or "") for one in islice(text.each_columns("train"), LOOKED_AT)]
    return {
        "unanswerable": (answered < total, f"{total - answered:,} of {total:,} training questions have no answer"),
        "language": (language_of(questions), "most questions are in it"),
    }


class Answering(Task[QuestionAnsweringConfig]):
    """Answers are passages of the context; see `QuestionAnsweringConfig`."""

    family = "encoder"
    depth, epochs, tuning_epochs = 2, 12.0, 3.0
    answer_field = "answers"

    @property
    def metric(self) -> str:
        return "f1"

    def fields(self) -> Mapping[str, FieldConfig]:
        return fields_of(self.config)

    def find(self, text: PreparedText) -> Found:
        """See `found_in`.

        Raises:
            DataError: likewise, and when too many answers stand nowhere in their context.
        """
        found = found_in(text)
        for split in ("train", "validation"):
            rows = [(one, answers_in(one.get("answers"))) for one in text.each_columns(split)]
            answered = [(one, right) for one, right in rows if right and str(one.get("context") or "").strip()]
            lost = [one for one, right in answered if not places_of(str(one.get("context") or ""), right)]
            if len(lost) > MOST_UNFOUND * len(answered):
                raise DataError(
                    f"{split}: too many answers stand nowhere in their context",
                    got=f"{len(lost):,} of {len(answered):,}, the first to {str(lost[0].get('question'))[:60]!r}",
                    wanted=f"at most {MOST_UNFOUND:.0%}",
                    do="mend the rows, or let the model write its answers (--set task.mode=generative)",
                )
        return found

    def measure(self, documents: Sequence[Document], tokenizer: Tokenizer) -> Found:
        answers = [one.text for document in documents for one in right_answers(document)]
        lengths = [len(ids) for ids in tokenizer.encode_many(answers)] if answers else [1]
        return {"max_answer_tokens": (max(1, *lengths), "the longest answer of the training text")}

    def answer(self, said: str, probabilities: Mapping[str, float]) -> Any:
        return [said] if said else []

    def make(self, documents: Sequence[Document], tokenizer: Tokenizer) -> Sequence[str | Sequence[Example]]:
        made: list[str | Sequence[Example]] = []
        for document, read in zip(documents, self.read(documents, tokenizer), strict=True):
            if not read.windows:
                made.append(fault_of(document) or "empty context")
                continue
            right = right_answers(document)
            places = places_of(read.context, right)
            spans = spans_of_tokens(read.places, places)
            lost = bool(right) and not spans
            remark = UNFOUND if lost else INSIDE if _cuts(read, places, spans) else ""
            weight = np.float32(0 if lost else document.columns.get("weight", 1.0))
            made.append(
                [
                    Example(
                        np.append(window.token_ids, tokenizer.eos_id),  # the last token is a target, which is not read
                        {"span": np.append(marks_of(window, spans), np.uint8(0))},
                        {"weight": weight},
                        0 if number else read.left_out_tokens,
                        "" if number else remark,
                    )
                    for number, window in enumerate(read.windows)
                ]
            )
        return made

    def marks(self, document: Document, read: QuestionRead) -> list[NDArray[np.uint8]]:
        """What a model is to say at each place of each window (`marks_of`); nothing where no right answer stands."""
        right = right_answers(document)
        spans = spans_of_tokens(read.places, places_of(read.context, right))
        return [] if right and not spans else [marks_of(window, spans) for window in read.windows]

    def read(self, documents: Sequence[Document], tokenizer: Tokenizer) -> list[QuestionRead]:
        """What the model reads of each question and its context."""
        questions = tokenizer.encode_many([said(one, "question").strip() for one in documents])
        contexts = tokenizer.encode_with_places([said(one, "context") for one in documents])
        return [
            self._windows(document, question, ids, places, tokenizer)
            for document, question, (ids, places) in zip(documents, questions, contexts, strict=True)
        ]

    def _windows(
        self,
        document: Document,
        question: NDArray[np.integer[Any]],
        ids: NDArray[np.integer[Any]],
        places: NDArray[np.int64],
        tokenizer: Tokenizer,
    ) -> QuestionRead:
        most = self.config.max_tokens or LONGEST_TOKENS
        asked = question[: max(1, int(most * LONGEST_QUESTION_RATIO) - 3)]
        room = most - len(asked) - 3
        windows = [
            AnswerWindow(
                np.concatenate(
                    [[tokenizer.bos_id], asked, [tokenizer.eos_id], ids[first : first + room], [tokenizer.eos_id]]
                ).astype(np.int64),
                first,
                len(asked) + 2,
            )
            for first in window_starts(len(ids), room, self.config.stride_tokens)
            if fault_of(document) is None
        ]
        return QuestionRead(said(document, "context"), places, windows, len(question) - len(asked))

    def needs(self) -> Found:
        found: dict[str, tuple[Any, str]] = {
            "model.task_head.num_outputs": (2, "where an answer begins, and where it ends"),
            "model.task_head.pooling": ("each", "at each token"),
            "training.objective.kind": ("span", "what answers are found by"),
        }
        if self.config.language in BY_CHARACTER:
            found["tokenizer.kind"] = ("character", "answers begin and end between any two characters")
        return found


def window_starts(count: int, room: int, stride: int | None) -> list[int]:
    """Where the windows begin that hold all of a text; the last one ends with it.

    Args:
        count: tokens of the text.
        room: tokens that a window holds, at least 1.
        stride: from one window to the next; None for half of `room`.
    """
    if not count:
        return []
    step = min(room, stride or max(1, room // 2))
    return [*range(0, count - room, step), max(0, count - room)]


def spans_of_tokens(places: NDArray[np.int64], spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The first and the last token of stretches of characters.

    Args:
        places: (N, 2) of the tokens.
        spans: first character of each stretch, and the one behind its last.
    """
    starts, ends = places.T
    found = []
    for start, end in spans:
        first = int(np.searchsorted(ends, start, side="right"))
        last = int(np.searchsorted(starts, end, side="left")) - 1
        if first <= last:
            found.append((first, last))
    return list(dict.fromkeys(found))


def marks_of(window: AnswerWindow, spans: Sequence[tuple[int, int]]) -> NDArray[np.uint8]:
    """(T,) what a model is to say at each place of a window; that there is no answer, where the window holds none.

    Args:
        window: with T tokens.
        spans: first and last token of each right answer in the context.
    """
    marks = np.zeros(len(window.token_ids), np.uint8)
    marks[window.begin :] = CANDIDATE
    for first, last in spans:
        if first >= window.first and last < window.first + window.count:
            marks[window.begin + first - window.first] |= BEGIN
            marks[window.begin + last - window.first] |= END
    if not (marks & BEGIN).any():
        marks[-1] |= BEGIN | END
    return marks


def _cuts(read: QuestionRead, places: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> bool:
    """Whether tokens of an answer hold letters that are none of it."""
    kept = {read.context[start:end].strip() for start, end in places}
    told = {read.context[read.places[first, 0] : read.places[last, 1]].strip() for first, last in spans}
    return not told <= kept
