"""The filter: a text that breaks a rule is dropped with the rule's name; a long one is judged passage by passage.

This file leaves out the rules (`rules.py`, `lines.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from stepwell.data.documents import Document
from stepwell.data.steps.filters.passages import passages_of, sort_out
from stepwell.data.steps.filters.quality.config import LineRuleName, QualityConfig
from stepwell.data.steps.filters.quality.lines import without_bad_lines
from stepwell.data.steps.filters.quality.page import Page, is_chinese
from stepwell.data.steps.filters.quality.rules import RULES
from stepwell.data.steps.step import Arrays, Outcome, Step, Surroundings


class Quality(Step[QualityConfig]):
    """Drop texts that break a rule."""

    def __init__(self, config: QualityConfig, around: Surroundings) -> None:
        super().__init__(config, around)
        chosen, off = set(config.rules), set(config.without)
        # Names, not rules: a step is sent to other processes.
        self._rules = [
            name for name, rule in RULES.items() if (name in chosen or rule.group in chosen) and name not in off
        ]
        lines: tuple[LineRuleName, ...] = get_args(LineRuleName)
        self._line_rules = [name for name in lines if (name in chosen or "c4_lines" in chosen) and name not in off]

    def apply(self, documents: Sequence[Document], known: Arrays | None = None) -> Outcome:
        """Findings: passages judged as Chinese and as other text, rows too short to be judged, lines taken out."""
        outcome = Outcome()
        for document in documents:
            passages = passages_of(document, self.config.passage_bytes)
            several = len(passages) > 1
            if self._line_rules:
                passages = [self._without_lines(passage, outcome) for passage in passages]
            is_page = not several and (self.config.rows == "pages" or not document.is_row)
            reasons = [self._reason(one, is_page, outcome) for one in passages]
            sort_out(document, passages, reasons, outcome)
        return outcome

    def _without_lines(self, document: Document, outcome: Outcome) -> Document:
        text, broken = without_bad_lines(document.text, is_chinese(document.text), self._line_rules, self.config)
        if not broken:
            return document
        for name, count in broken.items():
            outcome.changed[name] += 1
            outcome.findings[name] += count
        return document.with_text(text)

    def _reason(self, document: Document, is_page: bool, out: Outcome) -> str | None:
        """Why a text is bad: the first rule that it breaks."""
        if not document.text.strip():
            return "empty"
        page = Page(document.text)
        short = not is_page and page.has_fewer_words(self.config.min_words)
        out.findings["short" if short else "chinese" if page.is_chinese else "not_chinese"] += 1
        for name in self._rules:
            rule = RULES[name]
            if (rule.of_pages and not is_page) or (short and not rule.of_short):
                continue
            broken = rule.breaks(page, self.config)
            if broken:
                return REASONS.get(name, name).format(n=broken)
        return None


REASONS = {"top_ngram": "top_{n}_gram", "duplicate_ngrams": "duplicate_{n}_grams"}
"""Rules that say which n broke them."""
