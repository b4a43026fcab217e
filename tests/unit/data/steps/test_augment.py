"""Made documents: marked, only of training ones, the same in any shards; what was written by hand stays."""

from __future__ import annotations

import json
import pickle
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from stepwell.config import build
from stepwell.data import DataConfig, prepare_text
from stepwell.data.documents import Document
from stepwell.data.steps.augmentation.augment import Augment
from stepwell.data.steps.augmentation.augment_config import AugmentConfig
from stepwell.data.steps.augmentation.rewriting import drop_words, read_synonyms, replace_words, swap_words, units_of
from stepwell.data.steps.step import Surroundings, TextMaker

ENGLISH = "The old clockmaker didn't walk home along the well-known river, because it was late; he slept."
CHINESE = "老人沿着河边慢慢地走回家去，想起了年轻时候的许多事情。"


def open_model(path: Path) -> TextMaker:
    """`upper` writes in capitals, `lower` in small letters, `more` goes on."""
    ways = {"upper": str.upper, "lower": str.lower, "more": lambda text: " and so on\n\nnot this"}
    return lambda prompts: [ways[path.name](prompt) for prompt in prompts]


def augment(methods: Sequence, *, seed: int = 0, **settings) -> Augment:
    config = build(AugmentConfig, {"methods": list(methods), **settings}, where="test")
    return Augment(config, Surroundings(seed, open_model))


def documents(split: str = "train", count: int = 40) -> list[Document]:
    words = [f"word{number}" for number in range(count + 20)]
    return [
        Document(f"{' '.join(words[n : n + 20])}. {CHINESE}", "a", split=split, columns={"label": n % 2})
        for n in range(count)
    ]


def made(step: Augment, several: Sequence[Document]) -> list[Document]:
    return [one for one in step.apply(several).kept if "augmented" in one.columns]


@pytest.mark.parametrize(
    "text", [ENGLISH, CHINESE, ENGLISH + CHINESE, "", " \n ", "！？", "a", "𠀀𠀁é́ 日本語のテキスト"]
)
@pytest.mark.parametrize("chinese", ["words", "characters"])
def test_units_together_are_the_text(text: str, chinese: str) -> None:
    assert "".join(units_of(text, chinese)) == text


def test_units_are_words_of_both_languages() -> None:
    assert units_of("I don't 我爱北京天安门", "words") == ["I", " ", "don't", " ", "我", "爱", "北京", "天安门"]
    assert units_of("北京ok", "characters") == ["北", "京", "ok"]


@pytest.mark.parametrize("text", [ENGLISH, CHINESE])
@pytest.mark.parametrize("chinese", ["words", "characters"])
def test_dropout_leaves_words_out_in_order(text: str, chinese: str) -> None:
    lengths = []
    for seed in range(200):
        short = drop_words(text, 0.3, chinese, random.Random(seed))
        rest = iter(text)
        assert all(one in rest for one in short)
        assert set(units_of(short, "characters")) <= set(units_of(text, "characters"))
        assert 0 < len(short) < len(text)
        assert "  " not in short
        assert " ," not in short
        assert short == short.strip()
        lengths.append(sum(map(str.isalnum, short)))
    whole = sum(map(str.isalnum, text))
    assert 0.6 * whole < sum(lengths) / len(lengths) < 0.8 * whole
    assert drop_words("one", 0.9, chinese, random.Random(0)) == "one"
    assert drop_words("one two", 1.0, chinese, random.Random(0)) in ("one", "two", " two", "one ")


@pytest.mark.parametrize("text", [ENGLISH, CHINESE])
def test_swap_keeps_every_word_and_the_punctuation_in_its_place(text: str) -> None:
    moved = Counter[bool]()
    for seed in range(50):
        swapped = swap_words(text, 0.2, 2, "words", random.Random(seed))
        assert sorted(swapped) == sorted(text)
        assert [one for one in swapped if one in ",.;，。"] == [one for one in text if one in ",.;，。"]
        moved[swapped != text] += 1
    assert moved[True] > 45


def test_synonyms_keep_capitals_and_are_found_in_chinese() -> None:
    synonyms = {"big": ["large"], "well-known": ["famous"], "慢慢地": ["缓缓"], "年轻时候": ["少年时"]}
    draw = random.Random(0)
    assert replace_words("Big, BIG and big; bigger. A well-known man", 1.0, synonyms, draw) == (
        "Large, LARGE and large; bigger. A famous man"
    )
    assert replace_words(CHINESE, 1.0, synonyms, draw) == "老人沿着河边缓缓走回家去，想起了少年时的许多事情。"
    assert replace_words("nothing here", 1.0, synonyms, draw) == "nothing here"
    shares = [replace_words("big " * 100, 0.3, synonyms, random.Random(seed)).count("large") for seed in range(20)]
    assert 25 < sum(shares) / 20 < 35


def test_lists_of_synonyms(tmp_path: Path) -> None:
    tabs, lines = tmp_path / "a.tsv", tmp_path / "a.jsonl"
    tabs.write_text("Big\tlarge\thuge\n\nbig\tlarge\tgreat\n快乐\t高兴\n", encoding="utf-8")
    rows = [{"word": "Big", "synonyms": ["large", "huge", "great"]}, {"word": "快乐", "synonyms": ["高兴"]}]
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert read_synonyms(tabs) == read_synonyms(lines) == {"big": ["large", "huge", "great"], "快乐": ["高兴"]}


def test_only_training_documents_are_made_more_of() -> None:
    step = augment(["dropout", "swap"], rate=2)
    for split in ("validation", "test", None):
        held_out = documents(split)
        assert step.apply(held_out).kept == held_out
    again = made(step, documents())
    assert step.apply(again).kept == again  # nor is a made one


def test_made_documents_stand_behind_theirs_are_marked_and_take_the_label_along() -> None:
    originals = [one.with_columns({"words": ["a"], "entities": []}) for one in documents()]
    outcome = augment(["dropout", "swap"], rate=3).apply(originals)
    assert [one for one in outcome.kept if "augmented" not in one.columns] == originals
    kinds = Counter(one.columns["augmented"] for one in outcome.kept if "augmented" in one.columns)
    assert set(kinds) == {"dropout", "swap"}
    assert outcome.changed == {f"made_by_{how}": count for how, count in kinds.items()}
    assert kinds.total() + outcome.findings["same_as_before"] == 120
    assert min(kinds.values()) > 40
    before = None
    for one in outcome.kept:
        if "augmented" in one.columns:
            assert one.columns["label"] == before.columns["label"]
            assert set(one.columns) == {"label", "augmented"}
            assert one.split == "train"
            assert one.text != before.text
        else:
            before = one
    assert len({one.text for one in outcome.kept}) == len(outcome.kept)


def test_the_rate_is_kept_and_the_result_follows_from_text_and_seed_alone() -> None:
    originals = documents(count=400)
    assert 80 < len(made(augment(["swap"], rate=0.25), originals)) < 120
    step = augment(["dropout", "swap"], rate=1.5)
    whole = step.apply(originals).kept
    parts = [
        one for at in range(0, 400, 7) for one in pickle.loads(pickle.dumps(step)).apply(originals[at : at + 7]).kept
    ]
    assert parts == whole
    backwards = augment(["dropout", "swap"], rate=1.5).apply(originals[::-1]).kept
    assert sorted(one.text for one in backwards) == sorted(one.text for one in whole)
    assert augment(["dropout", "swap"], rate=1.5, seed=1).apply(originals).kept != whole


def test_models_translate_there_and_back() -> None:
    method = {"kind": "back_translation", "there": "m/upper", "back": "m/lower", "prompt_there": "To B: {text}"}
    several = [
        Document("Ann is HERE", "a", split="train", columns={"label": 1}),
        Document("x" * 2000, "a", split="train"),
    ]
    outcome = augment([method]).apply(several)
    assert [one.text for one in outcome.kept] == ["Ann is HERE", "to b: ann is here", "x" * 2000]
    assert outcome.kept[1].columns == {"label": 1, "augmented": "back_translation"}
    assert outcome.changed == {"made_by_back_translation": 1}
    assert outcome.findings == {"too_long_for_back_translation": 1}


def test_what_comes_back_unchanged_or_empty_is_no_new_document() -> None:
    method = {"kind": "back_translation", "there": "m/lower", "back": "m/lower"}
    outcome = augment([method]).apply([Document("ann is here ", "a", split="train")])
    assert len(outcome.kept) == 1
    assert outcome.findings == {"same_as_before": 1}
    generation = {"kind": "generation", "checkpoint": "m/more", "prompt": "{text}", "stop": " "}
    assert augment([generation]).apply(documents(count=1)).findings == {"empty": 1}


def test_a_model_goes_on_from_a_beginning_or_follows_a_prompt() -> None:
    document = Document(
        "One two three four five six seven eight nine ten", "a", split="train", columns={"label": "good"}
    )
    on = {"kind": "generation", "checkpoint": "m/more"}
    assert augment([on]).apply([document]).kept[1].text == "One two three and so on"
    asked = {"kind": "generation", "checkpoint": "m/upper", "prompt": "{label} {{x}}: {text}", "stop": None}
    assert augment([asked]).apply([document]).kept[1].text == f"GOOD {{X}}: {document.text.upper()}"


def test_a_prepared_corpus_has_made_documents_in_training_only(tmp_path: Path, small_text) -> None:
    rows = [{"text": small_text("mixed", 500, seed=number), "label": number % 3} for number in range(150)]
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    plain = {"sources": str(source), "columns": ["label"]}
    steps = [{"kind": "augment", "methods": ["dropout", "swap"], "rate": 1}]
    bare = prepare_text(build(DataConfig, plain, where="test"), tmp_path / "out")
    more = prepare_text(build(DataConfig, {**plain, "steps": steps}, where="test"), tmp_path / "out")
    for split in ("validation", "test"):
        assert list(more.texts(split)) == list(bare.texts(split))
        assert not any("augmented" in one for one in more.columns(split))
    how = [one.get("augmented") for one in more.columns("train")]
    assert set(bare.texts("train")) < set(more.texts("train"))
    assert how.count(None) == len(bare.texts("train"))
    assert len(how) > 1.9 * how.count(None)
    assert all("label" in one for one in more.columns("train"))


def test_another_list_of_synonyms_makes_another_package(tmp_path: Path, small_text) -> None:
    source, synonyms = tmp_path / "text.txt", tmp_path / "synonyms.tsv"
    source.write_text(small_text("mixed", 40_000), encoding="utf-8")
    steps = [{"kind": "augment", "methods": [{"kind": "synonyms", "path": str(synonyms), "ratio": 1}]}]
    config = build(DataConfig, {"sources": str(source), "steps": steps}, where="test")
    texts, keys = [], []
    for other in ("seaport", "bazaar"):
        synonyms.write_text(f"market\t{other}\n", encoding="utf-8")
        prepared = prepare_text(config, tmp_path / "out")
        texts.append("".join(prepared.texts("train")))
        keys.append(prepared.key)
    assert keys[0] != keys[1]
    assert "in the seaport" in texts[0]
    assert "in the bazaar" in texts[1]
    assert "seaport" not in texts[1]
