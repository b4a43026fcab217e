"""What happens where the compiler is missing, or cannot do it."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from stepwell.errors import StepwellError
from stepwell.inference import choose_weights
from stepwell.inference.native import build
from stepwell.inference.native.build import find_compiler, load_library
from stepwell.inference.native.decoder import Extension, NativeDecoder
from stepwell.inference.native.packing import WeightBits
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


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the flag is of another processor")
@pytest.mark.skipif(find_compiler() is None, reason="there is no C++ compiler")
def test_a_processor_without_bfloat16_computes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    # with less optimization, since that compiles in half the time
    flags = [flag.replace("native", "x86-64-v3").replace("O3", "O1") for flag in build.FLAGS]
    monkeypatch.setattr(build, "FLAGS", tuple(flags))
    assert load_library().stepwell_has_bfloat16() == 0
    config = DecoderConfig(
        vocab_size=70, max_seq_len=600, num_layers=2, d_model=40, num_heads=4, num_kv_heads=2, head_dim=8, d_ff=56
    )
    model = build_model(config, seed=1).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
        token_ids = torch.randint(0, 70, (300,), generator=torch.Generator().manual_seed(3))
        wanted = model(token_ids[None])[0]
    weights: tuple[WeightBits, ...] = ("float32", "bfloat16", "int8", "int4", "bfloat16")
    for held, most, coded in zip(weights, (1e-5, 0.01, 0.03, 0.6, 0.03), (False,) * 4 + (True,), strict=True):
        decoder = NativeDecoder(model, weights=held, num_blocks=40, threads=2, coded_cache=coded)
        read = Extension(token_ids.numpy().astype(np.int32), 0, np.arange(19, dtype=np.int32), 300)
        whole = decoder.extend([read])
        assert (whole - wanted).norm() < most * wanted.norm()
        parts = [
            decoder.extend(
                [Extension(read.token_ids[at : at + 7], at, read.blocks + 20, len(read.token_ids[at : at + 7]))]
            )
            for at in range(0, 300, 7)
        ]
        assert torch.equal(torch.cat(parts), whole)
