"""What a run of ``onellm prepare`` is asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onellm_data.errors import UsageError
from onellm_data.shards.manifest import valid_split
from onellm_data.shards.writer import ShardSize

DEFAULT_MAX_REJECT_RATE = 0.1
"""One item in ten: more is a sign of a wrong option or a broken download, not of a few bad files."""

DEFAULT_ITEM_TIMEOUT = 600.0
"""Seconds after which a worker that still reads one item is stopped."""


def usable_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class PrepareOptions:
    """What a run is asked for.

    Attributes:
        modality: The modality of the signals.
        src: The raw data.
        out: The folder to write; None only with ``check``.
        format: A source's name, or ``auto``.
        split: The split of items whose source names none.
        limit: Read only so many items.
        size: When a shard is full.
        workers: Worker processes.
        item_timeout: Seconds that one item may take.
        resume: Go on with an unfinished run.
        retry_rejects: Read again what was rejected.
        check: Read everything, write nothing.
        given: Values of options that the source or the modality declares, by their names.

    Raises:
        UsageError: A value is out of its range.
    """

    modality: str
    src: Path
    out: Path | None = None
    format: str = "auto"
    split: str = "train"
    limit: int | None = None
    size: ShardSize = field(default_factory=ShardSize)
    workers: int = field(default_factory=usable_cores)
    item_timeout: float = DEFAULT_ITEM_TIMEOUT
    resume: bool = False
    retry_rejects: bool = False
    check: bool = False
    given: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not valid_split(self.split):
            raise UsageError(
                f"got --split {self.split!r}, expected up to 32 lower-case letters, digits and underscores"
            )
        for name, value in {
            "--workers": self.workers,
            "--limit": self.limit,
            "--samples-per-shard": self.size.samples,
            "--shard-size": self.size.bytes,
            "--item-timeout": self.item_timeout,
        }.items():
            if value is not None and value <= 0:
                raise UsageError(f"got {name} {value}, expected more than 0")
        if self.out is None and not self.check:
            raise UsageError("got no --out: name the folder to write, or use --check to write nothing")

    def identity(self, source: str, settled: Mapping[str, Any]) -> dict[str, Any]:
        """What decides the result, as JSON values; a run can go on only with the same.

        Args:
            source: Name of the source.
            settled: The options of source and modality, with their values.
        """
        return {
            **settled,
            "modality": self.modality,
            "src": os.path.realpath(self.src),
            "format": source,
            "split": self.split,
            "limit": self.limit,
            "samples_per_shard": self.size.samples,
            "shard_size": self.size.bytes,
        }
