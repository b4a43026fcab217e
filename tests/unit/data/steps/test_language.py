"""Documents and paragraphs in other languages are found in real text, and hardly any in a wanted language is."""

from __future__ import annotations

import gzip
import json
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.data import languages
from stepwell.data.documents import Document
from stepwell.data.languages import language_scores
from stepwell.data.steps.filters.language import Language, LanguageConfig, languages_of, letters_of, paragraphs_of
from stepwell.data.steps.step import Outcome, Surroundings

ENGLISH = "The people of the village come to the well every morning to draw water and to talk about the weather."
CHINESE = "村里的人每天早上都到井边打水，聊天，洗菜，孩子们在台阶上跑来跑去，老人坐在树下看着他们。"
FRENCH = "Les gens du village viennent chaque matin au puits pour chercher de l'eau et parler du temps qu'il fait."
GERMAN = "Die Leute aus dem Dorf kommen jeden Morgen zum Brunnen, holen Wasser und reden über das Wetter und die Ernte."
JAPANESE = "村の人たちは毎朝井戸に水をくみに来て、天気のことを話しています。子どもたちは石段を走り回ります。"
KOREAN = "마을 사람들은 매일 아침 우물에 와서 물을 긷고 날씨에 대해 이야기합니다. 아이들은 계단에서 뛰어놉니다."


def do(*texts: str, **settings: Any) -> Outcome:
    step = pickle.loads(pickle.dumps(Language(LanguageConfig(**settings), Surroundings())))
    return step.apply([Document(text, "s") for text in texts])


@pytest.mark.parametrize(
    ("text", "language"),
    [(ENGLISH, "en"), (CHINESE, "zh"), (FRENCH, "fr"), (GERMAN, "de"), (JAPANESE, "ja"), (KOREAN, "ko")],
)
def test_languages_are_named(text: str, language: str) -> None:
    outcome = do(text)
    assert outcome.kept[0].columns["language"] == language
    assert 0.6 < outcome.kept[0].columns["language_score"] <= 1
    assert outcome.findings == {f"documents_in_{language}": 1}
    assert outcome.kept[0].text == text
    assert do(text, columns=False).kept[0].columns == {}


def test_only_the_wanted_are_kept() -> None:
    outcome = do(ENGLISH, FRENCH, CHINESE, JAPANESE, GERMAN, KOREAN, keep=["en", "zh-CN"])
    assert [one.text for one in outcome.kept] == [ENGLISH, CHINESE]
    assert {reason for _, reason in outcome.dropped} == {"other_language"}
    assert [one.text for one in do(ENGLISH, FRENCH, keep="fr").kept] == [FRENCH]


def test_a_document_in_two_wanted_languages_is_kept() -> None:
    mixed = f"{ENGLISH}\n\n{CHINESE * 2}"
    assert len(do(mixed, keep=["en", "zh"]).kept) == 1
    assert not do(f"{ENGLISH}\n\n{FRENCH * 3}\n\n{GERMAN * 3}", keep=["en", "zh"]).kept
    scores = languages_of(mixed)
    assert set(list(scores)[:2]) == {"en", "zh"}


def test_junk_is_not_another_language() -> None:
    code = "".join(f"var v{n} = function(a, b) {{ return a[{n}] || b['k{n}']; }};\n" for n in range(30))
    assert do(code, keep=["en"]).dropped[0][1] == "unclear_language"
    assert do(FRENCH * 3, keep=["en"]).dropped[0][1] == "other_language"


def test_a_long_line_is_judged_all_over() -> None:
    line = " ".join([ENGLISH, *[FRENCH] * 8])
    assert not do(line, keep=["en"]).kept
    assert len(do(" ".join([FRENCH, *[ENGLISH] * 8]), keep=["en"]).kept) == 1
    assert "".join(languages.passages_of(line)) == line


def test_paragraphs() -> None:
    text = f"Title\n\n{ENGLISH}\n\n{FRENCH}\n{CHINESE}\n\n  indented code()\n\nOui.\n"
    outcome = do(text, keep=["en", "zh"], paragraphs=True)
    assert outcome.kept[0].text == text.replace(f"{FRENCH}\n", "")
    assert outcome.changed == {"paragraphs": 1}
    assert outcome.findings["paragraphs_in_other_languages"] == 1
    assert do(text, keep=["en", "zh"]).kept[0].text == text
    nothing = do(f"{FRENCH}\n\n{GERMAN}", keep=["en"], paragraphs=True)
    assert nothing.dropped[0][1] == "other_language"
    assert not nothing.changed
    names = "R de Marigny; Mirco Bergamasco, C Stoica, A Masi, L Nitoglia; L Orquera, A Troncon; A Lo Cicero, F Ongaro"
    assert do(f"{ENGLISH}\n{names}\n{ENGLISH}", keep=["en"], paragraphs=True).changed == {}
    assert do(text, paragraphs=True).kept[0].text == text  # nothing is unwanted where nothing is named


@given(st.lists(st.sampled_from(["\n", "\n\n", " \n", "Short.", ENGLISH, CHINESE, "\r", "\u2028", "}"]), max_size=12))
def test_paragraphs_joined_are_the_text(parts: list[str]) -> None:
    text = "".join(parts)
    assert "".join(paragraphs_of(text, 60)) == text


def test_short_lines_of_a_verse_are_one_paragraph() -> None:
    verse = "Il pleure\ndans mon cœur\ncomme il pleut\nsur la ville\n\n"
    assert list(paragraphs_of(f"{verse}{ENGLISH}\nEnd\n", 60)) == [verse, f"{ENGLISH}\n", "End\n"]


def test_short_text() -> None:
    assert len(do("Oui, bien sûr.", "OK", "12:30", keep=["zh"], short="keep").kept) == 3
    dropped = do("Oui, bien sûr.", "你好", keep=["zh"], short="drop").dropped
    assert [reason for _, reason in dropped] == ["too_short_for_language"] * 2
    judged = do("2024-05-01 ... 17%", "这家酒店很好", "Le petit chat est sur la table.", keep=["zh"])
    assert [one.text for one in judged.kept] == ["2024-05-01 ... 17%", "这家酒店很好"]
    assert judged.kept[0].columns == {"language": "unknown", "language_score": 0.0}
    assert letters_of("ab 中文!", 60) == 8
    assert letters_of("12 | " * 2000 + ENGLISH, 60) >= 60


def test_scripts_decide_for_east_asia() -> None:
    for text in (
        "大S结婚照公布 甜蜜赞老公帅气不输妹夫",
        "我觉得会更糟。",
        "自然人缔约能力制度研究",
        "优の良品专卖店开业了",
    ):
        assert next(iter(language_scores(text))) == "zh"
    assert next(iter(language_scores("東京の天気はどうですか"))) == "ja"
    assert next(iter(language_scores("김치찌개"))) == "ko"
    assert next(iter(language_scores("The word 你好 means hello in Mandarin Chinese"))) == "en"
    for address in ("zhang.san8847@example.com", "https://www.example.com/about-us/contact", "www.example.com"):
        assert language_scores(f"作者邮箱：{address}，欢迎来信。电梯间有浓重的餐厅飘来的油烟味。") == {"zh": 1.0}
    assert next(iter(language_scores("see https://zh.example.cn/a-b 中文网站"))) == "zh"
    assert next(iter(language_scores("THE PEOPLE OF THE VILLAGE CAME TO THE WELL"))) == "en"
    assert language_scores("123 -- !") == {}


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("cn", "perhaps zh"),
        ("english", "perhaps en"),
        ("yue", "perhaps zh"),
        ("jp", "perhaps ja"),
        ("klingon", "ISO 639"),
    ],
)
def test_unknown_codes_are_errors(code: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LanguageConfig(keep=(code,))


def test_every_language_of_the_detector_can_be_kept() -> None:
    texts = (ENGLISH, FRENCH, GERMAN, "Привет, мир", "שלום", "ไทย", "हिन्दी")
    labels = {str(one["lang"]) for text in texts for one in languages._detector().detect(text, k=-1)}
    assert len(labels) > 120
    assert labels - languages.LANGUAGES <= {"wuu", "yue"}
    assert len(languages.LANGUAGES) == 174


def rows(path: Path, name: str) -> list[str]:
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    return [text for line in lines if (text := str(json.loads(line)[name])).strip()]


def kept_ratio(texts: Sequence[str], keep: Sequence[str]) -> float:
    return len(do(*texts, keep=keep).kept) / len(texts)


@pytest.mark.parametrize(
    ("file", "column", "language", "least"),
    [
        ("classification/news.zh.jsonl.gz", "text", "zh", 0.999),
        ("classification/sentiment.zh.jsonl.gz", "text", "zh", 0.995),
        ("translation/sentences.en-zh.jsonl.gz", "target", "zh", 0.999),
        ("translation/sentences.en-zh.jsonl.gz", "source", "en", 0.99),
        ("classification/sentiment.en.jsonl.gz", "text", "en", 0.98),
        ("translation/captions.en-fr.dev.jsonl.gz", "target", "fr", 0.99),
    ],
)
def test_short_real_text(file: str, column: str, language: str, least: float, real_data: Callable[[str], Path]) -> None:
    texts = rows(real_data(file), column)[-400:]
    assert kept_ratio(texts, [language]) >= least
    assert kept_ratio(texts, ["ru"]) <= 0.05


def test_a_wanted_book_is_whole(real_data: Callable[[str], Path]) -> None:
    text = gzip.decompress(real_data("lm/xiyouji.zh.txt.gz").read_bytes()).decode()
    outcome = do(text, keep=["en", "zh"], paragraphs=True)
    assert outcome.kept[0].text == text
    assert outcome.kept[0].columns == {"language": "zh", "language_score": 1.0}
