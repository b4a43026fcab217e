"""A model on disk: weights, config, tokenizer and where it came from."""

from typing import TYPE_CHECKING

from stepwell.doors import open_late

if TYPE_CHECKING:
    from stepwell.checkpoints.store import (
        Loaded,
        checkpoint_step,
        load_checkpoint,
        newest_good,
        prune,
        read_optimizer,
        resolve_checkpoint,
        save_checkpoint,
        verify,
    )

__all__ = [
    "Loaded",
    "checkpoint_step",
    "load_checkpoint",
    "newest_good",
    "prune",
    "read_optimizer",
    "resolve_checkpoint",
    "save_checkpoint",
    "verify",
]

__getattr__ = open_late(__name__, dict.fromkeys(__all__, "store"))
