"""What every test may use: small text made on the spot, real text where it is there, one thread."""

from __future__ import annotations

import importlib.util
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from torch import nn

    from stepwell.models import ModelConfig
    from stepwell.training import Trainer

# Before torch is loaded: the suite runs one process for each core, and small tensors gain nothing from threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No test depends on the clock, and the suite says the same every time it runs.
settings.register_profile("stepwell", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("stepwell")

PROJECT = Path(__file__).resolve().parent.parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what `slow_but` does not name; the few that it names speak for the others in `make check`."""
    for item in items:
        marker = item.get_closest_marker("slow_but")
        if marker is not None and not any(part in item.name for part in marker.args):
            item.add_marker(pytest.mark.slow)


_ENGLISH = {
    "who": "the miller|a young sailor|my grandmother|the old teacher|nobody|the clockmaker|her brother|a merchant",
    "did": "carried|forgot|painted|counted|sold|remembered|hid|repaired|followed|described",
    "what": "the lantern|seven letters|a wooden boat|the map of the coast|an unfinished song|two silver coins|the gate",
    "where": "by the river|under the bridge|in the market|before the storm|at the foot of the stairs|near the well",
}
_CHINESE = {
    "who": "老渔夫|小姑娘|我的祖母|隔壁的木匠|那位先生|远方的客人|卖花的人",
    "did": "带来了|忘记了|画下了|数过|修好了|藏起了|描述过",
    "what": "一盏灯|七封信|一条小船|海边的地图|没写完的歌|两枚银币|花园的门",
    "where": "在河边|在桥下|在集市上|暴风雨之前|在井旁|在台阶下面",
}

SmallText = Callable[..., str]


def make_text(language: str = "mixed", num_bytes: int = 40_000, seed: int = 0) -> str:
    """Make prose of simple sentences in paragraphs; there is something to learn in it, and hardly a paragraph twice.

    Args:
        language: `en`, `zh`, or `mixed` (paragraphs of both).
        num_bytes: about how long, as UTF-8; never shorter.
        seed: another seed, another text.
    """
    rng = random.Random(f"{language}/{seed}")
    languages = {"en": ["en"], "zh": ["zh"], "mixed": ["en", "zh"]}[language]
    paragraphs: list[str] = []
    length = 0
    while length < num_bytes:
        chosen = rng.choice(languages)
        paragraph = "".join(_sentence(chosen, rng) for _ in range(rng.randint(3, 6))).strip()
        paragraphs.append(paragraph)
        length += len(paragraph.encode()) + 2
    return "\n\n".join(paragraphs) + "\n"


def _sentence(language: str, rng: random.Random) -> str:
    words = _ENGLISH if language == "en" else _CHINESE
    who, did, what, where = (rng.choice(words[part].split("|")) for part in ("who", "did", "what", "where"))
    if language == "zh":
        return f"{who}{where}{did}{what}。"
    return f"{who} {did} {what} {where}. ".capitalize()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Measurements of the machine stay in a folder of this session; nobody's own cache is read or written.

    They are made once, though other tests run beside. What is compiled is the same for all workers.
    """
    folder = tmp_path_factory.mktemp("cache")
    compiled = tmp_path_factory.getbasetemp().parent / "native"
    compiled.mkdir(exist_ok=True)
    (folder / "native").symlink_to(compiled)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEPWELL_CACHE", str(folder))
        patch.setattr("stepwell.hardware.BUSY_PERCENT", 10_000.0)
        yield folder


@pytest.fixture(scope="session")
def small_text() -> SmallText:
    """The function `make_text(language="mixed", num_bytes=40_000, seed=0) -> str`."""
    return make_text


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """A function from a name such as `lm/tinyshakespeare.txt` to its path; the test is skipped where it is absent.

    The data stand in `../shared/data` beside the project; STEPWELL_DATA names another place.
    """
    root = Path(os.environ.get("STEPWELL_DATA") or PROJECT.parent / "shared" / "data")

    def find(name: str) -> Path:
        path = root / name
        if not path.exists():
            pytest.skip(f"real data {name} is not there (STEPWELL_DATA names its folder)")
        return path

    return find


@pytest.fixture(scope="session")
def real_weights() -> Callable[[str], Path]:
    """A function from `package/file` to published weights inside a package (`make weights` fetches the packages).

    The packages are not imported; a test is skipped by name where one is absent.
    """

    def find(name: str) -> Path:
        package, _, file = name.partition("/")
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            pytest.skip(f"real weights {name} are not there (make weights)")
        return Path(spec.origin).parent / file

    return find


@pytest.fixture
def in_float64(monkeypatch: pytest.MonkeyPatch) -> Callable[[nn.Module], nn.Module]:
    """A function that turns a model into float64, through and through.

    What the code rounds to float32 on purpose (logits, norms) stays in float64 for the length of the test. So two ways
    of computing one thing differ by 1e-14 or so, and a tolerance of 1e-9 lets nothing else through.
    """
    import torch

    def rounded(tensor: torch.Tensor) -> torch.Tensor:
        return tensor if tensor.dtype == torch.float64 else tensor.to(torch.float32)

    monkeypatch.setattr(torch.Tensor, "float", rounded)
    return lambda model: model.double()


@pytest.fixture(scope="session")
def project() -> Path:
    """The root of the project: where pyproject.toml stands."""
    return PROJECT


@pytest.fixture(scope="session")
def make_trainer() -> Callable[..., Trainer]:
    """The function `tiny_trainer(directory, training={}, model={}, **what Trainer takes)`."""
    return tiny_trainer


def tiny_trainer(
    directory: Path,
    training: dict[str, Any] | None = None,
    model: dict[str, Any] | ModelConfig | None = None,
    **others: Any,
) -> Trainer:
    """A trainer of a tiny decoder with dropout, on documents of uneven lengths; a run of it takes well under a second.

    Args:
        directory: of the training run.
        training: values of the training section that differ, by dotted path.
        model: fields of the model's config that differ, or the config of another architecture.
        others: arguments of `Trainer` that differ; `built` is a model to train instead.
    """
    import numpy as np

    from stepwell.config import build, merge, parse_assignments
    from stepwell.data import Packer, TokenSplit
    from stepwell.models import DecoderConfig, ModelConfig, build_model
    from stepwell.tokenizers import ByteBPEConfig, train_tokenizer
    from stepwell.training import Trainer, TrainingConfig

    shape = {"num_layers": 2, "d_model": 16, "num_heads": 2, "num_kv_heads": 1, "head_dim": 8, "d_ff": 24}
    config = model
    if not isinstance(config, ModelConfig):
        config = DecoderConfig(**{"vocab_size": 257, "max_seq_len": 16, "dropout": 0.1, **shape, **(model or {})})
    random_ids = np.random.default_rng(0)
    lengths = random_ids.integers(2, 50, size=40)
    ids = (random_ids.integers(0, 12, size=lengths.sum()) ** 2).astype(np.uint16)  # few tokens: there is much to learn
    split = TokenSplit(ids, np.cumsum([0, *lengths]), lengths)
    defaults = {
        "steps": 12,
        "global_batch_tokens": 5 * config.max_seq_len,
        "micro_batch": 2,  # the last micro-batch of a step is a smaller one
        "optimizer": {"kind": "adamw", "learning_rate": 0.01},
        "schedule": {"kind": "wsd", "warmup_steps": 2},
        "precision": "float32",
        "evaluate_every_steps": 4,
        "checkpoint_every_seconds": 1e9,  # at the beginning, when it is stopped, and at the end
    }
    changes = parse_assignments([f"{path}={value}" for path, value in (training or {}).items()])
    packer = Packer(split, config.max_seq_len, seed=0)
    built = others.pop("built", None)
    return Trainer(
        build_model(config, seed=0) if built is None else built,
        others.pop("tokenizer", None) or train_tokenizer([], ByteBPEConfig(vocab_size=257)),
        packer,
        build(TrainingConfig, merge(defaults, changes), where="test"),
        directory,
        seed=others.pop("seed", 0),
        identity=others.pop("identity", {"test": 1}),
        evaluate=others.pop("evaluate", lambda judged: held_out_loss(judged, packer)),
        **others,
    )


def held_out_loss(model: Any, packer: Any) -> dict[str, float]:
    """Mean loss on rows that a short run does not reach."""
    import torch

    from stepwell.objectives import causal_loss

    batch = packer.batch(1000, 4)
    with torch.no_grad():
        return {"loss": float(causal_loss(model, batch, torch.device("cpu"))) / batch.num_targets}


class Ran(NamedTuple):
    """What a command left: its exit code, and what it wrote."""

    code: int
    out: str
    err: str


@pytest.fixture
def stepwell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """The function `stepwell(*words) -> Ran(code, out, err)`: the real command, in this process, 80 columns wide."""
    from stepwell.cli import main

    def run(*words: object) -> Ran:
        capsys.readouterr()
        monkeypatch.setenv("COLUMNS", "80")
        monkeypatch.setattr(sys, "argv", ["stepwell", *map(str, words)])
        monkeypatch.setattr(sys.modules[main.__module__], "BEGAN", time.monotonic())  # as in a process of its own
        with pytest.raises(SystemExit) as end:
            main()
        captured = capsys.readouterr()
        return Ran(int(end.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a short `train` on small text; to be read only, a test that damages it makes a copy."""
    from stepwell import api

    root = tmp_path_factory.mktemp("trained")
    (root / "text.txt").write_text(make_text("mixed", 60_000), encoding="utf-8")
    small = ["tokenizer.vocab_size=400", "model.num_layers=1", "model.d_model=32", "model.num_heads=2",
             "model.num_kv_heads=1", "model.head_dim=16", "model.d_ff=64", "model.max_seq_len=64",
             "study.sample_tokens=20"]  # fmt: skip
    api.train(text=root / "text.txt", steps=20, out=root / "run", set=small)
    return root / "run"
