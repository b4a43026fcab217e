"""Contrastive search: of the likeliest next tokens, the one that is least like what was written so far.

Likeness is the cosine between the hidden state that the model would have at the token and those of the text, so text
that would go round in circles is left (Su et al., 2022, "A Contrastive Framework for Neural Text Generation"). This
file leaves out text and its end (`generation.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from stepwell.errors import UsageError
from stepwell.inference.sampling import Drawn, Sampling, adjust, finite, told
from stepwell.models import LanguageModel
from stepwell.nn import DecodingState


def contrast(model: LanguageModel, prompt_ids: Sequence[int], sampling: Sampling) -> Iterator[tuple[Drawn, bool]]:
    """Choose one token after another.

    Args:
        model: in evaluation mode, one whose hidden states are there for each token.
        prompt_ids: (T,) as the model reads them, T from 1: a text to go on with, or a source. Of a source nothing
            counts as text.
        sampling: its `top_k` candidates and `penalty_alpha`; penalties and bans change which are candidates, and how
            likely they are.

    Yields:
        A token, and whether none can come after it: max_tokens were chosen, or the window is full.

    Raises:
        UsageError: when the model has no such states, or the prompt fills its window.
        StepwellError: when the model predicts NaN or infinity.
    """
    if not model.is_causal:
        raise UsageError(
            "penalty_alpha: contrastive search compares the hidden states of tokens",
            got=f"a model of kind {model.config.kind}, which has others for each token that follows",
            wanted="one that reads from left to right",
            do="leave penalty_alpha out",
        )
    params = sampling.params
    assert params.penalty_alpha is not None
    assert params.top_k is not None
    with torch.inference_mode():
        state, logits, text = _begin(model, prompt_ids, params.max_tokens)
        for num_chosen in range(1, params.max_tokens + 1):
            drawn, logits, text = _step(model, state, logits, text, sampling)
            last = num_chosen == params.max_tokens or state.length == model.config.max_seq_len
            yield drawn, last
            if last:
                return


def _step(
    model: LanguageModel, state: DecodingState, logits: Tensor, text: Tensor, sampling: Sampling
) -> tuple[Drawn, Tensor, Tensor]:
    """One token: its candidates are read side by side, and the state goes on with the one that is chosen.

    Args:
        model: any.
        state: of one sequence, extended by the token.
        logits: (1, V) float32, what comes next.
        text: (1, T, D), the hidden states of the text, each of length 1.
        sampling: takes the token.

    Returns:
        The token, the logits after it, and the text's hidden states with its own.
    """
    known = finite(logits[:, : sampling.vocab_size])
    weighed = adjust([sampling], known).softmax(-1)
    likely, candidates = weighed.topk(min(sampling.params.top_k or 1, weighed.shape[-1]))
    likely, candidates = likely[likely > 0], candidates[likely > 0]
    state.select(torch.zeros(len(candidates), dtype=torch.int64, device=candidates.device))
    hidden = _hidden(model, state, candidates[:, None])
    directions = normalize(hidden.float(), dim=-1)
    likeness = (directions @ text[0].T).amax((1, 2)) if text.shape[1] else torch.zeros_like(likely)
    alpha = sampling.params.penalty_alpha or 0.0
    chosen = ((1 - alpha) * likely - alpha * likeness).argmax()[None]
    state.select(chosen)
    (drawn,) = told([sampling], known, candidates[chosen], [1.0])
    text = torch.cat((text, directions[chosen]), dim=1) if text.shape[1] else directions[chosen]
    return drawn, _predict(model, hidden[chosen]), text


def _begin(model: LanguageModel, prompt_ids: Sequence[int], max_tokens: int) -> tuple[DecodingState, Tensor, Tensor]:
    """Read the prompt: a state, logits (1, V) of the next token, and the directions of hidden states (1, T, D)."""
    ids = torch.tensor([list(prompt_ids)], dtype=torch.int64, device=model.device)
    room = model.config.max_seq_len
    if model.reads_source:
        state, logits = model.begin(ids, min(max_tokens + 1, room))
        return state, logits, logits.new_zeros(1, 0, 1)
    if len(prompt_ids) >= room:
        raise UsageError(
            "penalty_alpha: the prompt leaves no room in the model's window",
            got=f"{len(prompt_ids)} tokens",
            wanted=f"fewer than max_seq_len = {room}",
            do="give a shorter prompt, or leave penalty_alpha out",
        )
    state = model.start(1, min(len(prompt_ids) + max_tokens, room))
    hidden = _hidden(model, state, ids)
    return state, _predict(model, hidden), normalize(hidden.float(), dim=-1)


def _hidden(model: LanguageModel, state: DecodingState, token_ids: Tensor) -> Tensor:
    """Extend a state; (B, T, D)."""
    hidden = model.hidden(token_ids, state=state)
    if not hidden.is_floating_point():
        raise UsageError(
            "penalty_alpha: contrastive search compares hidden states",
            got=f"a model of kind {model.config.kind}, which has none",
            do="leave penalty_alpha out",
        )
    return hidden


def _predict(model: LanguageModel, hidden: Tensor) -> Tensor:
    """Logits (B, V) after hidden states (B, T, D)."""
    logits = model.unembed(hidden[:, -1])
    never = list(getattr(model.config, "never_ids", ()))
    if never and model.reads_source:
        logits[:, never] = torch.finfo(logits.dtype).min
    return logits
