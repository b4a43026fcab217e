"""The tokenizer around a backend of any family: roles, words, special tokens, and what is on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from stepwell.checkpoints import load_checkpoint, save_checkpoint, verify
from stepwell.errors import CheckpointError, TokenizerError
from stepwell.models import DecoderConfig, build_model
from stepwell.tokenizers import ByteBPEConfig, Roles, StreamDecoder, Tokenizer, train_tokenizer

WORDS = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "the": 5, "well": 6, "##s": 7, ".": 8, "井": 9}


def bert(**roles) -> Tokenizer:
    backend = tokenizers.Tokenizer(models.WordPiece(WORDS, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.add_special_tokens([token for token in WORDS if token.startswith("[")])
    return Tokenizer(backend, Roles(**({"bos_id": 2, "eos_id": 3, "pad_id": 0, "mask_id": 4, "unk_id": 1} | roles)))


@pytest.fixture
def own(small_text) -> Tokenizer:
    special = ("<|mask|>", *(f"<|span_{n}|>" for n in range(12)))
    return train_tokenizer([small_text("mixed", 20_000)], ByteBPEConfig(vocab_size=500, special_tokens=special))


def test_our_own_special_tokens_have_roles(own, tmp_path):
    assert (own.bos_id, own.eos_id, own.mask_id, own.span_ids) == (0, 0, 1, tuple(range(2, 14)))
    assert (own.pad_id, own.unk_id, own.adds_bos, own.chat_template) == (None, None, True, None)
    assert own.vocab_size == 500
    assert own.special_ids == set(range(14))
    text = "a <|mask|> and <|span_11|>"
    assert own.decode(own.encode(text)) == text
    assert not own.special_ids & set(own.encode(text).tolist())
    assert own.special_ids & set(own.encode(text, special=True).tolist()) == {1, 13}
    own.save(tmp_path / "tokenizer.json")
    assert [file.name for file in tmp_path.iterdir()] == ["tokenizer.json"]
    assert Tokenizer.load(tmp_path / "tokenizer.json").roles == own.roles


def test_special_tokens_change_no_merge(small_text):
    text = small_text("mixed", 20_000)
    plain = train_tokenizer([text], ByteBPEConfig(vocab_size=400))
    more = train_tokenizer([text], ByteBPEConfig(vocab_size=402, special_tokens=("<|mask|>", "<|x|>")))
    assert [more.token(n + 2) for n in range(1, 400)] == [plain.token(n) for n in range(1, 400)]
    assert (more.encode(text) - 2).tolist() == plain.encode(text).tolist()


def test_roles_stand_beside_the_tokenizer(tmp_path):
    path = tmp_path / "tokenizer.json"
    made = bert(stop_ids=(8,), chat_template="{{ messages }}", chat_tokens={"cls_token": "[CLS]"})
    made.save(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["tokenizer.json", "tokenizer_roles.json"]
    assert tokenizers.Tokenizer.from_file(str(path)).get_vocab() == WORDS  # other programs can read it
    loaded = Tokenizer.load(path)
    assert (loaded.roles, loaded.fingerprint) == (made.roles, made.fingerprint)
    assert loaded.stop_ids == {3, 8}
    assert loaded.fingerprint != bert().fingerprint


def test_old_roles_do_not_stay_behind(own, tmp_path):
    bert().save(tmp_path / "tokenizer.json")
    own.save(tmp_path / "tokenizer.json")
    assert Tokenizer.load(tmp_path / "tokenizer.json").fingerprint == own.fingerprint
    assert [file.name for file in tmp_path.iterdir()] == ["tokenizer.json"]


def test_a_checkpoint_watches_over_the_roles(tmp_path):
    model = build_model(
        DecoderConfig(
            vocab_size=10, max_seq_len=8, num_layers=1, d_model=8, num_heads=1, num_kv_heads=1, head_dim=8, d_ff=8
        )
    )
    save_checkpoint(tmp_path / "it", model, bert(), provenance={})
    assert load_checkpoint(tmp_path / "it").tokenizer.roles == bert().roles
    roles = tmp_path / "it" / "tokenizer_roles.json"
    roles.write_text(roles.read_text().replace('"mask_id": 4', '"mask_id": 5'))
    with pytest.raises(CheckpointError, match=r"tokenizer_roles\.json: is damaged"):
        verify(tmp_path / "it")


@pytest.mark.parametrize(
    ("roles", "named"),
    [
        ("{", "damaged"),
        ("[]", "damaged"),
        ('{"bos_id": 2}', "eos_id"),
        ('{"bos_id": 2, "eos_id": "end"}', "eos_id"),
        ('{"bos_id": 2, "eos_id": 3, "begin": 1}', "begin"),
        ('{"bos_id": 2, "eos_id": 10}', "eos_id is no token"),
        ('{"bos_id": -1, "eos_id": 3}', "bos_id is no token"),
        ('{"bos_id": 2, "eos_id": 3, "span_ids": [1, 99]}', "no token"),
    ],
)
def test_damaged_roles_are_named(tmp_path, roles, named):
    bert().save(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer_roles.json").write_text(roles)
    with pytest.raises(TokenizerError, match=named) as fault:
        Tokenizer.load(tmp_path / "tokenizer.json")
    assert str(tmp_path) in fault.value.what


def test_without_roles_it_is_not_ours(tmp_path):
    bert().save(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer_roles.json").unlink()
    with pytest.raises(TokenizerError, match=r"has no <\|endoftext\|> token"):
        Tokenizer.load(tmp_path / "tokenizer.json")


@pytest.mark.parametrize("decoder", [decoders.CTC(), decoders.BPEDecoder(), decoders.Strip(" ", 0, 1)])
def test_a_decoder_that_looks_ahead_is_refused(decoder):
    backend = tokenizers.Tokenizer(models.WordLevel(WORDS, unk_token="[UNK]"))
    backend.decoder = decoder
    with pytest.raises(TokenizerError, match="its decoder cannot be read"):
        Tokenizer(backend, Roles(bos_id=2, eos_id=3))


def test_words_begin_where_the_family_says(own):
    starts = own.word_starts()
    assert starts.shape == (500,)
    spelled = {own.token_bytes(n): n for n in range(500) if n not in own.special_ids}
    assert starts[list(own.special_ids)].all()
    assert starts[[spelled[b" "], spelled[b"\n"], spelled[b" the"]]].all()
    assert not starts[[spelled[b"t"], spelled[b"."], spelled["井".encode()[:1]]]].any()
    ends = own.word_ends()
    assert ends[[spelled[b" "], spelled[b"\n"]]].all()
    assert not ends[[spelled[b" the"], spelled[b"t"], 0]].any()
    # By both, every word of a text begins once.
    ids = own.encode("The lantern\n\nthe gate")
    begins = starts[ids]
    begins[1:] |= ends[ids[:-1]]
    begins[0] = True
    pieces = [own.decode([n]) for n in ids]
    assert "".join(f"|{piece}" if begin else piece for piece, begin in zip(pieces, begins, strict=True)).split("|")[
        1:
    ] in (
        ["The", " lantern", "\n\n", "the", " gate"],
        ["The", " lantern", "\n", "\n", "the", " gate"],
    )


def test_words_of_wordpiece():
    made = bert()
    assert [WORDS_BY_ID[n] for n in range(10) if not made.word_starts()[n]] == ["##s"]
    assert not made.word_ends().any()


WORDS_BY_ID = {n: token for token, n in WORDS.items()}


def test_a_text_that_goes_on_keeps_its_blank():
    made = bert()
    ids = made.encode("wells the 井.").tolist()
    assert made.decode(ids) == "wells the 井."
    assert made.decode(ids, continues=True) == " wells the 井."
    assert made.decode([2, *ids, 3]) == "wells the 井."
    stream = StreamDecoder(made, continues=True)
    assert "".join(stream.push(n) for n in ids) == " wells the 井."
    assert [made.token_bytes(n) for n in (5, 7, 8, 4)] == [b" the", b"s", b".", b""]
    assert made.token_bytes(5, opens=True) == b"the"


def test_bytes_that_are_no_text():
    made = bert()
    assert made.encode(b"the \xff").tolist() == [5, 1]
    assert made.encode("the \ud800").tolist() == [5, *[1] * len(made.encode("\ufffd" * 3))]
    assert made.encode_many(["the", "\ud800"])[0].tolist() == [5]


def test_tokens_by_name():
    made = bert()
    assert (made.token(7), made.token_id("##s"), made.token_id("nothing")) == ("##s", 7, None)
    with pytest.raises(TokenizerError, match="no such token id"):
        made.token_bytes(10)


def test_gaps_in_the_ids_spell_nothing():
    backend = tokenizers.Tokenizer(models.WordLevel({"a": 0, "b": 5, "<u>": 3}, unk_token="<u>"))
    made = Tokenizer(backend, Roles(bos_id=0, eos_id=5))
    assert made.vocab_size == 6
    assert made.token_bytes(2) == b""
    assert made.decode([0, 1, 5]) == "a b"


def test_ids_that_the_model_has_no_row_for_are_unknown():
    made = bert(vocab_size=9)
    assert made.vocab_size == 9
    assert made.encode("the 井.").tolist() == [5, 1, 8]
    assert made.encode_many(["井"])[0].tolist() == [1]
    assert made.token_id("井") is None


def test_only_bytes_are_lossless(own):
    assert own.is_lossless
    assert not bert().is_lossless
    settings = json.loads(own._backend.to_str())
    for part, change in (("normalizer", {"type": "NFC"}), ("pre_tokenizer", {"type": "Whitespace"})):
        changed = tokenizers.Tokenizer.from_str(json.dumps(settings | {part: change}))
        assert not Tokenizer(changed).is_lossless


def test_truncation_of_the_source_is_off():
    backend = tokenizers.Tokenizer.from_str(bert()._backend.to_str())
    backend.enable_truncation(2)
    backend.enable_padding(length=5)
    made = Tokenizer(backend, bert().roles)
    assert made.encode("the the the").tolist() == [5, 5, 5]


def test_no_chat_without_a_template():
    with pytest.raises(TokenizerError, match="has no chat template"):
        bert().chat([{"role": "user", "content": "the"}])


def test_a_chat_is_special_tokens_and_plain_text():
    template = (
        "{% for m in messages %}[CLS]{{ m.content }}[SEP]{% endfor %}{% if add_generation_prompt %}[CLS]{% endif %}"
    )
    made = bert(chat_template=template)
    assert made.chat([{"role": "user", "content": "the wells"}]).tolist() == [2, 5, 6, 7, 3, 2]
    said = made.chat([{"role": "user", "content": "the[SEP][CLS]well"}], add_generation_prompt=False).tolist()
    assert said[:2] == [2, 5]
    assert [n for n in said if n in (2, 3)] == [2, 3]


def test_saving_where_nothing_can_be_written(tmp_path):
    from stepwell.errors import DiskError

    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match="cannot be written"):
        bert().save(Path(tmp_path / "file" / "tokenizer.json"))
