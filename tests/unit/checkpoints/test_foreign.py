"""Reading what other projects leave: folders, parts, pickles, names on the hub; and everything that can be wrong."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from stepwell.checkpoints import read_foreign
from stepwell.checkpoints.foreign import ForeignTensors
from stepwell.errors import CheckpointError

TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.arange(4).to(torch.bfloat16), "c": torch.tensor([1, 2])}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps({"model_type": "llama"}))
    return tmp_path / "model"


def split(folder: Path, parts: dict[str, dict[str, torch.Tensor]], name: str = "model.safetensors") -> Path:
    """Write weights in parts, with the index."""
    for file, tensors in parts.items():
        if name == "model.safetensors":
            save_file(tensors, folder / file)
        else:
            torch.save(tensors, folder / file)
    places = {tensor: file for file, tensors in parts.items() for tensor in tensors}
    index = folder / f"{name}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return index


def check(tensors: ForeignTensors, *names: str) -> None:
    assert sorted(tensors) == sorted(names)
    assert len(tensors) == len(names)
    for name in names:
        wanted = TENSORS[name]
        assert torch.equal(tensors[name], wanted)
        dtype = wanted.dtype if wanted.is_floating_point() else None
        assert tensors.describe(name) == (tuple(wanted.shape), dtype)


def test_one_file(folder: Path) -> None:
    save_file(TENSORS, folder / "model.safetensors")
    foreign = read_foreign(str(folder))
    assert (foreign.source, foreign.kind, foreign.config) == (str(folder), "safetensors", {"model_type": "llama"})
    assert foreign.generation == foreign.facts == {}
    check(foreign.tensors, "a", "b", "c")
    assert foreign.tensors.files == (folder / "model.safetensors",)


def test_parts_hold_what_the_index_says(folder: Path) -> None:
    """A tensor that stands in two files is the one that the index names."""
    index = split(folder, {"one.safetensors": {"a": TENSORS["a"]}, "two.safetensors": {"b": TENSORS["b"]}})
    save_file({"a": torch.zeros(2, 3), "b": TENSORS["b"], "unused": torch.zeros(1)}, folder / "two.safetensors")
    check(read_foreign(str(folder)).tensors, "a", "b")
    save_file({"c": TENSORS["c"]}, folder / "model.safetensors")
    check(read_foreign(str(folder)).tensors, "c")
    assert index.exists(), "a whole file goes before an index"


def test_what_stands_beside_is_read(folder: Path) -> None:
    save_file(TENSORS, folder / "model.safetensors")
    (folder / "generation_config.json").write_text('{"do_sample": true}')
    card = "---\nlanguage: zh\nlicense: mit\nmodel_name: Well\n---\n# Well\n"
    (folder / "README.md").write_text(card)
    foreign = read_foreign(str(folder))
    assert foreign.generation == {"do_sample": True}
    assert foreign.facts == {"license": "mit", "languages": ["zh"], "title": "Well"}


@pytest.mark.parametrize("card", ["no head", "---\n[ not: yaml\n---\n", "---\n- a list\n---\n", "---\nlicense:\n---\n"])
def test_a_card_without_facts_does_no_harm(folder: Path, card: str) -> None:
    save_file(TENSORS, folder / "model.safetensors")
    (folder / "README.md").write_text(card)
    assert read_foreign(str(folder)).facts == {}


@pytest.mark.parametrize("parts", [False, True])
def test_a_pickle_is_read_only_when_asked_for(folder: Path, parts: bool) -> None:
    if parts:
        split(folder, {"one.bin": {"a": TENSORS["a"]}, "two.bin": {"b": TENSORS["b"]}}, "pytorch_model.bin")
    else:
        torch.save({"a": TENSORS["a"], "b": TENSORS["b"]}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="is a pickle") as caught:
        read_foreign(str(folder))
    assert "--allow-pickle" in str(caught.value.do)
    foreign = read_foreign(str(folder), allow_pickle=True)
    assert foreign.kind == "pickle"
    check(foreign.tensors, "a", "b")
    save_file({"c": TENSORS["c"]}, folder / "model.safetensors")
    assert read_foreign(str(folder), allow_pickle=True).kind == "safetensors", "safetensors go first"


def test_an_old_pickle_that_is_no_archive_is_read(folder: Path) -> None:
    torch.save({"a": TENSORS["a"]}, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    check(read_foreign(str(folder), allow_pickle=True).tensors, "a")


RAN: list[int] = []


class Evil:
    """Unpickling it would run a program."""

    def __reduce__(self) -> Any:
        return exec, ("RAN.append(1)", {"RAN": RAN})


def test_a_pickle_that_holds_a_program_is_refused_and_not_run(folder: Path) -> None:
    torch.save({"a": TENSORS["a"], "b": Evil()}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="holds more than tensors, and is not read") as caught:
        read_foreign(str(folder), allow_pickle=True)
    assert not RAN
    assert caught.value.got == "it asks for exec", "what was refused is named, without bad advice"


@pytest.mark.parametrize("content", [{"a": 3, "b": TENSORS["a"]}, [TENSORS["a"]]], ids=["a number", "a list"])
def test_a_pickle_of_something_else_is_refused(folder: Path, content: Any) -> None:
    torch.save(content, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="pytorch_model"):
        read_foreign(str(folder), allow_pickle=True)


@pytest.mark.parametrize("content", [b"", b"no pickle at all", b"PK\x03\x04 half an archive"])
def test_a_damaged_pickle_is_named(folder: Path, content: bytes) -> None:
    (folder / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin"):
        read_foreign(str(folder), allow_pickle=True)


def test_truncated_weights_are_named(folder: Path) -> None:
    save_file(TENSORS, folder / "model.safetensors")
    content = (folder / "model.safetensors").read_bytes()
    for length in (0, 5, len(content) // 2, len(content) - 1):
        (folder / "model.safetensors").write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=r"model\.safetensors: is damaged"):
            read_foreign(str(folder))


OUTSIDE = ["../secret.safetensors", "/etc/passwd", "sub/one.safetensors", "..", "", "..\\secret.safetensors"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_an_index_does_not_lead_out_of_its_folder(folder: Path, name: str) -> None:
    save_file(TENSORS, folder.parent / "secret.safetensors")
    (folder / "sub").mkdir()
    save_file(TENSORS, folder / "sub" / "one.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(CheckpointError, match="outside of its folder"):
        read_foreign(str(folder))


def test_missing_parts_and_missing_tensors_are_all_listed(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}))
    with pytest.raises(CheckpointError, match="parts of the weights are missing") as caught:
        read_foreign(str(folder))
    assert caught.value.got == "one.safetensors, two.safetensors"
    save_file({"a": TENSORS["a"]}, folder / "one.safetensors")
    save_file({"a": TENSORS["a"]}, folder / "two.safetensors")
    with pytest.raises(CheckpointError, match="does not hold the tensors") as caught:
        read_foreign(str(folder))
    assert str(caught.value.got) == "missing: b"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}', "\xff"])
def test_a_damaged_index_is_named(folder: Path, content: str) -> None:
    (folder / "model.safetensors.index.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"index\.json: is damaged"):
        read_foreign(str(folder))


@pytest.mark.parametrize("content", ["", "[1]", "{", '"text"'])
def test_a_damaged_config_is_named(folder: Path, content: str) -> None:
    save_file(TENSORS, folder / "model.safetensors")
    (folder / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"config\.json: is damaged"):
        read_foreign(str(folder))


def test_a_folder_without_config_or_without_weights(folder: Path) -> None:
    def refused(match: str) -> CheckpointError:
        with pytest.raises(CheckpointError, match=match) as caught:
            read_foreign(str(folder))
        return caught.value

    assert refused("holds no weights").got == "config.json"
    (folder / "adapter_config.json").write_text("{}")
    assert "put it into its base model" in str(refused("holds no weights").do)
    (folder / "adapter_config.json").unlink()
    (folder / "model.Q8_0.gguf").touch()
    assert str(folder / "model.Q8_0.gguf") in str(refused("holds no weights").do)
    (folder / "config.json").unlink()
    save_file(TENSORS, folder / "model.safetensors")
    refused(r"config\.json: no such file")


def test_a_file_that_is_no_gguf(folder: Path) -> None:
    save_file(TENSORS, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="is no GGUF file") as caught:
        read_foreign(str(folder / "model.safetensors"))
    assert str(folder) in str(caught.value.do), "its folder is what was meant"


def test_nothing_of_that_name(tmp_path: Path) -> None:
    for name in (str(tmp_path / "nothing"), "nothing", "a/b/c"):
        with pytest.raises(CheckpointError, match="no such file or directory"):
            read_foreign(name)


class Hub(types.ModuleType):
    """A stand-in for the library that fetches, which notes what it was asked for."""

    def __init__(self, answer: Path | Exception) -> None:
        super().__init__("huggingface_hub")
        self.answer = answer
        self.asked: list[dict[str, Any]] = []

    def snapshot_download(self, name: str, **how: Any) -> str:
        self.asked.append({"name": name, **how})
        if isinstance(self.answer, Exception):
            raise self.answer
        return str(self.answer)


def test_a_name_on_the_hub_is_fetched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file(TENSORS, folder / "model.safetensors")
    hub = Hub(folder)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    foreign = read_foreign("owner/some-model.v1@main")
    assert foreign.source == "owner/some-model.v1@main"
    check(foreign.tensors, "a", "b", "c")
    read_foreign("hf://owner/name", allow_pickle=True)
    first, second = hub.asked
    assert (first["name"], first["revision"], second["name"], second["revision"]) == (
        "owner/some-model.v1", "main", "owner/name", None)  # fmt: skip
    assert not [pattern for pattern in first["allow_patterns"] if "bin" in pattern or "py" in pattern]
    assert "*.bin" in second["allow_patterns"]


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub(OSError("Connection refused\nand much more")))
    with pytest.raises(CheckpointError, match="could not be fetched") as caught:
        read_foreign("owner/name")
    assert caught.value.got == "OSError: Connection refused"
    assert "network" in str(caught.value.do)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CheckpointError, match="hub cannot be asked") as caught:
        read_foreign("owner/name")
    assert "stepwell[hub]" in str(caught.value.do)


def test_a_folder_goes_before_the_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`runs/mine` is a folder when there is one, whatever the hub has."""
    save_file(TENSORS, folder / "model.safetensors")
    monkeypatch.chdir(folder.parent.parent)
    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub(AssertionError("the hub was asked")))
    check(read_foreign(f"{folder.parent.name}/model").tensors, "a", "b", "c")


def test_a_slip_in_a_path_does_not_ask_the_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(folder)
    monkeypatch.chdir(folder.parent.parent)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    with pytest.raises(CheckpointError, match="no such file or directory") as caught:
        read_foreign(f"{folder.parent.name}/modle")
    assert not hub.asked
    assert caught.value.do == f"if it is a name on the hub: hf://{folder.parent.name}/modle"
