"""How well each step judges: what it took and changed of a corpus in which everything wrong is known.

Each row sends the whole planted corpus through the real pipeline with one step, and compares what came out with the
truth, case by case. English and Chinese are scored apart. benchmarks/data.py prints the scores, tests hold the bounds.
This file leaves out how the corpus is made (planted_corpus.py).
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from planted_corpus import LANGUAGES, Case, Planted, jaccard

from stepwell.config import build
from stepwell.data import DataConfig, PreparedText, prepare_text

WANTED = 0.95
GOOD = ("plain", "personal", "harmless", "leak", "page")
"""Families whose texts are worth keeping, and of which no two are near each other."""

UNLIKE = ("junk", "foreign")
"""Families with documents that may really be alike: nothing is said about them where likeness is judged."""


@dataclass
class Score:
    """What one step did to one kind of case.

    Attributes:
        row: name of the row.
        what: was judged.
        language: of the cases.
        right: of what it took or changed, how much it should have.
        wrong: and how much it should not.
        missed: what it should have taken and did not.
        counts: whether precision and recall are held against 0.95.
        note: what else there is to say.
    """

    row: str
    what: str
    language: str
    right: int = 0
    wrong: int | None = 0
    missed: int = 0
    counts: bool = False
    note: str = ""

    @property
    def precision(self) -> float | None:
        """Share of what was taken that should be; None where it is not asked."""
        return None if self.wrong is None else self.right / max(1, self.right + self.wrong)

    @property
    def recall(self) -> float:
        """Share of what should be taken that was."""
        return self.right / max(1, self.right + self.missed)

    @property
    def met(self) -> bool:
        """Whether it reaches what is wanted, where that is asked."""
        return not self.counts or (self.recall >= WANTED and (self.precision is None or self.precision >= WANTED))

    def cells(self) -> tuple[str, ...]:
        """The line of the table."""
        precision = "" if self.precision is None else f"{self.precision:.3f}"
        verdict = ("yes" if self.met else "NO") if self.counts else ""
        counts = f"{self.right} / {'' if self.wrong is None else self.wrong} / {self.missed}"
        return self.row, self.what, self.language, precision, f"{self.recall:.3f}", counts, verdict, self.note

    def record(self) -> dict[str, Any]:
        """What the ledger holds of it."""
        return {"row": self.row, "measure": self.what, "language": self.language,
                "precision": None if self.precision is None else round(self.precision, 4),
                "recall": round(self.recall, 4), "right": self.right, "wrong": self.wrong, "missed": self.missed,
                "reach": WANTED if self.counts else None, "met": self.met, "note": self.note}  # fmt: skip


@dataclass
class Outcome:
    """What came out of the pipeline.

    Attributes:
        texts: id -> text, of what is still there.
        prepared: the package.
    """

    texts: dict[str, str]
    prepared: PreparedText


@dataclass
class Bench:
    """The planted corpus on disk, and what goes through the pipeline.

    Args:
        planted: the corpus.
        folder: takes files and packages.
    """

    planted: Planted
    folder: Path
    sources: dict[str, list[str]] = field(init=False)

    def __post_init__(self) -> None:
        self.sources = self.planted.write(self.folder)

    def through(self, *steps: dict[str, Any], **data: Any) -> Outcome:
        """What comes out when these steps are done, and nothing else."""
        settings = {**self.sources, "columns": ["id"], "text_column": "text", "document_bytes": 1 << 24,
                    "deduplicate": False, "steps": list(steps), **data}  # fmt: skip
        prepared = prepare_text(build(DataConfig, settings, where="bench"), self.folder / "out", engine="serial")
        texts = {}
        for split in ("train", "validation", "test"):
            for text, columns in zip(prepared.texts(split), prepared.each_columns(split), strict=True):
                texts[str(columns["id"])] = text
        return Outcome(texts, prepared)

    @cached_property
    def before(self) -> dict[str, str]:
        """What comes out without any step: id -> text; copies of held-out documents are gone already."""
        return self.through().texts

    def cases(self, language: str, *families: str) -> list[Case]:
        """Cases of a language and some families."""
        return [case for case in self.planted.of(*families) if case.language == language]

    def taken(self, cases: Iterable[Case], out: Outcome) -> int:
        """How many of these a step took that would be there without it."""
        return sum(case.id in self.before and case.id not in out.texts for case in cases)


def copies(bench: Bench, out: Outcome, score: Score, chosen: Callable[[Case], bool]) -> Score:
    """Judge what was dropped as a copy: of each chosen pair of original and copy, one must go.

    What was dropped though it is neither a copy nor the original of one is wrong; so is losing both of a pair.
    """
    pairs = bench.cases(score.language, "exact", "near")
    related = {one for case in pairs for one in (case.id, case.origin)}
    clusters = defaultdict(list)
    for case in pairs:
        clusters[case.origin].append(case.id)
    for case in pairs:
        if chosen(case):
            gone = case.id not in out.texts or case.origin not in out.texts
            score.right, score.missed = score.right + gone, score.missed + (not gone)
    lost = sum(not any(one in out.texts for one in (origin, *several)) for origin, several in clusters.items())
    others = [one for one in bench.cases(score.language, *GOOD, "mojibake") if one.id not in related]
    score.wrong = lost + sum(one.id not in out.texts for one in others)
    return score


def held_out_stays(bench: Bench, out: Outcome, language: str) -> str:
    """Whether copies of held-out documents went from training and not the held-out documents."""
    held = {case.id for case in bench.cases(language, "plain") if case.split != "train"}
    gone = held - out.texts.keys()
    return f"held-out documents lost: {len(gone)}" if gone else "held-out documents all kept"


def same_texts(bench: Bench) -> list[Score]:
    """Exact duplicates, by what is in every pipeline."""
    out = bench.through(deduplicate=True)
    return [
        copies(bench, out, Score("same pieces", "exact duplicates", language, counts=True), _is_exact)
        for language in LANGUAGES
    ]


def duplicates(bench: Bench) -> list[Score]:
    """Exact duplicates, by the step; lines that stand on every page."""
    out = bench.through({"kind": "duplicates"})
    scores = [
        copies(
            bench,
            out,
            Score("duplicates", "exact duplicates", language, counts=True, note=held_out_stays(bench, out, language)),
            _is_exact,
        )
        for language in LANGUAGES
    ]
    lines = bench.through({"kind": "duplicates", "lines": True, "documents": False, "min_bytes": 40})
    return scores + [page_lines(bench, lines, Score("duplicates", "lines of pages", one)) for one in LANGUAGES]


def page_lines(bench: Bench, out: Outcome, score: Score, kept: int = 1) -> Score:
    """Lines that stand on every page: each occurrence but the first `kept` must go, and nothing else of these texts."""
    cases = bench.cases(score.language, "page")
    places = sum(len(case.values) for case in cases)
    left = sum(out.texts.get(case.id, "").count(line) for case in cases for _, line in case.values)
    kinds = kept * len({line for case in cases for _, line in case.values})
    score.right, score.missed = places - max(left, kinds), max(0, left - kinds)
    for case in cases:
        text = out.texts.get(case.id, "")
        for _, line in case.values:
            text = text.replace(line, "")
        score.wrong = (score.wrong or 0) + (text.split() != (case.truth or "").split())
    return score


def boilerplate(bench: Bench) -> list[Score]:
    """Lines that stand on every page, taken out everywhere."""
    out = bench.through({"kind": "boilerplate", "min_ratio": 0.005})
    return [page_lines(bench, out, Score("boilerplate", "lines of pages", one), kept=0) for one in LANGUAGES]


def _is_exact(case: Case) -> bool:
    return case.family == "exact"


BANDS = ((0.8, 1.01, True), (0.7, 0.8, False), (0.6, 0.7, False), (0.0, 0.6, False))
"""Likeness by the plain measure, and whether copies so alike must be found."""


def near_duplicates(bench: Bench) -> list[Score]:
    """Near duplicates, by how like they are to what they were made of."""
    out = bench.through({"kind": "near_duplicates"})
    by_id = {case.id: case for case in bench.planted.cases}
    scores = []
    for language in LANGUAGES:
        likeness = {
            case.id: jaccard(case.text, by_id[case.origin].text, language)
            for case in bench.cases(language, "exact", "near")
            if case.origin
        }
        for low, high, counts in BANDS:
            score = Score(
                "near duplicates", f"copies with Jaccard {low:g} to {min(1, high):g}", language, counts=counts
            )
            copies(
                bench, out, score, lambda case, low=low, high=high, likeness=likeness: low <= likeness[case.id] < high
            )
            if counts:
                score.note = held_out_stays(bench, out, language)
            else:
                score.wrong = None
            scores.append(score)
        scores += by_variety(
            bench.cases(language, "near"),
            lambda case: case.id not in out.texts or case.origin not in out.texts,
            "near duplicates",
        )
    return scores


def by_variety(cases: Sequence[Case], found: Callable[[Case], bool], row: str) -> list[Score]:
    """Recall of each variety, for reading."""
    scores: dict[tuple[str, str], Score] = {}
    for case in cases:
        score = scores.setdefault((case.variety, case.language), Score(row, case.variety, case.language, wrong=None))
        score.right, score.missed = score.right + found(case), score.missed + (not found(case))
    return list(scores.values())


def clean(bench: Bench) -> list[Score]:
    """Broken encodings brought back, and good text left as it is."""
    out = bench.through({"kind": "clean"})
    scores = []
    for language in LANGUAGES:
        cases = bench.cases(language, "mojibake")
        score = Score("clean", "mojibake", language)
        for case in cases:
            good = restored(out.texts.get(case.id, ""), case.truth or "")
            score.right, score.missed = score.right + good, score.missed + (not good)
        good_ones = bench.cases(language, *GOOD, "exact", "near")
        score.wrong = sum(out.texts.get(one.id) != bench.before.get(one.id) for one in good_ones)
        scores.append(score)
        scores += by_variety(cases, lambda case: restored(out.texts.get(case.id, ""), case.truth or ""), "clean")
    return scores


def restored(text: str, truth: str) -> bool:
    """Whether a text is the true one again, but for letters that were lost for good and are marked so (U+FFFD)."""
    if text.split() == truth.split():
        return True
    marked = text.count("\ufffd")
    lost, more = Counter(truth) - Counter(text), Counter(text) - Counter(truth)
    return marked <= len(truth) / 5 and max(lost.total(), more.total()) <= 2 * marked + len(truth) / 100


def language(bench: Bench) -> list[Score]:
    """Documents in other languages than the two that are kept."""
    out = bench.through({"kind": "language", "keep": list(LANGUAGES)})
    score = Score("language", "documents in other languages", "other")
    cases = bench.planted.of("foreign")
    gone = sum(case.id not in out.texts for case in cases)
    good = [one for tongue in LANGUAGES for one in bench.cases(tongue, *GOOD, "exact", "near")]
    score.right, score.missed = gone, len(cases) - gone
    score.wrong = bench.taken(good, out)
    varieties = by_variety(cases, lambda case: case.id not in out.texts, "language")
    return [score, *sorted(varieties, key=lambda one: one.what)]


def junk(row: str, *steps: dict[str, Any]) -> Callable[[Bench], list[Score]]:
    """Documents that nobody wants, taken by some steps."""

    def measure(bench: Bench) -> list[Score]:
        out = bench.through(*steps)
        scores = []
        for tongue in LANGUAGES:
            cases = bench.cases(tongue, "junk")
            gone = sum(case.id not in out.texts for case in cases)
            good = bench.cases(tongue, *GOOD, "exact")
            wrong = bench.taken(good, out)
            scores.append(Score(row, "junk documents", tongue, gone, wrong, len(cases) - gone,
                                note=f"{wrong} of {len(good)} good documents taken"))  # fmt: skip
            scores += by_variety(cases, lambda case: case.id not in out.texts, row)
        return scores

    return measure


def judge(bench: Bench) -> list[Score]:
    """A classifier that learned from examples: half of the junk and as many good documents; the rest is judged."""
    shown: dict[str, list[Case]] = {"good": [], "bad": []}
    for tongue in LANGUAGES:
        shown["bad"] += bench.cases(tongue, "junk")[::2]
        shown["good"] += bench.cases(tongue, "plain")[: len(shown["bad"])]
    for name, cases in shown.items():
        rows = "".join(json.dumps({"text": case.text}, ensure_ascii=False) + "\n" for case in cases)
        (bench.folder / f"{name}.jsonl").write_text(rows, encoding="utf-8")
    step = {"kind": "judge", "good": [str(bench.folder / "good.jsonl")], "bad": [str(bench.folder / "bad.jsonl")]}
    out = bench.through(step)
    known = {case.id for cases in shown.values() for case in cases}
    scores = []
    for tongue in LANGUAGES:
        cases = [case for case in bench.cases(tongue, "junk") if case.id not in known]
        good = [case for case in bench.cases(tongue, *GOOD) if case.id not in known]
        gone = sum(case.id not in out.texts for case in cases)
        wrong = bench.taken(good, out)
        scores.append(Score("judge", "junk documents not shown to it", tongue, gone, wrong, len(cases) - gone))
    return scores


MUST_BE_FOUND = ("email", "phone", "id_card")
MASK = re.compile(r"<[A-Z][A-Z_]*>")


def protect(bench: Bench) -> list[Score]:
    """Values found by kind, and what was masked though it is nothing of the kind."""
    before, out = bench.before, bench.through({"kind": "protect"})
    scores = []
    for tongue in LANGUAGES:
        for kind in dict.fromkeys(case.variety for case in bench.planted.of("personal")):
            score = Score("protect", kind.replace("_", " "), tongue, counts=kind in MUST_BE_FOUND)
            for case in bench.cases(tongue, "personal"):
                if case.variety != kind:
                    continue
                text = out.texts[case.id]
                found = sum(value not in text for _, value in case.values)
                score.right, score.missed = score.right + found, score.missed + len(case.values) - found
                score.wrong = (score.wrong or 0) + max(0, masks(text) - masks(before[case.id]) - found)
            scores.append(score)
        others = bench.cases(tongue, "plain", "harmless", "exact", "leak", "page")
        wrong = sum(masks(out.texts[one.id]) > masks(before[one.id]) for one in others if one.id in before)
        good = len(others) - wrong
        scores.append(Score("protect", "texts without any left alone", tongue, good, None, wrong,
                            counts=True, note=f"{wrong} of {len(others)} texts masked for nothing"))  # fmt: skip
    return scores


def masks(text: str) -> int:
    """How many masks stand in a text."""
    return len(MASK.findall(text))


def decontaminate(bench: Bench) -> list[Score]:
    """Training documents with a passage of a held-out one, or of a named benchmark."""
    benchmark = str(bench.folder / "benchmark.jsonl")
    out = bench.through({"kind": "decontaminate", "action": "drop", "benchmarks": [benchmark]})
    scores = []
    held = {case.id for case in bench.planted.cases if case.split != "train"}
    for tongue in LANGUAGES:
        leaked = bench.cases(tongue, "leak")
        gone = bench.taken(leaked, out)
        clear = bench.cases(tongue, "plain", "personal", "harmless", "page", "mojibake")
        clear += [case for case in bench.cases(tongue, "exact", "near") if case.origin not in held]
        wrong = bench.taken(clear, out)
        scores.append(Score("decontaminate", "leaked passages", tongue, gone, wrong, len(leaked) - gone, counts=True))
        varieties = by_variety(leaked, lambda case: case.id not in out.texts, "decontaminate")
        scores += sorted(varieties, key=lambda one: one.what)
    return scores


ROWS: dict[str, tuple[tuple[str, ...], Callable[[Bench], list[Score]]]] = {
    "same_pieces": ((), same_texts),
    "duplicates": (("duplicates",), duplicates),
    "near_duplicates": (("near_duplicates",), near_duplicates),
    "clean": (("clean",), clean),
    "boilerplate": (("boilerplate",), boilerplate),
    "language": (("language",), language),
    "quality": (("quality",), junk("quality", {"kind": "quality"})),
    "quality_pages": (("quality",), junk("quality, as pages", {"kind": "quality", "rows": "pages"})),
    "perplexity": (("perplexity",), junk("perplexity", {"kind": "perplexity", "drop_lowest_ratio": 0.05})),
    "judge": (("judge",), judge),
    "protect": (("protect",), protect),
    "decontaminate": (("decontaminate",), decontaminate),
}
"""Name -> the steps it needs, and the function that measures it."""


def table_of(scores: Iterable[Score]) -> str:
    """Scores as a table of Markdown."""
    head = [
        f"| step | what | language | precision | recall | right / wrong / missed | at least {WANTED} | note |",
        "|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join(head + [f"| {' | '.join(score.cells())} |" for score in scores])
