"""Whatever a text is made of: what is found lies in it, apart, is found by the scan of a shard too, and is masked."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from stepwell.data.documents import Document
from stepwell.data.steps.protect.detectors import find_all
from stepwell.data.steps.protect.protecting import KINDS, Protect, ProtectConfig
from stepwell.data.steps.step import Surroundings

PIECES = [
    "13800138000", "138-0013-8000", "+86 ", "0755-", "26712345", "(212) ", "555-0123", "11010519491231002X", "@", "a.b",
    "6222021234567890128", "4111 1111 1111 1111", "8.8.4.4", "2a01:4f8::1", ":", "::", "GB82 WEST 1234 5698 7654 32",
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a", "api_key=", "9f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c", "电话", "订单号",
    "转801", "元", "，", "。", "\n", " ", "-", ".", "/", "(", "）", "１３８００１３８０００", "＠", "é", "x", "_", "0",
    "1", "=", "://", "tel", "v", "\u3000", "😀", "qq.com",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES) | st.characters(codec="utf-8"), max_size=12).map("".join)
KIND = tuple(kind for kind in KINDS if kind != "name")
STEP = Protect(ProtectConfig(kinds=KIND, phone_regions=["CN", "US", "GB"], private_addresses=True), Surroundings())


def whole(text: str) -> list[tuple[int, int]]:
    """The plain way: every pattern on all of a text."""
    return [(0, len(text))]


EVERYWHERE = tuple(replace(row, clue=whole) for row in STEP._detectors)


@given(st.lists(TEXTS, min_size=1, max_size=6))
def test_what_is_found(texts: list[str]) -> None:
    plain = []
    for row, text in enumerate(texts):
        found = find_all(text, STEP._detectors)
        assert found == find_all(text, EVERYWHERE)
        end = 0
        for one in found:
            assert end <= one.start < one.end <= len(text)
            end = one.end
            plain.append((row, one.start, one.end - one.start, KINDS.index(one.kind)))
    documents = [Document(text, "a") for text in texts]
    look = STEP.look(documents)
    assert plain == list(zip(*(look[name].tolist() for name in ("document", "start", "length", "kind")), strict=True))
    outcome = STEP.apply(documents, look)
    assert outcome.findings.total() == len(plain)
    for before, after, row in zip(texts, outcome.kept, range(len(texts)), strict=True):
        assert sum(after.text.count(f"<{kind.upper()}>") for kind in KIND) >= sum(one[0] == row for one in plain)
        assert after.text == before or any(one[0] == row for one in plain)
