"""The command that talks with a model: questions from the keyboard or a pipe, answers as they are written.

In a terminal a line that begins with `/` is a command, the arrow keys bring back what was said, and Ctrl-C stops an
answer and nothing else. Without a terminal each line is a question, and standard output has the answers alone. This
file leaves out what a conversation is (`api`).
"""

from __future__ import annotations

import contextlib
import re
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from stepwell.config import parse_assignments
from stepwell.errors import StepwellError, UsageError

if TYPE_CHECKING:
    from stepwell.api import Conversation

Run = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run directory or a checkpoint directory.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]

BLOCK = '"""'
"""What stands around a message of several lines."""

SHOWN_LETTERS = 60
"""Of a question that was loaded."""

DIM, BOLD, PLAIN = "\x1b[2m", "\x1b[1m", "\x1b[0m"


def chat(
    run: Run,
    system: Annotated[str | None, typer.Option(help="System message.", show_default=False)] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longest answer.", show_default=False)] = None,
    temperature: Annotated[float | None, typer.Option(help="0 takes the likeliest token.", show_default=False)] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Draw among the likeliest that sum to p.", show_default=False)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Decides every draw.", show_default=False)] = None,
    weights: Annotated[str, typer.Option(help="auto, bf16, int8, int4, float32 or plain.")] = "auto",
    json: Json = False,
) -> None:
    """Talk with a model, turn by turn; /help says what else there is. Without a terminal: one question a line."""
    from stepwell import api
    from stepwell.cli import show

    asked = {"max_tokens": max_tokens, "temperature": temperature, "top_p": top_p, "seed": seed}
    given = {name: value for name, value in asked.items() if value is not None}
    in_terminal = sys.stdin.isatty() and sys.stdout.isatty() and not json
    if in_terminal:
        show.console_for().print(f"[dim]opening {show.plain(str(run))} ...[/]", soft_wrap=True)
    talk = Talk(api.chat(run, given, system=system, weights=weights), is_quiet=json)
    if in_terminal:
        talk.in_terminal()
    else:
        talk.in_pipe()
    if json:
        conversation = talk.conversation
        messages = [{"role": "system", "content": conversation.system}] if conversation.system else []
        show.print_json(
            {
                "model": conversation.name,
                "weights": conversation.weights,
                "messages": [*messages, *conversation.messages],
                "answers": talk.told,
            }
        )


class Command(NamedTuple):
    """What a line that begins with `/` does.

    Attributes:
        words: that may come after it, as the help shows them.
        does: in a few words.
        act: with what came after it.
    """

    words: str
    does: str
    act: Callable[[Talk, str], None]


class Talk:
    """A conversation with a person, or with a program.

    Args:
        conversation: with a model.
        is_quiet: whether nothing is written before the end.

    Attributes:
        told: of each answer how it came about.
    """

    def __init__(self, conversation: Conversation, *, is_quiet: bool = False) -> None:
        self.conversation, self.is_quiet = conversation, is_quiet
        self.told: list[dict[str, Any]] = []
        self.is_over = False
        self.is_shown = False
        self.own_files: set[Path] = set()
        self._is_reading = self._was_pressed = False

    def in_terminal(self) -> None:
        """Talk until the person goes."""
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - `input` gets the arrow keys by it
        self.is_shown = True
        conversation = self.conversation
        self.write(f"{BOLD}{visible(conversation.name)}{PLAIN}")
        self.note(
            f"  reads {conversation.max_seq_len:,} tokens; {conversation.weights} weights; /help, or Ctrl-D to end"
        )
        with self.listening():
            while not self.is_over:
                try:
                    text = self.read()
                except KeyboardInterrupt:
                    self.write("\n")
                    continue
                except EOFError:
                    self.write("\n")
                    return
                try:
                    self.take(text)
                except StepwellError as fault:
                    from stepwell.cli import show

                    show.error(fault)

    def in_pipe(self) -> None:
        """Answer every line of standard input.

        Raises:
            StepwellError: what is wrong with a line; those after it are not answered.
        """
        for line in sys.stdin:
            self.take(line.rstrip("\r\n"))
            if self.is_over:
                return

    def read(self) -> str:
        """What the person says next: a line, lines that end with a backslash, or a block between triple quotes.

        Raises:
            EOFError: when there is nothing more.
        """
        line = self.line("> ")
        if line.strip().startswith(BLOCK):
            lines = [line.strip().removeprefix(BLOCK)]
            while not lines[-1].rstrip().endswith(BLOCK):
                lines.append(self.line(". "))
            lines[-1] = lines[-1].rstrip().removesuffix(BLOCK)
            return "\n".join(lines).strip("\n")
        lines = [line]
        while lines[-1].endswith("\\"):
            lines[-1] = lines[-1][:-1]
            lines.append(self.line(". "))
        return "\n".join(lines)

    def line(self, sign: str) -> str:
        """One line from the keyboard."""
        self._is_reading = True
        try:
            return input(prompt_sign(sign))
        finally:
            self._is_reading = False

    def take(self, text: str) -> None:
        """Answer a message, or do a command.

        Raises:
            StepwellError: when that cannot be done.
        """
        if not text.strip():
            return
        if text.startswith("//"):
            text = text[1:]
        elif text.startswith("/"):
            name, _, rest = text[1:].partition(" ")
            command = COMMANDS.get(ALIASES.get(name, name))
            if command is None:
                raise UsageError(f"/{name}: no such command", do="/help shows them; // begins a message with /")
            command.act(self, rest.strip())
            return
        self.answer(self.conversation.say(text))

    def answer(self, pieces: Generator[str, None, None]) -> None:
        """Write an answer as it comes; Ctrl-C stops it.

        Raises:
            StepwellError: when there is none.
        """
        conversation, is_stopped = self.conversation, False
        self._was_pressed = False
        with closing(pieces):
            is_first, is_empty = True, True
            for piece in pieces:
                if is_first and conversation.left_out:
                    self.note(
                        f"(not read any more, for want of room: {_counted(conversation.left_out)} at the beginning)"
                    )
                is_first, is_empty = False, is_empty and not piece.strip()
                self.write(visible(piece) if self.is_shown else piece)
                if is_stopped := self._was_pressed:
                    break
        self.write("\n")
        pace = conversation.pace
        self.told.append(
            {
                "prompt_tokens": pace.prompt_tokens,
                "tokens": pace.tokens,
                "seconds": round(pace.seconds, 3),
                "tokens_per_second": round(pace.tokens_per_second, 1),
                "finish_reason": None if is_stopped else conversation.finish_reason,
            }
        )
        if is_stopped:
            self.note("(stopped)")
        elif conversation.finish_reason == "length":
            self.note(f"(cut after {pace.tokens} tokens; /set max_tokens={2 * pace.tokens} allows more)")
        elif is_empty:
            self.note("(the model says nothing)")
        if self.is_shown:
            self.write("\n")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """While the body runs Ctrl-C gives up the line that is being typed or is noted; it never ends the talk."""

        def receive(signum: int, frame: FrameType | None) -> None:
            self._was_pressed = True
            if self._is_reading:
                self._is_reading = False  # another one on the way out of `input` is only noted
                raise KeyboardInterrupt

        before = signal.signal(signal.SIGINT, receive)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def write(self, text: str) -> None:
        """Show text as it is."""
        if not self.is_quiet:
            sys.stdout.write(text)
            sys.stdout.flush()

    def note(self, text: str) -> None:
        """Say something that is no part of an answer; only in a terminal."""
        if self.is_shown:
            self.write(f"{DIM}{visible(text)}{PLAIN}\n")


def visible(text: str) -> str:
    """Text that cannot do anything to a terminal; lines and tabs stay."""
    from stepwell.studies import visible as with_signs

    return with_signs(text)


def prompt_sign(sign: str) -> str:
    """What stands before a line; readline is told which letters take no room."""
    return f"\x01{BOLD}\x02{sign}\x01{PLAIN}\x02"


def _help(talk: Talk, words: str) -> None:
    rows = [(f"/{name} {command.words}".rstrip(), command.does) for name, command in COMMANDS.items()]
    rows += [("Ctrl-C", "stops an answer"), ("Ctrl-D", "ends")]
    rows += [("\\ at the end", "of a line: the message goes on"), (BLOCK, "begins and ends a message of several lines")]
    talk.write("".join(f"  {shown:<22}{DIM}{does}{PLAIN}\n" for shown, does in rows))


def _clear(talk: Talk, words: str) -> None:
    talk.conversation.clear()
    talk.note("(a new conversation)")


def _system(talk: Talk, words: str) -> None:
    if words:
        talk.conversation.system = None if words in ('""', "''") else words
    system = talk.conversation.system
    talk.note("(no system message)" if system is None else f'(system message: {system}; /system "" takes it away)')


def _set(talk: Talk, words: str) -> None:
    if words:
        talk.conversation.change(parse_assignments(re.split(r"\s+(?=[a-z_]+=)", words)))
    stated = talk.conversation.params.stated()
    talk.note(f"({', '.join(f'{name}={value}' for name, value in stated.items()) or 'all as by default'})")


def _retry(talk: Talk, words: str) -> None:
    talk.answer(talk.conversation.again())


def _undo(talk: Talk, words: str) -> None:
    talk.conversation.take_back()
    talk.note(f"(taken back; {_counted(len(talk.conversation.messages) // 2)} left)")


def _stats(talk: Talk, words: str) -> None:
    if not talk.told:
        talk.note("(nothing was answered yet)")
        return
    pace, total = talk.conversation.pace, sum(one["tokens"] for one in talk.told)
    talk.note(
        f"last answer: {pace.tokens} tokens, {pace.tokens_per_second:.1f} tokens/s, the first after "
        f"{pace.first_seconds:.2f} s, {pace.prompt_tokens} tokens before it\n"
        f"in all: {_counted(len(talk.told), 'answer')}, {total} tokens"
    )


def _save(talk: Talk, words: str) -> None:
    path = _named(words, "save")
    if path.exists() and path.resolve() not in talk.own_files:
        raise UsageError(f"{path}: is there already", do="name another file")
    talk.conversation.save(path)
    talk.own_files.add(path.resolve())
    talk.note(f"(saved: {path})")


def _load(talk: Talk, words: str) -> None:
    path = _named(words, "load")
    talk.conversation.load(path)
    talk.own_files.add(path.resolve())
    messages = talk.conversation.messages
    last = f"; the last question: {_short(messages[-2]['content'])}" if messages else ""
    talk.note(f"({_counted(len(messages) // 2)}{last})")


def _counted(number: int, what: str = "turn") -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_LETTERS else line[: SHOWN_LETTERS - 1] + "…"


def _named(words: str, name: str) -> Path:
    if not words:
        raise UsageError(f"/{name}: which file?", do=f"/{name} conversation.json")
    return Path(words).expanduser()


def _quit(talk: Talk, words: str) -> None:
    talk.is_over = True


COMMANDS = {
    "help": Command("", "shows this", _help),
    "clear": Command("", "begins a new conversation", _clear),
    "system": Command("TEXT", "what the model should be like; alone, shows it", _system),
    "set": Command("temperature=0.7", "how answers are drawn; alone, shows it", _set),
    "retry": Command("", "has the last question answered once more", _retry),
    "undo": Command("", "takes the last question and its answer back", _undo),
    "stats": Command("", "how fast the answers came", _stats),
    "save": Command("FILE", "writes the conversation to a file", _save),
    "load": Command("FILE", "goes on with the conversation of a file", _load),
    "quit": Command("", "ends", _quit),
}
"""Name -> what it does, in the order of the help."""

ALIASES = {"exit": "quit", "q": "quit", "?": "help", "h": "help"}
