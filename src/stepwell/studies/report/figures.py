"""Numbers as people read them.

Every number on the page goes through this file, so the same thing is always written the same way: a metric with the
digits that it deserves, a count with its unit, a minus sign that is a minus sign. What is absent or not finite
becomes a dash or the word for it, never a fault. This file leaves out words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from stepwell.config import format_duration

ABSENT = "–"
RATIOS = frozenset(
    [
        "accuracy",
        "macro_f1",
        "micro_f1",
        "macro_precision",
        "macro_recall",
        "calibration_error",
        "r_squared",
        "span_f1",
        "span_precision",
        "span_recall",
        "macro_span_f1",
        "token_accuracy",
        "sentence_accuracy",
        "rouge_1",
        "rouge_2",
        "rouge_l",
        "stop_ratio",
        "distinct_1_within",
        "distinct_2_within",
        "distinct_3_within",
        "repeated_4gram_ratio",
        "f1",
        "exact_match",
        "no_answer_accuracy",
        "stop_rate",
        "format_rate",
        "win_rate",
        "judge_agreement",
        "preference_accuracy",
        "recall_at_1",
        "recall_at_5",
        "recall_at_10",
        "recall_at_100",
        "ndcg_at_10",
        "mrr_at_10",
        "repetition",
    ]
)
"""Metrics that are a share of a whole, or a mean of shares: shown in percent."""


def number(value: object) -> float | None:
    """A finite number, or None for anything else (absent, text, NaN, infinite, true and false)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def show_number(value: object, digits: int = 3) -> str:
    """A plain number with so many significant digits: `0.00312`, `1,234`, `-` when there is none."""
    found = number(value)
    if found is None:
        return ABSENT
    if found == int(found) and abs(found) < 1e15:
        return minus(f"{int(found):,}")
    if 1e-4 <= abs(found) < 1e6:
        decimals = max(0, digits - 1 - math.floor(math.log10(abs(found))))
        return minus(f"{found:,.{decimals}f}")
    return minus(f"{found:.{digits - 1}e}")


def show_metric(metric: str, value: object, *, sign: bool = False) -> str:
    """A metric's value: three decimals for bits per byte, percent for ratios, three digits for the rest."""
    found = number(value)
    if found is None:
        return not_finite(value) or ABSENT
    plus = "+" if sign else ""
    if metric in RATIOS:
        return minus(f"{100 * found:{plus}.1f}") + " %"
    if metric == "bits_per_byte":
        return minus(f"{found:{plus}.3f}")
    if abs(found) >= 1000:
        return minus(f"{found:{plus},.0f}")
    return minus(f"{found:{plus}.{max(0, 2 - math.floor(math.log10(max(abs(found), 0.1))))}f}")


def not_finite(value: object) -> str | None:
    """How a number that is not finite is written, or None when `value` is something else."""
    if not isinstance(value, float) or math.isfinite(value):
        return None
    return "NaN" if math.isnan(value) else minus("∞" if value > 0 else "-∞")


def show_count(value: object) -> str:
    """A count: exact below ten thousand, then `12.3 k`, `4.56 M`, `7.89 G`."""
    return _scaled(value, 1000.0, ("", " k", " M", " G", " T"), exact_below=10_000)


def show_bytes(value: object) -> str:
    """A size on disk in decimal units: `812 B`, `2.24 MB`."""
    return _scaled(value, 1000.0, (" B", " kB", " MB", " GB", " TB"), exact_below=1000)


def show_memory(value: object) -> str:
    """A size of memory in binary units: `7.75 GiB`."""
    return _scaled(value, 1024.0, (" B", " KiB", " MiB", " GiB", " TiB"), exact_below=1024)


def show_ratio(value: object) -> str:
    """A share of a whole in percent."""
    found = number(value)
    if found is None:
        return ABSENT
    return f"{100 * found:.0f} %" if found >= 0.095 or found == 0 else f"{100 * found:.1g} %"


def show_seconds(value: object) -> str:
    """A time: `0.8 s`, `42 s`, `3 m 20 s`, `1 h 05 m`."""
    found = number(value)
    if found is None or found < 0:
        return ABSENT
    return f"{found:.1f} s" if found < 10 else format_duration(found)


def show_setting(value: object) -> str:
    """A value of the recipe as a short text."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (int, float)):
        return _trimmed(show_number(value)) if number(value) is not None else str(not_finite(value))
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {show_setting(part)}" for name, part in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(show_setting(part) for part in value)
    return str(value)


def _trimmed(text: str) -> str:
    """A decimal number without the zeros at its end: `0.00300` is `0.003`."""
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def minus(text: str) -> str:
    """The text with a true minus sign in front of a negative number."""
    return text.replace("-", "−", 1) if text.startswith("-") else text


def _scaled(value: Any, base: float, units: tuple[str, ...], exact_below: int) -> str:
    found = number(value)
    if found is None:
        return ABSENT
    if abs(found) < exact_below:
        return f"{found:,.0f}{units[0]}"
    power = min(len(units) - 1, int(math.log(abs(found), base) + 1e-9))
    scaled = found / base**power
    digits = max(0, 2 - int(math.log10(abs(scaled)) + 1e-9))
    return f"{scaled:,.{digits}f}{units[power]}"
