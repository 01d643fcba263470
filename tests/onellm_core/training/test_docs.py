"""docs/train.md explains every key in the words of the schema."""

from __future__ import annotations

from pathlib import Path

import pytest

from onellm_core.training.config import (
    CheckpointConfig,
    DataConfig,
    LogConfig,
    OptimizerConfig,
    Section,
    StageConfig,
    TrainConfig,
)

PAGE = Path(__file__).parents[3] / "docs" / "train.md"

SECTIONS = {
    "": TrainConfig,
    "checkpoint.": CheckpointConfig,
    "log.": LogConfig,
    "stages.N.": StageConfig,
    "stages.N.data.NAME.": DataConfig,
    "stages.N.optimizer.": OptimizerConfig,
}


@pytest.mark.parametrize(("prefix", "section"), SECTIONS.items())
def test_every_key_is_in_the_table(prefix: str, section: type[Section]) -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    for name, field in section.model_fields.items():
        description = " ".join((field.description or "").split()).replace("``", "`")
        start = f"| `{prefix}{name}` | {description} |"
        assert any(row.startswith(start) for row in rows), f"docs/train.md lacks the row: {start}"


def test_the_table_has_no_other_keys() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    known = {f"{prefix}{name}" for prefix, section in SECTIONS.items() for name in section.model_fields}
    assert {row.split("`")[1] for row in rows} == known
