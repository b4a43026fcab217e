"""A stepwell model inside lm-evaluation-harness: its numbers beside those of the harness's own model, and by hand."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stepwell.checkpoints import load_checkpoint, save_checkpoint
from stepwell.errors import TokenizerError, UsageError
from stepwell.export import HarnessModel, export_hf
from stepwell.inference import SamplingParams, generate, score_tokens
from stepwell.models import DecoderConfig, EncoderConfig, build_model
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer

pytest.importorskip("lm_eval")

TEMPLATE = (
    "{% for m in messages %}<|endoftext|>{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|endoftext|>assistant:{% endif %}"
)
QUESTIONS = [
    {"question": "The miller carried the lantern", "choices": [" by the river", " under it", " x"], "answer": 0},
    {"question": "老渔夫在河边", "choices": ["带来了一盏灯", "忘记了", "井"], "answer": 1},
    {"question": "Nobody sold", "choices": [" a boat", " the gate of the old mill", " 一条小船"], "answer": 2},
    {"question": "小姑娘在桥下", "choices": ["画下了海边的地图", "七", "two coins"], "answer": 0},
]


def saved(folder: Path, window: int = 64, template: str | None = None) -> Path:
    tokenizer = train_tokenizer(
        ["the miller carried the lantern by the river 老渔夫在河边"] * 9, ByteBPEConfig(vocab_size=300)
    )
    if template:
        tokenizer = tokenizer.with_roles(tokenizer.roles.model_copy(update={"chat_template": template}))
    config = DecoderConfig(vocab_size=tokenizer.vocab_size, max_seq_len=window, num_layers=2, d_model=32, num_heads=4,
                           num_kv_heads=2, head_dim=8, d_ff=64)  # fmt: skip
    model = build_model(config, 0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.3, generator=generator)
    save_checkpoint(folder, model, tokenizer, provenance={})
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("harness") / "model")


@pytest.fixture(scope="module")
def ours(checkpoint: Path) -> HarnessModel:
    return HarnessModel(checkpoint)


def asked(*args: Any, kind: str = "loglikelihood") -> Any:
    from lm_eval.api.instance import Instance

    return Instance(request_type=kind, doc={}, arguments=args, idx=0)


def plain(tokenizer: Tokenizer, model: Any, context: str, continuation: str) -> float:
    """Log-likelihood of a continuation, without batches."""
    before, whole = tokenizer.encode(context), tokenizer.encode(context + continuation)
    logprobs = score_tokens(model, [tokenizer.bos_id, *whole.tolist()])
    return float(logprobs[len(before) :].sum())


def test_continuations_are_as_likely_as_alone(checkpoint: Path, ours: HarnessModel) -> None:
    loaded = load_checkpoint(checkpoint)
    pairs = [(row["question"], choice) for row in QUESTIONS for choice in row["choices"]]
    found = ours.loglikelihood([asked(*pair) for pair in pairs])
    wanted = [plain(loaded.tokenizer, loaded.model, *pair) for pair in pairs]
    np.testing.assert_allclose([value for value, _ in found], wanted, atol=1e-4)
    assert any(abs(value - other) > 1 for value, other in pairwise(wanted))


def test_what_the_model_writes_by_itself_is_greedy(ours: HarnessModel) -> None:
    (written,) = generate(ours.model, ours.tokenizer, "The miller", SamplingParams(temperature=0, max_tokens=1))
    (_, greedy), (_, other) = ours._loglikelihood_tokens(
        [
            (None, ours.tok_encode("The miller"), list(written.token_ids)),
            (None, ours.tok_encode("The miller"), [(written.token_ids[0] + 1) % 300]),
        ]
    )
    assert (greedy, other) == (True, False)


def test_nothing_given_and_tokens_that_grow_together(ours: HarnessModel) -> None:
    (nothing, _), (joined, _) = ours.loglikelihood([asked("", "river"), asked("lanter", "n")])
    logprobs = score_tokens(ours.model, [ours.prefix_token_id, *ours.tokenizer.encode("river").tolist()])
    assert nothing == pytest.approx(float(logprobs.sum()), abs=1e-4)
    assert joined < 0
    assert len(ours._encode_pair("lanter", "n")[1]) >= 1
    first, second = ours._encode_pair("the", " miller")  # where nothing grows together it is as the harness has it
    assert first + second == ours.tok_encode("the miller")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of transformers and the harness
def test_numbers_are_those_of_the_harness_own_model(checkpoint: Path, ours: HarnessModel, tmp_path: Path) -> None:
    """The same weights, exported for transformers, through `HFLM`: pairs, long texts, and what is written."""
    from lm_eval.models.huggingface import HFLM

    export_hf(checkpoint, tmp_path / "hf")
    theirs = HFLM(pretrained=str(tmp_path / "hf"), device="cpu", dtype="float32", batch_size=4, max_length=64)
    assert theirs.tok_encode("the river") == ours.tok_encode("the river")
    pairs = [(row["question"], choice) for row in QUESTIONS for choice in row["choices"]]
    pairs.append(("the miller carried the lantern by the river " * 9, "by the river"))  # longer than the window
    here, there = (one.loglikelihood([asked(*pair) for pair in pairs], disable_tqdm=True) for one in (ours, theirs))
    np.testing.assert_allclose([one for one, _ in here], [one for one, _ in there], atol=2e-3)
    assert [one for _, one in here] == [one for _, one in there]
    theirs.add_bos_token = False  # else `HFLM` puts a second begin token before a text, and counts the first
    texts = ["the miller", "老渔夫在河边 " * 20, "the old mill by the river, " * 30]
    here, there = (
        one.loglikelihood_rolling([asked(text, kind="loglikelihood_rolling") for text in texts], disable_tqdm=True)
        for one in (ours, theirs)
    )
    np.testing.assert_allclose(here, there, rtol=1e-4)
    theirs.add_bos_token = None
    wanted = {"until": ["\n", "e"], "max_gen_toks": 12, "do_sample": False}
    asks = [asked(row["question"], wanted, kind="generate_until") for row in QUESTIONS]
    torn = [text.rstrip("\ufffd") for text in theirs.generate_until(asks, disable_tqdm=True)]  # a half-made character
    assert [text.rstrip("\ufffd") for text in ours.generate_until(asks)] == torn


def test_what_is_written_ends_at_the_first_stop(ours: HarnessModel) -> None:
    free = ours.generate_until([asked("The miller", {"until": [], "max_gen_toks": 20}, kind="generate_until")])[0]
    (wanted,) = generate(ours.model, ours.tokenizer, "The miller", SamplingParams(temperature=0, max_tokens=20))
    assert free == wanted.text
    assert len(free) > 3
    stop = free[2:4]
    stopped = ours.generate_until([asked("The miller", {"until": stop, "max_gen_toks": 20}, kind="generate_until")])[0]
    assert stopped == free[: free.index(stop)]


def test_many_ways_of_drawing_at_once_and_prompts_longer_than_the_window(ours: HarnessModel) -> None:
    """Each request is answered as it would be alone, in the order of the requests."""
    long = "the miller carried the lantern by the river " * 9
    asks = [
        asked(prompt, {"until": ["。"], "max_gen_toks": tokens, **drawn}, kind="generate_until")
        for prompt in ("The miller", long, "老渔夫", "")
        for tokens, drawn in ((6, {}), (9, {"do_sample": True, "temperature": 0.8, "top_k": 5, "seed": 3}))
    ]
    together = ours.generate_until(asks)
    assert together == [ours.generate_until([one])[0] for one in asks]
    assert len(set(together)) > 4


def test_a_chat_is_read_by_its_template(tmp_path: Path, ours: HarnessModel) -> None:
    chat = HarnessModel(saved(tmp_path / "chat", template=TEMPLATE))
    messages = [{"role": "user", "content": "Who is by the river? <|endoftext|>"}]
    rendered = chat.apply_chat_template(messages)
    assert rendered.endswith("assistant:")
    ids = chat.tok_encode(rendered)
    assert ids == chat.tokenizer.chat(messages).tolist()
    assert ids.count(chat.tokenizer.eos_id) == 2  # what the person says makes no special token
    assert chat.chat_template(True) == TEMPLATE
    assert chat.chat_template(False) == ""
    assert not chat.apply_chat_template(messages, add_generation_prompt=False).endswith("assistant:")
    with pytest.raises(TokenizerError, match="no chat template"):
        ours.apply_chat_template(messages)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of datasets and the harness
def test_a_local_task_from_end_to_end(ours: HarnessModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Multiple choice and writing on a JSONL file of one's own, without a network, beside values by hand."""
    import datasets
    import lm_eval
    from lm_eval.tasks import TaskManager

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    greedy = SamplingParams(temperature=0, max_tokens=5, stop=("\n",))
    rows = [
        {**row, "written": generate(ours.model, ours.tokenizer, row["question"], greedy)[0].text if n % 2 else "?"}
        for n, row in enumerate(QUESTIONS)
    ]
    data = tmp_path / "questions.jsonl"
    data.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    common = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        "doc_to_text": "{{question}}",
        "num_fewshot": 0,
    }
    choosing = {
        **common,
        "task": "local_choice",
        "output_type": "multiple_choice",
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "target_delimiter": "",
        "metric_list": [{"metric": "acc"}],
    }
    writing = {
        **common,
        "task": "local_writing",
        "output_type": "generate_until",
        "doc_to_target": "{{written}}",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 5},
        "metric_list": [{"metric": "exact_match"}],
    }
    told = lm_eval.simple_evaluate(
        model=ours,
        tasks=[choosing, writing],
        task_manager=TaskManager(include_defaults=False),
        bootstrap_iters=0,
        verbosity="ERROR",
    )
    model, tokenizer = ours.model, ours.tokenizer
    right = [
        int(np.argmax([plain(tokenizer, model, row["question"], choice) for choice in row["choices"]])) == row["answer"]
        for row in rows
    ]
    assert told["results"]["local_choice"]["acc,none"] == pytest.approx(np.mean(right))
    assert told["results"]["local_writing"]["exact_match,none"] == pytest.approx(0.5)
    assert told["config"]["model_kind"] == "decoder"


def test_what_it_does_not_know_it_says(tmp_path: Path, ours: HarnessModel) -> None:
    with pytest.raises(UsageError, match="num_beams=4"):
        ours.generate_until([asked("x", {"until": ["\n"], "num_beams": 4}, kind="generate_until")])
    tokenizer = ours.tokenizer
    masked = build_model(
        EncoderConfig(vocab_size=tokenizer.vocab_size, max_seq_len=16, num_layers=1, d_model=16, num_heads=2,
                      num_kv_heads=2, head_dim=8, d_ff=24), 0)  # fmt: skip
    save_checkpoint(tmp_path / "masked", masked, tokenizer, provenance={})
    with pytest.raises(UsageError, match="wanted: a causal model") as error:
        HarnessModel(tmp_path / "masked")
    assert "encoder" in str(error.value)


def test_a_missing_harness_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from stepwell.export import harness

    monkeypatch.setitem(__import__("sys").modules, "lm_eval.utils", None)
    with pytest.raises(UsageError, match=r"stepwell\[harness\]"):
        harness._needed("lm_eval.utils")
