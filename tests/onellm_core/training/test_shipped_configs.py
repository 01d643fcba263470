"""Every configuration in ``configs/`` is found here by itself and trained, at tiny size."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onellm_core.training import launch
from onellm_core.training.config import StageConfig
from onellm_core.training.config_file import check, load_config
from onellm_data.records import Record
from onellm_data.shards.writer import ShardWriter

CONFIGS = Path(__file__).parents[3] / "configs"

SIGNALS: dict[str, Callable[[np.random.Generator], Any]] = {
    "imu": lambda random: random.normal(size=(6, 400)).astype(np.float32),
}
"""A canonical signal of each modality that a shipped configuration trains."""


def modalities(stage: StageConfig) -> list[str]:
    return [data.modality or name for name, data in stage.data.items()]


def made_up_shards(folder: Path, modality: str) -> Path:
    random = np.random.default_rng(0)
    with ShardWriter(folder, [modality]) as writer:
        for number in range(4):
            writer.add(Record(f"{number:09d}-x", {modality: SIGNALS[modality](random)}, ("something",)))
    return folder


@pytest.mark.parametrize(
    "path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONFIGS))
)
def test_shipped_configurations_train(path: Path, make_tiny: Callable[..., Path], tmp_path: Path) -> None:
    config = load_config(path)
    data = json.loads(config.model_dump_json())
    names = sorted({name for stage in config.stages for name in modalities(stage)})
    shards = {name: str(made_up_shards(tmp_path / name, name)) for name in names}
    for stage, given in zip(data["stages"], config.stages, strict=True):
        stage |= {"steps": 2, "batch_size": 2, "micro_batch_size": 1}
        stage["optimizer"]["warmup_steps"] = 1
        for (name, source), modality in zip(stage["data"].items(), modalities(given), strict=True):
            stage["data"][name] = {**source, "shards": shards[modality], "split": "train"}
    data |= {"model": str(make_tiny(modalities=names)), "output": str(tmp_path / "run"), "processes": 1}
    folder = launch.train(check(data, str(path)))
    assert (folder / "model.safetensors").is_file()


def test_there_are_configurations() -> None:
    assert CONFIGS / "quickstart" / "motion.yaml" in set(CONFIGS.rglob("*.yaml"))
