"""The report: one run directory told as one page.

It reads only the files of the run and makes a single HTML file that needs no network, no font and no other file. The
command line borrows its words for rounds and changes, so that screen and page say the same thing. This room leaves
out measuring: a number that is not in the run's files is not in the report.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepwell.doors import open_late

if TYPE_CHECKING:
    from stepwell.studies.report.commands import WRITES_ON as WRITES_ON
    from stepwell.studies.report.commands import use_commands as use_commands
    from stepwell.studies.report.corpus.page import render_data_report as render_data_report
    from stepwell.studies.report.corpus.page import write_data_report as write_data_report
    from stepwell.studies.report.figures import number as number
    from stepwell.studies.report.figures import show_metric as show_metric
    from stepwell.studies.report.markup import visible as visible
    from stepwell.studies.report.page import render_report as render_report
    from stepwell.studies.report.page import write_report as write_report
    from stepwell.studies.report.rates import render_rate_page as render_rate_page
    from stepwell.studies.report.rivals import best_words as best_words
    from stepwell.studies.report.words import Words as Words
    from stepwell.studies.report.words import baseline_words as baseline_words
    from stepwell.studies.report.words import change_words as change_words
    from stepwell.studies.report.words import diagnosis_words as diagnosis_words
    from stepwell.studies.report.words import metric_words as metric_words

__all__ = [
    "WRITES_ON",
    "Words",
    "baseline_words",
    "best_words",
    "change_words",
    "diagnosis_words",
    "metric_words",
    "number",
    "render_data_report",
    "render_rate_page",
    "render_report",
    "show_metric",
    "use_commands",
    "visible",
    "write_data_report",
    "write_report",
]

__getattr__ = open_late(
    __name__,
    {
        "WRITES_ON": "commands",
        "Words": "words",
        "best_words": "rivals",
        "use_commands": "commands",
        "change_words": "words",
        "diagnosis_words": "words",
        "baseline_words": "words",
        "metric_words": "words",
        "number": "figures",
        "render_data_report": "corpus.page",
        "render_rate_page": "rates",
        "render_report": "page",
        "show_metric": "figures",
        "visible": "markup",
        "write_data_report": "corpus.page",
        "write_report": "page",
    },
)
