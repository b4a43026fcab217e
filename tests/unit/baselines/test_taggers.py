"""Simple taggers: what they count, and what they can learn."""

from __future__ import annotations

import random
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from stepwell.baselines import FOLDER, PerceptronTagger, WordTagger, load_simple_model, open_beside
from stepwell.errors import CheckpointError
from stepwell.tasks import Tagging, TaggingConfig

TAGS = ("O", "B-place", "I-place")


def perceptron() -> PerceptronTagger:
    task = Tagging(TaggingConfig(scheme="BIO", tags=TAGS))
    return PerceptronTagger(TAGS, task.transitions(), num_buckets=1 << 12)


def sentences(names: list[str], count: int, seed: int) -> tuple[list[list[str]], list[list[str]]]:
    """What stands between `in` and `today` is a place, whatever it is."""
    rng = random.Random(seed)
    words, tags = [], []
    for _ in range(count):
        place = rng.sample(names, rng.randint(1, 2))
        words.append([rng.choice(names), "is", "in", *place, "today"])
        tags.append(["O", "O", "O", "B-place", *["I-place"] * (len(place) - 1), "O"])
    return words, tags


def test_a_word_has_its_commonest_tag_and_a_new_one_the_commonest_of_all() -> None:
    tagger = WordTagger()
    tagger.fit([["a", "b", "a"], ["a", "c"]], [["X", "Y", "Z"], ["Z", "X"]])
    assert tagger.tell([["a", "b", "c", "new"], []]) == [["Z", "Y", "X", "X"], []]


def test_a_perceptron_learns_from_the_words_around() -> None:
    tagger = perceptron()
    names = ["".join(letters) for letters in product("BDKLMN", "aeiou", "rst", "ao")]
    tagger.fit(*sentences(names[::2], 300, 1))
    words, tags = sentences(names[1::2], 50, 2)
    assert tagger.tell(words) == tags
    assert tagger.tell([[], ["in"]]) == [[], ["O"]]


def test_a_perceptron_keeps_to_the_scheme_and_repeats() -> None:
    rng = np.random.default_rng(0)
    words = [[str(number) for number in rng.integers(0, 9, 8)] for _ in range(60)]
    tags = [[TAGS[place] for place in rng.integers(0, 3, 8)] for _ in range(60)]
    first, second = perceptron(), perceptron()
    for tagger in (first, second):
        tagger.fit(words, tags)
    told = first.tell(words)
    assert told == second.tell(words)
    for row in told:
        assert all(after != "I-place" or before != "O" for before, after in zip(["O", *row], row, strict=False))


def test_sentences_with_unknown_tags_teach_nothing() -> None:
    tagger, other = perceptron(), perceptron()
    words, tags = sentences(["Ada", "Ben", "Cleo"], 30, 1)
    tagger.fit(words, tags)
    other.fit([*words, ["odd"], []], [*tags, ["B-river"], []])
    assert tagger.tell(words) == other.tell(words)


@pytest.mark.parametrize("kind", ["word_tagger", "perceptron"])
def test_read_back_it_says_the_same(kind: str, tmp_path: Path) -> None:
    names = ["".join(letters) for letters in product("BDKL", "aeiou", "rst")]
    words, tags = sentences(names, 60, 1)
    tagger = perceptron() if kind == "perceptron" else WordTagger()
    tagger.fit(words, tags)
    path = tmp_path / FOLDER / f"{kind}.safetensors"
    tagger.save(path)
    again = load_simple_model(path)
    assert type(again) is type(tagger)
    held = [*sentences(names, 30, 2)[0], ["another", "word\ud800", "在", ""], []]
    assert again.tell(held) == tagger.tell(held)
    assert open_beside(tmp_path, [kind, "model"])[kind].tell(held) == tagger.tell(held)


def test_a_damaged_tagger_is_named(tmp_path: Path) -> None:
    path = tmp_path / FOLDER / "perceptron.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"not tensors")
    with pytest.raises(CheckpointError, match="damaged"):
        open_beside(tmp_path, ["perceptron"])
