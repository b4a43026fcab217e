"""Sentencepiece models against the sentencepiece library itself: the same pieces, the same text back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.tokenizers import StreamDecoder, Tokenizer, gguf_tokenizer, read_tokenizer
from stepwell.tokenizers.sentencepiece import PieceKind, read_model

sentencepiece = pytest.importorskip("sentencepiece")

TEXTS = [
    "",
    " ",
    "   ",
    "a",
    " a",
    "The miller forgot the gate by the river.",
    "  the   old  teacher\tcounted\n\nthe  lantern  ",
    "numbers: 12345, 3.14 and 1,000,000",
    "老渔夫在河边带来了一盏灯。",
    "The 老渔夫 in the market 集市，！",
    "ＦＵＬＬ　ｗｉｄｔｈ ﬁ ① ½ é e\u0301",
    "👩‍👩‍👧 unknown ☃ zß",
    "<s> </s> <unk> <pad> ▁ <0x0A>x",
    "qqqzzz xxx",
]
LETTERS = [*"abcdefghilmnorstuwy ,.017\n\t的河，\u3000é☃👧ﬁ▁", "  ", "e\u0301", "</s>"]
MIXED = st.lists(st.sampled_from(LETTERS) | st.sampled_from(["the", " river", "在河边"]), max_size=30).map("".join)

UNIGRAM = {"model_type": "unigram"}
LLAMA = {
    "model_type": "bpe",
    "byte_fallback": True,
    "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False,
    "allow_whitespace_only_pieces": True,
    "split_digits": True,
}
GEMMA = LLAMA | {"add_dummy_prefix": False, "user_defined_symbols": "<start>,\n\n,▁▁"}
KINDS: dict[str, dict[str, Any]] = {
    "unigram": UNIGRAM,
    "unigram without a charsmap": UNIGRAM | {"normalization_rule_name": "identity"},
    "unigram, blanks kept": UNIGRAM | {"remove_extra_whitespaces": False},
    "unigram, no blank first": UNIGRAM | {"add_dummy_prefix": False},
    "unigram, bytes": UNIGRAM | {"byte_fallback": True},
    "unigram, T5": UNIGRAM | {"bos_id": -1, "pad_id": 0, "eos_id": 1, "unk_id": 2},
    "bpe": {"model_type": "bpe"},
    "bpe, Llama": LLAMA,
    "bpe, Gemma": GEMMA,
}


@pytest.fixture(scope="session")
def trained(tmp_path_factory, small_text):
    """A function from a kind to the folder with its model; each is trained once, which takes a moment."""
    root = tmp_path_factory.mktemp("spm")
    (root / "text").write_text(small_text("mixed", 30_000).replace(". ", ".  "), encoding="utf-8")
    made: dict[str, Path] = {}

    def train(kind: str, **more: Any) -> Path:
        key = json.dumps([kind, more])
        if key not in made:
            folder = made[key] = root / str(len(made))
            folder.mkdir()
            sentencepiece.SentencePieceTrainer.train(
                input=more.pop("input", str(root / "text")),
                model_prefix=str(folder / "tokenizer"),
                vocab_size=more.pop("vocab_size", 600),
                hard_vocab_limit=False,
                num_threads=1,
                minloglevel=2,
                **(KINDS[kind] | more),
            )
        return made[key]

    return train


def library(folder: Path) -> Any:
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


def agree(ours: Tokenizer, theirs: Any, text: str) -> None:
    ids = ours.encode(text).tolist()
    assert ids == theirs.encode(text), text
    unk = ours.unk_id
    if unk not in ids:
        assert ours.decode(ids) == theirs.decode(ids)


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_are_those_of_sentencepiece(trained, kind):
    folder = trained(kind)
    ours, theirs = read_tokenizer(folder), library(folder)
    assert ours.vocab_size == theirs.vocab_size()
    for text in TEXTS:
        if kind == "unigram, bytes" and "<0x" in text:  # there the library's own trie has the byte tokens in it
            continue
        agree(ours, theirs, text)


@pytest.mark.parametrize("kind", ["unigram", "unigram, blanks kept", "bpe", "bpe, Llama"])
def test_any_text_has_the_same_pieces(trained, kind):
    folder = trained(kind)
    ours, theirs = read_tokenizer(folder), library(folder)

    @given(text=MIXED)
    def check(text: str) -> None:
        agree(ours, theirs, text)

    check()


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_says_what_decode_says(trained, kind):
    """Whatever ids come, also ones that no text gives; and both say what the backend's own decoder says."""
    ours = read_tokenizer(trained(kind))

    @given(ids=st.lists(st.integers(0, ours.vocab_size - 1), max_size=12), continues=st.booleans())
    def check(ids: list[int], continues: bool) -> None:
        stream = StreamDecoder(ours, continues=continues)
        streamed = "".join([stream.push(n) for n in ids]) + stream.finish()
        assert streamed == ours.decode(ids, continues=continues)
        theirs = ours._backend.decode(ids)
        if not continues and "\ufffd" not in theirs + streamed:
            assert streamed == theirs

    check()


def test_t5_has_its_spans_after_the_pieces(trained, tmp_path):
    folder = trained("unigram, T5")
    (tmp_path / "spiece.model").write_bytes((folder / "tokenizer.model").read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5", "eos_token_id": 1, "pad_token_id": 0}))
    ours, size = read_tokenizer(tmp_path), library(folder).vocab_size()
    assert ours.vocab_size == size + 100
    assert ours.span_ids == tuple(range(size + 99, size - 1, -1))
    assert [ours.token(n) for n in ours.span_ids[:2]] == ["<extra_id_0>", "<extra_id_1>"]
    assert (ours.bos_id, ours.eos_id, ours.pad_id, ours.unk_id) == (1, 1, 0, 2)
    assert (ours.adds_bos, ours.adds_eos) == (False, True)
    for text in TEXTS:
        agree(ours, library(folder), text)
    assert not set(ours.span_ids) & set(ours.encode("a <extra_id_3> b").tolist())
    assert ours.span_ids[3] in ours.encode("a <extra_id_3> b", special=True)


def test_t5_is_that_of_transformers(trained, tmp_path):
    """transformers' own T5 tokenizer, over the same pieces and the same charsmap."""
    transformers = pytest.importorskip("transformers")
    model = read_model(trained("unigram, T5") / "tokenizer.model")
    vocab = [(piece.text, piece.score) for piece in model.pieces]
    vocab += [(f"<extra_id_{n}>", 0.0) for n in reversed(range(100))]
    theirs = transformers.T5Tokenizer(vocab=vocab, _spm_precompiled_charsmap=model.charsmap)
    theirs.save_pretrained(tmp_path)
    ours = read_tokenizer(tmp_path)
    assert (ours.eos_id, ours.pad_id, ours.unk_id, ours.vocab_size) == (1, 0, 2, len(theirs))
    assert ours.span_ids == tuple(theirs.convert_tokens_to_ids(f"<extra_id_{n}>") for n in range(100))
    assert (ours.adds_bos, ours.adds_eos) == (False, True)
    for text in TEXTS:
        if "<" not in text:  # transformers reads the literal characters of a special token as that token
            assert ours.encode(text).tolist() == theirs(text, add_special_tokens=False)["input_ids"], text
        assert ours.encode(text, special=True).tolist() == theirs(text, add_special_tokens=False)["input_ids"]


@pytest.fixture(scope="session")
def marian(trained, tmp_path_factory, small_text) -> Path:
    """English to Chinese: two models and a vocabulary that lacks some of their pieces."""
    folder = tmp_path_factory.mktemp("marian")
    for name, language in (("source", "en"), ("target", "zh")):
        (folder / "text").write_text(small_text(language, 30_000), encoding="utf-8")
        made = trained("unigram", input=str(folder / "text"), vocab_size=200, bos_id=-1, eos_id=0, unk_id=1)
        (folder / f"{name}.spm").write_bytes((made / "tokenizer.model").read_bytes())
    pieces = [piece.text for name in ("source", "target") for piece in read_model(folder / f"{name}.spm").pieces]
    kept = [text for n, text in enumerate(dict.fromkeys(pieces)) if n < 5 or n % 7]
    vocab = {text: n for n, text in enumerate([*kept, ">>cmn<<", "<pad>"])}
    (folder / "vocab.json").write_text(json.dumps(vocab))
    settings = {"source_lang": "en", "target_lang": "zh", "tokenizer_class": "MarianTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "config.json").write_text(json.dumps({"model_type": "marian", "eos_token_id": 0}))
    return folder


@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
def test_marian_is_that_of_transformers(marian):
    transformers = pytest.importorskip("transformers")
    ours, theirs = read_tokenizer(marian), transformers.MarianTokenizer.from_pretrained(marian)
    theirs.punc_normalizer = lambda text: text  # rules of another library, which transformers can do without too
    assert ours.vocab_size == len(theirs)
    assert (ours.eos_id, ours.unk_id, ours.pad_id) == (theirs.eos_token_id, theirs.unk_token_id, theirs.pad_token_id)
    assert (ours.adds_bos, ours.adds_eos) == (False, True)
    for text in [*TEXTS, ">>cmn<< The old teacher hid the gate."]:
        if "</s>" in text or "<pad>" in text:
            continue
        assert ours.encode(text).tolist() == theirs(text, add_special_tokens=False)["input_ids"], text
        there = theirs(text_target=text, add_special_tokens=False)["input_ids"]
        if ">>" not in text:
            assert ours.target.encode(text).tolist() == there, text
        assert ours.decode(there).strip() == theirs.decode(there, skip_special_tokens=True)


def test_marian_comes_back_from_disk(marian, tmp_path):
    ours = read_tokenizer(marian)
    ours.save(tmp_path / "tokenizer.json")
    names = {"tokenizer.json", "tokenizer_roles.json", "tokenizer_target.json"}
    assert {file.name for file in tmp_path.iterdir()} == names
    again = Tokenizer.load(tmp_path / "tokenizer.json")
    assert (again.roles, again.fingerprint) == (ours.roles, ours.fingerprint)
    for text in TEXTS:
        assert again.encode(text).tolist() == ours.encode(text).tolist()
        assert again.target.encode(text).tolist() == ours.target.encode(text).tolist()
    assert again.target.target is again.target


def gguf_fields(folder: Path, kind: str) -> dict[str, Any]:
    """The fields that a converter writes for a sentencepiece model."""
    model = read_model(folder / "tokenizer.model")
    fields = {
        "model": kind,
        "tokens": [piece.text for piece in model.pieces],
        "scores": [piece.score for piece in model.pieces],
        "token_type": [int(piece.kind) for piece in model.pieces],
        "unknown_token_id": model.unk_id,
        "bos_token_id": model.bos_id,
        "eos_token_id": model.eos_id,
        "padding_token_id": model.pad_id,
        "add_space_prefix": model.blank_first,
        "remove_extra_whitespaces": model.collapses_blanks,
        "precompiled_charsmap": list(model.charsmap),
    }
    return {f"tokenizer.ggml.{name}": value for name, value in fields.items() if value is not None}


@pytest.mark.parametrize(("kind", "name"), [("bpe, Llama", "llama"), ("bpe, Gemma", "llama"), ("unigram, T5", "t5")])
def test_gguf_has_the_same_pieces(trained, kind, name):
    folder = trained(kind)
    fields = gguf_fields(folder, name)
    if kind == "bpe, Gemma":  # converters write a piece of several blanks as blanks
        fields["tokenizer.ggml.tokens"] = [token.replace("▁▁", "  ") for token in fields["tokenizer.ggml.tokens"]]
    ours = gguf_tokenizer(fields)
    assert (ours.adds_bos, ours.adds_eos) == ((True, False) if name == "llama" else (False, True))
    for text in TEXTS:
        agree(ours, library(folder), text)


def test_gguf_of_t5_names_its_spans(trained):
    fields = gguf_fields(trained("unigram, T5"), "t5")
    size = len(fields["tokenizer.ggml.tokens"])
    fillers = 128  # what converters fill the table up with
    fields["tokenizer.ggml.tokens"] += [f"[PAD{size + n}]" for n in range(fillers)]
    fields["tokenizer.ggml.scores"] += [-10_000.0] * fillers
    fields["tokenizer.ggml.token_type"] += [int(PieceKind.UNUSED)] * fillers
    ours = gguf_tokenizer(fields)
    assert ours.vocab_size == size + fillers
    assert ours.span_ids == tuple(range(size + 99, size - 1, -1))
    assert set(ours.encode("[PAD731] x").tolist()) < set(range(size))


def test_unused_pieces_are_never_chosen(trained):
    folder, text = trained("unigram"), "The miller forgot the gate by the river."
    fields = gguf_fields(folder, "t5")
    ours = gguf_tokenizer(fields)
    words = {n for n in ours.encode(text).tolist() if len(ours.token(n)) > 2}
    kinds = [
        int(PieceKind.UNUSED) if n in words else kind for n, kind in enumerate(fields["tokenizer.ggml.token_type"])
    ]
    without = gguf_tokenizer(fields | {"tokenizer.ggml.token_type": kinds})
    assert words
    assert not words & set(without.encode(text).tolist())
    assert without.decode(without.encode(text)) == text
    assert without.decode(ours.encode(text)) == text  # they can still be read
