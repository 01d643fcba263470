"""Every message about a configuration that is not right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from onellm_core.training.config import (
    CheckpointConfig,
    DataConfig,
    LogConfig,
    OptimizerConfig,
    Section,
    StageConfig,
    TrainConfig,
)
from onellm_core.training.config_file import check, load_config
from onellm_data.errors import UsageError

MINIMAL = """
model: m
output: o
stages:
  - name: align
    data: {imu: {shards: s}}
    steps: 10
    batch_size: 4
    optimizer: {lr: 1e-3}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "c.yaml"
    file.write_text(MINIMAL)
    return file


def test_a_short_file_is_enough(path: Path) -> None:
    config = load_config(path)
    assert config.stages[0].optimizer.lr == 0.001, "YAML 1.1 would read 1e-3 as text"
    assert config.stages[0].train == ("tokenizers", "modality_tokens", "projection", "routers", "tags")


@pytest.mark.parametrize(
    "section",
    [TrainConfig, StageConfig, OptimizerConfig, DataConfig, CheckpointConfig, LogConfig],
)
def test_every_key_is_explained(section: type[Section]) -> None:
    silent = [name for name, field in section.model_fields.items() if not field.description]
    assert not silent


def test_set_changes_values(path: Path) -> None:
    changes = ["stages.0.optimizer.lr=2e-4", "checkpoint.every=7", "stages.0.train=[tags]", "seed=3"]
    config = load_config(path, changes)
    assert config.stages[0].optimizer.lr == 2e-4
    assert config.checkpoint.every == 7
    assert config.stages[0].train == ("tags",)
    assert config.seed == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "stages.0.stepz=3",
            "unknown key 'stages.0.stepz'; did you mean 'stages.0.steps'? (known here: name, train, data",
        ),
        ("proceses=3", "unknown key 'proceses'; did you mean 'processes'? (known here: model, output"),
        (
            "stages.0.data.imu.wait=1",
            "unknown key 'stages.0.data.imu.wait'; did you mean 'stages.0.data.imu.weight'?",
        ),
        ("stages.0.optimizer.qqq=1", "unknown key 'stages.0.optimizer.qqq' (known here: lr, min_lr"),
        ("stages.0.steps=abc", "stages.0.steps: got the text 'abc', expected a whole number"),
        ("stages.0.steps=1.5", "stages.0.steps: got 1.5, expected a whole number"),
        ("stages.0.steps=0", "stages.0.steps: got 0, expected 1 or more"),
        ("stages.0.steps=null", "stages.0.steps: got nothing, expected a whole number"),
        ("stages.0.steps=[1]", "stages.0.steps: got a list, expected a whole number"),
        ("stages.0.steps={a: 1}", "stages.0.steps: got a section, expected a whole number"),
        ("stages.0.augment=1", "stages.0.augment: got 1, expected true or false"),
        ("stages.0.prompt=5", "stages.0.prompt: got 5, expected text"),
        ("stages.0.train=tags", "stages.0.train: got the text 'tags', expected a list"),
        ("stages.0.data=[]", "stages.0.data: got a list, expected a section of keys and values"),
        ("stages.0.data={}", "stages.0.data: got a section, expected 1 or more entries"),
        ("stages.0.optimizer=1e-3", "stages.0.optimizer: got 0.001, expected a section of keys and values"),
        ("stages.0.optimizer={}", "stages.0.optimizer.lr is missing; expected: Peak learning rate."),
        ("stages.0.optimizer.lr=-1", "stages.0.optimizer.lr: got -1, expected a number above 0"),
        ("stages.0.optimizer.lr=high", "stages.0.optimizer.lr: got the text 'high', expected a number"),
        ("stages.0.optimizer.lr=.nan", "stages.0.optimizer.lr: got NaN, expected a finite number"),
        ("stages.0.optimizer.betas=[0.9]", "stages.0.optimizer.betas.1 is missing: the list is too short"),
        (
            "stages.0.optimizer.betas=[0.9, 1.0]",
            "stages.0.optimizer.betas.1: got 1.0, expected a number below 1.0",
        ),
        (
            "stages.0.optimizer.schedule=linear",
            "stages.0.optimizer.schedule: got the text 'linear', expected 'cosine' or 'constant'",
        ),
        (
            "stages.0.optimizer.warmup_steps=11",
            "stages.0: optimizer.warmup_steps is 11, more than the stage's 10 steps",
        ),
        ("stages.0.name=A b", "stages.0.name: got the text 'A b', expected text that matches"),
        ("stages=[]", "stages: got a list, expected 1 or more entries"),
        ("zero=4", "zero: got 4, expected 0, 1, 2 or 3"),
        ("precision=fp16", "precision: got the text 'fp16', expected 'float32' or 'bfloat16'"),
        ("zero=0", "zero: 0 with precision: bfloat16 is refused"),
        ("stages.1.steps=3", "got '1' for a list of 1 entries; expected a number from 0 to 0"),
        ("stages.x.steps=3", "got 'x' for a list of 1 entries"),
        ("model.a=3", "model is the text 'm', not a section, so it has no keys"),
        ("steps", "--set got 'steps', expected KEY=VALUE such as stages.0.steps=100"),
        ("=3", "--set got '=3', expected KEY=VALUE"),
        ("seed=[", "--set seed is not valid YAML"),
    ],
)
def test_what_is_wrong_is_said(path: Path, change: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_config(path, [change])
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2 or "YAML" in message, "one thing wrong, one line about it"


def test_everything_wrong_is_said_at_once(path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_config(path, ["seed=x", "zero=9", "stages.0.lr=1"])
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{path} is not a valid configuration:"
    assert len(lines) == 4


def test_stages_need_names_of_their_own(path: Path) -> None:
    data = yaml.safe_load(MINIMAL)
    data["stages"][0]["optimizer"]["lr"] = 1e-3
    data["stages"].append(data["stages"][0])
    with pytest.raises(UsageError, match="two stages are called 'align'"):
        check(data, "x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "is not valid YAML"),
        ("model: a\nmodel: b\n", "the key 'model' stands twice in one section"),
        ("- 1\n", "got a list, expected a section of keys and values"),
        ("", "got nothing, expected a section of keys and values"),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_config(file)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a file; expected a training configuration in YAML"):
        load_config(tmp_path / "none.yaml")


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot read"):
        load_config(file)


def test_json_round_trip(path: Path) -> None:
    config = load_config(path)
    data: dict[str, Any] = json.loads(config.model_dump_json())
    assert check(data, "x") == config
