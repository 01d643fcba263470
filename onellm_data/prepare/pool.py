"""Worker processes: tasks in, outcomes out in the same order, and no item is worth a hang.

Each worker has one task at a time, so when one dies it is known which item it died of; that item is
rejected, and another worker takes its place. Workers are spawned, not forked: they share no thread,
lock or open file with this process.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from onellm_data.errors import MissingExtra, OnellmError
from onellm_data.prepare import worker
from onellm_data.prepare.tasks import Outcome, Rejected, Task
from onellm_data.sources.base import Reject

WORKER_DIED = "worker died"
TIMEOUT = "took too long"

_WINDOW = 8  # tasks for each worker that may be done ahead of the oldest one that is not
_POLL_SECONDS = 0.2  # how often a stop on request and the time limits are looked at
_START_SECONDS = 120.0
_LEAVE_SECONDS = 5.0
_ONE_THREAD: Mapping[str, str] = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)


class _Worker:
    """A worker process and the task that it is at."""

    def __init__(self, reading: worker.Reading) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=worker.main, args=(theirs, reading), daemon=True)
        with _environment(_ONE_THREAD):
            self.process.start()
        theirs.close()
        self.task: Task | None = None
        self.since = time.monotonic()
        self.ready = False

    def give(self, task: Task) -> None:
        self.task, self.since = task, time.monotonic()
        try:
            self.connection.send(task)
        except BrokenPipeError:
            return  # it died while idle: collecting its answer finds that out

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        self.connection.close()
        self.process.kill()
        self.process.join()


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for child processes started inside."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@dataclass(frozen=True)
class Limits:
    """Number of workers, and seconds that one item may take."""

    workers: int
    item_seconds: float


def run(
    tasks: Iterable[Task],
    limits: Limits,
    stop: Callable[[], bool] = lambda: False,
    reading: worker.Reading | None = None,
) -> Iterator[tuple[Task, Outcome]]:
    """Process tasks in worker processes.

    Args:
        tasks: Read as they are needed, never more than a few for each worker ahead.
        limits: Number of workers and the time limit.
        stop: Asked several times a second; when true, no more outcomes follow.
        reading: How signals are read.

    Yields:
        Each task with its outcome, in the order of ``tasks``.

    Raises:
        MissingExtra: A package that the modality needs is not installed.
        OnellmError: Workers cannot be started.
    """
    pool = _Pool(iter(tasks), limits, reading or worker.Reading())
    try:
        while not stop():
            pool.feed()
            if pool.is_done():
                return
            pool.collect()
            yield from pool.finished()
    finally:
        pool.close()


class _Pool:
    def __init__(self, tasks: Iterator[Task], limits: Limits, reading: worker.Reading) -> None:
        self._tasks, self._limits, self._reading = tasks, limits, reading
        self._workers: list[_Worker] = []
        self._order: dict[int, Task] = {}  # tasks not yet given back, oldest first
        self._outcomes: dict[int, Outcome] = {}
        self._exhausted = False

    def is_done(self) -> bool:
        return self._exhausted and not self._order

    def close(self) -> None:
        for one in self._workers:
            one.stop()

    def feed(self) -> None:
        """Give every idle worker a task, as far as the window and the source go."""
        while len(self._order) < _WINDOW * self._limits.workers and self._has_idle():
            task = next(self._tasks, None)
            if task is None:
                self._exhausted = True
                return
            self._order[task.index] = task
            if isinstance(task.item, Reject):
                self._outcomes[task.index] = Rejected(task.item.reason, task.item.detail)
            else:
                self._idle().give(task)

    def _has_idle(self) -> bool:
        return len(self._workers) < self._limits.workers or any(not one.task for one in self._workers)

    def _idle(self) -> _Worker:
        for one in self._workers:
            if one.task is None:
                return one
        self._workers.append(_Worker(self._reading))
        return self._workers[-1]

    def collect(self) -> None:
        """Take the answers that are there; wait for one if the oldest task has none."""
        busy: dict[Connection, _Worker] = {one.connection: one for one in self._workers if one.task}
        oldest = next(iter(self._order))
        patience = 0.0 if oldest in self._outcomes else _POLL_SECONDS
        for connection in wait(list(busy), patience):
            assert isinstance(connection, Connection)
            self._receive(busy[connection])
        for one in busy.values():
            self._check_time(one)

    def _receive(self, one: _Worker) -> None:
        try:
            answer = one.connection.recv()
        except (EOFError, ConnectionResetError):
            self._bury(one)
            return
        if answer == worker.READY:
            one.ready, one.since = True, time.monotonic()
        elif isinstance(answer, MissingExtra):
            raise answer
        else:
            self._settle(one, answer)

    def _settle(self, one: _Worker, outcome: Outcome) -> None:
        assert one.task is not None, "an outcome answers a task"
        self._outcomes[one.task.index] = outcome
        one.task = None

    def _bury(self, one: _Worker) -> None:
        """Reject the item that a worker died of."""
        one.process.join(_LEAVE_SECONDS)  # its connection is closed; let it say by itself how it ended
        one.stop()
        cause = _cause(one.process.exitcode)
        if not one.ready:
            raise OnellmError(f"a worker process could not start ({cause}); its own message is above")
        self._settle(one, Rejected(WORKER_DIED, f"{cause} while reading this item"))
        self._workers.remove(one)

    def _check_time(self, one: _Worker) -> None:
        limit = self._limits.item_seconds if one.ready else _START_SECONDS
        if one.task is None or time.monotonic() - one.since <= limit:
            return
        one.stop()
        if not one.ready:
            raise OnellmError(f"a worker process did not start within {_START_SECONDS:g} s")
        self._settle(one, Rejected(TIMEOUT, f"still being read after {self._limits.item_seconds:g} s"))
        self._workers.remove(one)

    def finished(self) -> Iterator[tuple[Task, Outcome]]:
        """Outcomes of the oldest tasks, as far as there is no gap."""
        while self._order:
            index = next(iter(self._order))
            if index not in self._outcomes:
                return
            yield self._order.pop(index), self._outcomes.pop(index)


def _cause(exitcode: int | None) -> str:
    if exitcode is None or exitcode >= 0:
        return f"it ended with exit code {exitcode}"
    name = signal.Signals(-exitcode).name
    hint = ", perhaps for want of memory" if exitcode == -signal.SIGKILL else ""
    return f"killed by {name}{hint}"
