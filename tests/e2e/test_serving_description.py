"""What the server's description allows, and what it does not, is answered without a fault of the server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from served_models import Running, make_models, serving

from stepwell.serving import ServeConfig

pytestmark = pytest.mark.slow

ERROR_FIELDS = {"message", "type", "param", "code"}

ASKED = {
    "/v1/completions": ("writer", "recurrent", "labels", "rewriter"),
    "/v1/chat/completions": ("talker", "writer"),
    "/v1/responses": ("talker", "vectors"),
    "/v1/embeddings": ("vectors", "writer", "translator"),
    "/classify": ("labels", "tags"),
    "/tag": ("tags",),
    "/translate": ("translator",),
    "/answer": ("labels", "tags", "translator", "vectors"),
    "/tokenize": ("talker", "writer"),
    "/detokenize": ("writer",),
    "/score": ("writer", "recurrent", "vectors", "translator"),
    "/rerank": ("vectors", "writer"),
    "/v1/engines/{engine}/completions": (),
    "/v1/engines/{engine}/chat/completions": (),
    "/v1/engines/{engine}/embeddings": (),
    "/v1/models": (),
    "/v1/models/{model}": (),
    "/v1/engines": (),
    "/v1/engines/{model}": (),
    "/health": (),
    "/ready": (),
}
"""Each path, and the models that it is asked of: a made-up name reaches none of them."""

NAMED = [path for path in ASKED if "{" in path]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    paths = make_models(tmp_path_factory.mktemp("models"))
    with serving(paths, ServeConfig(weights="plain", most_tokens=64)) as found:
        yield found


@pytest.fixture(scope="module")
def operations(running: Running) -> dict[str, Any]:
    """Of the description, by their paths."""
    schema = schemathesis.openapi.from_url(f"{running.url}/openapi.json")
    return {found.ok().path: found.ok() for found in schema.get_all_operations()}


def test_every_path_is_asked(operations: dict[str, Any]) -> None:
    assert set(operations) == set(ASKED)


@pytest.mark.parametrize(
    ("path", "mode"),
    [(path, GenerationMode.POSITIVE) for path in ASKED]
    + [(path, GenerationMode.NEGATIVE) for path in ASKED if ASKED[path] or (path in NAMED and path.endswith("s"))],
    ids=str,
)
def test_no_request_makes_the_server_fail(
    path: str, mode: GenerationMode, operations: dict[str, Any], running: Running
) -> None:
    statuses = set()

    @given(case=operations[path].as_strategy(generation_mode=mode))
    @settings(max_examples=40, suppress_health_check=list(HealthCheck))
    def ask(case: Any) -> None:
        bodies = [case.body]
        if isinstance(case.body, dict):
            bodies += [{**case.body, "model": name} for name in ASKED[path]]
        for body in bodies:
            case.body = body
            answer = case.call(base_url=running.url)
            statuses.add(answer.status_code)
            assert answer.status_code < 500, answer.text
            if answer.status_code >= 400:
                assert set(answer.json()["error"]) == ERROR_FIELDS
            assert "internal_error" not in answer.text

    ask()
    assert 200 in statuses or mode is GenerationMode.NEGATIVE or path in NAMED
    assert mode is GenerationMode.POSITIVE or statuses & {400, 404}
    for served in running.server.models.values():
        assert served.worker is None or served.worker.is_well
        assert served.worker is None or served.worker.taken == 0
