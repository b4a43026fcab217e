"""A student learns what its teacher thinks of each next token (Hinton, Vinyals and Dean, 2015).

A right token says one thing; a teacher's prediction says how likely all others were, and teaches a small model more by
each text. Teacher and student read the same tokens; logits of both are there for a part of the rows at a time only.
Hidden states may be drawn together too. This file leaves out texts that a teacher writes: those are data (step
`augment`), and any objective learns from them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, linear, log_softmax, normalize, softmax

from stepwell.checkpoints import MANIFEST, WEIGHTS, load_checkpoint, read_tokenizer, resolve_checkpoint
from stepwell.data import Batch
from stepwell.errors import ConfigError
from stepwell.models import LanguageModel, Output, Stack
from stepwell.objectives.config import DistillationConfig, HiddenStatesConfig
from stepwell.objectives.fused_loss import Judged, fused, judge
from stepwell.objectives.objective import Objective
from stepwell.tokenizers import Tokenizer

WHERE = "training.objective.teacher"


class DistillationObjective(Objective[Batch]):
    """Predict each next token as a teacher does.

    The teacher is opened when it is first asked; whether it fits is known before.

    Args:
        config: the teacher, and how much it counts.
        tokenizer: of the student.

    Raises:
        CheckpointError: when there is no such teacher.
        ConfigError: when it has another tokenizer.
    """

    def __init__(self, config: DistillationConfig, tokenizer: Tokenizer) -> None:
        self.config = config
        self.folder = resolve_checkpoint(Path(config.teacher))
        own = read_tokenizer(self.folder)
        if own.fingerprint != tokenizer.fingerprint:
            raise ConfigError(
                f"{WHERE}: has another tokenizer than the student",
                got=f"{self.folder}: {own.vocab_size:,} tokens, fingerprint {own.fingerprint[:12]}",
                wanted=f"{tokenizer.vocab_size:,} tokens, fingerprint {tokenizer.fingerprint[:12]}",
                do="train the student with the teacher's tokenizer (tokenizer.kind: pretrained), or let "
                "the teacher write its training text (data step augment)",
            )
        self._teacher: LanguageModel | None = None

    def identity(self) -> dict[str, Any]:
        """The teacher's weights, by their checksum."""
        manifest = json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))
        return {"teacher_sha256": manifest["sha256"].get(WEIGHTS, manifest["sha256"])}

    def prepare(self, batch: Batch, seed: int) -> Batch:
        """The batch as it is."""
        return batch

    def loss(self, model: LanguageModel, examples: Batch, device: torch.device) -> Tensor:
        """What the teacher and the right tokens say of the predictions (see `Objective.loss`).

        Raises:
            ConfigError: when the teacher predicts no next token, reads shorter rows, or has other hidden states than
                are asked for.
        """
        teacher = self._open(model, device, examples.token_ids.shape[1])
        token_ids, document_ids, targets, counted = (
            torch.from_numpy(one).to(device)
            for one in (examples.token_ids, examples.document_ids, examples.targets, examples.loss_mask)
        )
        wants_all = self.config.hidden_states is not None and self.config.hidden_states.layers == "all"
        with torch.no_grad():
            thought, deep = states_of(teacher, token_ids, document_ids, wants_all)
        hidden, own = states_of(model, token_ids, document_ids, wants_all)
        places = counted.flatten().nonzero().squeeze(1)
        rows, taught = (one.flatten(0, 1).index_select(0, places) for one in (hidden, thought))
        total = distilled_loss(
            model.before_output(rows),
            model.output(),
            teacher.before_output(taught).detach(),
            teacher.output(),
            targets.flatten()[places],
            self.config,
        )
        if self.config.hidden_states is None:
            return total
        pairs = (
            [(hidden, thought)]
            if not wants_all
            else [(s, deep[at]) for s, at in zip(own, _depths(own, deep), strict=True)]
        )
        apart = [state_distance(s, t, document_ids, counted, self.config.hidden_states) for s, t in pairs]
        return total + self.config.hidden_states.weight * torch.stack(apart).mean()

    def _open(self, model: LanguageModel, device: torch.device, row_tokens: int) -> LanguageModel:
        if self._teacher is not None:
            return self._teacher
        teacher = load_checkpoint(self.folder).model.to(device).requires_grad_(False).eval()
        if not teacher.is_causal or teacher.config.vocab_size < 1:
            raise ConfigError(f"{WHERE}: predicts no next token", got=f"a model of kind {teacher.config.kind}")
        if row_tokens > teacher.config.max_seq_len:
            raise ConfigError(
                f"{WHERE}: reads shorter rows than the student",
                got=f"rows of {row_tokens} tokens, and a teacher that reads {teacher.config.max_seq_len}",
                do=f"set training.row_tokens={teacher.config.max_seq_len}",
            )
        if self.config.hidden_states is not None:
            _check_states(model, teacher, self.config.hidden_states)
        self._teacher = teacher
        return teacher


def _check_states(student: LanguageModel, teacher: LanguageModel, config: HiddenStatesConfig) -> None:
    widths = [int(getattr(one.config, "d_model", 0)) for one in (student, teacher)]
    if config.distance != "relations" and widths[0] != widths[1]:
        raise ConfigError(
            "training.objective.hidden_states.distance: wants equal widths",
            got=f"{config.distance}, a student of width {widths[0]} and a teacher of {widths[1]}",
            do="set it to relations, which compares models of any widths",
        )
    if config.layers == "all" and not all(_stack(one) for one in (student, teacher)):
        raise ConfigError(
            "training.objective.hidden_states.layers: a model has no blocks", got="all", do="set it to last"
        )


def _stack(model: LanguageModel) -> Stack | None:
    return next((part for part in model.modules() if isinstance(part, Stack)), None)


def states_of(
    model: LanguageModel, token_ids: Tensor, document_ids: Tensor, of_blocks: bool
) -> tuple[Tensor, list[Tensor]]:
    """Last hidden states (B, T, D), and where it is asked for those after each block, (B, T, D) each."""
    stack = _stack(model) if of_blocks else None
    if stack is None:
        return model.hidden(token_ids, document_ids), []
    states: list[Tensor] = []
    stack.states = states
    try:
        return model.hidden(token_ids, document_ids), states
    finally:
        stack.states = None


def _depths(own: list[Tensor], deep: list[Tensor]) -> list[int]:
    """For each of a student's blocks the one of the teacher that is as deep in it."""
    return [round((at + 1) * len(deep) / len(own)) - 1 for at in range(len(own))]


def distilled_loss(
    hidden: Tensor, output: Output, taught: Tensor, teacher: Output, targets: Tensor, config: DistillationConfig
) -> Tensor:
    """The summed loss of predictions beside a teacher's, without the logits of either.

    Args:
        hidden: (N, D), what the student's last map takes.
        output: the student's last map.
        taught: (N, D'), what the teacher's takes.
        teacher: the teacher's last map.
        targets: (N,) int64, the right tokens.
        config: see `DistillationConfig`. Rows that only one of the two has in its last map are no tokens; the
            teacher's are left out, and for the student's the teacher has a probability of 0.

    Returns:
        Scalar float32.
    """
    temperature, share = config.temperature, config.teacher_share

    def judged(logits: Tensor, rows: slice) -> Judged:
        told = linear(taught[rows], teacher.weight, teacher.bias)
        told = told.float() if teacher.softcap is None else teacher.softcap * torch.tanh(told.float() / teacher.softcap)
        size = min(told.shape[1], logits.shape[1])
        wanted = softmax(told[:, :size] / temperature, 1)
        guessed = log_softmax(logits.to(wanted.dtype) / temperature, 1)
        likely = log_softmax(told[:, :size] / temperature, 1)
        loss = share * temperature**2 * (wanted * (likely - guessed[:, :size])).sum(1)
        grad = guessed.exp_()
        grad[:, :size] -= wanted
        grad *= share * temperature
        if share == 1:
            return Judged(loss, grad.to(logits.dtype))
        plain = judge(logits, targets[rows], config.loss)
        return Judged(loss + (1 - share) * plain.loss, (grad + (1 - share) * plain.grad).to(logits.dtype))

    return fused(hidden, output, judged)


def state_distance(
    own: Tensor, taught: Tensor, document_ids: Tensor, counted: Tensor, config: HiddenStatesConfig
) -> Tensor:
    """How far a student's hidden states are from its teacher's.

    Args:
        own: (B, T, D).
        taught: (B, T, D'), of the teacher.
        document_ids: (B, T), which document a state belongs to.
        counted: (B, T) bool, which states count.
        config: which distance.

    Returns:
        Scalar float32, summed over the states that count: `mean_squared_error` the mean over D, `cosine` 1 - cos, and
        `relations` the mean over the counted states of the same document of the squared difference of two cosines.
    """
    own, taught = own.float(), taught.float()
    if config.distance == "mean_squared_error":
        return ((own - taught).square().mean(-1) * counted).sum()
    if config.distance == "cosine":
        return ((1 - cosine_similarity(own, taught, dim=-1)) * counted).sum()
    with torch.autocast(own.device.type, enabled=False):
        alike = [one @ one.mT for one in (normalize(own, dim=-1), normalize(taught, dim=-1))]
    same = (document_ids[:, :, None] == document_ids[:, None]) & counted[:, None] & counted[:, :, None]
    squares = (alike[0] - alike[1]).square() * same
    return (squares.sum(-1) / same.sum(-1).clamp_min(1)).sum()
