"""Metrics that are given what cannot be measured, and libraries that are not there."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import pytest

from stepwell.errors import DataError, UsageError
from stepwell.evaluation import AnswerScores, SummaryScores, TaggingScores, TranslationScores, signatures
from stepwell.tasks import spans_of


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: TaggingScores.of([["O"]], []), "tags: of other sentences\ngot: 1 predicted, 0 right ones"),
        (lambda: TaggingScores.of([["O"], ["O"]], [["O"], ["O", "O"]]), "sentence 1: other tokens\ngot: 1 predicted"),
        (lambda: TaggingScores.of([["B-x"]], [["O"]], types=["y"]), "sentence 0: a span of the type 'x'\nwanted: y"),
        (lambda: TaggingScores.of([["O"]], [["O"]], scheme="BIOE"), "scheme 'BIOE': is unknown\nwanted: lenient, BIO"),  # type: ignore[arg-type]
        (lambda: spans_of(["NOUN"]), "tag 'NOUN': cannot be read(.|\n)*scheme='tokens'"),
        (lambda: spans_of([""]), "tag ''"),
        (lambda: spans_of(["Bx"]), "tag 'Bx'"),
        (lambda: spans_of(["S-x"], "BIO"), "wanted: one of B I O"),
        (lambda: TranslationScores.of(["a"], ["a", "b"], "en"), "translations: of other sentences\ngot: 1\nwanted: 2"),
        (lambda: TranslationScores.of(["a", "b"], [["a"], []], "en"), "sentence 1: has no reference"),
        (lambda: signatures([[]], "en"), "sentence 0: has no reference"),
        (lambda: SummaryScores.of(["a"], []), "summaries: of other texts\ngot: 1\nwanted: 0"),
        (lambda: SummaryScores.of(["a"], [[]]), "summary 0: has no reference"),
        (lambda: AnswerScores.of(["a"], []), "answers: to other questions\ngot: 1\nwanted: 0"),
    ],
)
def test_what_does_not_fit_is_named(call: Callable[[], object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        call()


@pytest.mark.parametrize(
    ("library", "call"),
    [
        ("sacrebleu", lambda: TranslationScores.of(["a"], ["a"], "en")),
        ("sacrebleu", lambda: signatures(["a"], "en")),
        ("rouge_score", lambda: SummaryScores.of(["a"], ["a"])),
        ("nltk", lambda: AnswerScores.of(["灯 a"], ["灯"])),
    ],
)
def test_a_library_that_is_not_there_is_named_with_its_extra(
    library: str, call: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    load = importlib.import_module

    def without(name: str, package: str | None = None) -> object:
        if name.partition(".")[0] == library:
            raise ModuleNotFoundError(f"No module named {library!r}")
        return load(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(UsageError, match=f"needs the library {library}") as caught:
        call()
    assert "stepwell[tasks]" in str(caught.value)


def test_answers_without_chinese_need_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell.evaluation.scores.answers.needed", None)
    assert AnswerScores.of(["the lantern", "灯"], ["lantern", "灯"]).exact.all()
