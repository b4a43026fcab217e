"""Each rule on a text that breaks it and no other of its group, in English and in Chinese."""

from __future__ import annotations

import gzip
import json
import pickle

import pytest

from stepwell.data.documents import Document
from stepwell.data.steps.filters.quality import Quality, QualityConfig
from stepwell.data.steps.filters.quality.config import GroupName, LineRuleName, RuleName
from stepwell.data.steps.filters.quality.rules import RULES
from stepwell.data.steps.step import Outcome, Surroundings

ENGLISH = (
    "The miller carried a lantern to the river and waited there with his brother. Nobody had seen the boat since the "
    "storm of last autumn, and that worried him more than he would have said. His grandmother kept the seven letters "
    "in a drawer under the window. When the clockmaker came by in spring, they read them aloud to each other! Was it "
    "a song, or the map of a coast that no sailor could remember? The old teacher laughed and sold them two coins. "
    "Below the bridge a merchant counted his silver until it became too dark to see. Then all of them went home."
)
CHINESE = (
    "老渔夫在河边修好了一条小船，可是没有人愿意和他一起出海。他的孙女把七封信藏在窗下的抽屉里，每到春天就拿出来读给邻居听。"
    "隔壁的木匠以为那是一首没写完的歌，其实是一张海边的地图！远方的客人看了半天，也说不清上面画的是哪里？"
    "暴风雨过后，集市重新热闹起来，卖花的人数着手里的银币。天黑以后，大家提着灯各自回家了。"
)
TEXTS = {"en": ENGLISH, "zh": CHINESE}


def sentences(language: str) -> list[str]:
    """The sentences of the text, each with its mark."""
    text = TEXTS[language]
    for mark in ".!?。！？":
        text = text.replace(mark, f"{mark}\0")
    return [one.strip() for one in text.split("\0") if one.strip()]


def lines(language: str) -> str:
    return "\n".join(sentences(language))


def judge(text: str, *, is_row: bool = False, **settings: object) -> Outcome:
    return Quality(QualityConfig(**settings), Surroundings()).apply([Document(text, "here", is_row=is_row)])


def reason(text: str, **settings: object) -> str | None:
    outcome = judge(text, **settings)
    return outcome.dropped[0][1] if outcome.dropped else None


def words(language: str, count: int) -> list[str]:
    """Different words that are no words."""
    if language == "en":
        return [f"ab{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(count)]
    return [chr(0x4E00 + 7 * n) for n in range(count)]


MENU = {
    "en": ["Home page", "Our products", "Read more", "Contact us"],
    "zh": ["首页", "产品介绍", "查看更多", "联系我们"],
}
AT_RANDOM = "".join(words("zh", 120))
BAD: dict[str, dict[str, str]] = {
    "too_few_words": {"en": " ".join(ENGLISH.split()[:30]), "zh": CHINESE[:70]},
    "too_many_words": {"en": ENGLISH, "zh": CHINESE},  # with a limit of 60 words
    "short_words": {"en": "I am so at it to be of us. " * 9, "zh": " ".join(CHINESE)},
    "long_words": {
        "en": "the of " + " ".join(f"{word * 3}ology" for word in words("en", 80)),
        "zh": "".join(one.rstrip("。！？").replace("，", "") for one in sentences("zh")),
    },
    "too_many_hashes": {"en": ENGLISH.replace(" the ", " # # the "), "zh": CHINESE.replace("，", "##，")},
    "too_many_ellipses": {"en": ENGLISH.replace(" the ", "... ... the "), "zh": CHINESE.replace("的", "…的…")},
    "too_many_bullet_lines": {
        "en": "\n".join(f"- {one}" for one in sentences("en")),
        "zh": "\n".join(f"● {one}" for one in sentences("zh")),
    },
    "too_many_ellipsis_lines": {
        "en": "\n".join(one[:-1] + ("..." if n % 2 else ".") for n, one in enumerate(sentences("en"))),
        "zh": "\n".join(one[:-1] + ("……" if n % 2 else "。") for n, one in enumerate(sentences("zh"))),
    },
    "too_few_alphabetic_words": {
        "en": ENGLISH.replace(" the ", " 11 22 33 44 the "),
        "zh": CHINESE.replace("，", "，1 2 3 4 ").replace("的", "的 5 6 "),
    },
    "too_few_stop_words": {
        "en": " ".join(words("en", 60)),
        "zh": "，".join(AT_RANDOM[n : n + 10] for n in range(0, 120, 10)),
    },
    "duplicate_lines": {
        "en": lines("en") + "\nRead on." * 6, "zh": lines("zh") + "\n请看。" * 6,
    },
    "duplicate_paragraphs": {
        "en": lines("en").replace("\n", "\n\n") + "\n\nRead on." * 6,
        "zh": lines("zh").replace("\n", "\n\n") + "\n\n请看。" * 6,
    },
    "duplicate_line_characters": {
        "en": "\n".join([*sentences("en"), *sorted(sentences("en"), key=len)[-2:]]),
        "zh": "\n".join([*sentences("zh"), *sorted(sentences("zh"), key=len)[-2:]]),
    },
    "duplicate_paragraph_characters": {
        "en": "\n\n".join([*sentences("en"), *sorted(sentences("en"), key=len)[-2:]]),
        "zh": "\n\n".join([*sentences("zh"), *sorted(sentences("zh"), key=len)[-2:]]),
    },
    "top_ngram": {
        "en": ENGLISH.replace(" the ", " cheap watches the "),
        "zh": CHINESE.replace("，", "，优惠酒店").replace("的", "优惠酒店的"),
    },
    "duplicate_ngrams": {"en": f"{ENGLISH} {ENGLISH[:130]}", "zh": CHINESE + CHINESE[:45]},
    "lorem_ipsum": {"en": f"{ENGLISH} Lorem ipsum dolor sit amet.", "zh": f"{CHINESE}单击此处添加标题。"},
    "curly_bracket": {"en": f"{ENGLISH} {{ color: red }}", "zh": f"{CHINESE}{{颜色：红}}"},
    "too_few_sentences": {"en": ENGLISH.replace(".", ",").replace("!", ","), "zh": CHINESE.replace("。", "，")},
    "few_ended_lines": {
        "en": "\n".join(one[:-1] for one in sentences("en")), "zh": "\n".join(one[:-1] for one in sentences("zh")),
    },
    "short_lines": {
        "en": "\n".join([sentences("en")[0], *(f"{one}." for one in MENU["en"])]),
        "zh": "\n".join([sentences("zh")[0], *(f"{one}。" for one in MENU["zh"])]),
    },
    "repeated_lines": {
        "en": f"{lines('en')}\n{sentences('en')[1]}", "zh": f"{lines('zh')}\n{sentences('zh')[1]}",
    },
    "too_many_line_breaks": {"en": "\n".join(ENGLISH.split(" ")), "zh": "\n".join(CHINESE)},
}  # fmt: skip
SPECIAL = {"too_many_words": {"max_words": 60}}


def test_there_is_a_text_for_each_rule():
    assert BAD.keys() == RULES.keys() == set(RuleName.__args__)
    assert {rule.group for rule in RULES.values()} | {"c4_lines"} == set(GroupName.__args__)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", RULES)
def test_a_rule(name, language):
    text, settings = BAD[name][language], SPECIAL.get(name, {})
    assert (
        (reason(text, rules=[name], **settings) or "")
        .replace("_2_", "_")
        .replace("_5_", "_")
        .startswith(name.rstrip("s").split("_ngram")[0])
    )
    assert reason(TEXTS[language], rules=[name]) is None
    assert reason(text, rules=[RULES[name].group], without=[name], **settings) != name


@pytest.mark.parametrize("language", ["en", "zh"])
def test_good_text_keeps_all_rules(language):
    text = TEXTS[language]
    for is_row in (True, False):
        outcome = judge(text, is_row=is_row)
        assert [one.text for one in outcome.kept] == [text]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_threshold_is_exact(language):
    """Fifty words, and in Chinese 85 characters, are enough; one less is not."""
    enough = " ".join(words("en", 50)) if language == "en" else "".join(words("zh", 85))
    less = enough.rpartition(" ")[0] if language == "en" else enough[1:]
    assert reason(enough, rules=["too_few_words"]) is None
    assert reason(less, rules=["too_few_words"]) == "too_few_words"
    assert reason(less, rules=["too_few_words"], min_words=49) is None


def test_rows_may_be_short_and_pages_may_not():
    row = "A stirring, funny film!"
    assert reason(row, is_row=True) is None
    assert reason("房间很大，早餐一般", is_row=True) is None
    assert reason(row, is_row=True, rows="pages") == "too_few_words"
    assert reason(row) == "too_few_words"
    assert reason("... 1.5 !!! 20", is_row=True) == "too_few_alphabetic_words"
    assert reason("lorem ipsum dolor", is_row=True) == "lorem_ipsum"
    assert judge(row, is_row=True).findings["short"] == 1


def test_a_wiki_spells_chinese_names_with_brackets():
    assert reason(CHINESE + "-{里}-是里。", rules=["curly_bracket"]) is None
    assert reason(ENGLISH + "-{x}-", rules=["curly_bracket"]) == "curly_bracket"


def test_the_ellipsis_of_chinese_is_one():
    """Two characters wide; and a line is prose though its last mark is left out."""
    text = CHINESE.replace("，", "……", 6)
    few = {"rules": ["too_many_ellipses"], "max_ellipses_per_word": 7 / 85}
    assert reason(text, **few) is None
    assert reason(text.replace("……", "…。…"), **few) == "too_many_ellipses"
    assert reason(CHINESE[:-1], rules=["few_ended_lines"]) is None
    assert reason(CHINESE.split("。")[0], rules=["few_ended_lines"]) == "few_ended_lines"


def test_signs_as_words_as_datatrove_has_it():
    text = ENGLISH.replace(" the ", " , ; the , ")
    assert reason(text, rules=["too_few_alphabetic_words"]) is None
    assert reason(text, rules=["too_few_alphabetic_words"], count_signs_as_words=True) == "too_few_alphabetic_words"


LINE_RULES = {
    "line_word_too_long": ("x" * 1001, None),
    "line_citations": ("It was so in the past[12][citation needed].", "那时确实如此[3][来源请求]。"),
    "line_not_ended": ("Read more about it", "点击查看更多内容"),
    "line_few_words": ("Yes.", "是。"),
    "line_javascript": ("Please switch JavaScript on to read this.", "请打开JavaScript后再看这个页面。"),
    "line_policy": ("By reading on you accept our privacy policy.", "继续阅读即表示您同意我们的隐私政策。"),
}


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", LINE_RULES)
def test_a_rule_for_lines(name, language):
    """The line goes (a citation goes out of its line), the others stay, and it is counted."""
    bad = LINE_RULES[name][language == "zh"]
    if bad is None:
        assert judge(f"{lines('zh')}\n{'长' * 2000}", rules=[name]).changed == {}  # Chinese has no blanks
        return
    text = f"{lines(language)}\n\n{bad}"
    outcome = judge(text, rules=[name])
    left = bad.partition("[")[0] + bad[-1] if name == "line_citations" else ""
    assert outcome.kept[0].text == f"{lines(language)}\n\n{left}".strip()
    assert outcome.changed == {name: 1}
    assert outcome.findings[name] == 1
    assert judge(text, rules=["c4_lines"], without=list(LINE_RULES)).changed == {}
    assert judge(lines(language), rules=["c4_lines"]).changed == {}
    assert set(LINE_RULES) == set(LineRuleName.__args__)


def test_lines_stay_unless_they_are_asked_for():
    text = f"{lines('en')}\nRead more about it"
    outcome = judge(text)
    assert outcome.kept[0].text == text
    assert not outcome.changed


def test_nothing_is_left_of_lines():
    outcome = judge("Read more\nHome page", rules=["c4_lines"])
    assert [why for _, why in outcome.dropped] == ["empty"]


def test_a_book_loses_its_bad_passages_only(small_text):
    """A book in one file is never too long, and its table of contents does not cost it."""
    chapter = small_text("en", 60_000)
    book = f"{chapter}\n\n" + "\n\n".join(f"1.{n} ... {n * 13}" for n in range(6000)) + f"\n\n{chapter[::-1][:50]}"
    outcome = judge(book, rules=["too_few_alphabetic_words", "too_many_words"], max_words=50_000)
    assert {why for _, why in outcome.dropped} == {"too_few_alphabetic_words"}
    assert chapter.strip() in "".join(one.text for one in outcome.kept)
    assert reason(book, rules=["too_few_alphabetic_words"], passage_bytes=None) == "too_few_alphabetic_words"
    whole = judge(chapter * 3, rules=["too_many_words"])
    assert [one.text for one in whole.kept] == [chapter * 3]  # what is good all through is not cut


def test_a_book_loses_its_bad_lines(small_text):
    chapter = small_text("en", 20_000).strip()
    outcome = judge(f"{chapter}\n\nRead more\n\n{chapter}", rules=["line_not_ended"], passage_bytes=4096)
    assert "Read more" not in "".join(one.text for one in outcome.kept)
    assert sum(one.text.count(".") for one in outcome.kept) == 2 * chapter.count(".")
    assert outcome.changed == {"line_not_ended": 1}


REAL = {
    "classification/sentiment.zh.jsonl.gz": "text",
    "classification/news.zh.jsonl.gz": "text",
    "summarization/abstracts.zh.jsonl.gz": "source",
    "qa/reading.zh.jsonl.gz": "context",
    "chat/instructions.zh.jsonl.gz": "messages",
}


@pytest.mark.parametrize("name", REAL)
def test_real_chinese_is_kept(real_data, name):
    """With the defaults; datatrove's filters drop 40 of 40."""
    with gzip.open(real_data(name), "rt", encoding="utf-8") as file:
        rows = [json.loads(line)[REAL[name]] for line in file][:1000]
    texts = [row if isinstance(row, str) else "\n".join(one["content"] for one in row) for row in rows]
    texts = [text for text in texts if text.strip()]
    step = Quality(QualityConfig(), Surroundings())
    outcome = step.apply([Document(text, name, is_row=True) for text in texts])
    assert len(outcome.kept) >= 0.95 * len(texts)


@pytest.mark.parametrize("name", ["lm/hongloumeng.zh.txt.gz", "lm/tinyshakespeare.txt", "lm/wikitext2-valid.txt"])
def test_real_books_are_kept(real_data, name):
    data = real_data(name).read_bytes()
    text = (gzip.decompress(data) if name.endswith(".gz") else data).decode()[:200_000]
    outcome = judge(text)
    assert sum(one.num_bytes for one in outcome.kept) >= 0.95 * len(text.encode())


def test_characters_at_random_are_junk():
    """They have none of the characters that are in every Chinese text."""
    junk = [
        "，".join("".join(words("zh", 400)[start : start + 12]) for start in range(n, n + 120, 12)) for n in range(20)
    ]
    outcome = Quality(QualityConfig(), Surroundings()).apply([Document(text, "x") for text in junk])
    assert len(outcome.dropped) == len(junk)


def test_it_can_be_sent_to_another_process():
    step = pickle.loads(pickle.dumps(Quality(QualityConfig(), Surroundings())))
    assert step.apply([Document("too short", "x")]).dropped[0][1] == "too_few_words"
