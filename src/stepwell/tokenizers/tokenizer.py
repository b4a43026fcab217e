"""One tokenizer for every family: text to ids and back, over a backend of the `tokenizers` library.

Around the backend stands what a language model needs: the roles of its special tokens under one name each, the bytes
behind every token, text that can never make a special token by accident, a fingerprint, saving and loading. This file
leaves out how a tokenizer is trained and how other programs' files are read.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray

from stepwell.config import build
from stepwell.errors import ConfigError, DiskError, TokenizerError
from stepwell.tokenizers.chat import quote_tokens, render_chat, split_quoted
from stepwell.tokenizers.config import END_OF_TEXT
from stepwell.tokenizers.encoders import plain_encoder, special_encoder
from stepwell.tokenizers.files import read_backend, read_json
from stepwell.tokenizers.places import places_of_bytes
from stepwell.tokenizers.roles import Roles, own_roles
from stepwell.tokenizers.spelling import Spelling

TokenIds = NDArray[np.int32]

NOT_UTF8 = re.compile("([\udc80-\udcff]+)")
LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class Tokenizer:
    """Text to token ids and back.

    Special tokens never arise from text: their literal characters give ordinary tokens, unless `special` is asked for.

    Args:
        backend: of any family. Its truncation and padding are switched off.
        roles: which tokens have a part to play; None for a tokenizer that stepwell trained.
        target: of a model that reads one language and writes another, the tokenizer of the other one, with the same
            ids (Marian). None where one tokenizer does both.

    Attributes:
        vocab_size: number of token ids, special ones and gaps included.
        bos_id: the id that begins a document; where the family has none, the id that ends one.
        eos_id: the id that ends one.
        pad_id: the id that fills rows up, or None.
        mask_id: the id that hides a token, or None.
        unk_id: the id of what the vocabulary does not have, or None.
        stop_ids: every id that ends what a model writes, `eos_id` among them.
        span_ids: ids that stand for hidden spans, in order; none in most families.
        special_ids: every id that spells nothing.
        adds_bos: whether the family puts the begin token before a prompt.
        adds_eos: whether it puts the end token after what an encoder reads.
        chat_template: Jinja source that turns messages into a prompt, or None.
        is_lossless: whether every text comes back from its ids to the letter.
        target: the tokenizer of what the model writes; itself in most families.

    Raises:
        TokenizerError: when a role has no token, or the backend cannot be read.
    """

    def __init__(
        self, backend: tokenizers.Tokenizer, roles: Roles | None = None, *, target: Tokenizer | None = None
    ) -> None:
        backend.no_truncation()
        backend.no_padding()
        self._own = own_roles(backend)
        roles = roles or self._own
        if roles is None:
            raise TokenizerError(
                f"tokenizer: has no {END_OF_TEXT} token",
                wanted="a tokenizer of stepwell, or its tokenizer_roles.json beside it",
                do="import the model that it belongs to, or train it again",
            )
        self.roles = roles
        self._backend = backend
        self._spelling = Spelling(backend)
        self._plain = plain_encoder(backend)
        self._id_of_byte = self._spelling.id_of_bytes()
        self.vocab_size = roles.vocab_size or max(backend.get_vocab(with_added_tokens=True).values()) + 1
        for name, token_id in roles.token_ids().items():
            if not 0 <= token_id < self.vocab_size:
                raise TokenizerError(f"tokenizer: {name} is no token", got=str(token_id), wanted=self._range())
        self.bos_id, self.eos_id = roles.bos_id, roles.eos_id
        self.pad_id, self.mask_id, self.unk_id = roles.pad_id, roles.mask_id, roles.unk_id
        self.stop_ids = frozenset({roles.eos_id, *roles.stop_ids})
        self.span_ids = roles.span_ids
        self.special_ids = self._spelling.special_ids
        self.adds_bos, self.adds_eos = roles.adds_bos, roles.adds_eos
        self.chat_template = roles.chat_template
        self.is_lossless = self._spelling.is_lossless()
        self.target = target or self

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of everything that is saved."""
        return hashlib.sha256("\n".join(self._files().values()).encode()).hexdigest()

    def encode(self, text: str | bytes, *, special: bool = False) -> TokenIds:
        """Turn text into token ids; no special token is added.

        Args:
            text: any text, or any bytes. Bytes that are not UTF-8 become one token each where the vocabulary is made
                of bytes, elsewhere they are read as U+FFFD.
            special: whether the literal characters of a special token make that token (a rendered chat, `[MASK]` in a
                prompt).

        Returns:
            (T,) ids in [0, vocab_size).
        """
        if isinstance(text, bytes):
            return self._encode_bytes(text, special)
        encoder = self._special if special else self._plain
        try:
            return self._ids(encoder.encode(text, add_special_tokens=False))
        except TypeError:  # a lone surrogate, which no UTF-8 text holds
            return self._encode_bytes(text.encode("utf-8", errors="surrogatepass"), special)

    def encode_many(self, texts: Sequence[str]) -> list[TokenIds]:
        """`encode` for many texts at once, on all cores.

        Returns:
            One (T,) array for each text, in order.
        """
        try:
            encodings = self._plain.encode_batch_fast(list(texts), add_special_tokens=False)
        except TypeError:
            return [self.encode(text) for text in texts]
        return [self._ids(encoding) for encoding in encodings]

    def encode_with_places(self, texts: Sequence[str]) -> list[tuple[TokenIds, NDArray[np.int64]]]:
        """`encode` for many texts at once, with the place of each token in its text.

        Returns:
            For each text its (T,) ids, and (T, 2) the first character of each token and the one behind its last. A
            token that is a part of a character has the place of all of it; blanks may belong to a token or to none.
        """
        found = []
        clean = [LONE_SURROGATE.sub("\ufffd", text) for text in texts]  # as long as it was, so places stay
        for text, encoding in zip(clean, self._plain.encode_batch(clean, add_special_tokens=False), strict=True):
            spelled = [self._spelling.bytes_of(token_id, not at) for at, token_id in enumerate(encoding.ids)]
            places = places_of_bytes(text, spelled)
            if places is None:
                places = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
            found.append((self._ids(encoding), places))
        return found

    def encode_documents(self, texts: Sequence[str], ends: Sequence[bool]) -> tuple[TokenIds, NDArray[np.int64]]:
        """Many texts as documents, one after another: [bos] + text + ([eos] where the text really ends).

        Args:
            texts: encoded on all cores.
            ends: for each whether it ends.

        Returns:
            The (num_tokens,) ids, and how many of them each document has, (N,).
        """
        try:
            several = [one.ids for one in self._plain.encode_batch_fast(texts, add_special_tokens=False)]
        except TypeError:  # a lone surrogate
            several = [self.encode(text).tolist() for text in texts]
        flat: list[int] = []
        for ids, ending in zip(several, ends, strict=True):  # one list, because an array for each costs more
            flat.append(self.bos_id)
            flat += ids
            if ending:
                flat.append(self.eos_id)
        lengths = np.array([len(ids) for ids in several], dtype=np.int64)
        return self._known(np.array(flat, dtype=np.int32)), lengths + 1 + np.asarray(ends, dtype=np.int64)

    def frame(self, ids: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """A text as the source or the target of an encoder-decoder.

        Args:
            ids: (T,) of the text alone.

        Returns:
            The ids, the end token after them; before them the begin token, where the family puts one there that is
            not the end token as well.
        """
        begin = [self.bos_id] if self.adds_bos and self.bos_id != self.eos_id else []
        return np.concatenate([begin, ids, [self.eos_id]]).astype(np.int64)

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> TokenIds:
        """The ids of a conversation, by the chat template. What a message says can never make a special token.

        Args:
            messages: each with at least `role` and `content`.
            add_generation_prompt: whether the beginning of the assistant's answer is added.
            tools: JSON schemas of functions that the model may call, for templates that know them.

        Returns:
            (T,) ids; the template says whether the begin token is among them.

        Raises:
            TokenizerError: when there is no template, it is faulty, or it refuses these messages.
        """
        return self.encode_rendered(self.render(messages, add_generation_prompt=add_generation_prompt, tools=tools))

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> str:
        """A conversation as text, by the chat template; what spells a special token in a message is quoted.

        Args:
            messages: as in `chat`.
            add_generation_prompt: as in `chat`.
            tools: as in `chat`.

        Raises:
            TokenizerError: as in `chat`.
        """
        return self.render_quoted(self.quoted(messages), add_generation_prompt=add_generation_prompt, tools=tools)

    def quoted(self, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Messages as they stand in a rendered conversation: what spells a special token is quoted."""
        return quote_tokens(messages, self._literals)

    def render_quoted(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> str:
        """`render` for messages that `quoted` gave: who renders a conversation many times quotes it once."""
        if self.chat_template is None:
            raise TokenizerError(
                "tokenizer: has no chat template",
                do="give the prompt as plain text, or take an instruction-tuned model",
            )
        return render_chat(
            self.chat_template,
            messages,
            add_generation_prompt=add_generation_prompt,
            tools=tools,
            tokens=self.roles.chat_tokens,
        )

    def encode_rendered(self, rendered: str) -> TokenIds:
        """The ids of a part of what `render` gave, (T,)."""
        parts = [self.encode(text, special=not quoted) for text, quoted in split_quoted(rendered)]
        return np.concatenate([np.zeros(0, dtype=np.int32), *parts])

    def with_roles(self, roles: Roles) -> Tokenizer:
        """The same tokenizer, with other parts for its tokens to play."""
        return Tokenizer(self._backend, roles, target=None if self.target is self else self.target)

    @cached_property
    def _literals(self) -> frozenset[str]:
        """The special tokens as text."""
        return frozenset(self.token(n) for n in self.special_ids)

    def decode_bytes(self, ids: Iterable[int], *, continues: bool = False) -> bytes:
        """The bytes behind token ids; special tokens have none. Exact for vocabularies made of bytes.

        Args:
            ids: of one text.
            continues: whether another text stands before it, so that a leading blank counts.

        Raises:
            TokenizerError: for an id outside the vocabulary.
        """
        parts: list[bytes] = []
        opens = not continues
        for token_id in map(int, ids):
            parts.append(self.token_bytes(token_id, opens=opens))
            opens = opens and token_id in self.special_ids
        return b"".join(parts)

    def decode(self, ids: Iterable[int], *, continues: bool = False) -> str:
        """The text behind token ids; bytes that are not UTF-8 read as U+FFFD.

        Args:
            ids: of one text.
            continues: whether another text stands before it, so that a leading blank counts.

        Raises:
            TokenizerError: for an id outside the vocabulary.
        """
        return self.decode_bytes(ids, continues=continues).decode("utf-8", errors="replace")

    def token_bytes(self, token_id: int, *, opens: bool = False) -> bytes:
        """The bytes of one token; empty for a special token.

        Args:
            token_id: from 0.
            opens: whether it is the first one of a text, where some families drop a leading blank.

        Raises:
            TokenizerError: for an id outside the vocabulary.
        """
        if not 0 <= token_id < self.vocab_size:
            raise TokenizerError("tokenizer: no such token id", got=str(token_id), wanted=self._range())
        return self._spelling.bytes_of(token_id, opens)

    def token(self, token_id: int) -> str:
        """How the vocabulary itself writes a token (`Ġwell`, `▁well`, `[MASK]`); empty for a gap."""
        return self._backend.id_to_token(token_id) or ""

    def token_id(self, token: str) -> int | None:
        """The id of a token as the vocabulary itself writes it, or None."""
        found = self._backend.token_to_id(token)
        return found if found is not None and found < self.vocab_size else None

    def word_starts(self) -> NDArray[np.bool_]:
        """Which tokens begin a word, (V,): a leading blank, or no mark that it goes on with one; special tokens too."""
        return self._spelling.word_starts(self.vocab_size)

    def word_ends(self) -> NDArray[np.bool_]:
        """Which tokens end in a blank or line end, (V,), so that the token after them begins a word."""
        return self._spelling.word_ends(self.vocab_size)

    def save(self, path: Path | str) -> None:
        """Write the tokenizer, each file whole or not at all.

        `tokenizer.json` has the format of the `tokenizers` library. Beside it stand `tokenizer_roles.json`, where the
        roles are not those of a tokenizer that stepwell trained, and `tokenizer_target.json`, where there is a second
        language.

        Args:
            path: of the first file; the others take their names from it.

        Raises:
            DiskError: when a file cannot be written.
        """
        path = Path(path)
        written = self._files()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            for suffix in ("", "_roles", "_target"):
                file = _beside(path, suffix)
                if suffix not in written:
                    file.unlink(missing_ok=True)
                    continue
                draft = file.with_name(f".{file.name}.draft")
                draft.write_text(written[suffix], encoding="utf-8")
                draft.replace(file)
        except OSError as error:
            raise DiskError(f"{path}: cannot be written", got=str(error.strerror or error)) from error

    @classmethod
    def load(cls, path: Path | str) -> Tokenizer:
        """Read what `save` wrote.

        Raises:
            TokenizerError: when there is no such file, it is damaged, or it is of another kind.
        """
        path = Path(path)
        roles_path, target_path = _beside(path, "_roles"), _beside(path, "_target")
        backend = read_backend(path)
        try:
            roles = build(Roles, read_json(roles_path), where=str(roles_path)) if roles_path.exists() else None
            target = cls(read_backend(target_path), roles) if target_path.exists() else None
            return cls(backend, roles, target=target)
        except (TokenizerError, ConfigError) as error:
            what = error.what if str(path.parent) in error.what else f"{path}: {error.what}"
            raise TokenizerError(what, got=error.got, wanted=error.wanted, do=error.do) from None

    def _files(self) -> dict[str, str]:
        """What is saved: the end of the file's name -> text."""
        files = {"": self._backend.to_str(pretty=False)}
        if self.target is not self:
            files["_target"] = self.target._backend.to_str(pretty=False)
        if self.roles != self._own:
            files["_roles"] = self.roles.model_dump_json(indent=2)
        return files

    def _encode_bytes(self, data: bytes, special: bool) -> TokenIds:
        if len(self._id_of_byte) < 256:
            return self.encode(data.decode("utf-8", errors="replace"), special=special)
        # Bytes that are not UTF-8 come out of this decoding as the surrogates U+DC80 to U+DCFF, which no text holds.
        parts = NOT_UTF8.split(data.decode("utf-8", errors="surrogateescape"))
        ids = [
            self.encode(part, special=special) if n % 2 == 0 else self._single_bytes(part)
            for n, part in enumerate(parts)
        ]
        return np.concatenate(ids)

    def _single_bytes(self, escaped: str) -> TokenIds:
        return np.array([self._id_of_byte[ord(letter) - 0xDC00] for letter in escaped], dtype=np.int32)

    def _ids(self, encoding: tokenizers.Encoding) -> TokenIds:
        return self._known(np.array(encoding.ids, dtype=np.int32))

    def _known(self, ids: TokenIds) -> TokenIds:
        """The ids; those that the model has no row for as unknown."""
        if self.roles.vocab_size is not None and self.unk_id is not None:
            ids[ids >= self.roles.vocab_size] = self.unk_id
        return ids

    @cached_property
    def _special(self) -> tokenizers.Tokenizer:
        return special_encoder(self._backend)

    def _range(self) -> str:
        return f"0 to {self.vocab_size - 1}"


def _beside(path: Path, suffix: str) -> Path:
    """The file for a part of a tokenizer: `tokenizer.json` -> `tokenizer_roles.json`."""
    return path.with_name(f"{path.stem}{suffix}{path.suffix}")
