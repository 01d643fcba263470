"""What the demo's table is computed from."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

DEMO = Path(__file__).parents[2] / "demo"


@pytest.fixture(scope="module")
def score() -> ModuleType:
    """demo/score.py."""
    spec = importlib.util.spec_from_file_location("score", DEMO / "score.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("split", ["train", "test"])
def test_forty_recordings_of_each_split_ten_of_each_kind(score: ModuleType, split: str) -> None:
    rows = score.recordings(split)
    captions = [caption for _, caption in rows]
    assert len(rows) == 40
    assert {captions.count(caption) for caption in captions} == {10}
    for path, _ in rows:
        assert path.read_text().partition("\n")[0] == (
            "timestamp_s,accl_x,accl_y,accl_z,gyro_x,gyro_y,gyro_z"
        )
        values = np.loadtxt(path, delimiter=",", skiprows=1)
        assert values.shape == (100, 7)
        assert np.isfinite(values).all()


def test_no_held_out_recording_is_among_those_for_training(score: ModuleType) -> None:
    contents = {
        split: {path.read_bytes() for path, _ in score.recordings(split)} for split in ("train", "test")
    }
    assert not contents["train"] & contents["test"]


def test_exact_match_ignores_case_and_outer_blanks_only(score: ModuleType) -> None:
    answers = ["A person is WALKING. ", "A person walks.", ""]
    assert score.exact_matches(answers, ["A person is walking."] * 3) == 1
    with pytest.raises(ValueError, match="shorter"):
        score.exact_matches(answers, ["A person is walking."])


def test_the_linear_model_learns_from_the_training_recordings(score: ModuleType) -> None:
    train, test = score.recordings("train"), score.recordings("test")
    answers = score.linear_answers(train, [path for path, _ in test])
    assert score.exact_matches(answers, [caption for _, caption in test]) >= 36
    renamed = [(path, f"not {caption}") for path, caption in train]
    assert score.linear_answers(renamed, [path for path, _ in test]) == [f"not {one}" for one in answers]


def _write(path: Path, tensors: dict[str, bytes]) -> None:
    """A safetensors file of int8 vectors, byte by byte as the format says."""
    header, at = {}, 0
    for name, data in tensors.items():
        header[name] = {"dtype": "I8", "shape": [len(data)], "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(tensors.values()))


def test_a_digest_sees_one_part_whatever_the_order_and_the_files(score: ModuleType, tmp_path: Path) -> None:
    one, two, other = (tmp_path / name for name in ("one", "two", "other"))
    for folder in (one, two, other):
        folder.mkdir()
    _write(one / "model.safetensors", {"llm.a": b"12", "llm.b": b"3", "tags.x": b"4"})
    _write(two / "model-1.safetensors", {"tags.x": b"5", "llm.b": b"3"})
    _write(two / "model-2.safetensors", {"llm.a": b"12"})
    _write(other / "model.safetensors", {"llm.a": b"12", "llm.b": b"4"})
    expected = hashlib.sha256(b"llm.aI8[2]12llm.bI8[1]3").hexdigest()
    assert score.digest(one, "llm") == score.digest(two, "llm") == expected
    assert score.digest(other, "llm") != expected
    with pytest.raises(AssertionError, match="no tensors of the part 'routers'"):
        score.digest(one, "routers")
