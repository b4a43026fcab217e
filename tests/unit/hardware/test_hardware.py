"""What is found out about a machine, and what is kept of it. No number here depends on the machine."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from types import SimpleNamespace

import pytest

from stepwell import hardware
from stepwell.errors import UsageError
from stepwell.hardware import cache_directory, choose_device, examine, held_memory, usable_cores


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of this test."""
    monkeypatch.setenv("STEPWELL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("STEPWELL_DEVICE", "cpu")
    return tmp_path / "cache"


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What other programs take, in percent: the last number."""
    percents = [0.0]
    monkeypatch.setattr(hardware, "BUSY_PERCENT", 15.0)
    monkeypatch.setattr("psutil.cpu_percent", lambda interval: percents[-1])
    return percents


@pytest.fixture
def measured(others: list[float], monkeypatch: pytest.MonkeyPatch) -> list[dict[str, float]]:
    """Each measurement appends what it gave: 100 and 200 Gflop/s, half of it beside other programs."""
    rates: list[dict[str, float]] = []

    def measure(device: str) -> dict[str, float]:
        share = 1.0 if others[-1] < 15 else 0.5
        rates.append({"float32": share * 100.0, "bfloat16": share * 200.0})
        return rates[-1]

    monkeypatch.setattr(hardware, "_measure", measure)
    return rates


def test_the_cache_is_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("STEPWELL_CACHE", str(tmp_path / "mine"))
    assert cache_directory() == tmp_path / "mine"
    monkeypatch.delenv("STEPWELL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory() == tmp_path / "xdg" / "stepwell"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_directory().is_relative_to(Path.home())


def test_no_test_touches_the_users_cache(own_cache):
    assert cache_directory() == own_cache


def test_a_rate_is_measured_once(cache, measured):
    first, second = examine(), examine()
    assert first == second
    assert len(measured) == 1
    assert examine(measure_again=True) == first
    assert len(measured) == 2


def test_what_was_measured_beside_other_programs_serves_until_the_machine_is_quiet(cache, measured, others):
    others.append(50.0)
    assert [examine().gflops["float32"] for _ in range(3)] == [50.0] * 3
    assert len(measured) == 1
    others.append(3.0)
    assert [examine().gflops["float32"] for _ in range(3)] == [100.0] * 3
    others.append(50.0)
    assert examine().gflops["float32"] == 100.0
    assert len(measured) == 2


def test_rates_of_other_settings_stay_in_the_cache(cache, measured, monkeypatch):
    """One machine with two numbers of threads must not measure, and perhaps choose, anew at each change."""
    for cores in (1, 2, 1, 2, 1):
        monkeypatch.setattr(hardware, "usable_cores", lambda cores=cores: cores)
        examine()
    assert len(measured) == 2


DAMAGED = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe",
    b'{"KEY": 3}',
    b'{"KEY": {"float32": 1}}',
    b'{"KEY": {"float32": "fast", "bfloat16": 1}}',
    b'{"KEY": {"float32": null, "bfloat16": 1}}',
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_cache_is_measured_again_and_mended(cache, measured, content):
    file = cache / "hardware.json"
    expected = examine()
    (key,) = json.loads(file.read_text(encoding="utf-8"))
    file.write_bytes(content.replace(b"KEY", key.encode()))
    assert examine() == expected
    assert len(measured) == 2
    assert examine() == expected
    assert len(measured) == 2


def test_a_cache_that_cannot_be_written_does_no_harm(tmp_path, measured, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("STEPWELL_CACHE", str(tmp_path / "file"))
    assert examine().precision == "bfloat16"


@pytest.mark.parametrize(
    ("half", "precision"), [(129.0, "float32"), (131.0, "bfloat16"), (0.0, "float32"), (50.0, "float32")]
)
def test_half_precision_is_taken_where_it_is_clearly_faster(cache, monkeypatch, half, precision):
    monkeypatch.setattr(hardware, "_measure", lambda device: {"float32": 100.0, "bfloat16": half})
    assert examine().precision == precision


def test_threads_are_as_many_as_the_user_allows(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr("psutil.cpu_count", lambda logical: 4)
    for asked, cores in {"": 4, "1": 1, "3": 3, "64": 4, "0": 4, "many": 4}.items():
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
        assert usable_cores() == cores, asked


def test_ranks_on_one_machine_share_its_cores(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setattr("psutil.cpu_count", lambda logical: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # torchrun says so where the user says nothing
    for ranks, cores in {"1": 1, "2": 4, "3": 2, "8": 1, "20": 1}.items():
        monkeypatch.setenv("LOCAL_WORLD_SIZE", ranks)
        assert usable_cores() == cores, ranks
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert usable_cores() == 3


def test_a_device_that_does_not_exist_is_refused(monkeypatch):
    monkeypatch.setenv("STEPWELL_DEVICE", "abacus")
    with pytest.raises(UsageError, match="abacus"):
        choose_device()
    monkeypatch.setenv("STEPWELL_DEVICE", "cpu")
    assert choose_device() == "cpu"


def test_facts_are_plain_values(cache, measured):
    machine = examine()
    assert json.loads(json.dumps(machine.as_dict())) == machine.as_dict()
    assert machine.cpu
    assert machine.cores >= 1
    assert machine.memory_bytes > 1 << 20


def pages_taken_again(size: int) -> int:
    """Pages that the system hands to this process while it takes a block of bytes that it has had and freed."""
    import resource

    for _ in range(2):  # the first is new memory, which is zero and not even looked at
        bytes(size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytes(size)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.fixture
def no_wishes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user has set nothing of the allocator."""
    for name in [name for name in os.environ if name.startswith("MALLOC_")]:
        monkeypatch.delenv(name)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator of glibc")
def test_memory_that_was_freed_is_taken_again(no_wishes):
    with held_memory():
        assert pages_taken_again(80 * 2**20) < 100


def test_the_allocator_is_as_it_was_afterwards_and_as_the_user_set_it(no_wishes, monkeypatch):
    told: dict[int, int] = {}
    monkeypatch.setattr(hardware.platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(hardware.ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=told.__setitem__))
    with pytest.raises(ZeroDivisionError), held_memory():
        inside = dict(told)
        raise ZeroDivisionError
    assert inside == {-1: -1, -2: 2**26, -4: 0}
    assert told == {-1: 2**26, -2: 2**17, -4: 65_536}  # mallopt(3)
    told.clear()
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    with held_memory():
        assert not told
