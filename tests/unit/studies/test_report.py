"""The report tells a run as it was: finished or not, large or small, whole or damaged."""

from __future__ import annotations

import html.parser
import json
import math
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from stepwell.errors import DiskError, RunError
from stepwell.studies.report import render_report, write_report

FakeRun = Callable[..., Path]
Line = dict[str, Any]

PLANS: list[tuple[str, str, Line, float, bool]] = [
    (
        "first_plan",
        "2.1 MB of English, ten minutes and 11.2 thousand tokens a second leave room for 3.2 million parameters",
        {"model.num_layers": [None, 6], "model.d_model": [None, 192], "training.steps": [None, 400],
         "training.learning_rate": [None, 0.003], "tokenizer.vocab_size": [None, 2048]},
        2.314, True,
    ),
    ("underfitting", "both losses were still falling in the last fifth of the steps",
     {"training.steps": [400, 900]}, 2.051, True),
    ("learning_rate_too_low", "the loss fell evenly and the gradient was calm, so larger steps may be taken",
     {"training.learning_rate": [0.003, 0.006]}, 2.083, False),
    ("too_few_tokens", "the model has read 9 tokens for each parameter",
     {"model.d_model": [192, 160], "training.global_batch_tokens": [16384, 8192]}, 1.942, True),
    ("overfitting", "held-out loss turned at step 640 while training loss went on falling",
     {"model.dropout": [0.0, 0.1], "training.weight_decay": [0.1, 0.2]}, 1.872, True),
]  # fmt: skip
SAMPLES = {
    "The function returns": [
        " the the of a in the",
        " a string of the object. If the object is not a string, the the value",
        " a string object, or None of the argument is the value of",
        " a new list of all items in the sequence, in the order in which",
        " True if the string ends with the given suffix, and False otherwise. The optional\n"
        "argument *start* says where the comparison begins.\n\n    >>> 'stepwell'.endswith('well')\n    True",
    ],
    "Raise ValueError if": [
        " to the the and",
        " the is not a valid",
        " the the argument is not",
        " the value is not found in the list",
        " the separator is not found; see also `find()`, which returns -1 instead.",
    ],
}


def _curve(rng: random.Random, steps: int, start: float, end: float) -> list[float]:
    return [end + (start - end) * math.exp(-5 * at / steps) + rng.gauss(0, 0.05) for at in range(1, steps + 1)]


def _metrics(rng: random.Random, steps: int, value: float) -> list[Line]:
    lines: list[Line] = []
    for at, loss in enumerate(_curve(rng, steps, 7.4, value * math.log(2) * 3.6), start=1):
        lines.append({"kind": "step", "step": at, "loss": loss, "learning_rate": 3e-3, "grad_norm": 0.8,
                      "tokens": at * 8192, "seconds": at * 0.11, "tokens_per_second": 11_200.0})  # fmt: skip
        if at % (steps // 8) == 0:
            held_out = value + 2.4 * math.exp(-6 * at / steps)
            lines.append({"kind": "evaluation", "step": at, "train_loss": loss, "bits_per_byte": held_out,
                          "train_bits_per_byte": held_out - 0.09 * at / steps})  # fmt: skip
    return lines


def _journal(rounds: int) -> list[Line]:
    lines: list[Line] = []
    best: float | None = None
    for at in range(rounds):
        name, reason, change, value, good = PLANS[at % len(PLANS)]
        value -= 0.06 * (at // len(PLANS))
        accepted = good and (best is None or value < best)
        record: Line = {
            "round": at + 1, "diagnosis": name, "evidence": {"train_slope": -0.0213, "held_out_slope": -0.0187},
            "reason": reason, "change": change, "continues_from": 2 if at % 5 == 4 else None,
            "metric": "bits_per_byte", "value": value, "low": value - 0.021, "high": value + 0.022, "before": best,
            "gain": None if best is None else best - value, "gain_low": None if best is None else best - value - 0.012,
            "gain_high": None if best is None else best - value + 0.011, "accepted": accepted,
            "seconds": 71.4 + 9 * at, "steps": 400, "tokens": 3_276_800, "parameters": 3_212_800,
            "train_value": value - 0.09, "tokens_per_second": 10_000.4 + at, "mfu_ratio": 0.4 + at / 100,
            "peak_memory_bytes": 900_000_000 + at,
            "samples": [{"prompt": prompt, "text": texts[at % 5]} for prompt, texts in SAMPLES.items()],
            "findings": [{"name": PLANS[(at + 1) % len(PLANS)][0], "words": PLANS[(at + 1) % len(PLANS)][1],
                          "evidence": {"train_slope": -0.0213, "tokens_per_parameter": 9.1}}] if at % 5 < 4 else [],
        }  # fmt: skip
        lines.append(record)
        best = value if accepted else best
    return lines


FACTS: Line = {
    "data": {
        "sources": [{"source": "sample:python-docs", "documents": 9120, "bytes": 2_010_444},
                    {"source": "notes/好文章.md", "documents": 212, "bytes": 230_112}],
        "documents": 9332, "bytes": 2_240_556, "characters": 2_181_004, "duplicates": 418,
        "languages": {"en": 0.93, "zh": 0.06, "de": 0.01},
        "splits": {"train": {"documents": 7931, "bytes": 1_903_112, "tokens": 531_002},
                   "validation": {"documents": 934, "bytes": 224_871, "tokens": 63_010},
                   "test": {"documents": 467, "bytes": 112_573, "tokens": 31_447}},
        "problems": ["notes/old.txt: 3 bytes were no UTF-8 (first at 1204), replaced"],
    },
    "tokenizer": {"kind": "byte_bpe", "vocab_size": 2048, "bytes_per_token": {"train": 3.584, "validation": 3.569},
                  "unused_ratio": 0.004, "examples": [" implementation", " representation", "----------------",
                                                      "\n        ", " documentation", " corresponding", "默认值"]},
    "machine": {"cpu": "AMD EPYC 7B13", "cores": 2, "memory_bytes": 8_323_000_000, "gpu": None, "bf16": False,
                "vnni": True, "amx": False, "gflops": {"float32": 92.4, "bfloat16": 41.0}, "precision": "float32",
                "threads": 2},
    "environment": {"stepwell": "0.1.0", "python": "3.11.9", "torch": "2.13.0", "platform": "Linux x86_64"},
    "plan": {"rounds": [{"round": 1, "seconds": 71.0}], "tokens_per_second": 11_200, "parameters": 3_212_800},
}  # fmt: skip


def make_fake_run(root: Path, rounds: int = 5, *, finished: bool = True, target: float | None = 1.9) -> Path:
    """Write a plausible run directory of so many rounds; unfinished, its last round has metrics but no journal line."""
    rng = random.Random(rounds)
    run = root / "runs" / "docs"
    run.mkdir(parents=True)
    recipe = {
        "task": "language_modeling", "data": {"sources": ["sample:python-docs", "notes/"]}, "budget": "10m",
        "target": target, "model": {"kind": "decoder", "num_layers": 6, "d_model": 192}, "training": {"steps": 400},
    }  # fmt: skip
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    (run / "facts.json").write_text(json.dumps(FACTS), encoding="utf-8")
    journal = _journal(rounds)
    for line in journal:
        folder = run / "rounds" / f"{line['round']:02d}"
        folder.mkdir(parents=True)
        metrics = _metrics(
            rng, int(PLANS[(line["round"] - 1) % 5][2].get("training.steps", [0, 640])[1]), line["value"]
        )
        if line["round"] == 3:
            metrics.append({"kind": "event", "step": 212, "event": "rolled_back", "detail": "loss 9.1 at step 212"})
        write_lines(
            folder / "metrics.jsonl", metrics if finished or line["round"] < rounds else metrics[: len(metrics) // 2]
        )
    write_lines(run / "journal.jsonl", journal if finished else journal[:-1])
    if finished:
        kept = [line for line in journal if line["accepted"]]
        (run / "result.json").write_text(json.dumps(_result(kept[-1], rounds, target)), encoding="utf-8")
    return run


def _result(best: Line, rounds: int, target: float | None) -> Line:
    def measured(shift: float) -> Line:
        value = best["value"] + shift
        return {"bits_per_byte": {"value": value, "low": value - 0.021, "high": value + 0.022},
                "perplexity": {"value": 98.4, "low": 91.0, "high": 106.2},
                "accuracy": {"value": 0.412, "low": 0.405, "high": 0.419}}  # fmt: skip

    return {
        "task": "language_modeling", "metric": "bits_per_byte", "target": target,
        "target_met": target is not None and best["value"] <= target,
        "stopped_because": "budget_spent", "rounds": rounds, "seconds": 552.7,
        "validation": measured(0.0), "test": measured(0.017),
        "best": {"round": best["round"], "path": "best", "parameters": 3_212_800},
        "baselines": [{"name": "kneser_ney_5", "bits_per_byte": 2.207}, {"name": "gzip", "bits_per_byte": 2.96},
                      {"name": "unigram", "bits_per_byte": 4.61}],
        "samples": best["samples"],
    }  # fmt: skip


def write_lines(path: Path, lines: list[Line]) -> None:
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")


@pytest.fixture
def fake_run(tmp_path: Path) -> FakeRun:
    return lambda *args, **named: make_fake_run(tmp_path, *args, **named)


def text_of(page: str, language: str = "en") -> str:
    """What a reader sees in one language, without markup."""
    other = "zh" if language == "en" else "en"
    shown = re.sub(rf'<(span|tspan) class="{other}"[^>]*>.*?</\1>', "", page, flags=re.S)
    shown = re.sub(r"<(style|script)>.*?</\1>|<text[^>]* lang=[^>]*>.*?</text>", "", shown, flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", shown))


class Balance(html.parser.HTMLParser):
    """Checks that every element is closed in order."""

    VOID = frozenset({"meta", "link", "br", "img", "hr", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        assert self.open.pop() == tag


def checked(page: str) -> list[tuple[str, dict[str, str | None]]]:
    """The elements of a page that is well formed, with finite coordinates and no untold words."""
    balance = Balance()
    balance.feed(page)
    assert balance.open == []
    for _, attributes in balance.seen:
        for name in ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height", "d", "points"):
            assert "nan" not in (attributes.get(name) or "").lower()
            assert "inf" not in (attributes.get(name) or "").lower()
    assert "Words(" not in page
    assert "None" not in text_of(page).replace("None of the argument", "")
    return balance.seen


def test_the_headline_says_from_where_to_where_and_why_it_ended(fake_run: FakeRun) -> None:
    page = render_report(fake_run())
    checked(page)
    shown = text_of(page)
    assert "From 2.314 to 1.872 bits per byte in five rounds" in shown
    assert "(95 % interval 1.851 to 1.894)" in shown
    assert "The target of 1.900 is met. The budget was spent. The whole run took 9 m 13 s." in shown
    assert "steps 400 → 900" in shown
    assert "not better by more than the noise, not kept" in shown
    assert "rolled back, step 212" in shown
    assert "Kneser-Ney 5-gram" in shown
    assert "stepwell predict" in shown


def test_the_speed_is_that_of_the_best_round(fake_run: FakeRun) -> None:
    folder = fake_run(rounds=2)
    shown = text_of(render_report(folder))
    for part in ("10.0 k tokens a second", "machine&#39;s measured rate41 %", "memory at most858 MiB"):
        assert part in shown
    path = folder / "journal.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for name in ("tokens_per_second", "mfu_ratio", "peak_memory_bytes"):
        lines = [{key: value for key, value in line.items() if key != name} for line in lines]
    path.unlink()
    write_lines(path, lines)
    shown = text_of(render_report(folder))
    assert "tokens a second in training" not in shown, "runs of before tell nothing of it"
    assert "memory at most" not in shown


def test_the_page_speaks_chinese(fake_run: FakeRun) -> None:
    shown = text_of(render_report(fake_run()), "zh")
    assert "经过 5 轮，每字节比特数从 2.314 到 1.872" in shown
    assert "欠拟合" in shown
    assert "步数 400 → 900" in shown
    assert "Round by round" not in shown


def test_the_page_needs_no_other_host(fake_run: FakeRun) -> None:
    page = render_report(fake_run())
    seen = checked(page)
    assert not {"link", "img", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in seen}
    assert not [
        value for _, attributes in seen for name, value in attributes.items() if name in ("src", "href", "style")
    ]
    assert "http:" not in page
    assert "https:" not in page
    assert "url(" not in page
    assert "@import" not in page


def test_a_missed_target_says_how_much_is_missing(fake_run: FakeRun) -> None:
    assert "The target of 1.500 is not met; 0.372 is missing." in text_of(render_report(fake_run(target=1.5)))


@pytest.mark.parametrize("rounds", [1, 2, 12, 30])
def test_any_number_of_rounds(fake_run: FakeRun, rounds: int) -> None:
    page = render_report(fake_run(rounds))
    seen = checked(page)
    dots = [attributes for tag, attributes in seen if tag == "circle" and "dot" in (attributes.get("class") or "")]
    assert len(dots) == 2 * rounds
    assert len(page) < 400_000


def test_a_run_that_is_still_going(fake_run: FakeRun) -> None:
    page = render_report(fake_run(3, finished=False))
    checked(page)
    shown = text_of(page)
    assert "This run has not come to its end" in shown
    assert "Round 3 is under way: step" in shown
    assert "stepwell run" in shown
    assert "From 2.314 to 2.051" in shown
    assert "target 1.900" in shown


def test_a_run_before_its_first_round_is_done(fake_run: FakeRun) -> None:
    shown = text_of(render_report(fake_run(1, finished=False)))
    assert "No round is finished yet" in shown
    assert "stepwell predict" not in shown


def test_only_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("task: language_modeling\n", encoding="utf-8")
    page = render_report(tmp_path)
    checked(page)
    assert "No metrics have been written yet." in text_of(page)


def test_no_round_was_kept_and_nothing_is_finite(fake_run: FakeRun) -> None:
    run = fake_run(3)
    nothing = {
        "value": math.nan,
        "low": -math.inf,
        "high": math.inf,
        "gain": math.nan,
        "accepted": False,
        "before": None,
    }
    write_lines(run / "journal.jsonl", [line | nothing for line in _journal(3)])
    write_lines(run / "rounds" / "02" / "metrics.jsonl", [
        {"kind": "step", "step": at, "loss": math.nan, "tokens": at * 10} for at in range(1, 9)
    ] + [{"kind": "evaluation", "step": 8, "bits_per_byte": math.inf}])  # fmt: skip
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    result |= {"validation": {"bits_per_byte": {"value": math.nan}}, "test": None, "best": None, "samples": []}
    (run / "result.json").write_text(json.dumps(result), encoding="utf-8")
    page = render_report(run)
    checked(page)
    shown = text_of(page)
    assert "No round has given a model yet that was kept" in shown
    assert "NaN" in shown


def test_one_round_diverged(fake_run: FakeRun) -> None:
    run = fake_run(4)
    lines = _journal(4)
    lines[2] |= {"value": math.inf, "low": None, "high": None, "accepted": False}
    lines[3] |= {"value": 7.9, "low": 7.8, "high": 8.0, "accepted": False}
    write_lines(run / "journal.jsonl", lines)
    page = render_report(run)
    checked(page)
    assert "7.900 ↑" in text_of(page)
    assert "∞" in text_of(page)


def test_a_broken_last_line_costs_only_itself(fake_run: FakeRun) -> None:
    run = fake_run()
    with (run / "journal.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"round": 6, "diagno')
    with (run / "rounds" / "05" / "metrics.jsonl").open("ab") as file:
        file.write(b'{"kind": "step", "st\xff\xfe')
    shown = text_of(render_report(run))
    assert "journal.jsonl:6" in shown
    assert "rounds/05/metrics.jsonl:" in shown
    assert "in five rounds" in shown


@pytest.mark.parametrize("name", ["facts.json", "result.json", "recipe.yaml", "journal.jsonl"])
@pytest.mark.parametrize("content", ["", "[1, 2]", "{", '"text"', "\x00\x01", "[" * 50_000])
def test_a_damaged_file_never_stops_the_report(fake_run: FakeRun, name: str, content: str) -> None:
    run = fake_run(2)
    (run / name).write_text(content, encoding="utf-8")
    checked(render_report(run))


ODD: list[Any] = [None, True, "text", -1, 10**400, 1e300, [], [1], {}, {"a": [None]}, "\ud800"]


@pytest.mark.slow
@pytest.mark.parametrize("odd", ODD, ids=[str(at) for at in range(len(ODD))])
def test_values_of_another_shape_never_stop_the_report(fake_run: FakeRun, odd: Any) -> None:
    run = fake_run(2)
    for at in ("01", "02"):
        write_lines(run / "rounds" / at / "metrics.jsonl", _metrics(random.Random(0), 16, 2.0))
    lines = _journal(2)
    for name in [*lines[1], "unknown"]:
        write_lines_escaped(run / "journal.jsonl", [lines[0], lines[1] | {name: odd}])
        render_report(run).encode("utf-8")
    write_lines_escaped(run / "journal.jsonl", lines)
    for file in ("result.json", "facts.json"):
        whole = json.loads((run / file).read_text(encoding="utf-8"))
        for name, part in whole.items():
            for inner in [None, *(part if isinstance(part, dict) else [])]:
                changed = whole | {name: odd if inner is None else part | {inner: odd}}
                (run / file).write_text(json.dumps(changed), encoding="utf-8")
                render_report(run).encode("utf-8")
        (run / file).write_text(json.dumps(whole), encoding="utf-8")
    steps = [{"kind": "step", "step": 1, "loss": 2.0, "tokens": 8}]
    for name in ("kind", "step", "loss", "tokens"):
        write_lines_escaped(run / "rounds" / "01" / "metrics.jsonl", [*steps, {**steps[0], "step": 2, name: odd}])
        render_report(run).encode("utf-8")


def write_lines_escaped(path: Path, lines: list[Line]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def test_a_metric_that_rises(fake_run: FakeRun) -> None:
    run = fake_run(2)
    pairs = zip(_journal(2), (0.61, 0.74), strict=True)
    write_lines(run / "journal.jsonl", [
        line | {"metric": "accuracy", "value": value, "low": value - 0.02, "high": value + 0.02, "accepted": True}
        for line, value in pairs
    ])  # fmt: skip
    (run / "result.json").unlink()
    shown = text_of(render_report(run))
    assert "From 61.0 % to 74.0 % accuracy in two rounds" in shown
    assert "higher is better" in shown
    assert "13.0 points more than after its first round" in shown  # a share: its change is told in points


def test_what_was_rolled_back_is_not_drawn_twice(fake_run: FakeRun) -> None:
    from stepwell.studies.report.reading import read_run

    run = fake_run(1)
    steps = [{"kind": "step", "step": at, "loss": 5.0 - at, "tokens": at} for at in (1, 2, 3, 4, 3, 4, 5)]
    write_lines(run / "rounds" / "01" / "metrics.jsonl", steps)
    assert [line["step"] for line in read_run(run).traces[1].steps] == [1, 2, 3, 4, 5]


def test_the_same_run_gives_the_same_page(fake_run: FakeRun) -> None:
    run = fake_run()
    assert render_report(run) == render_report(run)


def test_write_report_replaces_the_old_one(fake_run: FakeRun) -> None:
    run = fake_run()
    (run / "report.html").write_text("old", encoding="utf-8")
    path = write_report(run)
    assert path == run / "report.html"
    assert path.read_text(encoding="utf-8") == render_report(run)
    assert sorted(run.glob("*report*")) == [path]


def test_a_directory_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no run"):
        render_report(tmp_path)
    with pytest.raises(RunError, match="no such directory"):
        render_report(tmp_path / "nowhere")


def test_a_report_that_cannot_be_written(fake_run: FakeRun) -> None:
    run = fake_run(1)
    (run / "report.html").mkdir()
    with pytest.raises(DiskError, match=r"report\.html"):
        write_report(run)
