"""A checkpoint with more tokens: its tokenizer learns pieces of a new text, and its model gets rows for them.

The new model knows nothing more than the old one; it is a better place to train on from, because the new text takes
fewer tokens. A recipe does the same at the beginning of a run (`tokenizer.extend_tokens`). This file leaves out
training.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stepwell.checkpoints.store import load_checkpoint, refuse_adapter, save_checkpoint
from stepwell.errors import UsageError
from stepwell.models import build_model, load_extended
from stepwell.tokenizers import extend_tokenizer, parts_of_new


def extend_checkpoint(source: Path, texts: Iterable[str], num_tokens: int, out: Path) -> dict[str, Any]:
    """Make a checkpoint of another one, with tokens added.

    Args:
        source: a checkpoint or run directory.
        texts: of the new language or domain.
        num_tokens: how many tokens are added, at least 1.
        out: the checkpoint directory to make; empty or absent.

    Returns:
        Plain values: `tokens_before`, `tokens`, `rows`, and of the texts `text_bytes`, `text_tokens_before` and
        `text_tokens`.

    Raises:
        CheckpointError: when the source is missing or damaged.
        TokenizerError: when its tokenizer cannot be extended.
        UsageError: when `out` is not empty, or the model has no embeddings.
        DiskError: when the checkpoint cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out}: is not empty", do="name another directory")
    loaded, texts = load_checkpoint(source), list(texts)
    refuse_adapter(loaded)
    old, new = loaded.tokenizer, extend_tokenizer(loaded.tokenizer, texts, num_tokens)
    config = loaded.model.config
    rows = max(config.vocab_size, new.vocab_size)
    model = build_model(config.model_copy(update={"vocab_size": rows}))
    load_extended(model, loaded.model.tensors(), old.vocab_size, parts_of_new(old, new))
    save_checkpoint(out, model, new, provenance={**loaded.provenance, "extended_from": str(loaded.path)})
    return {
        "tokens_before": old.vocab_size,
        "tokens": new.vocab_size,
        "rows": rows,
        "text_bytes": sum(len(text.encode()) for text in texts),
        "text_tokens_before": sum(map(len, old.encode_many(texts))),
        "text_tokens": sum(map(len, new.encode_many(texts))),
    }
