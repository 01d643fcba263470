"""A pool of workers: tasks in, outcomes out in the same order, and no item is worth a hang.

Each worker has one task at a time, so when one dies it is known which item it died of; that item is
rejected, and another worker takes its place.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Generic

from onellm_data.errors import MissingExtra, OnellmError
from onellm_data.prepare import worker
from onellm_data.prepare.crew import AnyWorker, Crew, Died
from onellm_data.prepare.tasks import Kept, Outcome, Rejected, Task
from onellm_data.sources.base import Reject

WORKER_DIED = "worker died"
TIMEOUT = "took too long"

_WINDOW = 8  # tasks for each worker that may be done ahead of the oldest one that is not
_POLL_SECONDS = 0.2  # how often a stop on request and the time limits are looked at
_START_SECONDS = 120.0


def run(
    tasks: Iterable[Task],
    crew: Crew[AnyWorker],
    item_seconds: float,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[Task, Outcome]]:
    """Process tasks with a crew of workers, and close it.

    Args:
        tasks: Read as they are needed, never more than a few for each worker ahead.
        crew: Where the workers come from.
        item_seconds: How long one item may take.
        stop: Asked several times a second; when true, no more outcomes follow.

    Yields:
        Each task with its outcome, in the order of ``tasks``.

    Raises:
        MissingExtra: A package that the modality needs is not installed.
        OnellmError: Workers cannot be started.
    """
    pool = _Pool(iter(tasks), crew, item_seconds)
    try:
        while not stop():
            pool.feed()
            if pool.is_done():
                return
            pool.collect()
            yield from pool.finished()
    finally:
        pool.close()


class _Pool(Generic[AnyWorker]):
    def __init__(self, tasks: Iterator[Task], crew: Crew[AnyWorker], item_seconds: float) -> None:
        self._tasks, self._crew, self._item_seconds = tasks, crew, item_seconds
        self._workers: list[AnyWorker] = []
        self._order: dict[int, Task] = {}  # tasks not yet given back, oldest first
        self._outcomes: dict[int, Outcome] = {}
        self._deaths: Counter[int] = Counter()  # how many workers died of a task
        self._again: list[Task] = []  # tasks whose worker went away
        self._exhausted = False

    def is_done(self) -> bool:
        return self._exhausted and not self._order

    def close(self) -> None:
        for one in self._workers:
            one.stop()
        self._crew.close()

    def feed(self) -> None:
        """Give every idle worker a task, as far as the window and the source go."""
        while self._has_idle() and (self._again or len(self._order) < _WINDOW * self._crew.workers):
            if self._again:
                self._idle().give(self._again.pop())
                continue
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
        return len(self._workers) < self._crew.workers or any(not one.task for one in self._workers)

    def _idle(self) -> AnyWorker:
        for one in self._workers:
            if one.task is None:
                return one
        self._workers.append(self._crew.hire())
        return self._workers[-1]

    def collect(self) -> None:
        """Take the answers that are there; wait for one if the oldest task has none."""
        busy = [one for one in self._workers if one.task]
        oldest = next(iter(self._order))
        patience = 0.0 if oldest in self._outcomes else _POLL_SECONDS
        for one in self._crew.wait(busy, patience):
            self._receive(one)
        for one in busy:
            self._check_time(one)

    def _receive(self, one: AnyWorker) -> None:
        try:
            answer = one.answer()
        except Died as death:
            self._bury(one, str(death))
            return
        if answer == worker.READY:
            one.ready, one.since = True, time.monotonic()
        elif isinstance(answer, MissingExtra):
            raise answer
        else:
            assert isinstance(answer, Kept | Rejected), "an outcome answers a task"
            self._settle(one, answer)

    def _settle(self, one: AnyWorker, outcome: Outcome) -> None:
        assert one.task is not None, "an outcome answers a task"
        self._outcomes[one.task.index] = outcome
        one.task = None

    def _bury(self, one: AnyWorker, cause: str) -> None:
        """Reject the item that workers die of; one that may have been unlucky is begun again."""
        assert one.task is not None, "only busy workers are listened to"
        self._workers.remove(one)
        self._deaths[one.task.index] += 1
        if self._deaths[one.task.index] < self._crew.attempts:
            self._again.append(one.task)
        elif one.ready:
            self._settle(one, Rejected(WORKER_DIED, f"{cause} while reading this item"))
        else:
            raise OnellmError(f"a worker could not start ({cause}); {self._crew.explain_start()}")

    def _check_time(self, one: AnyWorker) -> None:
        limit = self._item_seconds if one.ready else _START_SECONDS
        if one.task is None or one not in self._workers or time.monotonic() - one.since <= limit:
            return
        one.stop()
        self._workers.remove(one)
        if one.ready:
            self._settle(one, Rejected(TIMEOUT, f"still being read after {self._item_seconds:g} s"))
        elif any(other.ready for other in self._workers):
            self._crew.workers = len(self._workers)  # there is no room for more
            self._again.append(one.task)
        else:
            raise OnellmError(
                f"a worker did not start within {_START_SECONDS:g} s; {self._crew.explain_start()}"
            )

    def finished(self) -> Iterator[tuple[Task, Outcome]]:
        """Outcomes of the oldest tasks, as far as there is no gap."""
        while self._order:
            index = next(iter(self._order))
            if index not in self._outcomes:
                return
            yield self._order.pop(index), self._outcomes.pop(index)
