"""What a run of ``onellm prepare`` is asked for."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onellm_data.errors import UsageError, unknown
from onellm_data.shards.manifest import valid_split
from onellm_data.shards.writer import ShardSize
from onellm_data.sources.places import top

DEFAULT_MAX_REJECT_RATE = 0.1
"""One item in ten: more is a sign of a wrong option or a broken download, not of a few bad files."""

ENGINES = ("local", "ray")
"""Processes on this machine, or actors on a Ray cluster."""

DEFAULT_ITEM_TIMEOUT = 600.0
"""Seconds after which a worker that still reads one item is stopped."""


def usable_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Part:
    """Every ``of``-th item, from item ``number`` on: one job of an array."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Part:
        """``0/4`` → the first of four parts.

        Raises:
            UsageError: It is none, such as ``4/4``.
        """
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
        if not match or not int(match[1]) < int(match[2]):
            raise UsageError(
                f"got --part {text!r}, expected one of n parts counted from 0: 0/4 to 3/4 for four"
            )
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def of_folder(cls, name: str) -> Part | None:
        """The part that a folder of this name is for; None if it is for none."""
        match = re.fullmatch(r"part-(\d{1,9})-of-(\d{1,9})", name)
        return cls(int(match[1]), int(match[2])) if match else None

    @property
    def folder(self) -> str:
        """The name of its folder in ``--out``."""
        return f"part-{self.number}-of-{self.of}"

    def has(self, index: int) -> bool:
        """Whether item ``index`` belongs to it."""
        return index % self.of == self.number

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


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
        part: Read only the items of this part, and write to a folder of its own in ``out``.
        size: When a shard is full.
        engine: Where workers run, one of ``ENGINES``.
        workers: How many; None for the usable cores of this machine, or all of the cluster.
        item_timeout: Seconds that one item may take.
        resume: Go on with an unfinished run.
        retry_rejects: Read again what was rejected.
        check: Read everything, write nothing.
        in_place: Leave signals where they are, and write only where that is.
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
    part: Part | None = None
    size: ShardSize = field(default_factory=ShardSize)
    engine: str = "local"
    workers: int | None = None
    item_timeout: float = DEFAULT_ITEM_TIMEOUT
    resume: bool = False
    retry_rejects: bool = False
    check: bool = False
    in_place: bool = False
    given: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not valid_split(self.split):
            raise UsageError(
                f"got --split {self.split!r}, expected up to 32 lower-case letters, digits and underscores"
            )
        if self.engine not in ENGINES:
            raise unknown("engine", self.engine, ENGINES)
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

    @property
    def folder(self) -> Path:
        """The folder that is written."""
        assert self.out is not None, "options without --out are for a check"
        return self.out / self.part.folder if self.part else self.out

    def has(self, index: int) -> bool:
        """Whether item ``index`` of the source is to be read."""
        return self.part is None or self.part.has(index)

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
            "in_place": top(self.src) if self.in_place else "",
            "part": str(self.part) if self.part else None,
            "samples_per_shard": self.size.samples,
            "shard_size": self.size.bytes,
        }
