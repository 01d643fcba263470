"""What a run says while it trains: JSON lines for machines, a line or a bar for people."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from onellm_data.files import atomic_file, full_disk

METRICS_NAME = "metrics.jsonl"
LINES_PER_STAGE = 20
"""Lines of progress that a stage prints where there is no terminal."""


class MetricsFile:
    """Appends to ``metrics.jsonl``, each optimizer step once.

    Lines of steps that a resumed run will do again are removed when it is opened.

    Args:
        path: The file.
        stage: Name of the stage that is about to write.
        done: Steps of that stage that are behind.
    """

    def __init__(self, path: Path, stage: str, done: int) -> None:
        self.path = path
        if path.is_file():
            self._cut(stage, done)
        self.file = path.open("a", encoding="utf-8")

    def _cut(self, stage: str, done: int) -> None:
        lines = self.path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if not _later(line, stage, done)]
        if kept != lines:
            with atomic_file(self.path) as work:
                work.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def write(self, line: dict[str, Any]) -> None:
        """Append one line; numbers keep every digit.

        Raises:
            OnellmError: The disk is full.
        """
        try:
            self.file.write(json.dumps(line) + "\n")
            self.file.flush()
        except OSError as error:
            raise full_disk(error, self.path) from error

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def _later(line: str, stage: str, done: int) -> bool:
    """Whether a line is of a step of ``stage`` after the first ``done``, or was cut off by a kill."""
    try:
        values = json.loads(line)
    except json.JSONDecodeError:
        return True
    return bool(values["stage"] == stage and values["step"] > done)


class Progress:
    """Shows where a stage is, on stderr: a bar that is rewritten on a terminal, else now and then a line.

    Args:
        stage: Its name.
        steps: How many it has.
        done: How many are behind at the beginning.
    """

    def __init__(self, stage: str, steps: int, done: int) -> None:
        self.stage = stage
        self.steps = steps
        self.done = done
        self.begin = time.monotonic()
        self.bar = sys.stderr.isatty()

    def show(self, line: dict[str, Any]) -> None:
        """Show the state after the step of ``line``."""
        step = line["step"]
        if self.bar:
            sys.stderr.write(f"\r\x1b[K{self._text(line)}")
        elif step == self.steps or step % max(1, self.steps // LINES_PER_STAGE) == 0:
            sys.stderr.write(f"{self._text(line)}\n")
        sys.stderr.flush()

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self.bar:
            sys.stderr.write("\n")

    def _text(self, line: dict[str, Any]) -> str:
        step = line["step"]
        left = (time.monotonic() - self.begin) / max(1, step - self.done) * (self.steps - step)
        losses = "  ".join(f"{name} {loss:.4f}" for name, loss in line["losses"].items())
        return (
            f"{self.stage}  step {step}/{self.steps}  loss {losses}  lr {line['lr']:.2e}  "
            f"norm {line['grad_norm']:.3g}  {line['samples_per_second']:.1f} samples/s  "
            f"{line['tokens_per_second']:.0f} tokens/s  {duration(left)} left"
        )


class StageLog:
    """Both of them for one stage.

    Args:
        path: The file ``metrics.jsonl``.
        stage: Name of the stage.
        steps: How many it has.
        done: How many are behind.
        every: Steps between two lines of the file.
    """

    def __init__(self, path: Path, stage: str, steps: int, done: int, every: int) -> None:
        self.file = MetricsFile(path, stage, done)
        self.progress = Progress(stage, steps, done)
        self.steps = steps
        self.every = every

    def __enter__(self) -> StageLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.close()
        self.file.close()

    def write(self, line: dict[str, Any]) -> None:
        """Tell about one step.

        Raises:
            OnellmError: The disk is full.
        """
        if line["step"] % self.every == 0 or line["step"] == self.steps:
            self.file.write(line)
        self.progress.show(line)


def duration(seconds: float) -> str:
    """Seconds as hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
