"""What a server counts, for Prometheus to read at `/metrics`.

Every app has a registry of its own. Labels are names of models and of routes, of which there are few: what a client
makes up is never one of them. This file leaves out the access log.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from stepwell.inference import Load

TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
WAIT_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
WHOLE_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Meters:
    """Counts and times of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def counter(name: str, told: str, labels: tuple[str, ...]) -> Counter:
            return Counter(name, told, labels, namespace="stepwell", registry=self.registry)

        def gauge(name: str, told: str) -> Gauge:
            return Gauge(name, told, ("model",), namespace="stepwell", registry=self.registry)

        def histogram(name: str, told: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Histogram:
            return Histogram(name, told, labels, buckets=buckets, namespace="stepwell", registry=self.registry)

        self.requests = counter("requests", "Requests that were answered.", ("route", "status"))
        self.open_requests = Gauge("open_requests", "Requests under way.", namespace="stepwell", registry=self.registry)
        self.seconds = histogram("request_seconds", "From request to the end of its answer.", ("route",), WHOLE_SECONDS)
        self.gone = counter("abandoned_requests", "Requests whose client went away.", ("route",))
        self.prompt_tokens = counter("prompt_tokens", "Tokens of prompts.", ("model",))
        self.completion_tokens = counter("completion_tokens", "Tokens that were written.", ("model",))
        self.first_token = histogram(
            "time_to_first_token_seconds", "From request to its first token.", ("model",), WAIT_SECONDS
        )
        self.next_token = histogram(
            "time_between_tokens_seconds", "Between tokens of a sample.", ("model",), TOKEN_SECONDS
        )
        self.batch = histogram("batch_samples", "Samples that a step wrote a token of.", ("model",), BATCH_SIZES)
        self.running = gauge("running_samples", "Samples that are read or written.")
        self.waiting = gauge("waiting_samples", "Samples that have not begun.")
        self.blocks = gauge("cache_blocks", "Blocks of keys and values.")
        self.used_blocks = gauge("used_cache_blocks", "Of them, those of running samples.")
        self.asked_tokens = gauge("cache_asked_tokens", "Prompt tokens that were looked up in the cache.")
        self.found_tokens = gauge("cache_found_tokens", "Of them, those that were found there.")
        self.task_batch = histogram(
            "task_batch_requests", "Requests that were answered together.", ("model",), BATCH_SIZES
        )

    def text(self) -> bytes:
        """Everything, in Prometheus' format."""
        return generate_latest(self.registry)


class ModelMeters:
    """What is counted of one model; an `EngineWorker` tells it.

    Args:
        meters: of the server.
        name: of the model.
    """

    def __init__(self, meters: Meters, name: str) -> None:
        self._first = meters.first_token.labels(name)
        self._next = meters.next_token.labels(name)
        self._batch = meters.batch.labels(name)
        self._task_batch = meters.task_batch.labels(name)
        self._prompt, self._completion = meters.prompt_tokens.labels(name), meters.completion_tokens.labels(name)
        self._running, self._waiting = meters.running.labels(name), meters.waiting.labels(name)
        self._blocks, self._used = meters.blocks.labels(name), meters.used_blocks.labels(name)
        self._asked, self._found = meters.asked_tokens.labels(name), meters.found_tokens.labels(name)

    def first_token(self, seconds: float) -> None:
        self._first.observe(seconds)

    def next_token(self, seconds: float) -> None:
        self._next.observe(seconds)

    def stepped(self, events: int, load: Load) -> None:
        if events:
            self._batch.observe(events)
        self._running.set(load.running)
        self._waiting.set(load.waiting)
        self._blocks.set(load.blocks)
        self._used.set(load.used_blocks)
        self._asked.set(load.asked_tokens)
        self._found.set(load.found_tokens)

    def answered(self, prompt_tokens: int, completion_tokens: int) -> None:
        """A request has ended, with so many tokens."""
        self._prompt.inc(prompt_tokens)
        self._completion.inc(completion_tokens)

    def batched(self, requests: int) -> None:
        """So many requests were answered together."""
        self._task_batch.observe(requests)
