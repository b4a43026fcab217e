"""The closed loop: audit, plan, trial, diagnose, adjust, accept, stop, journal, report."""

from typing import TYPE_CHECKING

from stepwell.doors import open_late

if TYPE_CHECKING:
    from stepwell.studies.corpus import Workers
    from stepwell.studies.crew import with_all_ranks
    from stepwell.studies.preparing import prepare_only
    from stepwell.studies.report import (
        WRITES_ON,
        Words,
        baseline_words,
        best_words,
        change_words,
        diagnosis_words,
        metric_words,
        number,
        render_data_report,
        render_report,
        show_metric,
        use_commands,
        visible,
        write_data_report,
        write_report,
    )
    from stepwell.studies.sessions import find_rate_only, plan_only, run_loop, train_once

__all__ = [
    "WRITES_ON",
    "Words",
    "Workers",
    "baseline_words",
    "best_words",
    "change_words",
    "diagnosis_words",
    "find_rate_only",
    "metric_words",
    "number",
    "plan_only",
    "prepare_only",
    "render_data_report",
    "render_report",
    "run_loop",
    "show_metric",
    "train_once",
    "use_commands",
    "visible",
    "with_all_ranks",
    "write_data_report",
    "write_report",
]

_SESSIONS = ("find_rate_only", "plan_only", "run_loop", "train_once")

_FILES = {name: "sessions" if name in _SESSIONS else "report" for name in __all__} | {
    "Workers": "corpus",
    "prepare_only": "preparing",
    "with_all_ranks": "crew",
}

__getattr__ = open_late(__name__, _FILES)
