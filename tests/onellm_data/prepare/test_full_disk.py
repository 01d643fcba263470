"""A disk that is full in the middle of a run."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

WriteTable = Callable[..., Path]
Outcome = Callable[[Path], tuple[dict[str, list[int]], list[tuple[int, str]]]]
Call = Callable[..., tuple[int, str, str]]

LONG = {"env": {"TOY_LENGTH": "4096"}}
"""Each signal has 32 KiB, each shard of three about 100."""


def _check_left(out: Path, shards: int) -> None:
    """Whole shards and what ``--resume`` needs; no manifest, nothing under a temporary name."""
    assert len(list(out.glob("*.tar"))) == shards
    assert not (out / "manifest.json").exists()
    assert not [path for path in out.rglob("*") if path.name.endswith((".tmp", ".open"))]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True
    )
    if mount.returncode:
        pytest.skip("mounting a small disk needs root; the test with a limit on file sizes runs everywhere")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_small_disk(call: Call, write_table: WriteTable, small_disk: Path, outcome: Outcome) -> None:
    src = write_table([f"number {number}" for number in range(12)])
    out = small_disk / "out"
    code, stdout, stderr = call("--src", src, "--out", out, **LONG)
    assert (code, stdout) == (1, "")
    assert f"no space left in {out} (No space left on device); finished shards are kept" in stderr
    assert "--resume goes on" in stderr
    _check_left(out, shards=2)
    code, _, stderr = call("--src", src, "--out", out, "--resume", **LONG)
    assert code == 1
    assert "no space left" in stderr
    _check_left(out, shards=2)
    subprocess.run(["mount", "-o", "remount,size=10m", str(small_disk)], check=True)
    assert call("--src", src, "--out", out, "--resume", **LONG)[0] == 0
    assert outcome(out) == ({"train": list(range(12))}, [])


def _limit_files() -> None:
    """No file above 150 KB, in this process and its children."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, resource.RLIM_INFINITY))


def test_files_that_may_not_grow(
    call: Call, write_table: WriteTable, tmp_path: Path, outcome: Outcome
) -> None:
    """The same where nothing can be mounted: one shard of the second split does not fit."""
    deeds = [f"number {number}" for number in range(9)]
    src = write_table(deeds)
    out = tmp_path / "out"
    options = ["--src", src, "--out", out, "--samples-per-shard", 6]
    code, stdout, stderr = call(*options, preexec_fn=_limit_files, **LONG)
    assert (code, stdout) == (1, "")
    assert f"no space left in {out} (File too large); finished shards are kept" in stderr
    assert not out.exists(), "nothing was done, so nothing is left"
    assert call(*options, "--resume", **LONG)[0] == 0
    assert outcome(out) == ({"train": list(range(9))}, [])
