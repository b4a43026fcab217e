"""Documents that are taken apart as a whole (PDF, Word, EPUB, web pages, wiki pages), each in parts of text.

The parsers run in a process of their own that can be ended, and this room imports no other, so that it starts quickly.
This room leaves out where documents come from.
"""

from stepwell.parsers.catalog import LIBRARIES
from stepwell.parsers.markup import local_name, record_text
from stepwell.parsers.process import Parsed, parse

__all__ = ["LIBRARIES", "Parsed", "local_name", "parse", "record_text"]
