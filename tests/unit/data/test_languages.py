"""Languages are told from passages, the same in any order."""

from __future__ import annotations

from stepwell.data import Document
from stepwell.data import languages as languages_room
from stepwell.data.languages import LanguageSample


def languages(*texts: str) -> dict[str, float]:
    sample = LanguageSample()
    for text in texts:
        document = Document(text, "")
        sample.add(document, document.digest)
    return sample.languages()


def test_both_languages_of_one_document() -> None:
    english = "The people of the village come to the well every morning to draw water and to talk. " * 2
    chinese = "村里的人每天早上都到井边打水，聊天，洗菜，孩子们在台阶上跑来跑去。" * 5
    found = languages(f"{english}\n{chinese}")
    assert set(found) == {"en", "zh"}
    assert sum(found.values()) == 1


def test_short_chinese_titles_are_not_japanese() -> None:
    titles = (
        "词汇阅读是关键 08年考研暑期英语复习全指南",
        "中国人民公安大学2012年硕士研究生目录及书目",
        "日本地震：金吉列关注在日学子系列报道",
    )
    assert list(languages(*titles)) == ["zh"]
    assert "ja" in languages("井戸の水はとても冷たいです。毎朝、村の人たちがここに来ます。")


def test_no_letters_no_language() -> None:
    assert languages("12345 ...", "---") == {}
    assert languages() == {}


def test_the_sample_is_bounded_and_the_same_in_any_order(monkeypatch) -> None:
    monkeypatch.setattr(languages_room, "SAMPLE_DOCUMENTS", 5)
    texts = [f"This is document number {n} of a few, in English." for n in range(20)] + ["这是一个中文的文档。" * 3] * 5
    assert languages(*texts) == languages(*reversed(texts))
