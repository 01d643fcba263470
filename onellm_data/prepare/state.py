"""What an unfinished folder remembers, so that another run can go on with it.

========================  =======================================================================
in ``OUT/.prepare/``      holds
========================  =======================================================================
run.json                  what the run was asked for, and whether it retries rejects
todo.jsonl, base.json     when it retries: the rejects to read again, and the manifest before
SPLIT-NUMBER.*            commits and their rejects (``splits``)
SPLIT.*                   checkpoint and rejects of the open shard
========================  =======================================================================

The folder is there as long as the run is unfinished, and goes when the manifest is written.
"""

from __future__ import annotations

import heapq
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onellm_data.errors import UsageError
from onellm_data.prepare.lock import LOCK_NAME
from onellm_data.prepare.splits import SplitState, committed_splits, read_rejects
from onellm_data.shards import in_place
from onellm_data.shards.files import settle_folder, whole
from onellm_data.shards.manifest import MANIFEST_NAME, REJECTS_NAME, Manifest, Shard, Split, parse
from onellm_data.shards.reader import load_manifest
from onellm_data.shards.writer import TAR, ShardSize

MEMORY_NAME = ".prepare"
MAX_SPLITS = 64

_OURS = re.compile(r"[a-z0-9_]+-\d{6,}\.(tar|jsonl|index\.npy)|\..*\.tmp")


def is_ours(name: str) -> bool:
    """Whether a run writes files of this name: shards, their indexes, temporary files."""
    return _OURS.fullmatch(name) is not None


@dataclass(frozen=True)
class Request:
    """How a run may go on with what is in its folder."""

    identity: Mapping[str, Any]
    resume: bool
    retry: bool


def finished(out: Path, request: Request) -> Manifest | None:
    """The manifest, if the folder is finished and nothing is asked that would change it.

    Raises:
        UsageError: The folder holds something that the run may not go on with.
    """
    memory = out / MEMORY_NAME
    if (memory / "run.json").exists():
        _check_unfinished(out, request, json.loads((memory / "run.json").read_bytes()))
        return None
    if not (out / MANIFEST_NAME).exists():
        _check_empty(out)
        return None
    if not (request.resume or request.retry):
        raise UsageError(
            f"{out} holds a finished result; choose another --out, remove it, or use --retry-rejects to read "
            "again what was rejected"
        )
    manifest = load_manifest(out)
    _check_same(manifest.options, request.identity)
    return None if request.retry and manifest.rejected else manifest


def _check_unfinished(out: Path, request: Request, run: Mapping[str, Any]) -> None:
    if not (request.resume or (request.retry and run["retry"])):
        raise UsageError(
            f"{out} holds an unfinished run; add --resume to go on with it, or remove the folder"
        )
    _check_same(run["identity"], request.identity)


def _check_empty(out: Path) -> None:
    left = sorted(path.name for path in out.iterdir() if path.name not in (LOCK_NAME, MEMORY_NAME))
    if left:
        raise UsageError(f"{out} is not empty (it has {left[0]}); choose a new folder for --out")


def _check_same(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    differences = [
        f"{name} was {before.get(name)!r}, is now {now.get(name)!r}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    if differences:
        raise UsageError(
            f"the first run was asked for something else: {'; '.join(differences)}; use the same options, or "
            "another --out"
        )


class RunState:
    """An unfinished folder, and its splits.

    Args:
        out: The folder; its lock is held.
        request: How the run may go on.
        size: When a shard is full.
    """

    def __init__(self, out: Path, request: Request, size: ShardSize) -> None:
        self.out, self._size, self._identity = out, size, request.identity
        self.memory = out / MEMORY_NAME
        self._begin(request)
        base = self.memory / "base.json"
        self.base = parse(base.read_bytes(), str(base)) if base.exists() else None
        self.splits = {split: self._open(split) for split in committed_splits(self.memory)}
        self._sweep()

    def _begin(self, request: Request) -> None:
        """Write down what is asked, at the start of a first run or of a retry."""
        if (self.memory / "run.json").exists():
            return
        shutil.rmtree(self.memory, ignore_errors=True)  # left by a run that was killed right here
        self.memory.mkdir()
        retry = (self.out / MANIFEST_NAME).exists()
        if retry:
            _copy(self.out / MANIFEST_NAME, self.memory / "base.json")
            _copy(self.out / REJECTS_NAME, self.memory / "todo.jsonl")
        with whole(self.memory / "run.json") as stream:
            stream.write(json.dumps({"retry": retry, "identity": dict(request.identity)}).encode())
        settle_folder(self.out)

    def _open(self, split: str) -> SplitState:
        before = self.base.splits[split].shards if self.base and split in self.base.splits else ()
        suffix = in_place.SUFFIX if self._identity["in_place"] else TAR
        return SplitState(self.out, self.memory, split, self._size, len(before), suffix)

    def split(self, name: str) -> SplitState:
        """The state of a split; a new one if the source has not named it before."""
        if name not in self.splits:
            if len(self.splits) == MAX_SPLITS:
                raise UsageError(
                    f"the source names more than {MAX_SPLITS} splits, the last one '{name}'; is the column "
                    "'split' meant as one?"
                )
            self.splits[name] = self._open(name)
        return self.splits[name]

    def _sweep(self) -> None:
        """Remove what a killed run left: shards that were not committed, temporary files."""
        known = {state.writer.temporary.name for state in self.splits.values() if state.writer.is_open}
        for shards in self._shards().values():
            known.update(name for shard in shards for name in (shard.name, shard.index_name))
        for path in self.out.iterdir():
            if is_ours(path.name) and path.name not in known:
                path.unlink()

    def _shards(self) -> dict[str, list[Shard]]:
        """All finished shards by split, those of the manifest before a retry first."""
        shards = {name: list(split.shards) for name, split in self.base.splits.items()} if self.base else {}
        for name, state in self.splits.items():
            new = [commit.shard for commit in state.commits if commit.shard is not None]
            if new:
                shards.setdefault(name, []).extend(new)
        return shards

    def marks(self) -> list[tuple[int, str]]:
        """Number and digest of the last item of each commit, in order."""
        return sorted(mark for state in self.splits.values() for mark in state.marks())

    def todo(self) -> Iterator[tuple[int, bytes]]:
        """For a retry: number and line of each reject to read again."""
        return read_rejects(self.memory / "todo.jsonl")

    def finish(self, source: str, digest: str) -> Manifest:
        """Commit everything, write rejects and manifest, and forget the run.

        Args:
            source: The name of the source.
            digest: Of all its items; a retry keeps that of the first run.
        """
        for state in self.splits.values():
            state.finish()
        with whole(self.out / REJECTS_NAME) as stream:
            for _, line in heapq.merge(*(state.reject_lines() for state in self.splits.values())):
                stream.write(line)
        rejected: Counter[str] = Counter()
        for state in self.splits.values():
            for commit in state.commits:
                rejected.update(commit.rejected)
        splits = {name: Split(tuple(shards)) for name, shards in sorted(self._shards().items())}
        manifest = Manifest(
            (self._identity["modality"],),
            splits,
            source,
            self._identity,
            rejected,
            self.base.digest if self.base else digest,
            self._identity["in_place"],
        )
        manifest.save(self.out)
        self.forget()
        return manifest

    def forget(self) -> None:
        """Remove the memory; its first file first, so that a half removed one counts as none."""
        (self.memory / "run.json").unlink()
        shutil.rmtree(self.memory)

    def suspend(self) -> None:
        """Leave everything for ``--resume``; if nothing was done yet, leave nothing."""
        try:
            for state in self.splits.values():
                state.suspend()
        except OSError:
            self.discard()
            raise
        self._forget_if_untouched()

    def discard(self) -> None:
        """Throw away what is not committed."""
        for state in self.splits.values():
            state.discard()
        self._forget_if_untouched()

    def _forget_if_untouched(self) -> None:
        if all(state.is_untouched() for state in self.splits.values()):
            self.forget()


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as stream, whole(target) as copy:
        shutil.copyfileobj(stream, copy)
