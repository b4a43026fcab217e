"""Encoder-decoders against transformers, and against the Transformer of torch: the same numbers, the same texts."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_transformers import TINY, VOCAB, save_tiny, tiny

from stepwell.checkpoints import FAMILIES, import_model, import_weights, read_foreign, save_checkpoint
from stepwell.checkpoints.parity import LARGEST_RATIO, quiet
from stepwell.errors import CheckpointError
from stepwell.export import export_hf
from stepwell.inference import SamplingParams, generate
from stepwell.models import EncoderDecoder, EncoderDecoderConfig, build_model
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, read_tokenizer, train_tokenizer

NAMES = [name for name in TINY if name.split()[0] in ("t5", "mt5", "bart", "marian")]


def same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Equal but for the order of sums: to a part of their range."""
    allowed = 3e-5 * float(theirs.max() - theirs.min())
    torch.testing.assert_close(ours, theirs, atol=allowed, rtol=0)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["a stepwell is a well that one reaches by a stair"] * 5, ByteBPEConfig(vocab_size=280))


@cache
def reference_of(name: str) -> Any:
    """A tiny model whose bias of the output matters too, and which says more than the token it has just read."""
    model = tiny(name, seed=1)
    with torch.no_grad():
        if hasattr(model, "final_logits_bias"):
            model.final_logits_bias.normal_(std=0.2, generator=torch.Generator().manual_seed(5))
        if name.startswith(("bart", "marian")):
            for part, parameter in model.named_parameters():
                if parameter.ndim == 2 and "positions" not in part:
                    parameter.mul_(0.3 if "shared" in part or "embed" in part else 4)
    return model


def read_back(source: Path) -> EncoderDecoder:
    imported = import_weights(read_foreign(str(source)))
    model = build_model(imported.skeleton.config)
    model.load_tensors(imported.tensors)
    assert isinstance(model, EncoderDecoder)
    return model.eval()


@pytest.fixture(scope="module", params=[n if n in FAMILIES else pytest.param(n, marks=pytest.mark.slow) for n in NAMES])
def both(request, tmp_path_factory, tokenizer) -> tuple[EncoderDecoder, Any]:
    """Ours, and theirs with a head."""
    import transformers

    source = save_tiny(reference_of(request.param), tmp_path_factory.mktemp("source"), tokenizer)
    with quiet():  # a file without a head gets one here, and Marian its waves
        reference = transformers.AutoModelForSeq2SeqLM.from_pretrained(source, attn_implementation="eager")
    return read_back(source), reference.eval()


def tokens(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(10, VOCAB - 50, shape, generator=torch.Generator().manual_seed(seed))


def padded(lengths: tuple[int, ...], width: int, side: str) -> torch.Tensor:
    places = torch.arange(width)
    ends = torch.tensor(lengths)[:, None]
    return places < ends if side == "right" else places >= width - ends


@torch.no_grad()
def test_encoder_and_logits(both):
    ours, theirs = both
    source, target = tokens(3, 13), tokens(3, 9, seed=1)
    answer = theirs(input_ids=source, decoder_input_ids=target)
    same(ours.contextualize(source), answer.encoder_last_hidden_state)
    same(ours.unembed(ours.decode(target, ours.encode(source))), answer.logits)
    single = theirs(input_ids=source[1:2], decoder_input_ids=target[1:2]).logits
    same(ours.unembed(ours.decode(target[1:2], ours.encode(source[1:2]))), single)


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_of_the_source(both, side):
    """A left-padded source counts its places from its first token here, as if it stood alone; transformers counts the
    padding where positions are tables, so there the reference is the source alone.
    """
    ours, theirs = both
    source, target, mask = tokens(3, 11), tokens(3, 6, seed=1), padded((11, 4, 1), 11, side)
    logits = ours.unembed(ours.decode(target, ours.encode(source, mask)))
    together = theirs(input_ids=source, attention_mask=mask.long(), decoder_input_ids=target).logits
    if side == "right" or ours.config.positions.kind == "relative":
        same(logits, together)
    for row in range(3):
        alone = theirs(input_ids=source[row, mask[row]][None], decoder_input_ids=target[row : row + 1]).logits
        same(logits[row], alone[0])


@torch.no_grad()
def test_the_loss_of_labels(both):
    from torch.nn.functional import cross_entropy

    ours, theirs = both
    source, labels = tokens(2, 8), tokens(2, 7, seed=1)
    counted = padded((7, 3), 7, "right")
    expected = theirs(input_ids=source, labels=labels.masked_fill(~counted, -100)).loss
    written = torch.cat((torch.full((2, 1), ours.config.start_ids[0]), labels[:, :-1]), dim=1)
    logits = ours.unembed(ours.decode(written, ours.encode(source)))
    torch.testing.assert_close(cross_entropy(logits[counted], labels[counted]), expected)


@torch.no_grad()
def test_step_by_step_with_both_caches(both):
    ours, theirs = both
    source, target = tokens(2, 10), tokens(2, 12, seed=1)
    state, logits = ours.begin(source, 16)
    read = torch.tensor([ours.config.start_ids] * 2)
    encoded, past = theirs.get_encoder()(source), None
    for at in range(12):
        answer = theirs(encoder_outputs=encoded, decoder_input_ids=read, past_key_values=past, use_cache=True)
        past, expected = answer.past_key_values, answer.logits[:, -1]
        wanted = [token_id for token_id in range(VOCAB) if token_id not in ours.config.never_ids]
        same(logits[:, wanted], expected[:, wanted])
        assert (logits[:, list(ours.config.never_ids)] < -1e30).all()
        read = target[:, at : at + 1]
        logits = ours.extend(state, read)


@pytest.mark.slow
@torch.no_grad()
def test_both_write_the_same_64_tokens(both, tokenizer):
    ours, theirs = both
    said: list[tuple[int, ...]] = []
    for prompt in ("a stepwell", "the stair that one reaches by a well", "7"):
        source = torch.from_numpy(tokenizer.frame(tokenizer.encode(prompt)))[None]
        with quiet():
            theirs.generation_config.eos_token_id = tokenizer.eos_id
            theirs.generation_config.suppress_tokens = list(range(tokenizer.vocab_size, VOCAB))
            written = theirs.generate(source, max_new_tokens=64 + len(ours.config.start_ids) - 1, do_sample=False)
        (completion,) = generate(ours, tokenizer, prompt, SamplingParams(temperature=0, max_tokens=64))
        assert list(completion.token_ids) == written[0, len(ours.config.start_ids) :].tolist()
        assert completion.prompt_tokens == source.shape[1]
        assert not set(completion.token_ids) & set(ours.config.never_ids)
        said.append(completion.token_ids)
    assert len(set(said)) > 1
    assert max(len(set(one)) for one in said) > 2


def test_a_written_config_says_what_was_read():
    for name in NAMES:
        original = reference_of(name).config.to_dict()
        original["architectures"] = [TINY[name][0]]
        family = FAMILIES[original["model_type"]]
        config = family.read_config(original)
        assert family.read_config(family.write_config(config)) == config


@pytest.fixture
def untied(tmp_path, tokenizer) -> Path:
    """A T5 as the hub has the newer ones: the output has a table of its own, and the config says so in its way."""
    source = save_tiny(reference_of("t5 gated"), tmp_path / "untied", tokenizer)
    tensors = load_file(source / "model.safetensors")
    drawn = torch.randn(tensors["shared.weight"].shape, generator=torch.Generator().manual_seed(0))
    tensors["lm_head.weight"] = 0.2 * drawn
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    rewrite(source, tie_word_embeddings=False, scale_decoder_outputs=None)
    return source


def rewrite(source: Path, **fields: Any) -> None:
    """Change fields of a config; None removes one."""
    config = json.loads((source / "config.json").read_text())
    config = {name: value for name, value in {**config, **fields}.items() if value is not None}
    (source / "config.json").write_text(json.dumps(config))


@pytest.mark.slow
def test_an_output_of_its_own_is_read_and_given_back(untied, tmp_path):
    brought = import_model(str(untied), tmp_path / "ours")
    assert brought["parity"]["ratio"] < LARGEST_RATIO
    config = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert (config["tie_embeddings"], config["head_scale"]) == (False, None)
    export_hf(tmp_path / "ours", tmp_path / "out")
    given, taken = (load_file(folder / "model.safetensors") for folder in (tmp_path / "out", untied))
    assert given.keys() == taken.keys()
    assert all(torch.equal(given[name], taken[name]) for name in taken)


def test_older_files_with_copies_and_with_tables_that_follow(tmp_path, tokenizer):
    extras = {
        "t5": {
            "encoder.embed_tokens.weight": "shared.weight",
            "lm_head.weight": "shared.weight",
            "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight": None,
        },
        "bart": {
            "model.encoder.embed_tokens.weight": "model.shared.weight",
            "model.decoder.embed_tokens.weight": "model.shared.weight",
            "model.encoder.version": None,
        },
        "marian": {"lm_head.weight": "model.shared.weight", "model.encoder.embed_positions.weight": None},
    }
    for name, added in extras.items():
        source = save_tiny(reference_of(name), tmp_path / name, tokenizer)
        plain = read_back(source)
        tensors = load_file(source / "model.safetensors")
        copies = {new: torch.ones(3) if old is None else tensors[old].clone() for new, old in added.items()}
        save_file({**tensors, **copies}, source / "model.safetensors", metadata={"format": "pt"})
        whole = read_back(source)
        assert all(torch.equal(whole.tensors()[key], tensor) for key, tensor in plain.tensors().items())
    del tensors["model.shared.weight"]  # a table that goes by three names may be stored under any of them
    save_file({**tensors, **copies}, source / "model.safetensors", metadata={"format": "pt"})
    assert torch.equal(read_back(source).embedding.weight, plain.embedding.weight)


@pytest.mark.parametrize(
    ("name", "fields", "told"),
    [
        ("t5", {"feed_forward_proj": "double-relu"}, "feed_forward_proj"),
        ("t5", {"feed_forward_proj": "mish", "dense_act_fn": None}, "feed_forward_proj"),
        ("t5", {"bad_words_ids": [[1, 2]]}, "bad_words_ids"),
        ("bart", {"decoder_ffn_dim": 40}, "decoder_ffn_dim"),
        ("bart", {"encoder_attention_heads": 2}, "decoder_attention_heads"),
        ("bart", {"tie_word_embeddings": False}, "tie_word_embeddings"),
        ("marian", {"decoder_vocab_size": 40}, "decoder_vocab_size"),
        ("marian", {"d_model": 30}, "encoder_attention_heads"),
        ("t5", {"model_type": "longt5"}, "longt5"),
        ("t5", {"model_type": "umt5"}, "umt5"),
        ("bart", {"model_type": "mbart"}, "mbart"),
        ("bart", {"model_type": "pegasus"}, "pegasus"),
        ("bart", {"architectures": ["BartForSequenceClassification"]}, "BartForSequenceClassification"),
        ("t5", {"architectures": ["T5EncoderModel"]}, "T5EncoderModel"),
    ],
    ids=str,
)
def test_what_cannot_be_represented_is_refused_by_name(name, fields, told, tmp_path, tokenizer):
    source = save_tiny(reference_of(name), tmp_path / "source", tokenizer)
    rewrite(source, **fields)
    with pytest.raises(CheckpointError, match=told):
        import_weights(read_foreign(str(source)))


OWN = {"vocab_size": 280, "max_seq_len": 64, "num_layers": 1, "d_model": 24, "num_heads": 4, "num_kv_heads": 4,
       "head_dim": 6, "d_ff": 40, "qk_norm": "none", "embedding_norm": False, "num_encoder_layers": 2,
       "prompt": "source"}  # fmt: skip
POST = {"norm": {"kind": "layer", "eps": 1e-5}, "norm_placement": "post", "qkv_bias": True, "out_bias": True,
        "mlp_bias": True, "tie_embeddings": True, "head_bias": True}  # fmt: skip
WRITTEN = {
    "t5": {"positions": {"kind": "relative"}, "attention_scale": 1.0, "activation": "gelu_tanh", "gated": True},
    "bart": {**POST, "positions": {"kind": "learned", "offset": 2}, "embedding_norm": True, "start_ids": (0, 3)},
    "marian": {**POST, "positions": {"kind": "sinusoidal", "layout": "halves"}, "never_ids": (5, 7)},
}


@pytest.mark.parametrize("model_type", WRITTEN)
def test_a_model_of_our_own_is_written_and_opened(model_type, tmp_path, tokenizer):
    """transformers reads the folder, cuts the same tokens, and writes the same text."""
    import transformers

    model = build_model(EncoderDecoderConfig(**{**OWN, **WRITTEN[model_type]}), seed=3).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3, generator=torch.Generator().manual_seed(parameter.numel()))
    save_checkpoint(tmp_path / "ours", model, tokenizer, provenance={"step": 1, "decoding": {"temperature": 0.0}})
    written = export_hf(tmp_path / "ours", tmp_path / "out")
    assert (written["model_type"], written["auto_class"]) == (model_type, "AutoModelForSeq2SeqLM")
    assert written["parity"]["ratio"] < LARGEST_RATIO
    assert written["parity"]["greedy_equal"] == written["parity"]["num_greedy"]
    with quiet():
        theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "out")
        cut = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")("the stair", return_tensors="pt")
        answer = theirs.generate(cut["input_ids"], max_new_tokens=30)[0].tolist()
    assert cut["input_ids"][0].tolist() == tokenizer.frame(tokenizer.encode("the stair")).tolist()
    (completion,) = generate(model, tokenizer, "the stair", SamplingParams(temperature=0, max_tokens=30))
    begun = len(model.config.start_ids)
    assert answer[:begun] == list(model.config.start_ids)
    assert answer[begun:] == list(completion.token_ids)[: len(answer) - begun]
    assert len(completion.token_ids) >= len(answer) - begun


@torch.no_grad()
@pytest.mark.parametrize("norm_first", [False, True])
def test_attention_is_all_you_need(norm_first):
    """torch's Transformer with our weights, over vectors that follow the paper's equations."""
    config = EncoderDecoderConfig(
        **{**OWN, **POST, "activation": "relu", "positions": {"kind": "sinusoidal"}, "embedding_scale": 24**0.5},
    ).model_copy(update={"norm_placement": "pre" if norm_first else "post"})
    ours = EncoderDecoder(config, seed=1).eval()
    for parameter in ours.parameters():
        parameter.normal_(0, 0.3, generator=torch.Generator().manual_seed(parameter.numel()))
    sizes = {"d_model": 24, "nhead": 4, "dim_feedforward": 40, "dropout": 0.0, "batch_first": True}
    encoder = torch.nn.TransformerEncoder(
        torch.nn.TransformerEncoderLayer(**sizes, norm_first=norm_first),
        2,
        ours.encoder.norm,
        enable_nested_tensor=False,
    )
    decoder = torch.nn.TransformerDecoder(
        torch.nn.TransformerDecoderLayer(**sizes, norm_first=norm_first), 1, ours.decoder.norm
    )
    for theirs, blocks in ((encoder.layers, ours.encoder.blocks), (decoder.layers, ours.decoder.blocks)):
        for layer, block in zip(theirs, blocks, strict=True):
            take_over(layer, block)
    source, target, mask = tokens(3, 9), tokens(3, 7, seed=1), padded((9, 5, 2), 9, "right")
    memory = encoder(vectors(ours, source), src_key_padding_mask=~mask)
    expected = decoder(
        vectors(ours, target),
        memory,
        tgt_mask=torch.ones(7, 7).triu(1).bool(),
        memory_key_padding_mask=~mask,
    )
    same(ours.contextualize(source, mask.long())[mask], memory[mask])
    same(ours.decode(target, ours.encode(source, mask)), expected)


def vectors(model: EncoderDecoder, token_ids: torch.Tensor) -> torch.Tensor:
    """Section 3.4 and 3.5: embeddings times sqrt(D), and sin(pos / 10000^(2i/D)) beside its cosine."""
    width = model.config.d_model
    embedded = model.embedding(token_ids) * width**0.5
    for position in range(token_ids.shape[1]):
        for channel in range(width):
            angle = torch.tensor(position / 10_000 ** (channel // 2 * 2 / width))
            embedded[:, position, channel] += angle.cos() if channel % 2 else angle.sin()
    return embedded


def take_over(layer: Any, block: Any) -> None:
    """Give a layer of torch the weights of a block of ours."""
    pairs = [(layer.self_attn.in_proj_weight, block.attention.qkv.weight), (layer.self_attn.in_proj_bias,
              block.attention.qkv.bias)]  # fmt: skip
    modules = [(layer.self_attn.out_proj, block.attention.out), (layer.linear1, block.mlp.up),
               (layer.linear2, block.mlp.down), (layer.norm1, block.attention_norm)]  # fmt: skip
    if hasattr(layer, "multihead_attn"):
        for end in ("weight", "bias"):
            joined = torch.cat((getattr(block.cross.query, end), getattr(block.cross.memory, end)))
            pairs.append((getattr(layer.multihead_attn, f"in_proj_{end}"), joined))
        modules += [(layer.multihead_attn.out_proj, block.cross.out), (layer.norm2, block.cross_norm),
                    (layer.norm3, block.mlp_norm)]  # fmt: skip
    else:
        modules.append((layer.norm2, block.mlp_norm))
    pairs += [(getattr(theirs, end), getattr(ours, end)) for theirs, ours in modules for end in ("weight", "bias")]
    for theirs, ours in pairs:
        theirs.copy_(ours)


def tiny_tokenizer(model_type: str) -> Any:
    import transformers

    letters = sorted(set("a stepwell is a well"))
    if model_type == "t5":
        pieces = ["<pad>", "</s>", "<unk>", *(letter.replace(" ", "▁") for letter in letters)]
        return transformers.T5Tokenizer(vocab=[(piece, -1.0 - place) for place, piece in enumerate(pieces)])
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *(letter.replace(" ", "Ġ") for letter in letters), "<mask>"]
    return transformers.BartTokenizer(vocab={piece: place for place, piece in enumerate(pieces)}, merges=[])


@pytest.mark.parametrize("model_type", ["t5", "bart"])
def test_sources_begin_and_end_as_in_transformers(model_type, tmp_path):
    theirs = tiny_tokenizer(model_type)
    with quiet():
        theirs.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    ours = read_tokenizer(tmp_path)
    for text in ("a stepwell is a well", "well", ""):
        assert ours.frame(ours.encode(text)).tolist() == theirs(text)["input_ids"]
