"""The closed loop: audit, plan, trial, diagnose, adjust, accept, stop, journal, report."""

from typing import TYPE_CHECKING

from stepwell.doors import open_late

if TYPE_CHECKING:
    from stepwell.studies.report import (
        Words,
        baseline_words,
        change_words,
        diagnosis_words,
        metric_words,
        number,
        render_report,
        show_metric,
        visible,
        write_report,
    )
    from stepwell.studies.sessions import plan_only, run_loop, train_once

__all__ = [
    "Words",
    "baseline_words",
    "change_words",
    "diagnosis_words",
    "metric_words",
    "number",
    "plan_only",
    "render_report",
    "run_loop",
    "show_metric",
    "train_once",
    "visible",
    "write_report",
]

_SESSIONS = ("plan_only", "run_loop", "train_once")

__getattr__ = open_late(__name__, {name: "sessions" if name in _SESSIONS else "report" for name in __all__})
