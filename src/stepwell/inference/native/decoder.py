"""A decoder of the catalog in machine code: it extends many texts at once over keys and values in blocks.

The weights are packed once, in as many bits as were asked for; keys and values of all texts stand in one pool of blocks
of 16 tokens. Who has which block is the caller's business. `models.Decoder` is the truth: with weights of 32 bits both
differ by rounding alone. This file leaves out the arithmetic (`decoder.cpp`).
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stepwell.errors import UsageError
from stepwell.inference.native import layout
from stepwell.inference.native.arena import Arena, padded
from stepwell.inference.native.build import load_library
from stepwell.inference.native.layout import BLOCK_TOKENS
from stepwell.inference.native.packing import FORMATS, LANES, Packed, WeightBits, pack
from stepwell.models import Decoder, DecoderConfig, LanguageModel
from stepwell.nn import RMSNorm

ACTIVATIONS = ("relu", "sigmoid", "tanh", "gelu", "gelu_tanh", "silu", "relu2")
PLACEMENTS = ("pre", "post", "output", "sandwich")
QK_NORMS = ("none", "head", "projection")
SCALE_BYTES = 4
"""Of the codes of a token and head."""


class Extension(NamedTuple):
    """What is to be read of one text.

    Attributes:
        token_ids: (T,) int32, the tokens that come next.
        place: position of the first of them.
        blocks: int32, the blocks of the text, enough for `place + T` tokens.
        outputs: how many of the last tokens logits are wanted after; 0 for none.
    """

    token_ids: NDArray[np.int32]
    place: int
    blocks: NDArray[np.int32]
    outputs: int = 1


def what_is_missing(model: LanguageModel) -> str | None:
    """Why a model cannot be decoded in machine code, in a few words; None where it can."""
    if not isinstance(model, Decoder):
        return f"a model of kind {model.config.kind}"
    config = model.config
    if config.prompt != "continue":
        return "a prompt that is read both ways"
    if config.experts is not None:
        return "experts"
    if config.positions.kind == "relative":
        return "relative positions"
    if model.adapter is not None and model.adapter.kind != "lora":
        return f"an adapter of kind {model.adapter.kind}"
    return None


class NativeDecoder:
    """A decoder with packed weights and a pool of keys and values.

    Args:
        model: what `what_is_missing` says nothing of; a LoRA is merged.
        weights: how matrices are held: `float32` computes everything in float32; the others round what goes into a
            product to bfloat16 where the processor has instructions for that, and keep keys and values so. Where the
            others have 4 bits the last matrix has 8.
        num_blocks: blocks of the pool, each of `BLOCK_TOKENS` tokens.
        threads: of the team that computes.
        most_rows: tokens of one step, at most.
        coded_cache: whether keys and values are held in a byte each (127 steps, and a scale for each token and head).

    Raises:
        UsageError: when the model cannot be decoded in machine code.
        StepwellError: when there is no C++ compiler.
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        weights: WeightBits = "bfloat16",
        num_blocks: int,
        threads: int,
        most_rows: int = 512,
        coded_cache: bool = False,
    ) -> None:
        missing = what_is_missing(model)
        if missing is not None or not isinstance(model, Decoder):
            raise UsageError("model: cannot be decoded in machine code", got=str(missing), do="leave --weights out")
        self._library = load_library()
        self._library.stepwell_new.restype = ctypes.c_void_p
        self.config: DecoderConfig = model.config
        self.weights, self.num_blocks, self.most_rows = weights, num_blocks, most_rows
        self.exact = weights == "float32"
        self.coded_cache = coded_cache
        half = not self.exact and bool(self._library.stepwell_has_bfloat16())
        self._number = torch.bfloat16 if half else torch.float32
        self._kept: list[Tensor] = []
        tensors = model.tensors()
        head: WeightBits = "int8" if weights == "int4" else weights
        head_name = "embedding.weight" if self.config.tie_embeddings else "head.weight"
        packed_head = pack(tensors[head_name], None, head)
        self.vocab_size, self._logit_stride = self.config.vocab_size, -(-self.config.vocab_size // LANES) * LANES
        packed = [self._packed(tensors, number) for number in range(self.config.num_layers)]
        every = [packed_head, *(matrix for matrices in packed for matrix in matrices.values())]
        self.weight_bytes = sum(matrix.nbytes for matrix in every)
        self._weights = Arena(sum(padded(matrix.codes.nbytes) + padded(matrix.scales.nbytes) for matrix in every))
        self._caches = Arena(num_blocks * self.block_bytes)
        layers = (layout.Layer * len(packed))(
            *(self._layer(model, number, matrices) for number, matrices in enumerate(packed))
        )
        shape = self._shape(model, tensors, packed_head)
        self._handle = ctypes.c_void_p(self._library.stepwell_new(ctypes.byref(shape), layers, threads))

    @property
    def block_bytes(self) -> int:
        """Memory of the keys and values of one block, all layers together."""
        width = -(-self.config.head_dim // LANES) * LANES
        of_head = width * BLOCK_TOKENS * self._number.itemsize
        if self.coded_cache:
            of_head = (width + SCALE_BYTES) * BLOCK_TOKENS
        return 2 * self.config.num_layers * self.config.num_kv_heads * of_head

    def extend(self, texts: Sequence[Extension]) -> Tensor:
        """Read tokens of some texts, at most `most_rows` of them.

        Args:
            texts: what is to be read of each; their blocks are no other text's.

        Returns:
            (outputs of all texts, V) float32, logits of the tokens after those that were asked for, by text.
        """
        lengths = [len(text.token_ids) for text in texts]
        starts = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
        if starts[-1] > self.most_rows:
            raise ValueError(f"a step reads at most {self.most_rows} tokens, not {starts[-1]}")
        token_ids = np.ascontiguousarray(np.concatenate([text.token_ids for text in texts]), dtype=np.int32)
        places = np.array([text.place for text in texts], np.int32)
        stride = max(len(text.blocks) for text in texts)
        tables = np.zeros((len(texts), stride), np.int32)
        for table, text in zip(tables, texts, strict=True):
            table[: len(text.blocks)] = text.blocks
        wanted = [np.arange(end - text.outputs, end) for end, text in zip(starts[1:], texts, strict=True)]
        outputs = np.concatenate(wanted).astype(np.int32)
        logits = torch.empty(len(outputs), self._logit_stride)
        step = layout.Step(
            len(texts),
            len(outputs),
            stride,
            token_ids.ctypes.data,
            starts.ctypes.data,
            places.ctypes.data,
            tables.ctypes.data,
            outputs.ctypes.data,
            logits.data_ptr(),
        )
        self._library.stepwell_extend(self._handle, ctypes.byref(step))
        return logits[:, : self.vocab_size]

    def choose(
        self, logits: Tensor, rows: Sequence[int], rules: Sequence[tuple[float, float, int, float, float]]
    ) -> NDArray[Any]:
        """Draw the next token of some rows.

        Args:
            logits: (B, V) float32, as `extend` gives them.
            rows: which of them.
            rules: for each a uniform number in [0, 1), temperature (0 for the likeliest token), top_k (0 for all),
                top_p (1 for all) and min_p (0 for all).

        Returns:
            A record for each (`layout.CHOICE`): the token, its logit, and the log of the sum of all e^logit; a token of
            -1 where a logit is no finite number.
        """
        places, told = np.array(rows, np.int32), np.array(list(rules), layout.RULE)
        choices = np.empty(len(places), layout.CHOICE)
        self._library.stepwell_choose(
            self._handle,
            ctypes.c_void_p(logits.data_ptr()),
            logits.shape[1],
            logits.stride(0),
            len(places),
            places.ctypes.data_as(ctypes.c_void_p),
            told.ctypes.data_as(ctypes.c_void_p),
            choices.ctypes.data_as(ctypes.c_void_p),
        )
        return choices

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.stepwell_free(self._handle)

    def _pointer(self, tensor: Tensor | None) -> int | None:
        """Where a tensor stands; it is kept as long as this."""
        if tensor is None:
            return None
        self._kept.append(tensor)
        return tensor.data_ptr()

    def _matrix(self, packed: Packed) -> layout.Matrix:
        codes = self._pointer(self._weights.hold(packed.codes))
        scales = self._pointer(self._weights.hold(packed.scales))
        bias = self._pointer(packed.bias)
        return layout.Matrix(FORMATS[packed.weights], packed.outputs, packed.channels, codes, scales, bias)

    def _norm(self, norm: nn.Module | None) -> layout.Norm:
        if norm is None:
            return layout.Norm(0, 0.0, None, None)
        if isinstance(norm, RMSNorm):
            weight = norm.weight.detach().float().cpu() + (1 if norm.unit_offset else 0)
            return layout.Norm(1, norm.eps, self._pointer(weight), None)
        assert isinstance(norm, nn.LayerNorm)
        bias: Tensor | None = norm.bias
        told = None if bias is None else self._pointer(bias.detach().float().cpu())
        return layout.Norm(2, norm.eps, self._pointer(norm.weight.detach().float().cpu()), told)

    def _packed(self, tensors: dict[str, Tensor], number: int) -> dict[str, Packed]:
        """The matrices of a layer by name."""
        found = {}
        for name, place in (("qkv", "attention"), ("out", "attention"), ("up", "mlp"), ("down", "mlp")):
            at = f"body.blocks.{number}.{place}.{name}"
            found[name] = pack(tensors[f"{at}.weight"], tensors.get(f"{at}.bias"), self.weights)
        return found

    def _layer(self, model: Decoder, number: int, matrices: dict[str, Packed]) -> layout.Layer:
        config = self.config
        block: Any = model.body.blocks[number]
        layer = layout.Layer()
        for name in ("attention_norm", "attention_out_norm", "mlp_norm", "mlp_out_norm"):
            setattr(layer, name, self._norm(getattr(block, name, None)))
        for name in ("query_norm", "key_norm"):
            setattr(layer, name, self._norm(getattr(block.attention, name, None)))
        for name, packed in matrices.items():
            setattr(layer, name, self._matrix(packed))
        rotary = block.attention.rotary
        if rotary is not None:
            cosines, sines = rotary.tables(config.max_seq_len, torch.device("cpu"))
            layer.cosines, layer.sines, layer.rotated = self._pointer(cosines), self._pointer(sines), rotary.size
        if block.attention.sinks is not None:
            layer.sinks = self._pointer(block.attention.sinks.detach().float().cpu())
        layer.window = config.window or 0 if config.layer_kind(number) == "window" else 0
        half = self.num_blocks * self.block_bytes // config.num_layers // 2
        layer.keys, layer.values = (self._pointer(self._caches.room(half, torch.uint8)) for _ in "kv")
        return layer

    def _shape(self, model: Decoder, tensors: dict[str, Tensor], head: Packed) -> layout.Shape:
        config, body = self.config, model.body
        table = tensors["embedding.weight"].detach().cpu().to(torch.float32 if self.exact else torch.bfloat16)
        positions = None
        if config.positions.kind == "learned":
            positions = tensors["body.positions.weight"].detach().float().cpu()[config.positions.offset :].contiguous()
        elif config.positions.kind == "sinusoidal":
            positions = body.waves.float().cpu()
        slopes = body.slopes.float().cpu() if config.positions.kind == "alibi" else None
        scale = config.head_dim**-0.5 if config.attention_scale is None else config.attention_scale
        return layout.Shape(
            config.num_layers,
            config.d_model,
            config.num_heads,
            config.num_kv_heads,
            config.head_dim,
            config.d_ff,
            config.vocab_size,
            ACTIVATIONS.index(config.activation),
            config.gated,
            PLACEMENTS.index(config.norm_placement),
            config.parallel,
            QK_NORMS.index(config.qk_norm),
            self.exact,
            self.coded_cache,
            self.most_rows,
            self.num_blocks,
            scale,
            config.attention_softcap or 0.0,
            config.logit_softcap or 0.0,
            1.0 if config.embedding_scale is None else config.embedding_scale,
            self._pointer(table.contiguous()),
            self._pointer(positions),
            self._pointer(slopes),
            self._norm(body.embedding_norm),
            self._norm(body.norm),
            self._matrix(head),
        )
