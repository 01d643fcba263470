"""``onellm inspect``: a new model and a prepared folder, as tables and as JSON; what is neither."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from onellm_core.model.create import PRESETS, NewModel, create_model

Onellm = Callable[..., int]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that reads motion."""
    folder = tmp_path_factory.mktemp("inspect") / "model"
    create_model(NewModel(modalities=("imu",), **PRESETS["tiny"]), folder)
    return folder


@pytest.fixture
def shards(onellm: Onellm, repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The demo's recordings as shards."""
    source, out = str(repository / "demo" / "motions"), tmp_path / "shards"
    assert onellm("prepare", "imu", "--src", source, "--out", str(out), "--workers", "1") == 0
    capsys.readouterr()
    return out


def test_a_model_as_tables(model: Path, onellm: Onellm, capsys: pytest.CaptureFixture[str]) -> None:
    assert onellm("inspect", "model", str(model)) == 0
    lines = capsys.readouterr().out.splitlines()
    parts = lines[lines.index(next(line for line in lines if line.startswith("parts"))) :]
    assert [line.split()[0] for line in parts[1:8]] == [
        *("llm", "encoder", "tokenizers", "modality_tokens", "projection", "routers", "tags")
    ]


def test_a_model_for_machines(model: Path, onellm: Onellm, capsys: pytest.CaptureFixture[str]) -> None:
    assert onellm("inspect", "model", str(model), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["parameters"] == sum(part["parameters"] for part in told["parts"].values())
    assert list(told["modalities"]) == ["imu"]


def test_shards_as_tables(shards: Path, onellm: Onellm, capsys: pytest.CaptureFixture[str]) -> None:
    assert onellm("inspect", "shards", str(shards)) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line]
    for row in (["kept", "80"], ["train", "40"], ["test", "40"]):
        assert row in [found[:2] for found in rows]


def test_shards_for_machines(shards: Path, onellm: Onellm, capsys: pytest.CaptureFixture[str]) -> None:
    assert onellm("inspect", "shards", str(shards), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["read"], told["kept"], told["rejected"]) == (80, 80, {})
    assert {name: split["samples"] for name, split in told["splits"].items()} == {"train": 40, "test": 40}


@pytest.mark.parametrize(("name", "begins"), [("a.png", b"\x89PNG"), ("a.html", b"<!doctype html>")])
def test_shards_as_a_picture(shards: Path, onellm: Onellm, tmp_path: Path, name: str, begins: bytes) -> None:
    assert onellm("inspect", "shards", str(shards), "--plot", str(tmp_path / "plots" / name)) == 0
    assert (tmp_path / "plots" / name).read_bytes().startswith(begins)
    assert [path.name for path in (tmp_path / "plots").iterdir()] == [name]


def test_a_picture_of_another_kind(
    shards: Path, onellm: Onellm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert onellm("inspect", "shards", str(shards), "--plot", str(tmp_path / "a.jpg")) == 2
    assert "a.jpg, expected a name that ends in .png or .html" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["model", "shards"])
@pytest.mark.parametrize("made", [True, False], ids=["an empty folder", "nothing there"])
def test_what_is_neither_is_a_usage_error(
    what: str, made: bool, onellm: Onellm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "folder"
    if made:
        folder.mkdir()
    assert onellm("inspect", what, str(folder)) == 2
    told = capsys.readouterr().err
    assert told.startswith("Error: ")
    assert str(folder) in told
    assert "expected" in told
