"""Items with their numbers and splits, and what became of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from onellm_data.shards.manifest import valid_split
from onellm_data.sources.base import Item, Reject

BAD_SPLIT = "bad split name"


@dataclass(frozen=True)
class Task:
    """One item of the source with its number, counted from 0 over all splits."""

    index: int
    split: str
    item: Item | Reject

    def where(self) -> str:
        """The files that it comes from."""
        if isinstance(self.item, Reject):
            return self.item.where
        return " ".join(str(path) for paths in self.item.files.values() for path in paths)


@dataclass(frozen=True)
class Kept:
    """An item became this run of tar members."""

    run: bytes


@dataclass(frozen=True)
class Rejected:
    """An item was rejected: a few fixed words, and what was got and what was expected."""

    reason: str
    detail: str


Outcome = Kept | Rejected


def number(items: Iterator[Item | Reject], default_split: str) -> Iterator[Task]:
    """Tasks for the items of a source, in its order."""
    for index, item in enumerate(items):
        split = item.split or default_split
        if not valid_split(split):
            detail = f"got {split[:80]!r}, expected up to 32 lower-case letters, digits and underscores"
            item = Reject(item.name, Task(index, split, item).where(), BAD_SPLIT, detail)
            split = default_split
        yield Task(index, split, item)


def reject_row(task: Task, outcome: Rejected) -> dict[str, Any]:
    """A line of ``rejects.jsonl``: which item, what, where and why."""
    return {
        "item": task.index,
        "what": task.item.name,
        "where": task.where(),
        "why": outcome.reason,
        "detail": outcome.detail,
        "split": task.split,
    }


class Chain:
    """A digest of all items so far: two runs agree on it if their source gave the same items."""

    def __init__(self, value: str = "") -> None:
        self.value = value

    def add(self, task: Task) -> str:
        """The digest after one more item."""
        item = task.item
        told = (item.name, item.reason) if isinstance(item, Reject) else item
        text = self.value + repr((task.index, task.split, told))
        self.value = hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()
        return self.value
