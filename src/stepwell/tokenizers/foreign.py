"""The tokenizer in a Hugging Face directory, whatever files it comes in.

`tokenizer.json` is read as it is; where there is none, the older files are: a byte-level `vocab.json` with
`merges.txt`, a WordPiece `vocab.txt`, a sentencepiece model, or two of them (Marian). Roles and chat template come from
the files beside. This file leaves out anything else in the directory.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models

from stepwell.errors import TokenizerError
from stepwell.tokenizers.files import damaged, read_backend, read_json, read_text
from stepwell.tokenizers.roles import RoleName, Roles, ends_added, find_roles, set_ends
from stepwell.tokenizers.sentencepiece import (
    Piece,
    PieceKind,
    SentencePieceModel,
    build_backend,
    read_model,
    with_vocabulary,
)
from stepwell.tokenizers.splitting import SPLITTINGS
from stepwell.tokenizers.tokenizer import Tokenizer
from stepwell.tokenizers.wordpiece import wordpiece_backend

Tree = dict[str, Any]

ROLES: tuple[RoleName, ...] = ("bos", "eos", "pad", "mask", "unk", "cls", "sep")

SENTENCEPIECE_FILES = ("tokenizer.model", "spiece.model", "sentencepiece.model", "spm.model")

MARIAN_FILES = ("source.spm", "target.spm", "vocab.json")

BYTE_LEVEL: dict[str, str] = {
    "gpt2": "gpt-2",
    "gpt_neo": "gpt-2",
    "gptj": "gpt-2",
    "gpt_neox": "olmo",
    "roberta": "gpt-2",
    "bart": "gpt-2",
    "qwen2": "qwen2",
    "qwen2_moe": "qwen2",
    "qwen3": "qwen2",
    "qwen3_moe": "qwen2",
}
"""The model types whose tokenizer is `vocab.json` and `merges.txt` -> how it cuts text (`splitting.py`)."""

ADDS_BOTH_ENDS = ("roberta", "bart")

UNIGRAM = ("", "t5", "mt5", "umt5", "switch_transformers")
"""Model types whose token ids are those of their sentencepiece model; others move them, or add other ends."""

NUM_SPANS = {"t5": 100}
"""Model types that put span tokens after a sentencepiece vocabulary -> how many when nothing is said about it."""


class _Folder:
    """The small JSON files of a directory, empty where they are absent."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tokenizer = self._tree("tokenizer_config.json")
        self.config = self._tree("config.json")
        self.generation = self._tree("generation_config.json")
        self.model_type = str(self.config.get("model_type") or _type_of_class(self.tokenizer) or "")
        self.declared = self._tree("special_tokens_map.json") | self.tokenizer

    def _tree(self, name: str) -> Tree:
        return read_json(self.path / name) if (self.path / name).exists() else {}

    def has(self, *names: str) -> bool:
        return all((self.path / name).exists() for name in names)


def _type_of_class(settings: Tree) -> str | None:
    """`Qwen2TokenizerFast` -> `qwen2`."""
    name = settings.get("tokenizer_class")
    if not isinstance(name, str) or name in ("PreTrainedTokenizerFast", "TokenizersBackend"):
        return None
    return name.removesuffix("Fast").removesuffix("Tokenizer").lower()


def read_tokenizer(path: Path | str) -> Tokenizer:
    """Read the tokenizer of a Hugging Face directory.

    Args:
        path: the directory.

    Raises:
        TokenizerError: when there is no tokenizer in it, a file is damaged, its kind is not supported, or nothing says
            which token ends a text.
    """
    folder = _Folder(Path(path))
    try:
        return _read(folder)
    except TokenizerError as error:
        what = error.what if str(path) in error.what else f"{path}: {error.what}"
        raise TokenizerError(what, got=error.got, wanted=error.wanted, do=error.do) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:  # JSON that is whole, but not what it should be
        raise TokenizerError(f"{path}: its tokenizer files are damaged", got=repr(error)) from None


def _read(folder: _Folder) -> Tokenizer:
    """The tokenizer, from the first kind of file that is there."""
    if folder.has("tokenizer.json"):
        backend = read_backend(folder.path / "tokenizer.json")
        _add_missing(backend, folder)
        roles = _roles(backend, folder, {})
        adds_bos, adds_eos = ends_added(backend, roles)
        return Tokenizer(backend, _with_ends(roles, folder, adds_bos, adds_eos))
    if folder.has(*MARIAN_FILES):
        return _marian(folder)
    if folder.has("vocab.json", "merges.txt"):
        has_ends = folder.model_type in ADDS_BOTH_ENDS
        return _finished(_byte_level(folder), folder, has_ends, has_ends)
    if folder.has("vocab.txt"):
        return _finished(_wordpiece(folder), folder, True, True)
    for name in SENTENCEPIECE_FILES:
        if folder.has(name):
            return _sentencepiece(read_model(folder.path / name), folder)
    raise TokenizerError(
        f"{folder.path}: has no tokenizer that can be read",
        got=", ".join(sorted(file.name for file in folder.path.glob("*"))) or "nothing",
        wanted="tokenizer.json; or vocab.json and merges.txt; or vocab.txt; or a sentencepiece model "
        f"({', '.join(SENTENCEPIECE_FILES)}); or {', '.join(MARIAN_FILES)}",
    )


def _finished(
    backend: tokenizers.Tokenizer,
    folder: _Folder,
    adds_bos: bool,
    adds_eos: bool,
    known: Mapping[RoleName, int | None] | None = None,
    target: tokenizers.Tokenizer | None = None,
    vocab_size: int | None = None,
) -> Tokenizer:
    """A tokenizer of a backend that was built here: roles, and the ends that its family adds."""
    for one in (backend, target):
        if one is not None:
            _add_missing(one, folder)
    roles = _with_ends(_roles(backend, folder, known or {}), folder, adds_bos, adds_eos)
    roles = roles.model_copy(update={"vocab_size": vocab_size})
    for one in (backend, target):
        if one is not None:
            set_ends(one, roles)
    return Tokenizer(backend, roles, target=None if target is None else Tokenizer(target, roles))


def _roles(backend: tokenizers.Tokenizer, folder: _Folder, known: Mapping[RoleName, int | None]) -> Roles:
    """What the directory says of the roles, before the ends are known.

    Args:
        backend: the tokenizer.
        folder: the directory.
        known: what the vocabulary itself says, where it does.
    """
    named: dict[RoleName, int | None] = dict(known)
    for role in ROLES:
        said = folder.declared.get(f"{role}_token", "")
        token = _content(said)
        if token:
            named[role] = backend.token_to_id(token)
            if named[role] is None:
                raise TokenizerError(
                    f"{folder.path}: {role}_token is not in the vocabulary", got=token, wanted="one of its tokens"
                )
        elif said is None:  # there is none; an empty text, as in old files, says nothing
            named[role] = None

    def ids(value: Any) -> list[int]:  # a config may speak of tokens that its vocabulary does not have
        return [n for n in _ids(value) if n >= 0 and backend.id_to_token(n) is not None]

    for role in ("eos", "pad"):  # only where the tokenizer itself is silent
        if role not in named and (found := ids(folder.config.get(f"{role}_token_id"))):
            named[role] = found[0]
    begin = ids(folder.config.get("bos_token_id"))
    roles = find_roles(backend, named, where=str(folder.path), fallback_bos=begin[0] if begin else None)
    stops = ids(folder.generation.get("eos_token_id", folder.config.get("eos_token_id")))
    return roles.model_copy(
        update={
            "stop_ids": tuple(n for n in stops if n != roles.eos_id),
            "chat_template": _chat_template(folder),
            "chat_tokens": {
                name: token
                for name, value in folder.declared.items()
                if name.endswith("_token") and (token := _content(value))
            },
        }
    )


def _with_ends(roles: Roles, folder: _Folder, adds_bos: bool, adds_eos: bool) -> Roles:
    """The roles with the ends that are added; what tokenizer_config.json says of them wins."""
    said = {"adds_bos": folder.tokenizer.get("add_bos_token"), "adds_eos": folder.tokenizer.get("add_eos_token")}
    known = {"adds_bos": adds_bos, "adds_eos": adds_eos}
    if "bos_token" in folder.declared and folder.declared["bos_token"] is None:  # there is none that could be added
        said["adds_bos"] = False
    return roles.model_copy(update=known | {name: one for name, one in said.items() if isinstance(one, bool)})


def _content(token: Any) -> str | None:
    """A token as the files write it: text, or a mapping with its text as `content`."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None


def _ids(value: Any) -> list[int]:
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, int) and not isinstance(one, bool)]


def _chat_template(folder: _Folder) -> str | None:
    file = folder.path / "chat_template.jinja"
    if file.exists():
        return read_text(file)
    template = folder.tokenizer.get("chat_template")
    if isinstance(template, list):
        template = next((one.get("template") for one in template if one.get("name") == "default"), None)
    return template if isinstance(template, str) else None


def _add_missing(backend: tokenizers.Tokenizer, folder: _Folder) -> None:
    """Add the tokens that the directory lists beside the vocabulary, each with its id."""
    listed: dict[int, Any] = {
        int(n): token for n, token in (folder.tokenizer.get("added_tokens_decoder") or {}).items()
    }
    if folder.has("added_tokens.json"):
        listed |= {
            int(n): token for token, n in read_json(folder.path / "added_tokens.json").items() if n not in listed
        }
    special = {_content(value) for name, value in folder.declared.items() if name.endswith("_token")}
    special |= {_content(one) for one in folder.declared.get("additional_special_tokens") or ()}
    present = backend.get_added_tokens_decoder()
    for token_id in sorted(listed.keys() - present.keys()):
        token, text = listed[token_id], _content(listed[token_id])
        settings = token if isinstance(token, dict) else {}
        added = tokenizers.AddedToken(
            text or "",
            single_word=bool(settings.get("single_word", False)),
            lstrip=bool(settings.get("lstrip", False)),
            rstrip=bool(settings.get("rstrip", False)),
            normalized=bool(settings.get("normalized", False)),
            special=bool(settings.get("special", text in special)),
        )
        backend.add_tokens([added])
        if text and backend.token_to_id(text) != token_id:
            raise TokenizerError(
                f"{folder.path}: an added token does not fit the vocabulary",
                got=f"{text!r} would be {backend.token_to_id(text)}",
                wanted=str(token_id),
            )


def _byte_level(folder: _Folder) -> tokenizers.Tokenizer:
    name = folder.model_type or "gpt2"
    if name not in BYTE_LEVEL:
        raise TokenizerError(
            f"{folder.path}: vocab.json and merges.txt of this model type are not supported",
            got=name,
            wanted=", ".join(BYTE_LEVEL),
            do="save the tokenizer once with transformers, which writes a tokenizer.json",
        )
    path = folder.path / "merges.txt"
    lines = [line for line in read_text(path).split("\n") if line.strip() and not line.startswith("#version")]
    pairs = [tuple(line.split(" ")) for line in lines]
    if bad := next((line for line, pair in zip(lines, pairs, strict=True) if len(pair) != 2), None):
        raise TokenizerError(f"{path}: damaged", got=bad[:80], wanted="two tokens in every line")
    vocab = read_json(folder.path / "vocab.json")
    try:
        backend = tokenizers.Tokenizer(models.BPE(vocab, [(pair[0], pair[1]) for pair in pairs]))
    except Exception as error:  # the library raises bare `Exception` for every fault in a vocabulary
        raise damaged(path, error, "merges of the tokens in vocab.json") from None
    SPLITTINGS[BYTE_LEVEL[name]].apply(backend)
    backend.decoder = decoders.ByteLevel()
    specials = [token for token in ("<s>", "<pad>", "</s>", "<unk>", "<|endoftext|>") if token in vocab]
    backend.add_special_tokens(specials)
    if "<mask>" in vocab:  # it takes the blank before it along
        backend.add_special_tokens([tokenizers.AddedToken("<mask>", lstrip=True, normalized=False, special=True)])
    return backend


def _wordpiece(folder: _Folder) -> tokenizers.Tokenizer:
    path = folder.path / "vocab.txt"
    lines = read_text(path).removesuffix("\n").split("\n")
    settings = folder.tokenizer
    return wordpiece_backend(
        {line.rstrip("\r"): n for n, line in enumerate(lines)},
        lowercase=bool(settings.get("do_lower_case", True)),
        splits_chinese=bool(settings.get("tokenize_chinese_chars", True)),
        strips_accents=settings.get("strip_accents"),
        where=str(path),
    )


def _sentencepiece(model: SentencePieceModel, folder: _Folder) -> Tokenizer:
    """A unigram model ends what it encodes (T5), a BPE model begins it (Llama)."""
    if model.algorithm == "unigram" and folder.model_type not in UNIGRAM:
        raise TokenizerError(
            f"{folder.path}: a sentencepiece model of this model type is not supported",
            got=folder.model_type,
            wanted=", ".join(UNIGRAM[1:]),
            do="save the tokenizer once with transformers, which writes a tokenizer.json",
        )
    spans = folder.tokenizer.get("extra_ids", NUM_SPANS.get(folder.model_type, 0))
    if spans:
        more = [Piece(f"<extra_id_{n}>", 0.0, PieceKind.CONTROL) for n in reversed(range(int(spans)))]
        model = SentencePieceModel(**{**vars(model), "pieces": (*model.pieces, *more)})
    known: dict[RoleName, int | None] = {"bos": model.bos_id, "eos": model.eos_id, "unk": model.unk_id}
    if model.pad_id is not None:
        known["pad"] = model.pad_id
    is_bpe = model.algorithm == "bpe"
    return _finished(build_backend(model), folder, is_bpe, not is_bpe, known)


def _marian(folder: _Folder) -> Tokenizer:
    vocab = read_json(folder.path / "vocab.json")
    if sorted(vocab.values()) != list(range(len(vocab))) or not {"<unk>", "</s>"} <= vocab.keys():
        raise TokenizerError(
            f"{folder.path / 'vocab.json'}: is no vocabulary of two languages",
            wanted="ids from 0 without gaps, <unk> and </s> among the tokens",
        )
    source, target = (
        build_backend(with_vocabulary(read_model(folder.path / name), vocab)) for name in MARIAN_FILES[:2]
    )
    languages = [token for token in vocab if token.startswith(">>") and token.endswith("<<")]
    source.add_tokens([tokenizers.AddedToken(token, normalized=False) for token in languages])
    known: dict[RoleName, int | None] = {"bos": None, "eos": vocab["</s>"], "unk": vocab["<unk>"]}
    return _finished(source, folder, False, True, known, target, len(vocab))
