"""One tree of errors. A message says what happened, what was got, what was wanted and what to do.

`cli` turns an error into one friendly block of text and an exit code; the library only raises.
This file leaves out any wording that belongs to a single room.
"""

from __future__ import annotations


class StepwellError(Exception):
    """Something a person can act on.

    Args:
        what: what is wrong, the path or name first (`runs/novel: holds another run`).
        got: what was found there.
        wanted: what would have been right.
        do: what to do now, as a sentence or a command.
    """

    exit_code: int = 1

    def __init__(self, what: str, *, got: str | None = None, wanted: str | None = None, do: str | None = None) -> None:
        self.what, self.got, self.wanted, self.do = what, got, wanted, do
        parts = [what]
        if got is not None:
            parts.append(f"got: {got}")
        if wanted is not None:
            parts.append(f"wanted: {wanted}")
        if do is not None:
            parts.append(f"do: {do}")
        super().__init__("\n".join(parts))


class UsageError(StepwellError):
    """The command or the call cannot be understood (exit code 2)."""

    exit_code = 2


class ConfigError(UsageError):
    """A recipe or a setting has an unknown field, a wrong type or an impossible value."""


class BudgetError(UsageError):
    """The budget or the target cannot be met by any run."""


class DataError(StepwellError):
    """A source cannot be read, is empty, is not text, or is too small to learn from."""


class TokenizerError(StepwellError):
    """A tokenizer file is damaged or does not fit its model."""


class CheckpointError(StepwellError):
    """A checkpoint is missing, damaged, truncated or of another format."""


class RunError(StepwellError):
    """A run directory is locked, holds another run, or cannot be written."""


class DiskError(StepwellError):
    """Writing failed (a full disk, no permission); what was written before is still whole."""


class TrainingError(StepwellError):
    """Training cannot go on (no finite loss after every rollback, no memory for one row)."""


class Stopped(StepwellError):  # noqa: N818 - an end by hand, not a fault
    """A person or the system asked the process to stop; everything is saved (exit code 130)."""

    exit_code = 130


class EndedElsewhere(StepwellError):  # noqa: N818 - an end that another rank explains
    """Another rank of the job has failed and told why; this one ends with it, in silence.

    Args:
        what: what the other rank said.
        exit_code: of that rank.
    """

    def __init__(self, what: str, exit_code: int = 1) -> None:
        super().__init__(what)
        self.exit_code = exit_code
