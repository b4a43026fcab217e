"""What every test may use: small text made on the spot, real text where it is there, one thread."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

# Before torch is loaded: the suite runs one process for each core, and small tensors gain nothing from threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No test depends on the clock, and the suite says the same every time it runs.
settings.register_profile("stepwell", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("stepwell")

PROJECT = Path(__file__).resolve().parent.parent

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
def project() -> Path:
    """The root of the project: where pyproject.toml stands."""
    return PROJECT
