"""The parts of the page of a corpus, from its facts and from what the page counts itself.

Each function gives the values of one part, formatted. Long lists are cut, and how much was cut is said; what was not
looked for is said too. This file leaves out layout and counting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from stepwell.data import CorpusFacts, PreparedText, StepFacts
from stepwell.studies.report import figures
from stepwell.studies.report.corpus.counts import SPLITS, Labels, Sample, TokenCounts, WordCounts
from stepwell.studies.report.corpus.findings import Counts, Findings, counts_of, view_of
from stepwell.studies.report.corpus.names import clip, language_words, named, step_words
from stepwell.studies.report.corpus.pictures import share_bar
from stepwell.studies.report.corpus.words import say
from stepwell.studies.report.figures import show_bytes, show_count, show_ratio
from stepwell.studies.report.words import Words, joined

MOST_SOURCES, MOST_CLASSES, MOST_REASONS, MOST_LETTERS = 40, 40, 50, 1200
SHOWN_LANGUAGES = 8
DUPLICATES = ("duplicates", "near_duplicates", "semantic_duplicates", "same_pieces")
LEAKAGE = ("decontaminate",)
PERSONAL = ("protect",)
LABELS = ("labels", "resample")


@dataclass(frozen=True)
class Head:
    """The top of the page and its frame."""

    run: str
    title: str
    footer: Words
    heading: Words
    sentences: list[Words]
    figures: list[tuple[Words, str, Words | None]]


def head(facts: CorpusFacts, key: str) -> Head:
    """The corpus in a few sentences and numbers."""
    heading = say("heading", {"bytes": show_bytes(facts.bytes), "documents": show_count(facts.documents)})
    if facts.documents < 2:
        heading = say("heading one" if facts.documents else "heading none", {"bytes": show_bytes(facts.bytes)})
    return Head(
        run=f"text-{key}",
        title=say("title", {"bytes": show_bytes(facts.bytes)}).en,
        footer=say("footer", {"key": f"text-{key}"}),
        heading=heading,
        sentences=_sentences(facts),
        figures=_key_figures(facts),
    )


def _sentences(facts: CorpusFacts) -> list[Words]:
    found = []
    large = [(code, share) for code, share in facts.languages.items() if share >= 0.01][:3]
    if large:
        parts = [say("share of language", {"language": language_words(c), "share": show_ratio(s)}) for c, s in large]
        found.append(say("is in", {"languages": joined(parts)}))
    drops = [(count, step.kind, reason) for step in facts.steps for reason, count in step.dropped.items()]
    if drops:
        count, kind, reason = max(drops, key=lambda one: one[0])
        values = {"n": show_count(sum(one[0] for one in drops)), "count": show_count(count)}
        found.append(say("dropped most", {**values, "reason": named(reason), "step": step_words(kind)}))
    else:
        found.append(say("dropped nothing"))
    if facts.problems:
        found.append(say("has problems", {"n": show_count(len(facts.problems))}))
    return found


def _key_figures(facts: CorpusFacts) -> list[tuple[Words, str, Words | None]]:
    train = facts.splits.get("train")
    dropped = sum(count for step in facts.steps for count in step.dropped.values())
    changed = sum(count for step in facts.steps for count in step.changed.values())
    mean = say("bytes a character", {"n": figures.show_number(facts.bytes / facts.characters)})
    under = say("by all steps") if facts.steps else None
    return [
        (say("documents"), show_count(facts.documents), None),
        (say("bytes"), show_bytes(facts.bytes), None),
        (say("characters"), show_count(facts.characters), mean if facts.characters else None),
        *(
            [(say("train text"), show_bytes(train.bytes), say("in documents", {"n": show_count(train.documents)}))]
            if train
            else []
        ),
        (say("dropped"), show_count(dropped), under),
        (say("changed texts"), show_count(changed), under),
    ]


@dataclass(frozen=True)
class StepRow:
    """One step of the pipeline."""

    name: Words
    came: str
    left: str
    left_bytes: str
    bar: Markup
    dropped: str
    changes: list[tuple[Words, str]]
    seconds: str
    speed: Words | None


def steps(facts: CorpusFacts) -> list[StepRow]:
    """Every step in order."""
    most = max((max(step.bytes_in, step.bytes_out) for step in facts.steps), default=0) or 1
    found = []
    for step in facts.steps:
        passed = step.documents_in > 0
        speed = step.bytes_per_second
        found.append(
            StepRow(
                name=step_words(step.kind).capital(),
                came=show_count(step.documents_in) if passed else figures.ABSENT,
                left=show_count(step.documents_out) if passed else figures.ABSENT,
                left_bytes=show_bytes(step.bytes_out) if passed else "",
                bar=share_bar(step.bytes_out / most) if passed else Markup(""),
                dropped=show_count(sum(step.dropped.values())) if passed else figures.ABSENT,
                changes=[(named(name), show_count(count)) for name, count in _by_size(step.changed)],
                seconds=figures.show_seconds(step.seconds),
                speed=say("a second", {"n": show_bytes(speed)}) if speed else None,
            )
        )
    return found


def _by_size(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


@dataclass(frozen=True)
class Reason:
    """One reason for which a step dropped documents, with examples of source and text."""

    name: Words
    count: str
    bar: Markup
    shown: Words
    examples: list[tuple[str, str]]


def reasons(facts: CorpusFacts) -> list[tuple[Words, list[Reason], int]]:
    """For each step that dropped something its name, its reasons by size, and how many are not shown."""
    most = max((count for step in facts.steps for count in step.dropped.values()), default=1)
    found = []
    for step in facts.steps:
        pairs = _by_size(step.dropped)
        title = say("step dropped", {"step": step_words(step.kind)})
        if pairs:
            several = [_reason(step, name, count, most) for name, count in pairs[:MOST_REASONS]]
            found.append((title, several, max(0, len(pairs) - MOST_REASONS)))
    return found


def shows_unmasked(facts: CorpusFacts) -> bool:
    """Whether texts are shown that a step took before personal data was masked."""
    kinds = [step.kind for step in facts.steps]
    places = [place for place, kind in enumerate(kinds) if kind in PERSONAL]
    return bool(places) and any(step.examples or _has_text(step.findings) for step in facts.steps[: places[0]])


def _has_text(findings: Mapping[str, object]) -> bool:
    return any(": " in name or not isinstance(value, int | float) for name, value in findings.items())


def _reason(step: StepFacts, name: str, count: int, most: int) -> Reason:
    shown = [(clip(one.source), clip(one.text, MOST_LETTERS)) for one in step.examples if one.reason == name]
    number = say("examples", {"n": show_count(len(shown)), "count": show_count(count)})
    return Reason(named(name).capital(), show_count(count), share_bar(count / most), number, shown)


@dataclass(frozen=True)
class Sizes:
    """How large splits and sources are."""

    splits: list[tuple[Words, str, str, str, Markup, str]]
    sources: list[tuple[str, str, str, Markup, list[str], str]]
    more: int


def sizes(prepared: PreparedText, tokens: TokenCounts | None) -> Sizes:
    """By split, and by source with the documents of each split."""
    facts = prepared.facts
    whole = max(1, facts.bytes)
    counts = [np.bincount(prepared.sources(name), minlength=len(facts.sources)) for name in SPLITS]
    order = sorted(range(len(facts.sources)), key=lambda n: (-facts.sources[n].bytes, n))
    return Sizes(
        splits=[
            (
                say(name),
                show_count(split.documents),
                show_bytes(split.bytes),
                show_bytes(split.bytes / split.documents) if split.documents else figures.ABSENT,
                share_bar(split.bytes / whole),
                show_ratio(split.bytes / whole),
            )
            for name, split in facts.splits.items()
        ],
        sources=[
            (
                clip(facts.sources[n].source),
                show_count(facts.sources[n].documents),
                show_bytes(facts.sources[n].bytes),
                share_bar(facts.sources[n].bytes / whole),
                [show_count(int(split[n])) for split in counts],
                figures.show_number(tokens.by_source.get(n)) if tokens else "",
            )
            for n in order[:MOST_SOURCES]
        ],
        more=max(0, len(order) - MOST_SOURCES),
    )


def languages(facts: CorpusFacts) -> list[tuple[Words, float]]:
    """Languages with their shares, the largest first."""
    return [(language_words(code), share) for code, share in list(facts.languages.items())[:SHOWN_LANGUAGES]]


@dataclass(frozen=True)
class Told:
    """What one step told: documents by what was done to them, and its findings."""

    name: Words
    counts: Counts | None
    findings: Findings


def told(facts: CorpusFacts, kinds: Sequence[str]) -> list[Told]:
    """What the steps of some kinds dropped, changed and found."""
    return [_told(step) for step in facts.steps if step.kind in kinds]


def others(facts: CorpusFacts) -> list[Told]:
    """What the steps found that have no part of their own."""
    own = {*DUPLICATES, *LEAKAGE, *PERSONAL, *LABELS}
    return [
        Told(step_words(step.kind), None, view_of(step.findings))
        for step in facts.steps
        if step.kind not in own and step.findings
    ]


def label_column(facts: CorpusFacts) -> str | None:
    """The column that a step took for the labels."""
    columns = (step.findings.get("column") for step in facts.steps if step.kind in LABELS)
    return next((column for column in columns if isinstance(column, str)), None)


def _told(step: StepFacts) -> Told:
    counts = {**step.dropped, **step.changed}
    return Told(step_words(step.kind), counts_of(counts) if counts else None, view_of(step.findings))


@dataclass(frozen=True)
class FrequentWords:
    """The lists of words and lines."""

    size: str
    whole: bool
    lists: list[tuple[Words, list[tuple[str, str]]]]
    lines: list[tuple[str, str]]


def frequent(counts: WordCounts, sample: Sample) -> FrequentWords:
    """Words by frequency, letters and Chinese apart."""
    chinese = say("chinese words" if counts.segmented else "chinese characters")
    lists = [(say("other words"), counts.words, counts.total), (chinese, counts.chinese, counts.chinese_total)]
    return FrequentWords(
        show_bytes(sample.bytes),
        sample.whole,
        [(name, [(clip(word, 80), share(n / total)) for word, n in words]) for name, words, total in lists if words],
        [(clip(line, 160), show_count(count)) for line, count in counts.lines],
    )


def share(ratio: float) -> str:
    """A small share in percent, to two digits."""
    return f"{100 * ratio:.2g} %"


@dataclass(frozen=True)
class Fit:
    """How a vocabulary fits."""

    size: str
    whole: bool
    facts: list[tuple[Words, str]]
    most: list[tuple[str, str]]
    longest: list[str]


def fit(tokens: TokenCounts) -> Fit:
    """Facts and lists of a vocabulary."""
    per_token = [
        (say("bytes per token of", {"name": say(name)}), figures.show_number(value))
        for name, value in tokens.bytes_per_token.items()
    ]
    entries = max(1, tokens.entries)
    return Fit(
        show_bytes(tokens.sample_bytes),
        tokens.whole,
        [
            (say("vocabulary"), show_count(tokens.vocab_size)),
            *per_token,
            (say("tokens in all"), show_count(tokens.total)),
            (say("entries"), show_count(tokens.entries)),
            (say("unseen"), show_ratio(tokens.unseen / entries)),
            (say("rare"), show_ratio(tokens.rare / entries)),
            (say("half"), show_count(tokens.half)),
        ],
        [(_drawn(token)[:80], share(count / tokens.total)) for token, count in tokens.most],
        [_drawn(token)[:80] for token in tokens.longest],
    )


def _drawn(token: str) -> str:
    return token.replace(" ", "␣").replace("\n", "↵").replace("\t", "⇥")


@dataclass(frozen=True)
class Balance:
    """One column of labels."""

    title: Words
    lead: Words
    rows: list[tuple[str, list[str], Markup, str]]
    more: int


def balance(labels: Labels) -> Balance:
    """Classes by size, the largest first."""
    sizes = {name: counts.total() for name, counts in labels.classes.items()}
    order = sorted(sizes, key=lambda name: (-sizes[name], name))
    most, least = order[0], order[-1]
    ratio = figures.show_number(sizes[most] / sizes[least], 2)
    return Balance(
        say("label column", {"name": clip(labels.column, 80)}),
        say("classes", {"n": len(order), "most": most[:60], "least": least[:60], "ratio": ratio}),
        [
            (
                name,
                [show_count(labels.classes[name][split]) for split in SPLITS],
                share_bar(sizes[name] / sizes[most]),
                show_ratio(sizes[name] / labels.documents),
            )
            for name in order[:MOST_CLASSES]
        ],
        max(0, len(order) - MOST_CLASSES),
    )
