"""N-grams around each token, beside a plain walk over the text, and a head that weighs them and how labels follow."""

from __future__ import annotations

import pytest
import torch

from stepwell.config import build
from stepwell.errors import ConfigError
from stepwell.models import NgramFeaturesConfig, TaskHead, TaskHeadConfig
from stepwell.models.task_head import ngrams_around

Ngram = tuple[int, ...]

MANY = 1 << 40  # buckets, so that no two n-grams share one


def plain_features(tokens: list[int], pieces: list[int], at: int, max_n: int, reach: int) -> list[Ngram | None]:
    """The n-grams within reach of a token, by length and place; None for those that are not there."""
    found: list[Ngram | None] = []
    for n in range(1, max_n + 1):
        for shift in range(-reach, reach - n + 2):
            places = range(at + shift, at + shift + n)
            inside = all(0 <= place < len(tokens) and pieces[place] == pieces[at] for place in places)
            found.append((n, shift, *(tokens[place] for place in places)) if inside else None)
    return found


@pytest.mark.parametrize(("max_n", "reach"), [(3, 2), (1, 1), (2, 0), (4, 3)])
def test_two_tokens_share_a_bucket_where_they_share_an_ngram(max_n: int, reach: int) -> None:
    torch.manual_seed(1)
    tokens = torch.randint(3, (4, 17))
    pieces = torch.tensor([[0] * 5 + [1] * 12, [2] * 17, [3] * 1 + [4] * 16, [5] * 10 + [6] * 7])
    found = ngrams_around(tokens, pieces, NgramFeaturesConfig(max_n=max_n, reach=reach, num_buckets=MANY))
    bucket_of: dict[Ngram, int] = {}
    for row in range(4):
        for at in range(17):
            plain = plain_features(tokens[row].tolist(), pieces[row].tolist(), at, max_n, reach)
            buckets = found[row, at].tolist()
            assert [bucket == MANY for bucket in buckets] == [one is None for one in plain]
            for one, bucket in zip(plain, buckets, strict=True):
                if one is not None:
                    assert bucket_of.setdefault(one, bucket) == bucket
    assert len(set(bucket_of.values())) == len(bucket_of)


def test_rows_shorter_than_an_ngram() -> None:
    found = ngrams_around(torch.tensor([[7]]), torch.tensor([[0]]), NgramFeaturesConfig(max_n=3, num_buckets=100))
    assert (found[0, 0] < 100).sum() == 1


def head_of(dropout: float = 0.0) -> TaskHead:
    ngrams = NgramFeaturesConfig(max_n=2, reach=1, num_buckets=1000, dropout=dropout)
    head = TaskHead(TaskHeadConfig(num_outputs=3, pooling="each", dropout=0.0, ngrams=ngrams, transitions=True), 4)
    assert head.table is not None
    torch.nn.init.normal_(head.table.weight)
    return head


def test_each_token_gets_the_sum_of_its_weights_wherever_its_text_is_packed() -> None:
    head = head_of().eval()
    tokens, hidden = torch.tensor([[5, 6, 5, 6, 9, 9]]), torch.zeros(1, 6, 4)
    pieces = torch.tensor([[0, 0, 0, 1, 1, 1]])
    together = head(hidden, tokens, pieces, 2)
    alone = head(hidden[:, :3], tokens[:, 3:], torch.zeros(1, 3, dtype=torch.int64), 1)
    torch.testing.assert_close(together[:, 3:], alone)
    buckets = ngrams_around(tokens, pieces, head.config.ngrams)  # type: ignore[arg-type]
    for at in range(6):
        there = buckets[0, at][buckets[0, at] < 1000]
        torch.testing.assert_close(together[0, at], head.table.weight[there].sum(0))  # type: ignore[union-attr]


def test_ngrams_are_left_out_while_training_only() -> None:
    head = head_of(dropout=0.9)
    tokens, pieces, hidden = torch.arange(40)[None], torch.zeros(1, 40, dtype=torch.int64), torch.zeros(1, 40, 4)
    trained = head.train()(hidden, tokens, pieces, 1)
    told = head.eval()(hidden, tokens, pieces, 1)
    assert trained.abs().sum() < 0.5 * told.abs().sum()
    torch.testing.assert_close(told, head(hidden, tokens, pieces, 1))


def test_parameters_are_counted() -> None:
    head = head_of()
    assert head.config.num_parameters(4) == sum(one.numel() for one in head.parameters())


def test_labels_of_whole_texts_do_not_follow_one_another() -> None:
    with pytest.raises(ConfigError, match="transitions where pooling is `each`"):
        build(TaskHeadConfig, {"num_outputs": 2, "transitions": True}, where="model.task_head")
