"""Share of the machine's rate, and memory, against what is known of a model and of this process."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest
import torch

from stepwell.models import DecoderConfig, build_model
from stepwell.runs import read_lines
from stepwell.training.gauge import Gauge

TINY = {"vocab_size": 257, "max_seq_len": 16, "num_layers": 2, "d_model": 16, "num_heads": 2, "num_kv_heads": 1,
        "head_dim": 8, "d_ff": 24}  # fmt: skip


def test_the_share_is_flops_of_a_second_over_the_measured_rate() -> None:
    config = DecoderConfig(**TINY)
    gauge = Gauge(build_model(config), gflops=2.0)
    assert gauge.mfu_ratio(1000.0) == pytest.approx(config.train_flops_per_token * 1000 / 2e9)
    assert Gauge(build_model(config), gflops=None).mfu_ratio(1000.0) is None
    assert Gauge(build_model(config), gflops=0.0).mfu_ratio(1000.0) is None, "the precision does not run here"


def test_what_does_not_learn_needs_no_gradient_of_its_own() -> None:
    """Forward 2, gradient of the activations 2, of the weights 2: the last falls away."""
    config = DecoderConfig(**TINY)
    frozen = build_model(config).requires_grad_(False)
    assert Gauge(frozen, 1.0).flops_per_token == pytest.approx(config.train_flops_per_token * 2 / 3)


@pytest.mark.slow
def test_memory_is_that_of_the_process_and_its_peak_stays() -> None:
    """A large tensor shows in the peak after it is gone."""
    code = (
        "import torch; from stepwell.models import DecoderConfig, build_model; "
        "from stepwell.training.gauge import Gauge; "
        f"gauge = Gauge(build_model(DecoderConfig(**{TINY!r})), None); before = gauge.memory(); "
        "large = torch.ones(200_000_000, dtype=torch.uint8); del large; after = gauge.memory(); "
        "print(before.now, before.peak, after.now, after.peak)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, before_peak, after, after_peak = map(int, done.stdout.split())
    assert before <= before_peak
    assert after_peak >= before + 180_000_000
    assert after < after_peak - 100_000_000


def test_memory_now_is_what_the_system_says() -> None:
    memory = Gauge(build_model(DecoderConfig(**TINY)), None).memory()
    assert memory.now == pytest.approx(psutil.Process().memory_info().rss, rel=0.1)
    assert memory.peak >= memory.now
    if not torch.cuda.is_available():
        assert memory.gpu is None


def test_every_line_of_a_step_has_share_and_memory(make_trainer, tmp_path) -> None:
    trainer = make_trainer(tmp_path, gflops=1.0)
    trainer.run()
    lines = [line for line in read_lines(tmp_path / "metrics.jsonl") if line["kind"] == "step"]
    flops = trainer.model.config.train_flops_per_token
    assert len(lines) == 12
    for line in lines:
        assert line["mfu_ratio"] == pytest.approx(flops * line["tokens_per_second"] / 1e9)
        assert 0 < line["memory_bytes"] <= line["peak_memory_bytes"]
