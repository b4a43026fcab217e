"""What C4 (Raffel et al., 2020) takes out of a page line by line, as datatrove does it, and the same in Chinese.

These rules change texts, so each is counted, and none holds unless the user names it: they were made for web pages,
and take headings, verses and the names of speakers out of anything else. This file leaves out rules for whole texts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection

from stepwell.data.steps.filters.quality.config import LineRuleName, QualityConfig
from stepwell.data.steps.filters.quality.page import CHINESE_ENDS, longest_word, words_of_line

_CITATIONS = re.compile(r"\[\d*]|\[edit]|\[citation needed]|\[编辑]|\[編輯]|\[来源请求]|\[來源請求]")
_EMPTY_LINES = re.compile(r"\n{3,}")
_ENGLISH_ENDS = (".", "?", "!", '"', "'")
_POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
_CHINESE_POLICY = (
    "使用条款", "服务条款", "用户协议", "隐私政策", "隐私权政策", "隐私条款", "隐私声明", "免责声明", "icp备",
    "使用條款", "服務條款", "隱私政策", "隱私權政策", "免責聲明",
    "使用cookie", "使用 cookie", "cookie政策", "cookie 政策",
)  # fmt: skip


def without_bad_lines(
    text: str, chinese: bool, names: Collection[LineRuleName], config: QualityConfig
) -> tuple[str, Counter[str]]:
    """Take out the lines that break a rule, and what is cited in the others; empty lines stay between paragraphs.

    Args:
        text: of one document.
        chinese: whether it is Chinese.
        names: the rules that hold.
        config: their thresholds.

    Returns:
        The text, with the blanks at its lines' ends gone, and rule -> how many lines broke it.
    """
    broken: Counter[str] = Counter()
    kept = []
    for line in map(str.strip, text.splitlines()):
        name, rest = _judge(line, chinese, names, config)
        if name is not None:
            broken[name] += 1
        if rest is not None:
            kept.append(rest)
    return _EMPTY_LINES.sub("\n\n", "\n".join(kept)).strip(), broken


def _judge(
    line: str, chinese: bool, names: Collection[LineRuleName], config: QualityConfig
) -> tuple[LineRuleName | None, str | None]:
    """The rule that a line breaks, and what is left of it; None where it goes."""
    if not line:
        return None, line
    if "line_word_too_long" in names and not chinese and longest_word(line.split()) > config.max_word_characters:
        return "line_word_too_long", None
    rest = _CITATIONS.sub("", line) if "line_citations" in names else line
    cited: LineRuleName | None = "line_citations" if rest != line else None
    if "line_not_ended" in names and not _ends(rest, chinese):
        return "line_not_ended", None
    if "line_few_words" in names and words_of_line(line, chinese) < config.min_line_words:
        return "line_few_words", None
    lowered = rest.lower()
    if "line_javascript" in names and "javascript" in lowered:
        return "line_javascript", None
    if "line_policy" in names and any(
        phrase in lowered for phrase in (*_POLICY, *(_CHINESE_POLICY if chinese else ()))
    ):
        return "line_policy", None
    return cited, rest


def _ends(line: str, chinese: bool) -> bool:
    if chinese:
        return CHINESE_ENDS.search(line[-6:]) is not None and not line.endswith(("...", "…"))
    return line.endswith(_ENGLISH_ENDS) and not line.endswith("...")
