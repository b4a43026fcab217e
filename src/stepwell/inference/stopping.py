"""Stop texts in a stream.

Text comes in pieces that know nothing of the stop texts, so whatever could be the beginning of one is held back until
that is settled. The stop text that is complete first wins, however the pieces are cut. This file leaves out tokens:
the end-of-text token is the generator's business.
"""

from __future__ import annotations

from collections.abc import Sequence


class StopGate:
    """Lets text through up to the first stop text.

    Args:
        stops: texts that end the stream, none of them empty.
        free_pieces: so many of the first pieces pass whatever they say; a stop text begins after them.
    """

    def __init__(self, stops: Sequence[str] = (), free_pieces: int = 0) -> None:
        self.stops, self._free_pieces = tuple(stops), free_pieces
        self.closed = False
        self._held = ""

    def push(self, text: str) -> str:
        """Take the next piece of text.

        Returns:
            What may be shown now. When a stop text is complete, `closed` is set and nothing more comes.
        """
        if self.closed:
            return ""
        if self._free_pieces:
            self._free_pieces -= 1
            return text
        held = self._held + text
        ends = [(at + len(stop), at) for stop in self.stops if (at := held.find(stop)) >= 0]
        if ends:
            self.closed, self._held = True, ""
            return held[: min(ends)[1]]
        shown = len(held) - self._num_undecided(held)
        self._held = held[shown:]
        return held[:shown]

    def finish(self) -> str:
        """The stream is over: what was held back, since no stop text came of it."""
        held, self._held, self.closed = self._held, "", True
        return held

    def _num_undecided(self, text: str) -> int:
        """Length of the longest end of the text with which a stop text begins."""
        longest = max((len(stop) - 1 for stop in self.stops), default=0)
        for length in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self.stops):
                return length
        return 0
