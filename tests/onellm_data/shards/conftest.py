"""A prepared folder of toy records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onellm_data.modalities.base import Modality
from onellm_data.records import Record, Turn
from onellm_data.shards.writer import ShardSize, ShardWriter


def _record(number: int) -> Record:
    turns = (Turn("user", "What number?"), Turn("assistant", str(number)))
    captions = (f"number {number}", f"nummer {number}")
    return Record(f"{number:09d}-toy", {"toy": np.full(3, number)}, captions, turns, {"number": number})


@pytest.fixture
def records() -> list[Record]:
    """Ten records; number i holds the signal (i, i, i)."""
    return [_record(number) for number in range(10)]


@pytest.fixture
def prepared(tmp_path: Path, toy: Modality, records: list[Record]) -> Path:
    """The ten records as ``train``, four to a shard, and the first two as ``test``."""
    folder = tmp_path / "prepared"
    with ShardWriter(folder, ["toy"], ShardSize(samples=4), {"why": "tests"}) as writer:
        for record in records:
            writer.add(record)
        for record in records[:2]:
            writer.add(record, split="test")
    return folder
