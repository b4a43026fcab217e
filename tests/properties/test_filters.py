"""Filters take any text: nothing is lost, nothing is made up, and no text is judged by what stands beside it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stepwell.data.documents import Document
from stepwell.data.steps.filters.hashed_regression import features_of
from stepwell.data.steps.filters.quality import Quality, QualityConfig
from stepwell.data.steps.filters.quality.page import Page, is_chinese
from stepwell.data.steps.filters.text_models import look_at, model_in, sample_of, to_arrays
from stepwell.data.steps.step import Surroundings

ODD = st.sampled_from([*"的是a\n。…#{の한é_𠀀-\u200b\x1c", "the ", "\n\n", "...", "-{", "1.5", "'t"])
TEXT = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80),
    st.lists(ODD, min_size=1, max_size=400).map("".join),
)
CONFIGS = [
    QualityConfig(),
    QualityConfig(rows="pages", min_words=0, min_sentences=0),
    QualityConfig(rules=["gopher", "c4", "c4_lines", "fineweb"], rows="pages", passage_bytes=4096, min_words=3),
]


@given(texts=st.lists(TEXT, max_size=4), config=st.sampled_from(CONFIGS), is_row=st.booleans())
def test_quality_loses_no_text(texts, config, is_row):
    documents = [Document(text, str(number), is_row=is_row) for number, text in enumerate(texts)]
    outcome = Quality(config, Surroundings()).apply(documents)
    told = {one.source for one in outcome.kept} | {one.source for one, _ in outcome.dropped}
    assert told == {one.source for one in documents}
    assert all(why and why == why.lower() and " " not in why for _, why in outcome.dropped)
    if "c4_lines" not in config.rules:
        assert all(one.text in documents[int(one.source)].text for one in outcome.kept)
        assert not outcome.changed
    alone = [kept for one in documents for kept in Quality(config, Surroundings()).apply([one]).kept]
    assert alone == outcome.kept


@given(text=TEXT)
def test_words_are_at_most_characters(text):
    page = Page(text)
    assert page.is_chinese == is_chinese(text)
    assert 0 <= page.words.lettered <= page.words.number <= len(page.tokens)
    assert page.words.characters <= len(text)
    assert page.has_fewer_words(50) == (page.num_words < 50)
    assert sum(map(len, page.tokens)) == sum(not one.isspace() for one in text)


@given(texts=st.lists(TEXT, max_size=5))
def test_features_of_several_texts_are_those_of_each(texts):
    together = features_of(texts)
    for number, text in enumerate(texts):
        part = together.places[together.ends[number] : together.ends[number + 1]]
        assert part.tolist() == features_of([text]).places.tolist()


@given(texts=st.lists(TEXT, min_size=1, max_size=5))
def test_scores_do_not_hang_on_what_stands_beside(texts):
    documents = [Document(text, "x") for text in texts]
    score = model_in(to_arrays(sample_of([look_at(documents, 1000)], 1000), "m", halved=True), "m", 3)
    together = score(documents).tolist()
    assert together == [score([one])[0] for one in documents]
    assert all(one > 0 for one in together)
