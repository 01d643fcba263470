"""The folder that a run writes: one run at a time, and never over another run's results."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from onellm_core.training.config import TrainConfig
from onellm_data.errors import UsageError
from onellm_data.files import atomic_file

CONFIG_NAME = "run.json"
LOCK_NAME = ".lock"

FREE_KEYS = (
    "output",
    "processes",
    "zero",
    "deepspeed",
    "data_threads",
    "checkpoint",
    "log",
    "stages.*.micro_batch_size",
)
"""Keys that may differ when a run goes on: they change how it is computed, not what is learned."""


@contextmanager
def claim(config: TrainConfig, *, resume: bool) -> Iterator[bool]:
    """Hold the output folder of a run while the block lasts.

    Args:
        config: The run.
        resume: Whether an earlier run there is to go on.

    Yields:
        Whether there is an earlier run.

    Raises:
        UsageError: Another run holds it; there are results and ``resume`` is false; or the earlier
            run's configuration differs.
    """
    output = config.output
    try:
        output.mkdir(parents=True, exist_ok=True)
        lock = (output / LOCK_NAME).open("w")
    except OSError as error:
        raise UsageError(
            f"cannot write into the output folder {output}: {error.strerror or error}"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"another run is writing {output}; wait until it has ended, or choose another 'output'"
            ) from error
        yield _enter(config, resume=resume)


def _enter(config: TrainConfig, *, resume: bool) -> bool:
    path = config.output / CONFIG_NAME
    if path.is_file():
        if not resume:
            raise UsageError(
                f"{config.output} holds an earlier run; go on from it with --resume, remove it, "
                "or choose another 'output'"
            )
        _compare(path, config)
        return True
    others = [entry.name for entry in config.output.iterdir() if entry.name != LOCK_NAME]
    if others:
        raise UsageError(
            f"{config.output} holds {sorted(others)[0]} and no run of onellm; expected a folder that does "
            "not exist yet, an empty one, or with --resume an earlier run's"
        )
    with atomic_file(path) as work:
        work.write_text(config.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return False


def _compare(path: Path, config: TrainConfig) -> None:
    """Refuse to go on with another configuration.

    Raises:
        UsageError: With every key that differs.
    """
    before = dict(flatten(json.loads(path.read_text(encoding="utf-8"))))
    now = dict(flatten(config.model_dump(mode="json")))
    differing = [
        f"{key}: {_shown(before, key)} → {_shown(now, key)}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and not _free(key)
    ]
    if differing:
        raise UsageError(
            f"the run in {path.parent} was started with another configuration; to go on, give it the "
            "same one again (was → is now):\n  " + "\n  ".join(differing)
        )


def flatten(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted path and value of everything in nested sections and lists."""
    inner: Mapping[str, Any] | None = None
    if isinstance(value, Mapping):
        inner = value
    elif isinstance(value, list):
        inner = {str(number): entry for number, entry in enumerate(value)}
    if not inner:
        yield path, value
        return
    for key, entry in inner.items():
        yield from flatten(entry, f"{path}.{key}" if path else str(key))


def _free(key: str) -> bool:
    parts = ["*" if part.isdigit() else part for part in key.split(".")]
    return any(parts[: len(free.split("."))] == free.split(".") for free in FREE_KEYS)


def _shown(values: Mapping[str, Any], key: str) -> str:
    return json.dumps(values[key]) if key in values else "not there"
