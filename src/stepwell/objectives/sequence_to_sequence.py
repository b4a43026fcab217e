"""The second half of a text is written for its first half: sequence to sequence on plain text (Sutskever et al., 2014).

Every piece of a packed row is cut at a random place into a source and a target, which are laid into rows as those of a
corrupted text are. This file leaves out pairs that come as such.
"""

from __future__ import annotations

import numpy as np

from stepwell.objectives.config import SequenceToSequenceConfig
from stepwell.objectives.corruption import CorruptionObjective
from stepwell.objectives.pairs import Ints
from stepwell.tokenizers import Tokenizer


class SequenceToSequenceObjective(CorruptionObjective):
    """Write how a text goes on, for its beginning as a source.

    The source has 1 to N - 1 of the N tokens, each number as likely; of a text of one token it is empty.

    Args:
        config: how a prediction is judged.
        tokenizer: of the text.
    """

    def __init__(self, config: SequenceToSequenceConfig, tokenizer: Tokenizer) -> None:
        super().__init__(tokenizer, config.loss)

    def corrupt(self, text: Ints, random: np.random.Generator) -> tuple[Ints, Ints]:
        """Its beginning, and the rest."""
        cut = int(random.integers(1, len(text))) if len(text) > 1 else 0
        return text[:cut], text[cut:]
