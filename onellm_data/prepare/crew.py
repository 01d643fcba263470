"""What does the work of a pool: workers, each with one task at a time."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

from onellm_data.prepare.tasks import Task


class Died(Exception):
    """A worker ended while it was at a task, or before it was ready; the message says how."""


class Worker(ABC):
    """One worker.

    Attributes:
        task: The task that it is at.
        since: When it was given the task, or became ready, whichever was later (``time.monotonic``).
        ready: Whether it has started.
    """

    def __init__(self) -> None:
        self.task: Task | None = None
        self.since = time.monotonic()
        self.ready = False

    def give(self, task: Task) -> None:
        """Let it begin with a task."""
        self.task, self.since = task, time.monotonic()
        self._send(task)

    @abstractmethod
    def _send(self, task: Task) -> None:
        """Hand the task over."""

    @abstractmethod
    def answer(self) -> object:
        """What it says: that it is ready, or an outcome.

        Raises:
            Died: It has ended instead.
        """

    @abstractmethod
    def stop(self) -> None:
        """End it, whatever it is doing."""


AnyWorker = TypeVar("AnyWorker", bound=Worker)


class Crew(ABC, Generic[AnyWorker]):
    """Where workers come from.

    Attributes:
        workers: How many there may be.
        attempts: How often a task is begun before it is held to be the cause that workers die.
    """

    workers: int
    attempts = 1

    @abstractmethod
    def hire(self) -> AnyWorker:
        """A new worker; it may take a while until it is ready."""

    @abstractmethod
    def wait(self, busy: Sequence[AnyWorker], seconds: float) -> Sequence[AnyWorker]:
        """Those who have an answer; waits at most so long for the first."""

    def explain_start(self) -> str:
        """What may be the matter if a worker does not start."""
        return "its own message is above"

    def close(self) -> None:
        """All workers have been stopped."""
        return
