"""What happens where the compiler is missing, or cannot do it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stepwell.errors import StepwellError
from stepwell.inference import choose_weights
from stepwell.inference.native.build import find_compiler, load_library
from stepwell.models import DecoderConfig, build_model


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    load_library.cache_clear()
    yield
    load_library.cache_clear()


def test_without_a_compiler_that_is_said_and_models_stay_as_they_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert find_compiler() is None
    with pytest.raises(StepwellError, match=r"no C\+\+ compiler"):
        load_library()
    config = DecoderConfig(
        vocab_size=20, max_seq_len=8, num_layers=1, d_model=8, num_heads=1, num_kv_heads=1, head_dim=8, d_ff=8
    )
    assert choose_weights("auto", build_model(config)) is None


def test_a_compiler_that_cannot_do_it_is_told_with_its_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_cache: Path
) -> None:
    broken = tmp_path / "broken-c++"
    broken.write_text("#!/bin/sh\necho 'decoder.cpp:1: error: what is this' >&2\nexit 1\n", encoding="utf-8")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    monkeypatch.setenv("STEPWELL_CACHE", str(tmp_path))
    with pytest.raises(StepwellError, match="does not compile") as caught:
        load_library()
    assert "what is this" in str(caught.value)
    assert not list((tmp_path / "native").glob("*.so"))


@pytest.mark.skipif(find_compiler() is None, reason="there is no C++ compiler")
def test_what_was_compiled_once_is_loaded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    load_library()
    load_library.cache_clear()
    monkeypatch.setattr("stepwell.inference.native.build._compile", lambda *_: pytest.fail("compiled twice"))
    assert load_library().stepwell_has_bfloat16() in (0, 1)
