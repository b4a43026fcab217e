"""What becomes of a source and a target: which tokens are read, which count, what is left out and said of it."""

from __future__ import annotations

import numpy as np
import pytest

from stepwell.data import Document, Example
from stepwell.errors import ConfigError, DataError, UsageError
from stepwell.tasks import SummarizationConfig, TranslationConfig, Writing, build_task, first_sentence, language_of
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([], ByteBPEConfig(vocab_size=257))


def pair(source: object, target: object = "but") -> Document:
    return Document(f"{source}\n\n{target}", "test", columns={"source": source, "target": target})


def task(**settings: object) -> Writing:
    built = build_task(TranslationConfig(**settings))
    assert isinstance(built, Writing)
    return built


def made(one: Document, tokenizer: Tokenizer, **settings: object) -> Example | str:
    (found,) = task(**settings).make([one], tokenizer)
    return found


def spelled(ids: object, tokenizer: Tokenizer) -> str:
    """Ids as text, `|` for the end of text."""
    return "".join("|" if one == tokenizer.eos_id else tokenizer.decode([one]) for one in ids)


def test_an_example_reads_the_source_and_writes_the_target_with_its_end(tokenizer):
    example = made(pair("goal", "but"), tokenizer)
    assert spelled(example.token_ids, tokenizer) == "|goal|but|"
    told = example.token_ids[1:][example.aligned["weight"][:-1] > 0]
    assert spelled(told, tokenizer) == "but|"  # the end token is learned
    assert example.aligned["weight"][-1] == 0  # nothing is told from it
    assert spelled(example.token_ids[: example.of_document["source_tokens"]], tokenizer) == "|goal|"
    assert example.left_out_tokens == 0


def test_a_template_stands_around_the_source(tokenizer):
    example = made(pair("goal"), tokenizer, template="en: {source}\nfr: ")
    assert spelled(example.token_ids, tokenizer) == "|en: goal\nfr: but|"
    assert example.aligned["weight"].sum() == 4


def test_what_is_asked_is_what_was_learned(tokenizer):
    for settings in ({}, {"template": "<{source}>"}):
        reader = task(**settings)
        example = made(pair("goal"), tokenizer, **settings)
        (read, left_out), *_ = reader.read([reader.document("goal")], tokenizer, 100)
        assert read.tolist() == example.token_ids[: example.of_document["source_tokens"]].tolist()
        assert left_out == 0


def test_a_long_source_is_shortened_and_counted_a_target_never(tokenizer):
    example = made(pair("abcdefghijklmnop", "but"), tokenizer, max_tokens=12)
    assert spelled(example.token_ids, tokenizer) == "|abcdefg|but|"
    assert len(example.token_ids) == 13  # one more than is read: the last one is a target only
    assert example.left_out_tokens == 9
    assert made(pair("abcdefghijklmnop", "a target too long"), tokenizer, max_tokens=12) == (
        "the target leaves no room for what is read"
    )
    (read, left_out), *_ = task().read([pair("abcdefghijklmnop")], tokenizer, 10)
    assert (spelled(read, tokenizer), left_out) == ("|abcdefgh|", 8)


def test_room_for_nothing_is_an_error(tokenizer):
    with pytest.raises(DataError, match="template"):
        task(template="a very long instruction {source}").read([pair("goal")], tokenizer, 20)


@pytest.mark.parametrize(
    ("source", "target", "why"),
    [
        (None, "but", "no source"),
        ("  ", "but", "empty source"),
        ("goal", None, "no target"),
        ("goal", "\n ", "empty target"),
        ("goal", [], "empty target"),
    ],
)
def test_half_a_pair_is_no_example(tokenizer, source, target, why):
    assert made(pair(source, target), tokenizer) == why


def test_of_several_targets_the_first_is_learned_and_all_are_right(tokenizer):
    one = pair("goal", ["but", "", "objectif"])
    assert spelled(made(one, tokenizer).token_ids, tokenizer) == "|goal|but|"
    assert task().references(one) == ["but", "objectif"]


def test_the_longest_target_is_found(tokenizer):
    found = task().measure([pair("a", "four"), pair("b", "é")], tokenizer)
    assert found["max_target_tokens"][0] == 5


def test_a_template_says_where_the_source_is():
    for template in ("no place", "{source} and {source}"):
        with pytest.raises((ConfigError, ValueError), match="source"):
            TranslationConfig(template=template)


def test_a_prompt_without_a_source_is_an_error():
    with pytest.raises(UsageError, match="source"):
        task().document({"sentence": "goal"})
    assert task().document({"EN": "goal"}).columns == {"source": "goal"}


@pytest.mark.parametrize(
    ("row", "task_config", "source", "target"),
    [
        ({"src": "a", "tgt": "b"}, TranslationConfig(), "src", "tgt"),
        ({"en": "a", "zh": "b"}, TranslationConfig(), "en", "zh"),
        ({"en": "a", "zh": "b"}, TranslationConfig(source="zh", target="en"), "zh", "en"),
        ({"title": "a", "text": "b", "label": "c"}, SummarizationConfig(), "text", "title"),
        ({"source": "a", "target": "b"}, SummarizationConfig(), "source", "target"),
        ({"document": "a", "summary": "b"}, SummarizationConfig(), "document", "summary"),
    ],
)
def test_columns_are_found_by_name(row, task_config, source, target):
    fields = build_task(task_config).fields()
    for name, column in (("source", source), ("target", target)):
        assert next(one for one in fields[name].columns if one in row) == column


def test_the_decision_is_no_part_of_what_examples_depend_on():
    wide = TranslationConfig(decision={"beam_size": 9, "length_penalty": 0.2})
    assert build_task(wide).key == build_task(TranslationConfig()).key
    assert build_task(TranslationConfig(template="{source}")).key != build_task(TranslationConfig()).key


@pytest.mark.parametrize(
    ("texts", "language"),
    [
        (["听说你有新女朋友了。", "汤姆一个人回家了。"], "zh"),
        (["Un homme dormant dans une chambre verte sur un canapé.", "Plusieurs hommes en casque"], "fr"),
        (["猫が好きです。", "これは本です。"], "ja"),
        ([], "en"),
        (["123", "..."], "en"),
    ],
)
def test_the_language_of_targets(texts, language):
    assert language_of(texts) == language


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("The well is deep. Its stair is long.", "The well is deep."),
        ("井很深。台阶很长。", "井很深。"),
        ("井深吗？很深！", "井深吗？"),
        ("他说：“走吧。”然后走了。", "他说：“走吧。”"),
        ("A headline\nThe text.", "A headline"),
        ("  It costs 3.5 pounds! Really?", "It costs 3.5 pounds!"),
        ("no end", "no end"),
        ("", ""),
        ("\n\n", ""),
    ],
)
def test_the_first_sentence(text, first):
    assert first_sentence(text) == first


def test_weights_and_borders_have_plain_types(tokenizer):
    example = made(pair("goal"), tokenizer)
    assert example.aligned["weight"].dtype == np.float32
    assert np.asarray(example.of_document["source_tokens"]).dtype == np.int64
