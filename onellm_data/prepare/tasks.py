"""Items with their numbers and splits, and what became of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from onellm_data.shards.manifest import valid_split
from onellm_data.sources.base import Item, Reject

BAD_SPLIT = "bad split name"


@dataclass(frozen=True)
class Task:
    """One item of the source.

    Attributes:
        index: Its number, counted from 0 over all splits.
        split: Its split.
        item: What the source says.
        chain: A digest of all items up to this one: two runs agree on it if their source gave the same.
    """

    index: int
    split: str
    item: Item | Reject
    chain: str = ""

    def where(self) -> str:
        """The files that it comes from."""
        if isinstance(self.item, Reject):
            return self.item.where
        files = self.item.files.values()
        return " ".join(" ".join(map(str, one)) if isinstance(one, tuple) else one.where for one in files)


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
    chain = ""
    for index, item in enumerate(items):
        task = _with_split(Task(index, item.split or default_split, item), default_split)
        chain = _digest(chain, task)
        yield replace(task, chain=chain)


def _with_split(task: Task, default_split: str) -> Task:
    if valid_split(task.split):
        return task
    detail = f"got {task.split[:80]!r}, expected up to 32 lower-case letters, digits and underscores"
    return Task(task.index, default_split, Reject(task.item.name, task.where(), BAD_SPLIT, detail))


def _digest(before: str, task: Task) -> str:
    item = task.item
    told = (item.name, item.reason) if isinstance(item, Reject) else item
    text = before + repr((task.index, task.split, told))
    return hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()


def reject_row(task: Task, outcome: Rejected) -> dict[str, Any]:
    """A line of ``rejects.jsonl``: which item, what, where and why."""
    return {
        "item": task.index,
        "what": task.item.name,
        "where": task.where(),
        "why": outcome.reason,
        "detail": outcome.detail.removeprefix(f"{task.where()}: "),
        "split": task.split,
    }
