"""`stepwell chat`: a conversation through a pipe, and one at a terminal, with a model that babbles."""

from __future__ import annotations

import io
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stepwell import api
from stepwell.errors import ConfigError, DataError, TokenizerError, UsageError

Command = Callable[..., Any]
Piped = Callable[..., Any]


@pytest.fixture(scope="module")
def babbler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a chat model that has learned nothing, with a window of 4,096 bytes."""
    from stepwell.checkpoints import save_checkpoint
    from stepwell.models import DecoderConfig, build_model
    from stepwell.tokenizers import ByteBPEConfig, conversational, train_tokenizer

    tokenizer = conversational(train_tokenizer([], ByteBPEConfig(vocab_size=257)))
    shape = {"num_layers": 1, "d_model": 16, "num_heads": 2, "num_kv_heads": 1, "head_dim": 8, "d_ff": 24}
    model = build_model(DecoderConfig(vocab_size=257, max_seq_len=4096, **shape), seed=0)
    path = tmp_path_factory.mktemp("chat") / "babbler"
    save_checkpoint(path, model, tokenizer, provenance={"task": {"kind": "chat"}, "decoding": {"max_tokens": 12}})
    return path


def told(conversation: Any) -> list[tuple[str, str]]:
    return [(one["role"], one["content"]) for one in conversation.messages]


@pytest.mark.slow
def test_what_was_said_is_read_with_the_next_question(babbler: Path) -> None:
    asked = {"seed": 7, "ignore_eos": True}
    talk = api.chat(babbler, asked, system="Be brief.", weights="plain")
    first = "".join(talk.say("one")).strip()
    second = "".join(talk.say("two")).strip()
    assert told(talk) == [("user", "one"), ("assistant", first), ("user", "two"), ("assistant", second)]
    messages = [{"role": "system", "content": "Be brief."}, *talk.messages[:3]]
    (one,) = api.predict(babbler, messages, asked)[0]
    assert one.text.strip() == second, "the same as the whole conversation asked at once"
    assert talk.pace.prompt_tokens == one.prompt_tokens
    assert (talk.pace.tokens, talk.finish_reason, talk.answers) == (12, "length", 2)


@pytest.mark.slow
def test_an_answer_is_drawn_again_and_taken_back(babbler: Path) -> None:
    talk = api.chat(babbler, {"ignore_eos": True})
    "".join(talk.say("one"))
    first = told(talk)
    found = {"".join(talk.again()) for _ in range(3)}
    assert len(found) == 3, "drawn afresh each time"
    assert [role for role, _ in told(talk)] == ["user", "assistant"]
    talk.change({"seed": 3})
    assert len({"".join(talk.again()) for _ in range(2)}) == 1
    talk.take_back()
    assert told(talk) == []
    for nothing in (talk.take_back, talk.again):
        with pytest.raises(UsageError, match="nothing was asked"):
            nothing()
    assert first[0] == ("user", "one")


@pytest.mark.slow
def test_an_answer_that_is_stopped_stays_as_far_as_it_came(babbler: Path) -> None:
    talk = api.chat(babbler, {"ignore_eos": True, "max_tokens": 1000, "logit_bias": {ord("a"): 100}, "temperature": 0})
    pieces = talk.say("one")
    shown = [next(pieces) for _ in range(5)]
    pieces.close()
    assert told(talk) == [("user", "one"), ("assistant", "".join(shown))]
    pieces = talk.again()
    pieces.close()
    assert told(talk) == [("user", "one"), ("assistant", "".join(shown))], "nothing new came: the old answer stays"
    assert len("".join(talk.say("two"))) == 1000, "the engine is free again"


def test_a_question_without_an_answer_is_taken_back(babbler: Path) -> None:
    talk = api.chat(babbler)
    for text, words in (("  ", "is empty"), ("long " * 1000, "longer than the model's window")):
        with pytest.raises(UsageError, match=words):
            "".join(talk.say(text))
    assert told(talk) == []


def test_the_oldest_turns_give_way(babbler: Path) -> None:
    talk = api.chat(babbler, {"ignore_eos": True}, system="S" * 500)
    for _ in range(3):
        "".join(talk.say("x" * 1500))
    assert talk.left_out == 1
    assert 3500 < talk.pace.prompt_tokens <= 4096 - 12
    assert len(talk.messages) == 6
    "".join(talk.say("x" * 3550))
    assert talk.left_out == 3, "one that hardly fits is asked alone"


def test_a_conversation_is_saved_and_gone_on_with(babbler: Path, tmp_path: Path) -> None:
    talk = api.chat(babbler, {"seed": 7, "ignore_eos": True}, system="Be brief.")
    "".join(talk.say("你好\nthere"))
    talk.save(tmp_path / "said.json")
    again = api.chat(babbler)
    again.load(tmp_path / "said.json")
    assert (told(again), again.system) == (told(talk), "Be brief.")
    exported = {"conversations": [{"model": "x", "messages": [*talk.messages, {"role": "user", "content": "left"}]}]}
    (tmp_path / "page.json").write_text(json.dumps(exported), encoding="utf-8")
    again.load(tmp_path / "page.json")
    assert (told(again), again.system) == (told(talk), None)
    for name, content in {"none": None, "broken": "{", "number": "3", "order": '[{"role": "assistant"}]'}.items():
        if content is not None:
            (tmp_path / name).write_text(content, encoding="utf-8")
        with pytest.raises(DataError, match=name):
            again.load(tmp_path / name)
    assert told(again) == told(talk)


def test_who_cannot_talk_says_so(babbler: Path, trained_run: Path) -> None:
    with pytest.raises(TokenizerError, match="no chat template"):
        api.chat(trained_run)
    with pytest.raises(UsageError, match="weights: no such way"):
        api.chat(babbler, weights="int3")
    with pytest.raises(UsageError, match="one answer at a time"):
        api.chat(babbler, {"n": 2})
    talk = api.chat(babbler)
    for values, fault in (({"n": 2}, UsageError), ({"heat": 1}, ConfigError), ({"temperature": -1}, ConfigError)):
        with pytest.raises(fault):
            talk.change(values)
    assert talk.params.samples == 1


@pytest.fixture
def piped(stepwell: Command, monkeypatch: pytest.MonkeyPatch) -> Piped:
    """The command with lines on its standard input."""

    def run(text: str, *words: object) -> Any:
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        return stepwell("chat", *words)

    return run


def test_through_a_pipe_each_line_is_a_question(piped: Piped, babbler: Path) -> None:
    words = [babbler, "--seed", 5, "--max-tokens", 9]
    shown = piped("one\n\n/set ignore_eos=true temperature=0.5\ntwo\n//three\n", *words)
    assert (shown.code, shown.err) == (0, "")
    ran = piped("one\n\n/set ignore_eos=true temperature=0.5\ntwo\n//three\n", *words, "--json")
    found = json.loads(ran.out)
    said = [one["content"] for one in found["messages"] if one["role"] == "user"]
    assert said == ["one", "two", "/three"]
    assert [one["tokens"] for one in found["answers"]][1:] == [9, 9]
    assert found["model"] == "babbler"
    answers = [one["content"] for one in found["messages"] if one["role"] == "assistant"]
    assert [text.strip() for text in answers] == [text for text in answers if text in shown.out]


def test_through_a_pipe_what_is_wrong_ends_it(piped: Piped, babbler: Path) -> None:
    ran = piped("/nonsense\none\n", babbler)
    assert (ran.code, ran.out) == (2, "")
    assert "/nonsense: no such command" in ran.err
    assert piped("/quit\n/nonsense\n", babbler).code == 0
    assert piped("", babbler, "--json").code == 0


class Terminal:
    """The command at a pseudo terminal."""

    def __init__(self, *words: object, cwd: Path) -> None:
        import pty

        self.keyboard, screen = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "stepwell", "chat", *map(str, words)],
            stdin=screen,
            stdout=screen,
            stderr=screen,
            cwd=cwd,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm", "INPUTRC": os.devnull, "COLUMNS": "80"},
            preexec_fn=_take_terminal,
        )
        os.close(screen)
        self.shown = ""

    def press(self, keys: str) -> None:
        os.write(self.keyboard, keys.encode())

    def wait_for(self, pattern: str, *, meanwhile: str = "") -> str:
        """What is shown up to the end of the pattern, which is then forgotten; keys are pressed until it comes."""
        end = time.monotonic() + 60
        while not (found := re.search(pattern, self.shown, re.DOTALL)):
            assert time.monotonic() < end, f"{pattern!r} did not come: {self.shown[-500:]!r}"
            self.press(meanwhile)
            if select.select([self.keyboard], [], [], 1)[0]:
                self.shown += self._read()
        shown, self.shown = self.shown[: found.end()], self.shown[found.end() :]
        return shown

    def ask(self, line: str, pattern: str) -> str:
        self.press(line + "\n")
        return self.wait_for(pattern)

    def _read(self) -> str:
        try:
            return os.read(self.keyboard, 65536).decode(errors="replace").replace("\r\n", "\n")
        except OSError:  # the other end is closed
            pytest.fail(f"the command ended: {self.shown[-500:]!r}")

    def close(self) -> None:
        os.close(self.keyboard)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def _take_terminal() -> None:
    """Standard input becomes the terminal of the new session, so that Ctrl-C reaches it."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def terminal(babbler: Path, tmp_path: Path) -> Iterator[Terminal]:
    pytest.importorskip("pty")
    one = Terminal(babbler, "--seed", 1, cwd=tmp_path)
    yield one
    one.close()


@pytest.mark.slow
def test_at_a_terminal(terminal: Terminal, tmp_path: Path) -> None:
    assert "reads 4,096 tokens" in terminal.wait_for("> ")
    helped = terminal.ask("/help", r"several lines.*> ")
    assert [name for name in ("/retry", "/save FILE", "Ctrl-C") if name not in helped] == []
    terminal.ask("/set ignore_eos=true max_tokens=4000", r"\(.*max_tokens=4000.*> ")
    terminal.press("tell me more\n")
    terminal.wait_for(r"tell me more\n.{30,}")
    terminal.press("\x03")
    terminal.wait_for(r"\(stopped\).*> ")
    assert "tokens/s" in terminal.ask("/stats", r"in all: 1 answer, \d+ tokens.*> ")
    terminal.ask("/set max_tokens=6", r"max_tokens=6.*> ")
    terminal.ask("/system Be brief.", r"system message: Be brief\..*> ")
    terminal.ask("first \\", r"\. ")
    terminal.ask("line", r"cut after 6 tokens.*> ")
    terminal.ask('"""', r"\. ")
    terminal.ask("second", r"\. ")
    terminal.ask('block"""', r"cut after 6 tokens.*> ")
    terminal.ask("/undo", r"taken back; 2 turns left.*> ")
    terminal.press("\x1b[A" * 6 + "\n")  # the arrow up, back to `first \`
    terminal.ask("again", r"cut after 6 tokens.*> ")
    terminal.ask("/save said.json", r"saved: said.json.*> ")
    terminal.ask("/retry", r"cut after 6 tokens.*> ")
    terminal.ask("/clear", r"a new conversation.*> ")
    terminal.ask("/undo", r"nothing was asked yet.*> ")
    terminal.ask("/load said.json", r"3 turns.*> ")
    terminal.ask("/save said.json", r"saved.*> ")
    terminal.ask("/set heat=1", r"unknown field.*> ")
    terminal.press("half a line")
    terminal.wait_for("half a line")
    terminal.wait_for("> ", meanwhile="\x03")  # a signal between two looks of `input` is noticed with the next key
    terminal.press("\x04")
    assert terminal.process.wait(timeout=30) == 0
    saved = json.loads((tmp_path / "said.json").read_text(encoding="utf-8"))["messages"]
    assert [one["content"] for one in saved if one["role"] != "assistant"] == [
        "Be brief.",
        "tell me more",
        "first \nline",
        "first \nagain",
    ]


@pytest.mark.slow
def test_a_terminal_that_is_ended_while_an_answer_is_written(terminal: Terminal) -> None:
    terminal.wait_for("> ")
    terminal.ask("/set ignore_eos=true max_tokens=4000", r"max_tokens=4000.*> ")
    terminal.press("tell me more\n")
    terminal.wait_for(r"tell me more\n.{30,}")
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.process.wait(timeout=30) != 0
