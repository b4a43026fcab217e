"""The text of an e-book: its chapters in the order of the spine.

An EPUB is a zip with a list of its parts and pages of XHTML. Readings above characters (ruby) are left out of the text.
This file leaves out notes on who made the book, pictures, and books that are locked.
"""

from __future__ import annotations

import html.entities
import posixpath
import re
import zipfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from stepwell.parsers.markup import local_name, page_text
from stepwell.parsers.office_zip import check_zip
from stepwell.parsers.process import CannotBeParsed

_NAMED = re.compile(rb"&([A-Za-z][A-Za-z0-9]*);")
_OF_XML = frozenset({b"amp", b"lt", b"gt", b"quot", b"apos"})


def chapters(data: bytes) -> Iterator[str]:
    """The text of each chapter.

    Raises:
        CannotBeParsed: when the book is damaged or locked, or when chapters are missing.
    """
    archive = check_zip(data)
    spine = _spine(archive)
    locked = set(_locked(archive))
    names = set(archive.namelist())
    missing = 0
    for path in spine:
        if path in locked:
            raise CannotBeParsed("it is locked against copying (DRM)")
        if path not in names:
            missing += 1
            continue
        root = _parsed(archive.read(path))
        if root is not None and (text := page_text(root)):
            yield text + "\n\n"
    if missing:
        raise CannotBeParsed(f"{missing:,} of its {len(spine):,} chapters are missing")


def _spine(archive: zipfile.ZipFile) -> list[str]:
    """The chapters' paths, in order."""
    try:
        container = _parsed(archive.read("META-INF/container.xml"))
        package_path = next(one.get("full-path") for one in _all(container, "rootfile"))
        package = _parsed(archive.read(package_path))
    except (KeyError, StopIteration):
        raise CannotBeParsed("it is no e-book: it does not say what it is made of") from None
    folder = posixpath.dirname(package_path)
    items = {one.get("id"): one for one in _all(package, "item")}
    listed = [items[one.get("idref")] for one in _all(package, "itemref") if one.get("idref") in items]
    pages = [one for one in dict.fromkeys(listed) if "html" in (one.get("media-type") or "html")]
    return [
        posixpath.normpath(posixpath.join(folder, unquote((one.get("href") or "").partition("#")[0])))
        for one in pages
        if "nav" not in (one.get("properties") or "").split()
    ]


def _locked(archive: zipfile.ZipFile) -> Iterator[str]:
    """Parts that are encrypted; fonts often are, and do no harm."""
    if "META-INF/encryption.xml" in archive.namelist():
        for reference in _all(_parsed(archive.read("META-INF/encryption.xml")), "CipherReference"):
            yield posixpath.normpath(unquote(reference.get("URI") or ""))


def _all(root: Any, name: str) -> Iterator[Any]:
    return (one for one in ([] if root is None else root.iter()) if local_name(one) == name)


def _parsed(page: bytes) -> Any:
    """A page as a tree, None when there is nothing in it. No entity is looked up but those of HTML."""
    from lxml import etree

    page = _NAMED.sub(_as_number, page)
    options = {"resolve_entities": False, "no_network": True, "load_dtd": False}
    try:
        return etree.fromstring(page, etree.XMLParser(**options))
    except etree.XMLSyntaxError:
        return etree.fromstring(page, etree.XMLParser(recover=True, **options))


def _as_number(named: re.Match[bytes]) -> bytes:
    name = named[1]
    code = html.entities.name2codepoint.get(name.decode())
    return named[0] if name in _OF_XML or code is None else b"&#%d;" % code
