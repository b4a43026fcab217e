"""Stop texts in a stream, however it is cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stepwell.inference.stopping import StopGate

WORDS = st.text(alphabet="ab", max_size=12)
STOPS = st.lists(st.text(alphabet="ab", min_size=1, max_size=4), max_size=3)


def plain(text: str, stops: list[str]) -> str:
    """Read letter by letter up to the first complete stop text; of those that end together the longest counts."""
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            return text[: end - max(map(len, complete))]
    return text


@given(pieces=st.lists(WORDS, max_size=6), stops=STOPS)
def test_the_text_does_not_depend_on_the_pieces(pieces, stops):
    gate = StopGate(stops)
    shown = "".join(gate.push(piece) for piece in pieces)
    shown += gate.finish()
    assert shown == plain("".join(pieces), stops)


@given(pieces=st.lists(WORDS, max_size=6), stops=STOPS)
def test_nothing_is_held_back_without_need(pieces, stops):
    gate = StopGate(stops)
    shown, text = "", ""
    for piece in pieces:
        shown, text = shown + gate.push(piece), text + piece
        if gate.closed:
            break
        held = text[len(shown) :]
        assert text.startswith(shown)
        assert not held or any(stop.startswith(held) for stop in stops)


def test_a_closed_gate_stays_closed():
    gate = StopGate(["."])
    assert gate.push("one. two") == "one"
    assert gate.closed
    assert gate.push("three") == ""
    assert gate.finish() == ""


def test_the_stop_text_that_is_complete_first_wins():
    for pieces in (["abc"], ["ab", "c"], [*"abc"]):
        gate = StopGate(["abc", "b"])
        assert "".join(gate.push(piece) for piece in pieces) == "a"
