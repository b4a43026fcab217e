"""Ranks beside rank 0: they show nothing, leave where there is nothing to share, and end in silence with the others."""

from __future__ import annotations

import pytest

from stepwell import api
from stepwell.errors import DataError, EndedElsewhere


@pytest.fixture
def follower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")


def test_a_follower_leaves_where_rank_0_works_alone(follower, stepwell, monkeypatch):
    monkeypatch.setattr(api, "report", lambda run: pytest.fail("it should not have come so far"))
    ran = stepwell("report", "runs/none")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [(EndedElsewhere("rank 0: stopped by hand", 130), 130, ""), (DataError("rows: lost"), 1, "stepwell: rows: lost\n")],
)
def test_a_follower_speaks_only_of_its_own_faults(follower, stepwell, monkeypatch, fault, code, words):
    def fails(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(api, "train", fails)
    ran = stepwell("train", "--text", "x.txt")
    assert (ran.code, ran.out, ran.err) == (code, "", words)


def test_what_a_follower_returns_is_not_shown(follower, stepwell, monkeypatch):
    monkeypatch.setattr(api, "train", lambda *_, **__: {"steps": 3})
    ran = stepwell("train", "--text", "x.txt", "--json")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
