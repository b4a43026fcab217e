"""The report of prepared text: one page that says what the corpus is and how it came to be so.

It reads the text package alone, so it can be made again at any time. This folder leaves out the frame, the style and
the words that it shares with the report of a run (`studies/report/`).
"""
