"""Classes made more even, in training only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from in_shards import in_shards

from stepwell.data.documents import Document
from stepwell.data.steps.balance.resample import Resample, ResampleConfig
from stepwell.data.steps.step import Surroundings
from stepwell.errors import DataError


def corpus() -> list[Document]:
    """80 good, 20 bad, 4 不知道 in training; a tenth as many held out."""
    return [
        Document(f"{label} {number}", "made", columns={"label": label}, split="test" if number % 11 == 10 else "train")
        for label, count in (("good", 88), ("bad", 22), ("不知道", 4))
        for number in range(count)
    ]


def resampled(documents: Sequence[Document], shards: int = 1, seed: int = 0, **settings: object):
    return in_shards(Resample(ResampleConfig(**settings), Surroundings(seed)), documents, shards)


def counts(documents: Sequence[Document]) -> dict[str, int]:
    return dict(Counter(one.columns["label"] for one in documents if one.split == "train"))


def test_small_classes_are_repeated_up_to_the_cap():
    kept, joined, (outcome,) = resampled(corpus())
    assert counts(kept) == {"good": 80, "bad": 80, "不知道": 16}
    assert not outcome.dropped
    assert joined.findings["classes"]["bad"] == {"before": 20, "after": 80, "epochs": 4}
    assert joined.findings["imbalance_factor_before"] == 20
    assert joined.findings["imbalance_factor_after"] == 5
    assert counts(resampled(corpus(), max_epochs=100)[0]) == {"good": 80, "bad": 80, "不知道": 80}


def test_large_classes_are_thinned():
    kept, _, (outcome,) = resampled(corpus(), method="undersample")
    assert counts(kept) == {"good": 4, "bad": 4, "不知道": 4}
    assert Counter(reason for _, reason in outcome.dropped) == {"left_out_of_mixture": 92}
    assert len({one.text for one in kept}) == len(kept)


def test_a_temperature_goes_part_of_the_way():
    assert counts(resampled(corpus(), temperature=2)[0]) == {"good": 80, "bad": 40, "不知道": 16}
    assert counts(resampled(corpus(), temperature=2, max_epochs=9)[0]) == {"good": 80, "bad": 40, "不知道": 18}
    thinned = counts(resampled(corpus(), temperature=2, method="undersample")[0])
    assert thinned == {"good": 18, "bad": 9, "不知道": 4}
    assert resampled(corpus(), temperature=1)[0] == corpus()


def test_weights_even_the_classes_and_have_the_mean_one():
    documents = corpus()
    kept, joined, _ = resampled(documents, method="weights")
    assert [one.text for one in kept] == [one.text for one in documents]
    training = [one for one in kept if one.split == "train"]
    weights = [one.columns["weight"] for one in training]
    assert sum(weights) / len(weights) == pytest.approx(1, abs=1e-5)
    totals: Counter[str] = Counter()
    for one in training:
        totals[one.columns["label"]] += one.columns["weight"]
    assert [round(total, 2) for total in totals.values()] == [34.67] * 3
    assert all("weight" not in one.columns for one in kept if one.split == "test")
    assert joined.findings["classes"]["bad"]["weight"] == pytest.approx(104 / 60, abs=1e-4)


@pytest.mark.parametrize("method", ["oversample", "undersample", "weights"])
def test_held_out_documents_stay_and_shards_play_no_part(method):
    documents = corpus()
    whole, joined, _ = resampled(documents, method=method)
    several, others, _ = resampled(documents, shards=9, method=method)
    assert whole == several
    assert joined.findings == others.findings
    held_out = [one for one in documents if one.split == "test"]
    assert [one for one in whole if one.split == "test"] == held_out


def test_documents_without_a_label_come_once():
    bare = [Document(f"bare {number}", "made", split="train") for number in range(5)]
    kept, joined, _ = resampled([*corpus(), *bare])
    assert kept[-5:] == bare
    assert joined.findings["ungrouped"] == 5


def test_one_class_only_is_an_error():
    for method in ("oversample", "weights"):
        with pytest.raises(DataError, match=r"(?s)fewer than two classes.*good \(80\)"):
            resampled(corpus()[:88], method=method)
    with pytest.raises(DataError, match="no document with a label"):
        resampled(corpus(), column="topic")
