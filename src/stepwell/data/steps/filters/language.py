"""Which language each document is in; those and their paragraphs in other languages than wanted are left out.

A document is judged by passages from all over it, each by its size, so one in two wanted languages is kept. Short text
is only left out where it is surely in another language. This file leaves out how a passage is judged
(`data/languages.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from stepwell.data.documents import Document
from stepwell.data.languages import LANGUAGES, language_scores, passages_of
from stepwell.data.steps.step import Arrays, Outcome, Step, StepConfig
from stepwell.errors import DataError

JUDGED_PASSAGES = 4
"""Of one document, evenly spaced; more of them change nothing but the time."""


def _as_codes(value: object) -> object:
    several = (value,) if isinstance(value, str) else value
    return tuple(_plain(one) for one in several) if isinstance(several, list | tuple) else several


def _plain(code: object) -> object:
    """`zh-CN` and `EN` as the detector spells them."""
    return re.split("[-_]", code.lower())[0] if isinstance(code, str) else code


class LanguageConfig(StepConfig):
    """Which languages are kept.

    Attributes:
        keep: codes of ISO 639 (`en`, `zh`); none keeps all and only names them.
        threshold: how likely a document must be in one of them, all its passages taken together.
        short_letters: text with fewer letters is short; a Chinese, Japanese or Korean character counts as three.
        short: what is done with short text: judged, and left out only where another language is as likely as
            `threshold`; kept; or dropped.
        paragraphs: take out single paragraphs that are surely in another language.
        paragraph_threshold: how likely that must be; a list of foreign names is rarely above 0.7.
        columns: write `language` and `language_score` beside each document.
    """

    kind: Literal["language"] = "language"
    keep: Annotated[tuple[str, ...], BeforeValidator(_as_codes)] = ()
    threshold: float = Field(default=0.5, ge=0, le=1)
    short_letters: int = Field(default=60, ge=0)
    short: Literal["judge", "keep", "drop"] = "judge"
    paragraphs: bool = False
    paragraph_threshold: float = Field(default=0.8, ge=0, le=1)
    columns: bool = True

    @field_validator("keep")
    @classmethod
    def _are_told_apart(cls, keep: tuple[str, ...]) -> tuple[str, ...]:
        for code in keep:
            if code not in LANGUAGES:
                meant = _MEANT.get(code) or next(iter(get_close_matches(code, LANGUAGES, 1)), None)
                raise ValueError(f"a code of ISO 639, such as en or zh{f'; perhaps {meant}' if meant else ''}")
        return keep


_MEANT = {"cn": "zh", "chinese": "zh", "yue": "zh", "wuu": "zh", "jp": "ja", "kr": "ko", "english": "en", "gb": "en"}


class Language(Step[LanguageConfig]):
    """Name the language of each document; drop those in others than wanted.

    Raises:
        DataError: when one of its columns is there already.
    """

    def apply(self, documents: Sequence[Document], known: Arrays | None = None) -> Outcome:
        outcome = Outcome()
        for document in documents:
            text, out = self._wanted_paragraphs(document.text) if self._chooses_paragraphs else (document.text, 0)
            scores = languages_of(text or document.text)
            language, score = next(iter(scores.items()), ("unknown", 0.0))
            outcome.findings[f"documents_in_{language}"] += 1
            if reason := self._against(text, scores):
                outcome.dropped.append((document, reason))
                continue
            if out:
                outcome.changed["paragraphs"] += 1
                outcome.findings["paragraphs_in_other_languages"] += out
            kept = document.with_text(text)
            if self.config.columns:
                kept = _with_columns(kept, {"language": language, "language_score": round(score, 4)})
            outcome.kept.append(kept)
        return outcome

    @property
    def _chooses_paragraphs(self) -> bool:
        return self.config.paragraphs and bool(self.config.keep)

    def _against(self, text: str, scores: Mapping[str, float]) -> str | None:
        """Why a document is dropped; None if it is kept."""
        settings = self.config
        if self._chooses_paragraphs and (not text or text.isspace()):
            return "other_language"  # all its paragraphs were
        if not settings.keep and settings.short != "drop":
            return None
        if letters_of(text, settings.short_letters) < settings.short_letters:
            if settings.short != "judge":
                return "too_short_for_language" if settings.short == "drop" else None
            return "other_language" if self._is_other(scores, settings.threshold) else None
        if not settings.keep:
            return None
        if sum(score for language, score in scores.items() if language in settings.keep) >= settings.threshold:
            return None
        return "unclear_language" if next(iter(scores), None) in (None, *settings.keep) else "other_language"

    def _is_other(self, scores: Mapping[str, float], threshold: float) -> bool:
        """Whether one language that is not wanted is as likely as that."""
        language, score = next(iter(scores.items()), ("", 0.0))
        return score >= threshold and bool(language) and language not in self.config.keep

    def _wanted_paragraphs(self, text: str) -> tuple[str, int]:
        """A text without paragraphs that are surely in another language, and how many those were."""
        settings = self.config
        kept, dropped = [], 0
        for paragraph in paragraphs_of(text, settings.short_letters):
            is_long = letters_of(paragraph, settings.short_letters) >= settings.short_letters
            if is_long and self._is_other(languages_of(paragraph), settings.paragraph_threshold):
                dropped += 1
            else:
                kept.append(paragraph)
        return "".join(kept) if dropped else text, dropped


def _with_columns(document: Document, columns: Mapping[str, str | float]) -> Document:
    if there := sorted(columns.keys() & document.columns.keys()):
        raise DataError(
            f"language: column {there[0]} is there already",
            got=", ".join(sorted(document.columns)),
            do="write no columns (--set data.steps.language.columns=false)",
        )
    return document.with_columns(columns)


def languages_of(text: str) -> dict[str, float]:
    """How likely each language is, by the size of the passages in it; the likeliest first, empty without letters.

    Args:
        text: any; of a long one four passages are judged.
    """
    passages = list(passages_of(text))
    if len(passages) > JUDGED_PASSAGES:
        passages = [passages[n * len(passages) // JUDGED_PASSAGES] for n in range(JUDGED_PASSAGES)]
    sums: dict[str, float] = {}
    size = 0
    for passage in passages:
        if scores := language_scores(passage):
            weight = len(passage.encode())
            size += weight
            for language, score in scores.items():
                sums[language] = sums.get(language, 0.0) + score * weight
    several = sorted(sums.items(), key=lambda item: (-item[1], item[0]))
    return {language: total / size for language, total in several}


_LETTER = re.compile(r"[^\W\d_]")
_COUNTED_TOGETHER = 500
_EAST_ASIAN = re.compile("[\u3041-\u30fa\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U000323af]")


def letters_of(text: str, enough: int) -> int:
    """Letters, a Chinese, Japanese or Korean one as three; no more are counted than are needed to know of `enough`."""
    count = 0
    for start in range(0, len(text), _COUNTED_TOGETHER):
        part = text[start : start + _COUNTED_TOGETHER]
        count += len(_LETTER.findall(part)) + (0 if part.isascii() else 2 * len(_EAST_ASIAN.findall(part)))
        if count >= enough:
            break
    return count


def paragraphs_of(text: str, letters: int) -> Iterator[str]:
    """Parts of a text that are judged alone; joined, they are the text again.

    Args:
        text: any.
        letters: a line with so many is a part; shorter lines go together up to an empty line.
    """
    held = ""
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        if held and (line.isspace() or letters_of(line, letters) >= letters):
            if line.isspace():
                yield held + line
                held = ""
                continue
            yield held
            held = ""
        held += line
        if letters_of(line, letters) >= letters:
            yield held
            held = ""
    if held:
        yield held
