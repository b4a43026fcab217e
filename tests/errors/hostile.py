"""Texts that try to become a part of a page, and what a browser would make of one."""

from __future__ import annotations

import html.parser

HOSTILE = [
    "<script>window.x=1</script>",
    "</script><script>window.x=1</script>",
    "</textarea></pre></title></style><img src=x onerror=window.x=1>",
    '" onmouseover="window.x=1',
    "' onfocus='window.x=1' autofocus='",
    "javascript:window.x=1",
    "<svg/onload=window.x=1>",
    "<a href='javascript:window.x=1'>here</a>",
    "<!-- --><iframe srcdoc='<script>window.x=1</script>'></iframe>-->",
    "]]><![CDATA[<script>window.x=1</script>",
    "{{ 7 * 7 }}{% raw %}{{ say }}",
    "{0.__class__}{name}{n}{bytes!r}",
    "&lt;script&gt;&#60;script&#62;",
    "\x00\x1b[31m\u202e\ud800\ufffe",
    "<style>*{display:none}</style><base href=//x><meta http-equiv=refresh content=0>",
]


class Elements(html.parser.HTMLParser):
    """The elements and attributes that a browser would make of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]


def elements(page: str) -> Elements:
    found = Elements()
    found.feed(page)
    return found
