"""Several tokenizers in a recipe: compared once, the best taken, and never against what the recipe says itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepwell.errors import ConfigError
from stepwell.progress import Fact, Stage
from stepwell.recipes import begin_draft
from stepwell.runs import RunDirectory
from stepwell.studies import vocabulary
from stepwell.studies.corpus import Corpus
from stepwell.studies.vocabulary import choose_vocabulary

CHOICES = [
    {"kind": "byte_bpe", "vocab_size": 300},
    {"kind": "unigram", "vocab_size": 700},
    {"kind": "word", "vocab_size": 700},
]


def draft_with(**values: Any) -> Any:
    flags = {"data": {"sources": ["a.txt"]}, "study": {"tokenizers": CHOICES}, **values}
    return begin_draft(flags=flags)


def test_the_best_of_several_is_taken_and_the_comparison_kept(
    small_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, events = RunDirectory(tmp_path), []
    draft, compared = choose_vocabulary(draft_with(), small_corpus.text, run, events.append)
    (chosen,) = (one for one in compared if one["chosen"])
    able = [one for one in compared if one["round_trip_ratio"] == 1.0 and one["rare_ratio"] <= 0.2]
    assert len(compared) == 3
    assert "word" not in {one["name"] for one in able}  # it loses blanks
    assert chosen == max(able, key=lambda one: one["bytes_per_token"])
    assert draft.get("tokenizer.kind") == chosen["config"]["kind"]
    assert draft.get("tokenizer.vocab_size") == chosen["config"]["vocab_size"]
    assert "the best of 3 compared" in draft.origins["tokenizer.kind"]
    assert [type(event) for event in events] == [Stage, Fact]

    monkeypatch.setattr(vocabulary, "compare_tokenizers", None)
    again, known = choose_vocabulary(draft_with(), small_corpus.text, run, events.append)
    assert (again.tree, known) == (draft.tree, compared)
    (path,) = tmp_path.glob("tokenizers/compared-*.json")
    path.write_text("[{}]")
    with pytest.raises(TypeError):  # what is damaged is compared again
        choose_vocabulary(draft_with(), small_corpus.text, run, events.append)


@pytest.mark.parametrize("said", [{"tokenizer": {"vocab_size": 500}}, {"init_from": "runs/other"}])
def test_a_recipe_that_says_its_tokenizer_compares_none(
    small_corpus: Corpus, tmp_path: Path, said: dict[str, Any]
) -> None:
    events: list[Any] = []
    draft = draft_with(**said)
    assert choose_vocabulary(draft, small_corpus.text, RunDirectory(tmp_path), events.append) == (draft, [])
    assert "says which tokenizer" in events[0].text


def test_without_a_list_nothing_happens(small_corpus: Corpus, tmp_path: Path) -> None:
    draft = draft_with(study={})
    assert choose_vocabulary(draft, small_corpus.text, RunDirectory(tmp_path), pytest.fail) == (draft, [])


def test_a_choice_that_is_none_is_refused_before_any_text_is_read() -> None:
    with pytest.raises(ConfigError, match="tokenizers"):
        draft_with(study={"tokenizers": [{"kind": "bpe", "vocab_size": 700}]})
