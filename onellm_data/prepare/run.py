"""The run of ``onellm prepare``: source → numbered items → workers → shards, manifest and rejects."""

from __future__ import annotations

import errno
import operator
import os
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from onellm_data import modalities, sources
from onellm_data.errors import Interrupted, OnellmError, UsageError
from onellm_data.prepare import choices, pool
from onellm_data.prepare.crew import Crew
from onellm_data.prepare.lock import locked
from onellm_data.prepare.options import PrepareOptions, usable_cores
from onellm_data.prepare.processes import Processes
from onellm_data.prepare.report import Progress, Report
from onellm_data.prepare.signals import stop_requests
from onellm_data.prepare.source_check import check_source
from onellm_data.prepare.state import Request, RunState, finished
from onellm_data.prepare.tasks import Kept, Outcome, Task, number, reject_row
from onellm_data.prepare.worker import Reading
from onellm_data.shards.manifest import MANIFEST_NAME, Manifest
from onellm_data.sources.base import Item, Reject, Source
from onellm_data.sources.inside import is_inside
from onellm_data.sources.places import top

_FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def prepare(options: PrepareOptions, progress: Progress | None = None) -> Report:
    """Turn raw data into shards, as ``options`` say.

    Every item of the source is kept or rejected; a bad one never ends the run.

    Returns:
        What was done; ``Report.check_rejects`` says whether too much was rejected.

    Raises:
        UsageError: The source is not what it should be, or the folder may not be written to.
        OnellmError: The disk is full, or another run writes to the folder.
        Interrupted: Stopped on request; ``resume`` goes on.
        MissingExtra: A package that the modality needs is not installed.
    """
    progress = progress or Progress()
    modality = modalities.get(options.modality)
    source, recognised = sources.choose(options.format, options.src, options.modality)
    progress.note(f"reading {recognised} (format '{source.name}')")
    chosen = choices.choose(source, modality, options.given)
    if options.in_place and chosen.read:
        raise UsageError(
            f"got --in-place and {', '.join(chosen.read)}: a signal that stays where it is cannot be read "
            "another way; leave one of them out"
        )
    run = _Run(options, source, chosen, recognised, progress)
    return run.check() if options.check else run.write()


class _Run:
    def __init__(
        self,
        options: PrepareOptions,
        source: Source,
        chosen: choices.Choices,
        recognised: str,
        progress: Progress,
    ) -> None:
        self.options, self.source, self.chosen = options, source, chosen
        self.recognised, self.progress = recognised, progress
        self.seen = self.read = 0
        self.digest = ""

    def _items(self) -> Iterator[Item | Reject]:
        return self.source.items(self.options.src, self.options.modality, **self.chosen.items)

    def _again(self) -> Iterator[Task]:
        """All items, to compare them with an earlier run's; reads nothing until it is asked."""
        tasks = number(islice(self._items(), self.options.limit), self.options.split)
        yield from (task for task in tasks if self.options.has(task.index))

    def _tasks(self) -> Iterator[Task]:
        """All items of this run with their numbers; counts and tells them."""
        items, limit = self._items(), self.options.limit
        total = operator.length_hint(items, -1)
        if limit is not None:
            total = min(total, limit) if total >= 0 else limit
        self.progress.begin(self._share(total) if total >= 0 else None)
        for task in number(islice(items, limit), self.options.split):
            self.seen += 1
            self.digest = task.chain
            if self.options.has(task.index):
                self.read += 1
                yield task

    def _share(self, total: int) -> int:
        part = self.options.part
        return len(range(part.number, total, part.of)) if part else total

    def _outcomes(
        self, tasks: Iterable[Task], stop: Callable[[], bool]
    ) -> Generator[tuple[Task, Outcome], None, None]:
        root = top(self.options.src) if self.options.in_place else None
        crew = hired(self.options, Reading(self.chosen.read, root))
        for task, outcome in pool.run(tasks, crew, self.options.item_timeout, stop):
            if isinstance(outcome, Kept):
                self.progress.kept(len(outcome.run))
            else:
                self.progress.rejected(reject_row(task, outcome))
            yield task, outcome

    # ---- --check

    def check(self) -> Report:
        """Read everything, write nothing."""
        samples: Counter[str] = Counter()
        rejected: Counter[str] = Counter()
        with stop_requests() as stop, closing(self._outcomes(self._tasks(), stop)) as outcomes:
            for task, outcome in outcomes:
                if isinstance(outcome, Kept):
                    samples[task.split] += 1
                else:
                    rejected[outcome.reason] += 1
            if stop():
                raise Interrupted(f"stopped on request after {self.read} items; nothing was written")
        self._check_not_empty()
        splits = {name: {"samples": count} for name, count in sorted(samples.items())}
        return Report(self.options.modality, self.source.name, self.recognised, None, splits, dict(rejected))

    def _check_not_empty(self) -> None:
        if not self.seen:
            raise UsageError(f"there are no items in {self.options.src}; expected {self.source.layout}")

    # ---- writing

    def write(self) -> Report:
        """Write the folder, from the start or from where an earlier run stopped."""
        out = self.options.folder
        self._check_parent()
        request = Request(
            self.options.identity(self.source.name, self.chosen.settled),
            self.options.resume,
            self.options.retry_rejects,
        )
        self._check_place(out)
        is_new = not out.exists()
        try:
            out.mkdir(parents=True, exist_ok=True)
            with locked(out):
                manifest = finished(out, request) or self._fill(RunState(out, request, self.options.size))
        except OSError as error:
            raise _explained(error, out) from error
        finally:
            if is_new and out.exists() and not any(out.iterdir()):
                out.rmdir()
        return Report.of(manifest, self.recognised, out)

    def _check_parent(self) -> None:
        if self.options.part and (self.options.folder.parent / MANIFEST_NAME).exists():
            raise UsageError(
                f"--out {self.options.out} holds a finished result; choose another folder for the parts"
            )

    def _check_place(self, out: Path) -> None:
        if out.exists() and not out.is_dir():
            raise UsageError(f"--out {out} is a file, expected a folder or a name that is free")
        if is_inside(os.path.realpath(self.options.src), os.path.realpath(out)):
            raise UsageError(
                f"--out {out} lies in --src {self.options.src}: choose a folder outside the raw data"
            )

    def _fill(self, state: RunState) -> Manifest:
        try:
            with stop_requests() as stop:
                return self._go_on(state, stop)
        except OnellmError:
            state.suspend()
            raise
        except BaseException:
            state.discard()
            raise

    def _go_on(self, state: RunState, stop: Callable[[], bool]) -> Manifest:
        check_source(self._again(), state)
        with closing(self._outcomes(self._new_tasks(state), stop)) as outcomes:
            for task, outcome in outcomes:
                state.split(task.split).take(task, outcome)
        if stop():
            raise Interrupted(f"stopped on request; the same command with --resume goes on in {state.out}")
        self._check_not_empty()
        manifest = state.finish(self.source.name, self.digest)
        assert manifest.read == self.read, f"kept and rejected are {manifest.read} of {self.read} items"
        return manifest

    def _new_tasks(self, state: RunState) -> Iterator[Task]:
        """Items that no earlier run has done; for a retry, only those that were rejected."""
        todo = (index for index, _ in state.todo()) if state.base else None
        wanted = next(todo, None) if todo else None
        for task in self._tasks():
            is_wanted = todo is None or task.index == wanted
            if todo and is_wanted:
                wanted = next(todo, None)
            if is_wanted and task.index > state.split(task.split).done:
                yield task
            else:
                self.progress.skipped()


def hired(options: PrepareOptions, reading: Reading) -> Crew[Any]:
    """The workers that the options ask for."""
    if options.engine == "ray":
        from onellm_data.prepare.ray_crew import RayCrew

        return RayCrew(options.workers, reading)
    return Processes(options.workers or usable_cores(), reading)


def _explained(error: OSError, out: Path) -> Exception:
    if error.errno not in _FULL_DISK:
        return error
    return OnellmError(
        f"no space left in {out} ({error.strerror}); finished shards are kept: make room, and the same "
        "command with --resume goes on"
    )
