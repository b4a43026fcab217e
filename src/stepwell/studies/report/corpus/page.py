"""From prepared text to one HTML file that says what the corpus is and how it came to be so.

It needs the text package and nothing else; with a tokenizer it says how the vocabulary fits too. The page has the
frame, the style and the safety of a run's report. This file leaves out what the parts say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from stepwell.data import PreparedText
from stepwell.runs import write_atomically
from stepwell.studies.report import sections as run_sections
from stepwell.studies.report.corpus import sections
from stepwell.studies.report.corpus.counts import SPLITS, count_labels, count_tokens, count_words, lengths_of, sample_of
from stepwell.studies.report.corpus.names import clip
from stepwell.studies.report.corpus.pictures import draw_lengths
from stepwell.studies.report.corpus.words import say
from stepwell.studies.report.figures import show_bytes, show_number, show_ratio
from stepwell.studies.report.page import packaged, render
from stepwell.studies.report.words import Words, paragraph, same
from stepwell.tokenizers import Tokenizer


def render_data_report(
    prepared: PreparedText,
    *,
    tokenizer: Tokenizer | None = None,
    compared: Sequence[Mapping[str, Any]] = (),
    label_column: str | None = None,
    recipe: str | None = None,
) -> str:
    """The report of prepared text as one HTML page.

    Args:
        prepared: what `prepare_text` gave.
        tokenizer: to say how its vocabulary fits; None to leave that out.
        compared: figures of the tokenizers that it was chosen from.
        label_column: the column that holds labels; None for that of a step, and columns that look as if they did.
        recipe: the text of the recipe's data section, shown at the end.
    """
    facts = prepared.facts
    samples = {name: sample_of(prepared, name) for name in SPLITS}
    tokens = count_tokens(tokenizer, samples) if tokenizer else None
    languages = sections.languages(facts)
    column = label_column or sections.label_column(facts)
    counted = count_labels(prepared, column)
    known = 1 if column and counted and counted[0].column == column else len(counted)
    values = {
        "say": say,
        "paragraph": paragraph,
        "head": sections.head(facts, prepared.key),
        "steps": sections.steps(facts),
        "sizes": sections.sizes(prepared, tokens),
        "bar": run_sections.bar([share for _, share in languages]),
        "languages": [(name, show_ratio(share)) for name, share in languages],
        "lengths": _lengths(prepared),
        "duplicates": sections.told(facts, sections.DUPLICATES),
        "leakage": sections.told(facts, sections.LEAKAGE),
        "personal": sections.told(facts, sections.PERSONAL),
        "others": sections.others(facts),
        "reasons": sections.reasons(facts),
        "unmasked": sections.shows_unmasked(facts),
        "frequent": sections.frequent(count_words(samples["train"].texts), samples["train"]),
        "fit": sections.fit(tokens) if tokens else None,
        "compared": run_sections.compared(compared),
        "labels": [sections.balance(one) for one in counted[:known]],
        "columns": [sections.balance(one) for one in counted[known:]],
        "labelled": sections.told(facts, sections.LABELS),
        "problems": [clip(one, 1000) for one in facts.problems[: run_sections.MOST_PROBLEMS]],
        "more_problems": max(0, len(facts.problems) - run_sections.MOST_PROBLEMS),
        "recipe": recipe,
    }
    style = packaged("report.css") + packaged("corpus.css")
    return render("corpus.html.j2", values, style=style, script=packaged("report.js"))


def write_data_report(
    prepared: PreparedText,
    path: Path,
    *,
    tokenizer: Tokenizer | None = None,
    compared: Sequence[Mapping[str, Any]] = (),
    label_column: str | None = None,
    recipe: str | None = None,
) -> Path:
    """Write the report of prepared text; an older one is replaced at once or not at all.

    Args:
        prepared: what `prepare_text` gave.
        path: of the page.
        tokenizer: to say how its vocabulary fits.
        compared: figures of the tokenizers that it was chosen from.
        label_column: the column that holds labels.
        recipe: the text of the recipe's data section.

    Returns:
        `path`.

    Raises:
        DiskError: when it cannot be written.
    """
    page = render_data_report(
        prepared, tokenizer=tokenizer, compared=compared, label_column=label_column, recipe=recipe
    )
    write_atomically(path, page)
    return path


def _lengths(prepared: PreparedText) -> tuple[Markup, Words, Sequence[tuple[Words, Words]]] | None:
    """The picture of document sizes, what its bars are, and the sizes in the middle."""
    lengths = lengths_of(np.concatenate([prepared.num_bytes(name) for name in SPLITS]))
    if lengths is None:
        return None
    return (
        draw_lengths(lengths),
        say("lengths lead", {"ratio": show_number(2 ** (1 / lengths.parts))}),
        [
            (say("median"), same(show_bytes(lengths.median))),
            (say("middle"), say("to", {"low": show_bytes(lengths.low), "high": show_bytes(lengths.high)})),
            (say("largest"), same(show_bytes(lengths.largest))),
        ],
    )
