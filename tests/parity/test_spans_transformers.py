"""Finding passages as transformers does: the loss of BertForQuestionAnswering, and its windows of a long text."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stepwell.objectives import span_losses
from stepwell.tasks import BEGIN, CANDIDATE, END
from stepwell.tasks.question_answering import window_starts

transformers = pytest.importorskip("transformers")


@pytest.mark.slow
def test_the_loss_is_that_of_bert_for_question_answering() -> None:
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    torch.manual_seed(0)
    model = transformers.BertForQuestionAnswering(config).eval()
    begins, ends = torch.tensor([2, 0, 8]), torch.tensor([5, 0, 8])
    with torch.no_grad():
        told = model(torch.randint(5, 50, (3, 9)), start_positions=begins, end_positions=ends)
    marks = np.full((3, 9), CANDIDATE, np.uint8)
    marks[np.arange(3), begins] |= BEGIN
    marks[np.arange(3), ends] |= END
    scores = torch.stack([told.start_logits, told.end_logits], dim=-1)
    pieces = torch.arange(3)[:, None].expand(3, 9)
    losses = span_losses(scores, torch.from_numpy(marks), pieces, 3)
    assert losses.mean().item() == pytest.approx(told.loss.item(), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("length", "room", "stride"), [(40, 10, 6), (10, 10, 3), (23, 7, 7), (11, 10, 1)])
def test_windows_begin_where_those_of_a_fast_tokenizer_do(length: int, room: int, stride: int) -> None:
    import tokenizers

    words = {f"w{number}": number for number in range(length)}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="w0"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=backend)
    windows = fast(
        " ".join(words), truncation=True, max_length=room, stride=room - stride, return_overflowing_tokens=True
    )["input_ids"]
    theirs = [window[0] for window in windows]
    ours = window_starts(length, room, stride)
    assert ours[:-1] == theirs[:-1]  # the last window of ours is full, and ends with the text as theirs does
    assert ours[-1] == max(0, length - room)
