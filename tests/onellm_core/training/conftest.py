"""A tiny model, shards of made-up motion, and a configuration that trains one on the other."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onellm_core.training.config import TrainConfig
from onellm_core.training.config_file import check
from onellm_data.records import Record
from onellm_data.shards.writer import ShardWriter

SAMPLES = 12


def motion_record(number: int) -> Record:
    signal = np.random.default_rng(number).normal(size=(6, 400)).astype(np.float32)
    captions = ("walking" * (1 + number % 3), "running")
    return Record(f"{number:09d}-move", {"imu": signal}, captions)


@pytest.fixture(scope="session")
def model_folder(make_tiny: Callable[..., Path]) -> Path:
    return make_tiny(modalities=("image", "imu"), experts=2)


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards") / "motion"
    with ShardWriter(folder, ["imu"]) as writer:
        for number in range(SAMPLES):
            writer.add(motion_record(number))
        writer.add(motion_record(99), split="test")
    return folder


@pytest.fixture
def settings(model_folder: Path, shards: Path, tmp_path: Path) -> dict[str, Any]:
    """What a configuration file holds; change it as the test needs."""
    return {
        "model": str(model_folder),
        "output": str(tmp_path / "run"),
        "precision": "float32",
        "checkpoint": {"every": 3},
        "stages": [
            {
                "name": "align",
                "data": {"imu": {"shards": str(shards)}},
                "steps": 8,
                "batch_size": 4,
                "micro_batch_size": 2,
                "prompt": "Describe the motion.",
                "optimizer": {"lr": 1e-2, "warmup_steps": 2, "clip": 0.5},
            }
        ],
    }


@pytest.fixture
def config(settings: dict[str, Any]) -> TrainConfig:
    return check(copy.deepcopy(settings), "test")


class Command:
    """Runs ``onellm train`` in processes of its own.

    Several may be started; those that still run at the end of the test are killed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: list[subprocess.Popen[str]] = []
        self.environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "DS_ACCELERATOR": "cpu",
            "PYTHONPATH": str(Path(__file__).parents[3]),
        }

    def start(self, settings: dict[str, Any], *options: str) -> subprocess.Popen[str]:
        """Start it and return at once."""
        path = self.folder / f"config-{len(self.running)}.yaml"
        path.write_text(json.dumps(settings))
        process = subprocess.Popen(
            [sys.executable, "-m", "onellm_cli", "train", "--config", str(path), *options],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.running.append(process)
        return process

    def run(self, settings: dict[str, Any], *options: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        process = self.start(settings, *options)
        out, err = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    made = Command(tmp_path)
    yield made
    for process in made.running:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture
def metrics() -> Callable[[dict[str, Any]], list[dict[str, Any]]]:
    """Reads the lines of ``metrics.jsonl`` of a run."""

    def read(settings: dict[str, Any]) -> list[dict[str, Any]]:
        text = (Path(settings["output"]) / "metrics.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    return read
