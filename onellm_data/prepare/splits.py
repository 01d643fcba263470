"""The shards and rejects of one split, and what of them an interrupted run has done.

A *commit* is the unit that a run cannot lose: a finished shard, the rejects between its first and
its last item, and a digest of all items of the source up to there. It counts from the moment its file
has its name. A *checkpoint* is the same for the open shard, written when a run is stopped on
request.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from onellm_data.prepare.tasks import Kept, Outcome, Task, reject_row
from onellm_data.shards.files import settle, whole
from onellm_data.shards.manifest import Shard
from onellm_data.shards.writer import TAR, ShardSize, SplitWriter


@dataclass(frozen=True)
class Commit:
    """What is done for good.

    Attributes:
        last: Number of the last item.
        chain: Digest of the source up to there.
        rejected: Reason → number of rejects since the commit before.
        shard: The finished shard; None for rejects at the end that no record follows.
        rejects: Name of the file with these rejects; empty if there are none.
    """

    last: int
    chain: str
    rejected: Mapping[str, int]
    shard: Shard | None
    rejects: str


class SplitState:
    """One split of a run; ``done`` is the number of the last item that earlier runs have done.

    Args:
        out: Where the shards go.
        memory: Where the commits go.
        split: The split's name.
        size: When a shard is full.
        first_shard: Number of the first shard.
        suffix: The shards' ending.
    """

    def __init__(
        self,
        out: Path,
        memory: Path,
        split: str,
        size: ShardSize,
        first_shard: int = 0,
        suffix: str = TAR,
    ) -> None:
        self.split, self._memory = split, memory
        self.commits = _load_commits(memory, split)
        self._rejects_path = memory / f"{split}.rejects.open"
        self._checkpoint_path = memory / f"{split}.checkpoint.json"
        number = first_shard + sum(commit.shard is not None for commit in self.commits)
        self.writer = SplitWriter(out, split, size, number, suffix)
        checkpoint = self._load_checkpoint()
        if checkpoint and checkpoint["lengths"]:
            self.writer.restore(checkpoint["lengths"])
        self._rejects = _open_rejects(self._rejects_path, checkpoint["rejects_bytes"] if checkpoint else 0)
        self.rejected = Counter(checkpoint["rejected"] if checkpoint else {})
        self._newest = (checkpoint["last"], checkpoint["chain"]) if checkpoint else None
        self.done = max((index for index, _ in self.marks()), default=-1)

    def marks(self) -> Iterator[tuple[int, str]]:
        """Number and digest of the last item of each commit, and of the checkpoint."""
        yield from ((commit.last, commit.chain) for commit in self.commits)
        if self._newest:
            yield self._newest

    def _load_checkpoint(self) -> dict[str, Any] | None:
        """What a stopped run left of the open shard, if that is still there and still open."""
        if not self._checkpoint_path.exists():
            return None
        checkpoint = json.loads(self._checkpoint_path.read_bytes())
        whole_there = checkpoint["commit"] == len(self.commits) and (
            _size(self._rejects_path) >= checkpoint["rejects_bytes"]
            and _size(self.writer.temporary) >= sum(checkpoint["lengths"])
        )
        return checkpoint if whole_there else None

    def take(self, task: Task, outcome: Outcome) -> None:
        """Write what became of an item, in the order of the source."""
        self._newest = (task.index, task.chain)
        if isinstance(outcome, Kept):
            shard = self.writer.append(outcome.run)
            if shard is not None:
                self._commit(shard)
            return
        row = json.dumps(reject_row(task, outcome), ensure_ascii=False)
        self._rejects.write(row.encode("utf-8", "backslashreplace") + b"\n")
        self.rejected[outcome.reason] += 1

    def finish(self) -> None:
        """Commit what is left."""
        shard = self.writer.close()
        if self._newest is not None:
            self._commit(shard)
        self._rejects.close()

    def _commit(self, shard: Shard | None) -> None:
        assert self._newest is not None, "an item came before"
        name = f"{self.split}-{len(self.commits):06d}"
        rejects = f"{name}.rejects.jsonl" if self.rejected else ""
        if rejects:
            settle(self._rejects)
            self._rejects.close()
            self._rejects_path.replace(self._memory / rejects)
            self._rejects = _open_rejects(self._rejects_path, 0)
        commit = Commit(*self._newest, dict(self.rejected), shard, rejects)
        with whole(self._memory / f"{name}.commit.json") as stream:
            stream.write(json.dumps(asdict(commit)).encode())
        self.commits.append(commit)
        self.rejected.clear()
        self._newest = None

    def suspend(self) -> None:
        """Write a checkpoint of what is not committed, for a run that is stopped on request."""
        lengths = self.writer.suspend()
        settle(self._rejects)
        if self._newest is not None:
            checkpoint = {
                "commit": len(self.commits),
                "last": self._newest[0],
                "chain": self._newest[1],
                "rejected": self.rejected,
                "rejects_bytes": self._rejects.tell(),
                "lengths": lengths,
            }
            with whole(self._checkpoint_path) as stream:
                stream.write(json.dumps(checkpoint).encode())
        self._rejects.close()

    def discard(self) -> None:
        """Throw away what is not committed."""
        self._checkpoint_path.unlink(missing_ok=True)
        self.writer.discard()
        with suppress(OSError):  # on a full disk the last bytes cannot be written, and need not be
            self._rejects.close()
        self._rejects_path.unlink(missing_ok=True)
        self._newest = None

    def is_untouched(self) -> bool:
        """Whether nothing was done for good, and nothing is waiting."""
        return not self.commits and self._newest is None

    def reject_lines(self) -> Iterator[tuple[int, bytes]]:
        """Number of the item and line of ``rejects.jsonl`` for each committed reject, in order."""
        for commit in self.commits:
            if commit.rejects:
                yield from read_rejects(self._memory / commit.rejects)


def read_rejects(path: Path) -> Iterator[tuple[int, bytes]]:
    """Number of the item and the line itself, for each line of a file of rejects."""
    with path.open("rb") as stream:
        for line in stream:
            yield json.loads(line)["item"], line


def committed_splits(memory: Path) -> set[str]:
    """Splits that an interrupted run has commits or a checkpoint of."""
    paths = [*memory.glob("*.commit.json"), *memory.glob("*.checkpoint.json")]
    return {path.name.partition(".")[0].partition("-")[0] for path in paths}


def _load_commits(memory: Path, split: str) -> list[Commit]:
    commits = []
    for path in sorted(memory.glob(f"{split}-*.commit.json"), key=lambda path: (len(path.name), path.name)):
        document = json.loads(path.read_bytes())
        shard = Shard(**document.pop("shard")) if document["shard"] else document.pop("shard")
        commits.append(Commit(**document, shard=shard))
    return commits


def _open_rejects(path: Path, keep: int) -> BinaryIO:
    """The file for rejects of the open shard, after its first ``keep`` bytes."""
    stream = path.open("r+b" if keep else "wb")
    stream.truncate(keep)
    stream.seek(keep)
    return stream


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
