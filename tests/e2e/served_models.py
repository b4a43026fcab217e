"""Tiny models of every kind for the server, made on the spot, and a server of them on loopback in this process.

They have learned nothing, but their weights matter: another prompt gives another text.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import uvicorn
from starlette.applications import Starlette

from stepwell.checkpoints import save_checkpoint
from stepwell.models import (
    DecoderConfig,
    EncoderConfig,
    EncoderDecoderConfig,
    LanguageModel,
    ModelConfig,
    RecurrentConfig,
    TaskHeadConfig,
    build_model,
)
from stepwell.serving import ServeConfig, make_app, open_models
from stepwell.serving.calls import Server
from stepwell.serving.gate import Keys
from stepwell.tokenizers import ROLE_TOKENS, ByteBPEConfig, Tokenizer, train_tokenizer

BLOCKS: dict[str, Any] = {
    "num_layers": 2, "d_model": 32, "num_heads": 4, "num_kv_heads": 2, "head_dim": 8, "d_ff": 64
}  # fmt: skip
WINDOW = 256


def filled(config: ModelConfig, seed: int = 0, std: float = 0.3) -> LanguageModel:
    """A model whose zero-initialised matrices are filled, so that every token depends on every earlier one."""
    model = build_model(config, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=std, generator=generator)
    return model.eval()


def save(folder: Path, config: ModelConfig, tokenizer: Tokenizer, task: dict[str, Any] | None, seed: int = 0) -> Path:
    """A checkpoint of a filled model."""
    provenance = {} if task is None else {"task": task}
    save_checkpoint(folder, filled(config, seed), tokenizer, provenance=provenance)
    return folder


def make_models(root: Path) -> dict[str, Path]:
    """A folder for each kind of model, by the name that it is served by."""
    plain = train_tokenizer([], ByteBPEConfig(vocab_size=257))
    talking = train_tokenizer([], ByteBPEConfig(vocab_size=261, special_tokens=ROLE_TOKENS))
    small = {"vocab_size": plain.vocab_size, "max_seq_len": WINDOW}
    encoder = EncoderConfig(**small, **{**BLOCKS, "num_kv_heads": 4})
    turning = EncoderDecoderConfig(
        vocab_size=plain.vocab_size, max_seq_len=48, prompt="source", num_encoder_layers=1,
        **{**BLOCKS, "num_kv_heads": 4},
    )  # fmt: skip
    labels = {"kind": "classification", "problem": "single", "labels": ["good", "bad", "so so"], "max_tokens": 32}
    tags = {"kind": "tagging", "scheme": "BIO", "tags": ["O", "B-place", "I-place"], "cut": "signs", "max_tokens": 24}

    def headed(outputs: int, pooling: str) -> EncoderConfig:
        head = TaskHeadConfig(num_outputs=outputs, pooling=pooling)  # type: ignore[arg-type]
        return encoder.model_copy(update={"task_head": head})

    return {
        "writer": save(root / "writer", DecoderConfig(**small, **BLOCKS), plain, None),
        "talker": save(
            root / "talker",
            DecoderConfig(vocab_size=talking.vocab_size, max_seq_len=WINDOW, **BLOCKS),
            talking,
            {"kind": "chat"},
            seed=1,
        ),
        "labels": save(root / "labels", headed(3, "mean"), plain, labels),
        "tags": save(root / "tags", headed(3, "each"), plain, tags),
        "vectors": save(root / "vectors", encoder, plain, {"kind": "retrieval"}),
        "translator": save(root / "translator", turning, plain, {"kind": "translation", "max_target_tokens": 8}),
        "rewriter": save(root / "rewriter", turning, plain, None),
        "recurrent": save(
            root / "recurrent",
            RecurrentConfig(
                kind="lstm", vocab_size=plain.vocab_size, max_seq_len=WINDOW, num_layers=1, d_model=16, d_embedding=16
            ),
            plain,
            None,
        ),
    }


class Running:
    """A server of this process on a free port.

    Attributes:
        url: of it.
        server: its state.
        app: the application.
        loop: uvicorn's server.
    """

    def __init__(self, server: Server, app: Starlette, keys: Keys | None = None) -> None:
        self.server, self.app = server, app
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.loop = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="on", ws="none"))


@contextmanager
def serving(paths: dict[str, Path], config: ServeConfig | None = None, keys: Keys | None = None) -> Iterator[Running]:
    """Models behind a port, as long as the body runs."""
    config = (config or ServeConfig(weights="plain")).model_copy(update={"names": tuple(paths)})
    server = open_models(list(paths.values()), config)
    running = Running(server, make_app(server, keys))
    thread = threading.Thread(target=running.loop.run, kwargs={"sockets": [running.listener]}, daemon=True)
    thread.start()
    try:
        while not running.loop.started:
            thread.join(0.01)
            assert thread.is_alive(), "the server has ended before it began"
        yield running
    finally:
        running.loop.should_exit = True
        thread.join(20)
        running.listener.close()
