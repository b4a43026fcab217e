"""The English rules decide as datatrove's do on real and on damaged pages (`quality_pages.py`).

Words are told apart by a regular expression here and by spaCy there, so a page near a threshold may fall on the other
side; lines are the same to the letter. What datatrove said is written down; where it is installed, it is asked again.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from importlib.util import find_spec

import pytest
from quality_pages import GOLDEN, by_datatrove, digest, pages

from stepwell.data.documents import Document
from stepwell.data.steps.filters.quality import Quality, QualityConfig
from stepwell.data.steps.filters.quality.rules import RULES
from stepwell.data.steps.step import Surroundings

REPETITION = ("duplicate_lines", "duplicate_paragraphs", "duplicate_line_characters", "duplicate_paragraph_characters",
              "top_ngram", "duplicate_ngrams")  # fmt: skip
GOPHER_QUALITY = tuple(name for name, rule in RULES.items() if rule.group == "gopher" and name not in REPETITION)
THEIR_NAMES = {
    "too_few_alphabetic_words": "gopher_below_alpha_threshold",
    "too_few_words": "gopher_short_doc",
    "too_few_stop_words": "gopher_enough_stop_words",
    "short_words": "gopher_below_avg_threshold",
    "long_words": "gopher_above_avg_threshold",
    "too_many_hashes": "gopher_too_many_hashes",
    "too_many_ellipses": "gopher_too_many_ellipsis",
    "too_many_bullet_lines": "gopher_too_many_bullets",
    "too_many_ellipsis_lines": "gopher_too_many_end_ellipsis",
    "duplicate_lines": "dup_line_frac",
    "duplicate_paragraphs": "dup_para_frac",
    "duplicate_line_characters": "dup_line_char_frac",
    "duplicate_paragraph_characters": "dup_para_char_frac",
    "repeated_lines": "char_dup_ratio",
    "few_ended_lines": "line_punct_ratio",
    "short_lines": "short_line_ratio",
    "too_many_line_breaks": "list_ratio",
    "empty": "too_few_sentences",  # no line is left
    **{f"duplicate_{n}_grams": f"duplicated_{n}_n_grams" for n in range(5, 11)},
}
CASES = {
    "gopher_quality": ({"rules": GOPHER_QUALITY, "count_signs_as_words": True}, 0.985),
    "gopher_repetition": ({"rules": REPETITION}, 0.995),
    "c4": ({"rules": ("c4", "c4_lines")}, 1.0),
    "c4_as_fineweb": ({"rules": ("c4", "c4_lines"), "without": ("line_not_ended",)}, 1.0),
    "fineweb": ({"rules": ("fineweb",)}, 1.0),
}


@pytest.fixture(scope="module")
def texts(real_data):
    for name in ("classification/news.en.jsonl.gz", "chat/instructions.en.jsonl.gz", "lm/tinyshakespeare.txt"):
        real_data(name)
    return pages(real_data("lm/wikitext2-valid.txt").parent.parent)


@pytest.fixture(scope="module")
def golden():
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


def judge(texts: list[str], **settings: object) -> list[str]:
    """What our rules say of each text, in the words of `by_datatrove`."""
    step = Quality(QualityConfig(rows="pages", passage_bytes=None, **settings), Surroundings())
    said = []
    for text in texts:
        outcome = step.apply([Document(text, "page")])
        if outcome.dropped:
            reason = outcome.dropped[0][1]
            said.append(THEIR_NAMES.get(reason, reason))
        else:
            said.append(outcome.kept[0].text)
    return said


@pytest.mark.parametrize("name", CASES)
def test_the_same_decisions(texts, golden, name):
    settings, agreement = CASES[name]
    assert digest("\0".join(texts)) == golden["pages"]
    reasons = set(THEIR_NAMES.values()) | {*RULES, "top_2_gram", "top_3_gram", "top_4_gram"}
    ours, theirs = judge(texts, **settings), golden[name]
    dropped = [one in reasons for one in ours]
    assert sum(dropped) > 100
    same = [drop == (their in reasons) for drop, their in zip(dropped, theirs, strict=True)]
    assert sum(same) >= agreement * len(texts)
    why = Counter(our == their for our, their, drop in zip(ours, theirs, dropped, strict=True) if drop)
    assert name.startswith("gopher") or why[False] == 0  # for the same reason, where no words are counted


def test_c4_leaves_the_same_lines(texts, golden):
    """But for the empty lines between paragraphs, which we leave in."""
    ours = judge(texts, rules=("c4", "c4_lines"))
    kept = [(our, their) for our, their in zip(ours, golden["c4"], strict=True) if re.fullmatch("[0-9a-f]{8}", their)]
    assert len(kept) > 600
    for our, their in kept:
        assert digest("\n".join(line.strip() for line in our.split("\n") if line.strip())) == their


@pytest.mark.slow
@pytest.mark.skipif(find_spec("datatrove") is None or find_spec("spacy") is None, reason="datatrove is not installed")
def test_what_is_written_down_is_what_datatrove_says(texts, golden):
    some = texts[::40]
    said = by_datatrove(some)
    for name in CASES:
        assert said[name] == golden[name][::40]
