"""What a document is: normalised, cut at good places, split by its text alone."""

from __future__ import annotations

import pytest

from stepwell.data.documents import Document, cut, normalize, piece_bytes, split_of, trim


def test_normalising() -> None:
    assert normalize("\ufeffa\r\nb\rc\0d e\u0301 ，Ａ", "NFC") == "a\nb\ncd é ，Ａ"
    assert normalize("，Ａ①", "NFKC") == ",A1"
    assert normalize("e\u0301", "none") == "e\u0301"
    assert normalize("a\ud800b", "NFC") == "a\ufffdb"


def test_trimming_keeps_the_first_indent() -> None:
    assert trim("\n  \n\t\n    code\n  more\n\n \n") == "    code\n  more"
    assert trim(" \n ") == ""


def test_the_digest_is_of_the_text_alone() -> None:
    one = Document("the same text", "a.txt")
    assert one.digest == Document(" the same text\n", "b.txt", ends=False).digest
    assert one.digest != Document("the same texT", "a.txt").digest


@pytest.mark.parametrize(
    ("text", "size", "pieces"),
    [
        ("one\n\ntwo\n\nthree", 10, ["one\n\ntwo\n\n", "three"]),
        ("one two\nthree four\nfive", 19, ["one two\nthree four\n", "five"]),
        ("One two. Three four! Five", 21, ["One two. Three four! ", "Five"]),
        ("天地玄黄。宇宙洪荒。日月盈昃", 32, ["天地玄黄。宇宙洪荒。", "日月盈昃"]),
        ("他说：“走吧。”然后走了", 30, ["他说：“走吧。”", "然后走了"]),
        ("one two three", 8, ["one two ", "three"]),
        ("井井井", 4, ["井", "井", "井"]),
        ("", 10, []),
    ],
)
def test_cutting_prefers_the_largest_border(text: str, size: int, pieces: list[str]) -> None:
    assert list(cut((text,), size)) == pieces


def test_a_longer_tail_moves_no_piece() -> None:
    text = "".join(f"Paragraph {n} is here.\n\n" for n in range(200))
    before = list(cut((text,), 512))
    after = list(cut((text + "And a tail.\n\n" * 50,), 512))
    assert after[: len(before) - 1] == before[:-1]


@pytest.mark.parametrize(
    ("text_bytes", "size"),
    [
        (1, 4096),
        (4096, 4096),
        (5_000, 512),
        (65_536, 1024),
        (131_071, 1024),
        (131_072, 2048),
        (10**6, 4096),
        (10**9, 4096),
    ],
)
def test_small_files_give_small_documents(text_bytes: int, size: int) -> None:
    assert piece_bytes(text_bytes, 4096) == size


def test_shares_of_the_splits() -> None:
    digests = [Document(f"document {n}", "").digest for n in range(4_000)]
    splits = [split_of(digest, validation_ratio=0.1, test_ratio=0.05) for digest in digests]
    assert 0.08 < splits.count("validation") / 4_000 < 0.12
    assert 0.035 < splits.count("test") / 4_000 < 0.065


def test_the_split_is_golden() -> None:
    """A document keeps its split in every version: another hash would move people's test data into training."""
    assert Document("the same text", "").digest.hex() == "877d7fbf8dea61a424689d448012d414"
    splits = [split_of(Document(text, "").digest, validation_ratio=0.3, test_ratio=0.3) for text in "abcd"]
    assert splits == ["test", "validation", "train", "test"]
