"""What is written while training, and what a resumed run makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onellm_core.training.metrics import MetricsFile, StageLog, duration


def line(stage: str, step: int, **more: float) -> dict[str, object]:
    return {
        "stage": stage, "step": step, "loss": 0.1 + 0.2, "losses": {"imu": 0.5}, "lr": 1e-3, "grad_norm": 1.0,
        "samples_per_second": 2.0, "tokens_per_second": 90.0, **more,
    }  # fmt: skip


def steps(path: Path) -> list[tuple[str, int]]:
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    return [(values["stage"], values["step"]) for values in lines]


def test_numbers_keep_every_digit(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "m.jsonl", "a", 0)
    file.write(line("a", 1))
    file.close()
    assert json.loads((tmp_path / "m.jsonl").read_text())["loss"] == 0.1 + 0.2


def test_steps_that_will_be_done_again_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    lines = [line("one", 1), line("one", 2), line("two", 1), line("two", 2), line("two", 3)]
    path.write_text("".join(json.dumps(entry) + "\n" for entry in lines) + '{"stage": "two", "st')
    MetricsFile(path, "two", 1).close()
    assert steps(path) == [("one", 1), ("one", 2), ("two", 1)]


def test_a_line_every_so_many_steps_and_at_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.jsonl"
    with StageLog(path, "a", steps=7, done=0, every=3) as log:
        for step in range(1, 8):
            log.write(line("a", step))
    assert steps(path) == [("a", 3), ("a", 6), ("a", 7)]
    told = capsys.readouterr().err.splitlines()
    assert told[-1].startswith(
        "a  step 7/7  loss imu 0.5000  lr 1.00e-03  norm 1  2.0 samples/s  90 tokens/s"
    )


def test_a_long_stage_tells_twenty_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with StageLog(tmp_path / "m.jsonl", "a", steps=1000, done=0, every=1000) as log:
        for step in range(1, 1001):
            log.write(line("a", step))
    assert len(capsys.readouterr().err.splitlines()) == 20


def test_on_a_terminal_one_line_is_rewritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with StageLog(tmp_path / "m.jsonl", "a", steps=3, done=0, every=1) as log:
        for step in range(1, 4):
            log.write(line("a", step))
    told = capsys.readouterr().err
    assert told.count("\r\x1b[K") == 3
    assert told.count("\n") == 1


def test_durations() -> None:
    assert [duration(seconds) for seconds in (0, 59.6, 61, 3600 * 25 + 61)] == [
        "0:00",
        "1:00",
        "1:01",
        "25:01:01",
    ]
