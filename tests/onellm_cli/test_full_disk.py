"""A full disk while a model folder is written: a message, and nothing half-written."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "reference-tiny" / "weights.safetensors"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


HEADS = ["--llm-heads", "4", "--expert-heads", "4", "--encoder-heads", "4"]


@pytest.mark.parametrize(
    "command",
    [
        ["init", "OUT", "--preset", "tiny", "--modalities", "imu"],
        ["convert", "--from", "reference", str(GOLDEN), "OUT", *HEADS],
    ],
    ids=["init", "convert"],
)
def test_nothing_half_written_is_left(small_disk: Path, command: list[str]) -> None:
    out = str(small_disk / "model")
    arguments = [out if argument == "OUT" else argument for argument in command]
    result = subprocess.run(
        [sys.executable, "-m", "onellm_cli", *arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert f"Error: no space left while writing {out}; nothing half-written was kept" in result.stderr
    assert list(small_disk.iterdir()) == []
