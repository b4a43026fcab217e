"""A trained model with more tokens: what it says of text, and what it can still learn."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepwell import api
from stepwell.checkpoints import extend_checkpoint, load_checkpoint, verify
from stepwell.errors import UsageError


def bits_per_byte(path: Path, text: Path) -> float:
    return float(api.evaluate(path, text)["metrics"]["bits_per_byte"]["value"])


@pytest.fixture(scope="module")
def extended(trained_run, small_text, tmp_path_factory) -> tuple[Path, dict[str, int]]:
    out = tmp_path_factory.mktemp("extended") / "it"
    said = extend_checkpoint(trained_run, small_text("mixed", 20_000, seed=3).split("\n\n"), 60, out)
    return out, said


def test_a_checkpoint_with_more_tokens(trained_run, extended):
    out, said = extended
    verify(out)
    old, new = load_checkpoint(trained_run), load_checkpoint(out)
    assert (said["tokens_before"], said["tokens"], said["rows"]) == (400, 460, 460)
    assert new.tokenizer.vocab_size == new.model.config.vocab_size == 460
    assert said["text_tokens"] < 0.9 * said["text_tokens_before"]
    assert new.provenance["extended_from"] == str(old.path)


def test_the_loss_on_text_is_sensible(trained_run, extended, small_text, tmp_path):
    """The mean of the old rows knows about as much as the old tokens: far from a guess, near to what it was."""
    (tmp_path / "text.txt").write_text(small_text("mixed", 6_000, seed=9), encoding="utf-8")
    before, after = (bits_per_byte(path, tmp_path / "text.txt") for path in (trained_run, extended[0]))
    loaded = load_checkpoint(extended[0])
    new_ids = sum(int((ids >= 400).sum()) for ids in loaded.tokenizer.encode_many([small_text("mixed", 6_000, seed=9)]))
    assert new_ids > 100
    assert after < 1.35 * before


def test_where_something_is_already(trained_run, tmp_path):
    (tmp_path / "it").mkdir()
    (tmp_path / "it" / "file").write_text("")
    with pytest.raises(UsageError, match="is not empty"):
        extend_checkpoint(trained_run, ["text"], 5, tmp_path / "it")
