"""What counts as a whole checkpoint, and which are kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from onellm_core.training import distributed
from onellm_core.training.checkpoint import Checkpoints, Saved, open_checkpoint
from onellm_data.errors import OnellmError, UsageError


class State:
    """Stands in for ``TrainedState``: tensors in a dictionary."""

    def __init__(self, **shapes: tuple[int, ...]) -> None:
        self.parameters = shapes
        self.values: dict[tuple[str, str], torch.Tensor] = {}
        self.step = 0

    def shape(self, name: str) -> tuple[int, ...]:
        return self.parameters[name]

    def get(self, name: str, kind: str) -> torch.Tensor:
        return torch.full(self.shape(name), float(len(name + kind)))

    def set(self, name: str, kind: str, value: torch.Tensor) -> None:
        self.values[name, kind] = value.clone()

    def set_step(self, step: int) -> None:
        self.step = step


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    distributed.start()
    return Checkpoints(tmp_path / "checkpoints", 2, distributed.World())


@pytest.fixture
def saved(checkpoints: Checkpoints) -> Path:
    return checkpoints.save(State(a=(2, 3), b=()), 7, {"model": "x"})  # type: ignore[arg-type]


def test_there_and_back(checkpoints: Checkpoints, saved: Path) -> None:
    assert saved.name == "step-000007"
    found = checkpoints.newest(pytest.fail)
    assert found == Saved(saved, 7, {"model": "x"})
    state = State(a=(2, 3), b=())
    checkpoints.restore(state, found)  # type: ignore[arg-type]
    assert state.step == 7
    assert len(state.values) == 6
    assert all(torch.equal(value, state.get(*key)) for key, value in state.values.items())


def test_only_the_newest_are_kept(checkpoints: Checkpoints) -> None:
    for step in (5, 10, 15, 1_000_000):
        checkpoints.save(State(a=(1,)), step, {})  # type: ignore[arg-type]
    assert checkpoints.steps() == [15, 1_000_000]


def test_nothing_saved_yet(checkpoints: Checkpoints) -> None:
    assert checkpoints.newest(pytest.fail) is None


def test_what_a_kill_left_is_not_a_checkpoint_and_is_removed(checkpoints: Checkpoints, saved: Path) -> None:
    part = saved.with_name(".step-000009.part")
    part.mkdir()
    (part / "state-00000.safetensors").write_bytes(b"half")
    assert checkpoints.steps() == [7]
    checkpoints.save(State(a=(1,)), 9, {})  # type: ignore[arg-type]
    assert not part.exists()


def damage_bytes(folder: Path) -> None:
    file = folder / "state-00000.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")


def damage_length(folder: Path) -> None:
    file = folder / "state-00000.safetensors"
    file.write_bytes(file.read_bytes()[:-4])


def remove_file(folder: Path) -> None:
    (folder / "state-00000.safetensors").unlink()


def remove_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def cut_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text((folder / "manifest.json").read_text()[:20])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_bytes, "state-00000.safetensors has changed since it was written"),
        (damage_length, "state-00000.safetensors has changed since it was written"),
        (remove_file, "state-00000.safetensors cannot be read: No such file or directory"),
        (remove_manifest, "its manifest.json cannot be read"),
        (cut_manifest, "its manifest.json cannot be read"),
    ],
)
def test_damage_is_seen(
    checkpoints: Checkpoints, saved: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(saved)
    with pytest.raises(OnellmError, match=message):
        open_checkpoint(saved)
    told: list[str] = []
    assert checkpoints.newest(told.append) is None
    assert message in told[0]
    assert checkpoints.save(State(a=(1,)), 7, {}) == saved, "it may be written again"  # type: ignore[arg-type]


def test_another_schema_is_refused(saved: Path) -> None:
    path = saved / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 2}))
    with pytest.raises(UsageError, match="has the schema 2, this onellm reads 1"):
        open_checkpoint(saved)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (State(a=(2, 3)), "holds b, which this run does not train"),
        (State(a=(3, 2), b=()), "holds a, which this run does not train"),
        (State(a=(2, 3), b=(), c=(1,)), "lacks weight of c, which this run trains"),
    ],
)
def test_other_tensors_are_refused(checkpoints: Checkpoints, saved: Path, state: State, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        checkpoints.restore(state, open_checkpoint(saved))  # type: ignore[arg-type]
