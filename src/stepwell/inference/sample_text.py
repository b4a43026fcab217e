"""The text of one sample as its tokens come, and when it ends.

A token ends it (the tokenizer's or one that was named), or a stop text, or a grammar that allows nothing more, or there
is no room for another token. This file leaves out where the tokens come from.
"""

from __future__ import annotations

from stepwell.inference.completion import FinishReason
from stepwell.inference.params import SamplingParams
from stepwell.inference.sampling import Drawn, Sampling
from stepwell.inference.stopping import StopGate
from stepwell.tokenizers import StreamDecoder, Tokenizer


class SampleText:
    """What may be shown of a sample.

    Args:
        params: how it is drawn.
        sampling: of the sample.
        tokenizer: the one that the model was trained with.
        continues: whether it goes on with the prompt's text, rather than answering it.
    """

    def __init__(self, params: SamplingParams, sampling: Sampling, tokenizer: Tokenizer, *, continues: bool) -> None:
        self.sampling = sampling
        self._decoder = StreamDecoder(tokenizer.target, continues=continues)
        self._gate = StopGate(params.stop, params.min_tokens)

    def take(self, drawn: Drawn, *, last: bool) -> tuple[str, FinishReason | None]:
        """Add a token.

        Args:
            drawn: the token, which the sampling has taken.
            last: whether no further one may come.

        Returns:
            The text that may be shown now, and why the sample has ended; None while it has not.
        """
        ends = self.sampling.ends(drawn.token_id)
        text = "" if ends else self._gate.push(self._decoder.push(drawn.token_id))
        if ends and not self._gate.closed:  # at max_tokens a torn character is left out: the next token would end it
            text += self._gate.push(self._decoder.finish())
        if ends or self._gate.closed or self.sampling.is_finished:
            return text + self._gate.finish(), "stop"
        return (text + self._gate.finish(), "length") if last else (text, None)
