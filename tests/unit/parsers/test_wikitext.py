"""The prose of wiki pages, beside a plain walk over the nodes that the parser builds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mwparserfromhell
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mwparserfromhell import nodes

from stepwell.parsers import wikitext
from stepwell.parsers.wikitext import plain_text


def words(code: Any) -> Iterator[str]:
    """The oracle: the public tree of nodes."""
    for node in code.nodes:
        if isinstance(node, nodes.Text):
            yield node.value
        elif isinstance(node, nodes.Wikilink):
            if not wikitext._NOT_PROSE.match("".join(words(node.title))):
                yield from words(node.title if node.text is None else node.text)
        elif isinstance(node, nodes.ExternalLink):
            if node.title is not None:
                yield from words(node.title)
        elif isinstance(node, nodes.Tag):
            if node.self_closing:
                yield "\n" if str(node.tag).strip().lower() == "br" else ""
            elif not wikitext._DROPPED_TAGS.fullmatch("".join(words(node.tag)).strip()):
                yield from words(node.contents)
        elif isinstance(node, nodes.Heading):
            yield f"\n{''.join(words(node.title)).strip()}\n"
        elif isinstance(node, nodes.HTMLEntity):
            yield node.normalize()


PAGE = """{{Infobox|name={{nested|x}}|{{{arg|def}}}}}
'''Wells''' are [[hole (ground)|''holes'']] in the [[ground]].<ref name="a" group=b>A book.</ref><ref name="a" b/>
[http://x.org A '''link'''] http://y.org [http://z.org] &amp; &#65;&#x42; more.<br/>A line.<br>Another.<hr a b c/>
[[File:well.jpg|thumb|A [[picture]] of {{x}}.]] <span class="x {{y}}" b>inside</span> <!-- a comment -->
== History of [[wells|''them'']] ==
* first
# second
:; third : fourth
{| class="wikitable"
! year
|-
| 1024 || deep
|}
[[Category:Wells]] [[分类:井]] <math>x^2</math> <unclosed [[also {{unclosed
"""


@pytest.mark.parametrize(
    "text", [PAGE, PAGE * 3, "", "plain", "[[[[a]]]]", "{{{{a}}}}", "<b><i>x</b></i>", "'''''a''b'''"]
)
def test_tokens_give_what_nodes_give(text: str) -> None:
    assert wikitext._prose(text) == "".join(words(mwparserfromhell.parse(text)))


PIECES = "[[ ]] {{ }} | = == ''' '' < > / <b> </b> <ref> </ref> <br/> &amp; & ; # * \n http://x [ ] <!-- --> 井 a File:"


@given(st.lists(st.sampled_from(PIECES.split(" ")), max_size=30))
def test_any_tokens_give_what_nodes_give(pieces: list[str]) -> None:
    text = " ".join(pieces)
    assert wikitext._prose(text) == "".join(words(mwparserfromhell.parse(text)))


@pytest.mark.parametrize(
    ("text", "prose"),
    [
        ("井是-{zh-hans:用来取水的; zh-hant:用來取水的}-洞", "井是用来取水的洞"),
        ("-{井}- and -{A|zh-cn:水; zh-tw:氺}-", "井 and 水"),
        ("__NOTOC__text", "text"),
        ("a\n\n \n\nb", "a\n\nb"),
        ("[[:File:x|a link to a file]]", "a link to a file"),
    ],
)
def test_signs_of_the_wiki_itself(text: str, prose: str) -> None:
    assert list(plain_text(text.encode())) == [prose]


def test_deep_markup_comes_to_an_end() -> None:
    for mark in ("[[", "{{", "<b>", "'''", "{|\n", "<ref>"):
        list(plain_text((mark * 400).encode()))
