"""What is said of a model that writes: values as of sacrebleu and rouge-score, its loss, the search it suits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stepwell.data import Document, tokenize_documents
from stepwell.errors import ConfigError
from stepwell.evaluation import Held, bootstrap, choose_search, measure_of, summarize
from stepwell.evaluation.measuring import beam_choice
from stepwell.evaluation.measuring.writing import score_summaries, score_translations, write_targets, written_scores
from stepwell.inference import Completion, SamplingParams, answer_many
from stepwell.models import MODELS, LanguageModel, build_model
from stepwell.tasks import SearchConfig, SummarizationConfig, TranslationConfig, build_task
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer

ROWS = [("a well", "un puits"), ("b", "x"), ("the stair", "l'escalier"), ("水", "井水"), ("deep", ["profond", "creux"])]
TASKS = {
    "translation": TranslationConfig(target_language="fr", max_target_tokens=8, decision=SearchConfig(beam_size=2)),
    "summarization": SummarizationConfig(max_target_tokens=8, decision=SearchConfig(beam_size=2)),
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([], ByteBPEConfig(vocab_size=257))


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    config = MODELS["encoder_decoder"].sized(1, vocab_size=257, max_seq_len=64).model_copy(update={"prompt": "source"})
    built = build_model(config, seed=2)
    with torch.no_grad():
        built.output().weight.normal_(std=0.5, generator=torch.Generator().manual_seed(1))
    return built.eval()


def held(task, tokenizer: Tokenizer) -> Held:
    documents = [Document(source, "test", columns={"source": source, "target": target}) for source, target in ROWS]
    return Held(tokenize_documents(documents, tokenizer, build_task(task)), documents, tokenizer)


@pytest.mark.parametrize("kind", TASKS)
def test_the_values_are_those_of_the_texts(kind, model, tokenizer):
    task = TASKS[kind]
    examples = held(task, tokenizer)
    scores = measure_of(task).evaluate(model, examples, task, SamplingParams(), "float32")
    texts = [one.text for one in write_targets(model, examples.split, examples.documents, tokenizer, task)]
    right = [target if isinstance(target, list) else [target] for _, target in ROWS]
    values = {name: one.value for name, one in summarize(scores).items()}
    if kind == "translation":
        import sacrebleu

        streams = [[one[at] if at < len(one) else None for one in right] for at in range(2)]
        assert values["bleu"] == pytest.approx(sacrebleu.BLEU(force=True).corpus_score(texts, streams).score)
        assert values["chrf"] == pytest.approx(sacrebleu.CHRF().corpus_score(texts, streams).score)
        assert values["ter"] == pytest.approx(sacrebleu.TER().corpus_score(texts, streams).score)
    else:
        from rouge_score.rouge_scorer import RougeScorer

        scorer = RougeScorer(["rougeL"])
        assert scores.rouge[1, 2] == pytest.approx(scorer.score("x", texts[1])["rougeL"].fmeasure)
        assert values["length_ratio"] == pytest.approx(scores.words.sum() / scores.wanted_words.sum())
    assert values["loss"] == pytest.approx(scores.nats.sum() / scores.tokens.sum())
    assert scores.tokens.tolist() == [len((t if isinstance(t, str) else t[0]).encode()) + 1 for _, t in ROWS]


@pytest.mark.parametrize("kind", TASKS)
def test_what_is_looked_at_on_the_way_is_what_is_measured_in_the_end(kind, model, tokenizer):
    task = TASKS[kind]
    examples = held(task, tokenizer)
    watched = measure_of(task).watched(model, examples, task, "float32")
    scores = measure_of(task).evaluate(model, examples, task, SamplingParams(), "float32")
    for name in watched:
        assert watched[name] == pytest.approx(bootstrap(scores, name, resamples=1).value, rel=1e-5)


def test_texts_that_end_are_counted():
    done, cut = (Completion("x", (1,), (-1.0,), reason, 3, False) for reason in ("stop", "length"))
    from stepwell.evaluation import SummarizedScores
    from stepwell.inference import TokenScores

    told = [TokenScores(np.array([-0.5, -1.5], np.float32), np.array([True, False]))] * 3
    scores = written_scores(
        SummarizedScores, score_summaries(["x"] * 3, [["x"]] * 3, TASKS["summarization"]), told, [done, done, cut]
    )
    values = {name: one.value for name, one in summarize(scores).items()}
    assert values["stop_ratio"] == pytest.approx(2 / 3)
    assert values["token_accuracy"] == 0.5
    assert values["loss"] == 1.0
    assert values["rouge_l"] == 1.0


def test_chinese_is_cut_by_character():
    zh, fr = (TranslationConfig(target_language=language) for language in ("zh", "fr"))
    texts, right = ["听说你有女朋友了。"], [["听说你有新女朋友了。"]]
    assert bootstrap(score_translations(texts, right, zh), "bleu", resamples=1).value > 50
    assert bootstrap(score_translations(texts, right, fr), "bleu", resamples=1).value == 0


def completion(text: str, *logprobs: float) -> Completion:
    return Completion(text, tuple(range(len(logprobs))), logprobs, "stop", 3, False)


@pytest.mark.parametrize(
    ("beams", "greedy", "chosen"),
    [
        ([completion("long one", -1, -1, -1), completion("no", -1.5)], completion("no", -1.5), (4, 1.0)),
        ([completion("no", -0.9), completion("long one", -1, -1, -1)], completion("no", -0.9), (4, 1.2)),
        ([completion("no", -9.0)], completion("long one", -1), (1, 1.0)),
    ],
)
def test_the_search_that_does_best_is_chosen(beams, greedy, chosen, model, tokenizer, monkeypatch):
    """Of the long and the short text, which is right decides: a longer one wants a larger penalty."""
    task = TranslationConfig(target_language="en")
    documents = [Document("a", "test", columns={"source": "a", "target": "long one"})] * 3
    examples = Held(tokenize_documents(documents, tokenizer, build_task(task)), documents, tokenizer)
    monkeypatch.setattr(
        beam_choice,
        "write_texts",
        lambda model, tokenizer, task, prompts, **more: [
            beams if task.decision.beam_size > 1 else [greedy] for _ in prompts
        ],
    )
    found = choose_search(
        model, examples.split, documents, tokenizer, task, score_translations, metric="chrf", precision="float32"
    )
    assert (found.decision.beam_size, found.decision.length_penalty) == chosen
    same = choose_search(
        model, examples.split, documents, tokenizer, task, score_translations, metric="loss", precision="float32"
    )
    assert same == task


@pytest.mark.parametrize("kind", TASKS)
def test_what_can_be_taken_answers_where_it_is_the_best(kind, model, tokenizer):
    """A model that has learned nothing is no match for the source, or its first sentence."""
    rows = [("a well. It is deep", "a well."), ("the stair. It is long.", "the stair."), ("水井。很深。", "水井。")]
    rows = rows if kind == "summarization" else [(target, target) for _, target in rows]
    documents = [Document(source, "test", columns={"source": source, "target": target}) for source, target in rows]
    task, measure = TASKS[kind], measure_of(TASKS[kind])
    examples = Held(tokenize_documents(documents, tokenizer, build_task(task)), documents, tokenizer)
    metric = {"translation": "chrf", "summarization": "rouge_l"}[kind]
    assert measure.decide is not None
    found = measure.decide(model, examples, task, metric, "float32")
    assert found.decision.members == ({"translation": "copy", "summarization": "lead_1"}[kind],)
    scores = measure.evaluate(model, examples, found, SamplingParams(), "float32")
    assert summarize(scores)[metric].value == pytest.approx(100 if kind == "translation" else 1)
    assert [one["answer"] for one in scores.said] == [target for _, target in rows]
    asked = [source for source, _ in rows]
    answers = answer_many(model, tokenizer, found, asked, SamplingParams())
    assert [some[0].text for some in answers] == [target for _, target in rows]
    assert (
        summarize(scores)["loss"]
        == summarize(measure.evaluate(model, examples, task, SamplingParams(), "float32"))["loss"]
    )


def test_what_cannot_be_taken_is_named(model, tokenizer):
    task = TASKS["translation"].model_copy(update={"decision": SearchConfig(members=("lead_1",))})
    with pytest.raises(ConfigError, match="unknown"):
        answer_many(model, tokenizer, task, ["a"], SamplingParams())
