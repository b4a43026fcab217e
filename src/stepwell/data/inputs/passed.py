"""What an archive or a dump holds beside its texts: counted by reason, and told in one sentence.

This file leaves out which reasons there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable


class PassedOver:
    """Counts what is passed over.

    Args:
        name: of the archive, for the report.
        what: its parts are called (`pages`).
    """

    def __init__(self, name: str, what: str) -> None:
        self._name, self._what = name, what
        self._reasons: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, reason: str, example: str | None = None) -> None:
        """Count one.

        Args:
            reason: that it shares with others like it.
            example: what is said of the first of its reason.
        """
        self._reasons[reason] += 1
        if example is not None:
            self._first.setdefault(reason, example)

    def tell(self, report: Callable[[str], None], total: int) -> None:
        """Report them, if there are any.

        Args:
            report: takes the sentence.
            total: parts in all.
        """
        if not self._reasons:
            return
        reasons = ", ".join(
            f"{count:,} {reason}" + (f": {self._first[reason]}" if reason in self._first else "")
            for reason, count in self._reasons.most_common(8)
        )
        report(f"{self._name}: {self._reasons.total():,} of {total:,} {self._what} were passed over ({reasons})")
