"""Text is repaired where it is broken, and good English, Chinese, code and emoji stay as they are, to the character."""

from __future__ import annotations

import gzip
import json
import pickle
import random
import unicodedata
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.data.documents import Document
from stepwell.data.steps.repair import characters
from stepwell.data.steps.repair.clean import Clean, CleanConfig
from stepwell.data.steps.repair.encodings import repaired
from stepwell.data.steps.step import Outcome, Surroundings

FAMILY = "👨‍👩‍👧‍👦 👩🏽‍💻 🏳️‍🌈 ❤️‍🔥 1️⃣ ☺️ 🏴\U000e0067\U000e0062\U000e0077\U000e006c\U000e0073\U000e007f"
CODE = (
    "def main():\n\tif a < b and c & d:\n        return &sum; // «x»\n\n\n    \n#include <stdio.h>\nList<String> x;\n"
)
GOOD = {
    "chinese": "“你好，”他说：《红楼梦》（第一回）！真的？……——是的；３月１５日，ＡＢＣ　全角。",
    "english": "‘Don’t’ — “naïve café”… £5, €3, ½ ± 2°, the Œuvre of Zoë; Ångström – straße",
    "french": "« L’été à la plage »\xa0: œuvre, cœur, garçon, où ? Ça, là, À bientôt.",
    "portuguese": "À SÃO PAULO, à la, às vezes, não são ÃO, Â MARGEM",
    "emoji": FAMILY,
    "code": CODE,
    "persian": "می\u200cخواهم کتاب\u200cها را بخوانم، PDF\u200cها",
    "hindi": "क्\u200dष र्\u200dय, राजा\u200cओं",
    "arabic": "\u200fقال (hello)\u200e مرحبا\u200f",
    "thai": "ภาษา\u200bไทย",
    "japanese": "日本語の「テスト」です。ｶﾞｷﾞ　半角",
    "variants": "葛\U000e0100城市 辻\ufe00",
    "languages": "Příliš žluťoučký kůň; Łódź; Ελληνικά, Ἀθῆναι; Привет, мир; việt nam; Þórður æði; İstanbul ığdır",
    "signs": "┌──┐ │ ░▒▓ ½¼¾ ¹²³ ©®™ ÄÄÄÄÄÄÄÄ ········ ×××× §§ ¶¶ °C",
}


def clean(text: str, **settings: Any) -> str:
    outcome = do(text, **settings)
    return outcome.kept[0].text if outcome.kept else ""


def do(*texts: str, **settings: Any) -> Outcome:
    step = pickle.loads(pickle.dumps(Clean(CleanConfig(**settings), Surroundings())))
    return step.apply([Document(text, "s") for text in texts])


@pytest.mark.parametrize("name", GOOD)
def test_good_text_stays(name: str) -> None:
    outcome = do(GOOD[name])
    assert outcome.kept[0].text == GOOD[name]
    assert not outcome.changed


@pytest.mark.parametrize(
    "name", ["lm/tinyshakespeare.txt", "lm/wikitext2-valid.txt", "lm/hongloumeng.zh.txt.gz", "lm/xiyouji.zh.txt.gz"]
)
def test_real_books_stay(name: str, real_data: Callable[[str], Path]) -> None:
    text = read(real_data(name))
    outcome = do(text)
    assert outcome.kept[0].text == text
    assert not outcome.changed


def test_what_is_repaired_in_real_rows(real_data: Callable[[str], Path]) -> None:
    rows = [json.loads(line) for line in read(real_data("qa/reading.zh.jsonl.gz")).splitlines()]
    outcome = do(*(row["context"] for row in rows), *(row["question"] for row in rows))
    assert outcome.changed == {"invisible_characters": 9}
    assert outcome.findings["documents_with_tags"] == 50
    assert not outcome.dropped


def read(path: Path) -> str:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode()


def misread(text: str, encoding: str, times: int = 1) -> str:
    import ftfy  # noqa: F401 - its import makes the encoding sloppy-windows-1252 known

    for _ in range(times):
        text = text.encode().decode(encoding)
    return text


@pytest.mark.parametrize("encoding", ["latin-1", "sloppy-windows-1252"])
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(
    "text",
    ["Don’t — “naïve” café, £5", "宝玉笑道：“你好，黛玉！”", "他说hello，再见。", "L’été à Málaga", "😀 ok 👍🏽"],
)
def test_mojibake_once_and_twice(text: str, encoding: str, times: int) -> None:
    broken = misread(text, encoding, times)
    assert broken != text
    outcome = do(f"A good line.\n{broken}\n一行好字。")
    assert outcome.kept[0].text == f"A good line.\n{text}\n一行好字。"
    assert outcome.changed == {"mojibake": 1}


def test_mojibake_of_real_text(real_data: Callable[[str], Path]) -> None:
    rng = random.Random(0)
    novel = [line.strip() for line in read(real_data("lm/hongloumeng.zh.txt.gz")).split("\n") if len(line.strip()) > 9]
    prose = [line for line in read(real_data("lm/wikitext2-valid.txt")).split("\n") if not line.isascii()]
    titles = [json.loads(line)["text"] for line in read(real_data("classification/news.zh.jsonl.gz")).splitlines()]
    for lines in (novel, prose, titles):
        chosen = rng.sample(lines, 60)
        for encoding in ("latin-1", "sloppy-windows-1252"):
            for times in (1, 2):
                right = sum(repaired(misread(line, encoding, times)) == line for line in chosen)
                assert right >= 59
    for lines in (novel, titles):
        chosen = [line for line in rng.sample(lines, 100) if line == line.encode("gbk", "ignore").decode("gbk")]
        right = sum(repaired(line.encode("gbk").decode("latin-1")) == line for line in chosen)
        assert right >= 0.97 * len(chosen)


@pytest.mark.parametrize("text", ["中文信息处理", "今天天气很好，我们去公园。", "用户名或密码错误"])
def test_gbk_read_as_latin_1(text: str) -> None:
    assert repaired(f"ok {text.encode('gbk').decode('latin-1')}") == f"ok {text}"
    assert repaired(text.encode("gbk").decode("cp1252", "replace")) == text


def test_greek_in_utf_8_is_not_taken_for_gbk() -> None:
    for text in ("Ελλάδα", "ok Ελλάδα ½\nnext", "Привет Ελλάδα 😀"):
        assert repaired(misread(text, "sloppy-windows-1252")) == text


def test_gbk_in_english() -> None:
    english = "It’s a “café” – naïve — or £5…"
    assert repaired(english.encode("gb18030").decode("latin-1")) == english
    broken = english.encode().decode("gbk", "replace")
    assert broken == "It鈥檚 a 鈥渃af茅鈥� 鈥� na茂ve 鈥� or 拢5鈥�"
    assert repaired(broken) == "It’s a “café\ufffd \ufffd naïve \ufffd or £5\ufffd"
    assert repaired("每天 caf茅") == "每天 caf茅"
    assert repaired("衰老".encode().decode("latin-1")) == "衰老"


@pytest.mark.parametrize("encoding", ["koi8-r", "cp1251"])
@pytest.mark.parametrize(
    "text", ["Привет, мир! Сегодня хорошая погода.", "СЕГОДНЯ ХОРОШАЯ ПОГОДА", "там, он, она, мама"]
)
def test_other_mistakes_do_not_become_chinese(text: str, encoding: str) -> None:
    broken = text.encode(encoding).decode("latin-1")
    assert not any("\u4e00" <= letter <= "\u9fff" for letter in repaired(broken))


def test_utf_8_read_as_gbk() -> None:
    assert repaired("浣犲ソ") == "你好"
    assert repaired("鐢ㄦ埛: 浣犲ソ!") == "用户: 你好!"
    assert repaired(f"错误信息：{'用户名或密码'.encode().decode('gbk')}!") == "错误信息：用户名或密码!"
    whole = "今天天气很好呀"
    broken = whole.encode().decode("gb18030", "replace")  # an odd number of bytes: the last letter is lost
    assert repaired(broken) == "今天天气很好\ufffd"
    assert repaired(broken[:-1] + "?") == "今天天气很好\ufffd"


@given(st.text(st.sampled_from("ÃÂâ€œ™éèÐÑ×‚„¡°ÄåžŸ”“‘’…–—\x80\x93\xa0\xad œŒabà Îï»¿½²·ØÙ╬√Ђ中，。\n"), max_size=24))
def test_the_quick_look_misses_nothing_that_ftfy_repairs(text: str) -> None:
    from ftfy import fix_encoding

    if any("\xa1" <= one <= "\xfe" and "\xa1" <= other <= "\xfe" for one, other in pairwise(text)):
        return  # may be GBK, which is ours
    expected = "\n".join(fix_encoding(line) for line in text.split("\n"))
    assert repaired(text) in {expected, unicodedata.normalize("NFC", expected)}


def test_control_characters() -> None:
    assert clean("a\x00\x07b\x1b[31mred\x1b[0m\x7f\ufff9") == "abred"
    assert clean("page one\x0cpage two\u2028three\x1efour") == "page one\npage two\nthree\nfour"
    assert clean("\tindent\n\n  two  \n") == "\tindent\n\n  two  \n"
    assert clean("a\x07b", control_characters=False) == "a\x07b"
    assert clean("it\x92s \x93fine\x94") == "it’s “fine”"  # not taken for controls before it is read right


def test_invisible_characters() -> None:
    assert (
        clean("in\xadter\u200bna\u2060tional\ufeff \u200ctext\u200d 中\u200b文\u200c。") == "international text 中文。"
    )
    assert clean("abc\u202edcba\u202c\u2066x\u2069") == "abcdcbax"
    assert clean("hidden\U000e0041\U000e0042 tags") == "hidden tags"
    assert clean("🏴" + "\U000e0041" * 9 + "\U000e007f.") == "🏴."  # no flag is so long
    assert do("in\xadter").changed == {"invisible_characters": 1}
    assert clean("in\xadter", invisible_characters=False) == "in\xadter"


def test_width_keeps_chinese_punctuation() -> None:
    text = "ＡＢＣ１２３，（ｘ）！　ｶﾞｷﾞ"
    assert clean(text) == text
    assert clean(text, width="letters") == "ABC123，（x）！　ガギ"
    assert clean(text, width="all") == "ABC123,(x)! ガギ"


def test_ligatures_and_spaces() -> None:
    assert clean("eﬃcient ﬁrst œuvre æther ĳs") == "efficient first œuvre æther ĳs"
    assert clean("ﬁ", ligatures=False) == "ﬁ"
    assert clean("a\xa0b\u2009c　d") == "a\xa0b\u2009c　d"
    assert clean("a\xa0b\u2009c　d", spaces=True) == "a b c　d"


def test_scripts_of_chinese() -> None:
    assert clean("漢語發展，頭髮乾燥。", chinese="t2s") == "汉语发展，头发干燥。"
    assert clean("头发发展，干燥干部", chinese="s2t") == "頭髮發展，乾燥幹部"
    assert clean("软件", chinese="s2twp") == "軟體"
    japanese = "国会の学生です。"
    assert clean(f"国会学生。\n{japanese}", chinese="s2t") == f"國會學生。\n{japanese}"
    assert do("plain", "汉语", chinese="s2t").changed == {"chinese": 1}


def test_simplified_novel_comes_back(real_data: Callable[[str], Path]) -> None:
    text = read(real_data("lm/xiyouji.zh.txt.gz"))[:20_000]
    traditional = clean(text, chinese="s2t")
    assert sum(one != other for one, other in zip(text, traditional, strict=True)) > 2_000
    back = clean(traditional, chinese="t2s")
    assert sum(one != other for one, other in zip(text, back, strict=True)) < 0.002 * len(text)


def test_entities() -> None:
    assert clean("Q&amp;A &quot;x&quot; &#38388;&#x4e2d; &eacute;&nbsp;!") == 'Q&A "x" 间中 é\xa0!'
    assert clean("R&amp;amp;D") == "R&D"
    assert clean("a < b &amp; c") == "a < b &amp; c"  # meant as it is
    assert clean("p = &sum; q = &int; AT&T; &nosuch;") == "p = &sum; q = &int; AT&T; &nosuch;"
    assert clean("x &amp; y\n```\nx &amp; y\n```\n") == "x & y\n```\nx &amp; y\n```\n"
    assert clean("&amp;", html="keep") == "&amp;"


def test_tags() -> None:
    page = (
        '<div class="a"><p>One <b>bold</b> word.<br/>Two &lt;x&gt;</p>'
        '<script>var a = "</p>";</script><!-- no -->三</div>'
    )
    assert clean(page, html="tags").split("\n") == ["", "One bold word.", "Two <x>", "三", ""]
    kept = "if a < b: List<String>, <s>, <EMAIL>, x<y>z\n```html\n<div>code</div>\n```\n"
    assert clean(kept, html="tags") == kept
    assert clean("<!-- open <b>x</b> <script>y", html="tags") == " open x y"
    assert do("<p>x</p>").findings["documents_with_tags"] == 1


@pytest.mark.slow
def test_main_text_of_pages_in_rows() -> None:
    body = "".join(
        f"<p>The well of village {word} is deep and its water is cold.</p>" for word in ("one", "two", "three")
    )
    page = f"<!DOCTYPE html><html><head><title>t</title></head><body><nav><a>Home</a></nav>{body}</body></html>"
    outcome = do(page, "plain <b>text</b>", "<html></html>", html="main_text")
    assert outcome.kept[0].text.count("village") == 3
    assert "<" not in outcome.kept[0].text
    assert outcome.kept[1].text == "plain text"
    assert outcome.changed == {"main_text": 2, "html": 1}
    assert [reason for _, reason in outcome.dropped] == ["empty"]
    late = do(page, html="main_text", page_seconds=1e-9)
    assert [reason for _, reason in late.dropped] == ["page_not_readable"]


@pytest.mark.parametrize("piece", ["<", "<!--", "<script>", "<b x", "&", " \t", "```\n", "\n \n", "ÖÐ", "”Ã", "浣"])
def test_odd_text_costs_no_more_than_its_length(piece: str) -> None:
    do("x<" + piece * 100_000, html="tags", line_repeats=2, blank_lines=1)  # what is quadratic would not end


def test_repeats_and_blank_lines_only_when_asked() -> None:
    text = "a\na\na\n\n\n\nend\n  end\nend\n"
    assert clean(text) == text
    assert clean(text, line_repeats=2) == "a\na\n\n\n\nend\n  end\nend\n"
    assert clean("a\na \na\nb\na\n", line_repeats=1) == "a\nb\na\n"
    assert clean("a\n\n \n\nb\n\nc", blank_lines=1) == "a\n\nb\n\nc"
    assert clean("a\n\n\nb", blank_lines=0) == "a\nb"


def test_empty_documents_are_dropped_and_lost_letters_counted() -> None:
    outcome = do("\x00\x01\u200b", "ok\ufffd", "   ", "好锟斤拷")
    assert [(one.text, reason) for one, reason in outcome.dropped] == [("\x00\x01\u200b", "empty"), ("   ", "empty")]
    assert outcome.findings == {"documents_with_lost_characters": 2}


@given(st.text(max_size=60))
def test_cleaning_again_changes_nothing(text: str) -> None:
    once = clean(text, html="tags", width="all", spaces=True, line_repeats=2, blank_lines=1)
    if "&" not in text and "<" not in text:
        assert clean(once, width="all", spaces=True, line_repeats=2, blank_lines=1) == once


def test_marks_of_direction_stay_beside_hebrew() -> None:
    text = "שלום\u200f (abc)\nplain\u200f line"
    assert characters.without_invisible(text) == "שלום\u200f (abc)\nplain line"
