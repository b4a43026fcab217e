"""Text that was read in the wrong encoding, brought back.

UTF-8 that was read in an encoding of one byte a letter is repaired by ftfy, line by line, and by nothing else of ftfy:
its other repairs change good Chinese, code and ligatures. Two mistakes of Chinese text that ftfy does not know are
undone here: UTF-8 read as GBK, and GBK read as Latin-1. This file leaves out bytes (`data/inputs`), and repairs of
single characters (`characters.py`).
"""

from __future__ import annotations

import re
import unicodedata

# Where ftfy can find something: a control of Latin-1, a letter that is suspicious alone, or two neighbours that are
# neither ASCII nor of a script without such mistakes, nor both punctuation. Nothing else need be shown to it, which is
# slow.
_LETTERS = "\xa0-\u04ff\u2020-\u2022\u2030-\u25ff\ufb01\ufb02\ufffd"
_SUSPICIOUS = re.compile(
    f"[\x80-\x9f\xc2\xc3\u0152\u0153]|[{_LETTERS}][{_LETTERS}\u2010-\u202f]|[\u2010-\u202f][{_LETTERS}]"
)


def repaired(text: str) -> str:
    """Undo wrong encodings, also several on top of each other; what is not surely wrong stays.

    Args:
        text: whole lines; in NFC or not, and so is the result.
    """
    if text.isascii():
        return text
    fixed = _signs_of_latin_1(_gbk_of_latin_1(_utf_8_of_gbk(text)))
    if _SUSPICIOUS.search(fixed):
        from ftfy import fix_encoding

        fixed = "\n".join(
            fix_encoding(line) if not line.isascii() and _SUSPICIOUS.search(line) else line
            for line in fixed.split("\n")
        )
    if fixed != text and unicodedata.is_normalized("NFC", text):
        fixed = unicodedata.normalize("NFC", fixed)
    return fixed


def _class_of(first: range, second: range) -> str:
    """The characters that GBK makes of two bytes, as a part of a pattern."""
    pairs = (bytes((one, two)) for one in first for two in second)
    return re.escape("".join(pair.decode("gb18030", "ignore") for pair in pairs))


# The first two bytes of a Chinese character or punctuation mark in UTF-8 (E2 80 to E2 BF, E3 80 to E9 BF, EF BC, EF BD)
# as GBK reads them. Nearly all are rare characters, so good text hardly ever comes to the strict test below.
_BEGINNING = f"[{_class_of(range(0xE2, 0xEA), range(0x80, 0xC0))}{_class_of(range(0xEF, 0xF0), range(0xBC, 0xBE))}]"
_ANY_OF_GBK = re.compile(_BEGINNING)
_RUN_OF_GBK = re.compile(rf"(?<![^\x00-\x7f　，。：；！？、（）“”《》【】]){_BEGINNING}[^\x00-\x7f]+\??")
_TIMES = 3
"""Repairs on top of each other, at most."""


def _utf_8_of_gbk(text: str) -> str:
    """UTF-8 read as GBK: `浣犲ソ` for `你好`; letters whose bytes were lost on the way are U+FFFD then."""
    for _ in range(_TIMES if _ANY_OF_GBK.search(text) else 0):
        fixed = _RUN_OF_GBK.sub(_run_of_utf_8, text)
        if _QUOTE in text:
            fixed = _LETTERS_OF_GBK.sub(_letters_of_utf_8, fixed)
        if fixed == text:
            break
        text = fixed
    return text


# The first two bytes of a quote or a dash in UTF-8 as GBK reads them. No text has this character, so where it is, a
# Chinese character that is alone among English is a letter with an accent, or a sign.
_QUOTE = "鈥"
_LETTERS_OF_GBK = re.compile(
    f"(?<![^\x00-\x7f])(?:[{_class_of(range(0xC2, 0xC4), range(0x80, 0xC0))}])?(?:{_QUOTE}[\ufffd?])?(?![^\x00-\x7f])"
)


def _letters_of_utf_8(match: re.Match[str]) -> str:
    letters, quote, _ = match.group().partition(_QUOTE)
    return letters.encode("gbk").decode(errors="replace") + ("\ufffd" if quote else "")


def _run_of_utf_8(match: re.Match[str]) -> str:
    run = match.group()
    letters = run.removesuffix("?")
    try:
        data = b"\xff".join(part.encode("gb18030") for part in letters.split("\ufffd"))
    except UnicodeEncodeError:
        return run
    fixed = _LOST.sub("\ufffd", data.decode(errors="replace"))
    lost = fixed.count("\ufffd")
    if len(fixed) - lost < (4 * lost if lost else 2) or not all(map(_is_text, fixed)):
        return run
    # An odd number of bytes left one over, which some programs write as a question mark.
    return fixed if fixed.endswith("\ufffd") else fixed + run[len(letters) :]


_LOST = re.compile("\ufffd+")


def _is_text(letter: str) -> bool:
    """Whether a character is assigned and neither a control nor of private use."""
    return unicodedata.category(letter) not in ("Cc", "Cn", "Co")


_PAIRS = re.compile("[\xa1-\xfe]{4}")
_HIGH = re.compile("[^\x00-\x7f]")
_SMALLEST_EVIDENCE = 4  # Chinese characters; as many pairs of accented letters in a row are not a word
_SMALLEST_SHARE = 0.3  # of such letters in a line
# Punctuation, and the most frequent characters of modern Chinese: more than half of any text, a twelfth of the common.
_FREQUENT = frozenset(
    "，。！？、：；“”《》（）．"
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成方多经么去法学如都同现"
    "当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它与长把机十民第公此已工使情明性知全三又关点正业外将两高间由问很最重"
    "并物手应战向头文体政美相见被利什二等产或新己制身果加西斯月话合回特代内信表化老给世位次度门任常先海通教儿原东声提立及比员解水名真论处走义各"
    "入几口认条平系气题活尔更别打女变四神总何电数安少报才结反受目太量再感建务做接必场件计管期市直德资命山金指克许统区保至队形社便空决治展马科司"
    "五基眼书非则听白却界达光放强即像难且权思王象完设式色路记南品住告类求据程北边死张该交规万取拉格望觉术领共确传师观清今切院让识候带导争运"
)


# Quotes and dashes; in UTF-8 that was read as Latin-1 the same two letters never stand alone. Then a dash whose second
# byte is ASCII, a letter with an accent, and what GB 18030 writes in four bytes.
_SIGNS = re.compile("(?<![^\x00-\x7f])(?:\xa1[\xaa\xad-\xb1])+(?![^\x00-\x7f])")
_SIGNS_AND_LETTERS = re.compile(
    "(?<![^\x00-\x7f])(?:\xa8C|(?:\xa1[\xaa\xad-\xb1]|\xa8[\xa1-\xba]|[\x81-\x84][0-9][\x81-\xfe][0-9])+(?![^\x00-\x7f]))"
)


def _signs_of_latin_1(text: str) -> str:
    """Quotes and dashes of GBK read as Latin-1 in English: `It¡¯s` for `It’s`; where they are, `f¨¦` is `fé` too."""
    if "\xa1" not in text or not _SIGNS.search(text):
        return text
    return _SIGNS_AND_LETTERS.sub(lambda match: match.group().encode("latin-1").decode("gb18030", "replace"), text)


def _gbk_of_latin_1(text: str) -> str:
    """GBK read as Latin-1 or Windows-1252: `ÖÐÎÄ` for `中文`.

    All lines that could be that are judged together: most characters must be of the common ones (the first level of
    GB 2312), and more of the most frequent than pairs of Cyrillic, Greek or accented Latin letters give.
    """
    if not _PAIRS.search(text):
        return text
    lines = text.split("\n")
    candidates = {number: fixed for number, line in enumerate(lines) if (fixed := _as_gbk(line)) is not None}
    letters = [letter for fixed in candidates.values() for letter in fixed]
    characters = [letter for letter in letters if "\u4e00" <= letter <= "\u9fff"]
    if len(characters) < _SMALLEST_EVIDENCE:
        return text
    common = sum(b"\xb0" <= letter.encode("gb18030")[:1] <= b"\xd7" for letter in characters)
    frequent = sum(letter in _FREQUENT for letter in letters)
    if common < 0.8 * len(characters) or frequent < max(2, 0.12 * len(characters)):
        return text
    return "\n".join(candidates.get(number, line) for number, line in enumerate(lines))


def _as_gbk(line: str) -> str | None:
    """What a line is if it was GBK; None if it cannot be, or was UTF-8."""
    if line.isascii() or len(_HIGH.findall(line)) < max(2, _SMALLEST_SHARE * len(line)):
        return None
    import ftfy.bad_codecs  # makes Windows-1252 known with controls in its gaps

    ftfy.bad_codecs.ok()
    for encoding in ("latin-1", "sloppy-windows-1252"):
        try:
            data = line.encode(encoding)
            fixed = data.decode("gbk")
        except UnicodeError:
            continue
        return None if _is_utf_8(data) else fixed
    return None


def _is_utf_8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
