"""BLEU, chrF, chrF++ and TER beside sacrebleu's own values of a corpus, in languages with and without blanks."""

from __future__ import annotations

import random

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF, TER

from stepwell.evaluation import TranslationScores, bootstrap, paired_bootstrap, signatures, summarize

TEXTS = {
    "en": [
        "The old sailor remembered the map of the coast, but he forgot the lantern.",
        "Nobody sold the wooden boat (it was hers) before the storm.",
        "It's 3.5 miles to the well; we counted seven letters on the way!",
        "A merchant hid two silver coins under the bridge.",
        "Why?",
    ],
    "zh": [
        "老渔夫在河边带来了一盏灯，可是忘记了海边的地图。",
        "暴风雨之前，没有人卖掉那条小船（它是她的）。",
        "到井旁有3.5公里；我们在路上数过七封信！",
        "远方的客人在桥下藏起了两枚银币。",
        "为什么？",
    ],
    "ja": [
        "年老いた船乗りは海岸の地図を覚えていたが、ランタンを忘れた。",
        "嵐の前に、誰も木の船を売らなかった。",
        "井戸まで3.5キロです。",
        "商人は橋の下に銀貨を二枚隠した。",
        "なぜ？",
    ],
}
WORDS = {"en": "13a", "zh": "zh", "ja": "char"}


def spoiled(text: str, rng: random.Random) -> str:
    parts = text.split(" ") if " " in text else list(text)
    kept = [part for part in parts if rng.random() < 0.85]
    if rng.random() < 0.4:
        at = rng.randrange(len(kept) + 1)
        kept = kept[at:] + kept[:at]
    return (" " if " " in text else "").join(kept)


def theirs(language: str) -> dict[str, BLEU | CHRF | TER]:
    asian = language != "en"
    return {
        "bleu": BLEU(tokenize=WORDS[language]),
        "chrf": CHRF(),
        "chrf_plus_plus": CHRF(word_order=2),
        "ter": TER(normalized=asian, asian_support=asian),
    }


def values(scores: TranslationScores) -> dict[str, float]:
    return {name: bootstrap(scores, name, resamples=1).value for name in scores.metrics}


@pytest.mark.parametrize("language", TEXTS)
@pytest.mark.parametrize("seed", range(4))
def test_values_and_signatures_are_those_of_sacrebleu(language: str, seed: int) -> None:
    rng = random.Random(seed)
    right = TEXTS[language]
    made = ["" if seed == 3 and row == 1 else spoiled(text, rng) for row, text in enumerate(right)]
    expected, signed = {}, {}
    for name, metric in theirs(language).items():
        expected[name] = metric.corpus_score(made, [right]).score
        signed[name] = str(metric.get_signature())
    assert values(TranslationScores.of(made, right, language)) == pytest.approx(expected, abs=1e-9)
    assert signatures(right, language) == signed
    assert 0 < expected["bleu"] < 100


@pytest.mark.parametrize("code", ["zh-CN", "zh_Hant", "ZH"])
def test_chinese_has_several_codes(code: str) -> None:
    assert "tok:zh" in signatures(TEXTS["zh"], code)["bleu"]


def test_of_several_references_the_nearest_counts_as_with_sacrebleu() -> None:
    rng = random.Random(7)
    right = [[text, *[spoiled(text, rng)] * (row % 3)] for row, text in enumerate(TEXTS["en"])]
    made = [spoiled(text, rng) for text in TEXTS["en"]]
    streams = [[row[at] if at < len(row) else None for row in right] for at in range(3)]
    expected = {name: metric.corpus_score(made, streams).score for name, metric in theirs("en").items()}
    assert values(TranslationScores.of(made, right, "en")) == pytest.approx(expected, abs=1e-9)
    assert "nrefs:var" in signatures(right, "en")["bleu"]


@pytest.mark.parametrize(
    ("made", "right"),
    [
        (["", ""], ["a b", "c d"]),
        (["a b", "c"], ["", ""]),
        (["", ""], ["", ""]),
        (["yes"], ["no"]),
        (["yes"], ["yes"]),
        (["one two three four"], ["one two three five"]),
        (["one two three four"], ["four three two one"]),
        (["one two three four five six seven"], ["one two three four"]),
    ],
)
def test_at_the_edges_values_are_those_of_sacrebleu(made: list[str], right: list[str]) -> None:
    expected = {name: metric.corpus_score(made, [right]).score for name, metric in theirs("en").items()}
    assert values(TranslationScores.of(made, right, "en")) == pytest.approx(expected, abs=1e-9)


def test_of_any_text_values_are_those_of_sacrebleu() -> None:
    signs = [*"ab the A. ,!?-'%3.5 $灯河边，。《》…·ωé가カ😀𠮷_", "\u3000", "\n", "\t"]
    for seed in range(25):
        rng = random.Random(seed)
        right = ["".join(rng.choices(signs, k=rng.randint(0, 25))) for _ in range(3)]
        made = [text[rng.randint(0, 4) :] for text in right]
        language = rng.choice(list(TEXTS))
        expected = {name: metric.corpus_score(made, [right]).score for name, metric in theirs(language).items()}
        assert values(TranslationScores.of(made, right, language)) == pytest.approx(expected, abs=1e-9), (made, right)


def test_a_drawn_corpus_has_the_value_that_sacrebleu_gives_it() -> None:
    rng = random.Random(1)
    right = TEXTS["en"]
    made = [spoiled(text, rng) for text in right]
    scores = TranslationScores.of(made, right, "en")
    draws = np.random.default_rng(0).integers(0, len(right), (6, len(right)))
    sums = np.stack([scores.columns[rows].sum(0) for rows in draws])
    for name, metric in theirs("en").items():
        expected = [metric.corpus_score([made[i] for i in rows], [[right[i] for i in rows]]).score for rows in draws]
        np.testing.assert_allclose(scores.metrics[name].compute(scores.totals(sums)), expected, atol=1e-9)


def test_two_models_are_compared_on_the_same_sentences() -> None:
    rng = random.Random(2)
    right = TEXTS["en"] * 6
    good = TranslationScores.of(right, right, "en")
    bad = TranslationScores.of([spoiled(text, rng) for text in right], right, "en")
    assert paired_bootstrap(good, bad, "bleu").low > 0
    assert summarize(good)["ter"].value == 0
    with pytest.raises(ValueError, match="same sentences"):
        paired_bootstrap(good, TranslationScores.of(right[::-1], right[::-1], "en"), "bleu")


def test_no_sentence_is_no_corpus() -> None:
    with pytest.raises(ValueError, match="no examples"):
        bootstrap(TranslationScores.of([], [], "en"), "bleu")
