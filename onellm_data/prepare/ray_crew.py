"""Workers that are actors on a Ray cluster; Ray decides where each runs.

The nodes need onellm, and see the raw data under the same path; the shards are written by the process
that asks. Ray gives an actor as many threads as it has cores: one.
"""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Sequence
from typing import Any

from onellm_data.errors import MissingExtra, UsageError, require
from onellm_data.prepare import worker
from onellm_data.prepare.crew import Crew, Died, Worker
from onellm_data.prepare.tasks import Outcome, Task

_ADDRESS = re.compile(r"\[?([^/\[\]]+)\]?:(\d{1,5})")
_CONNECT_SECONDS = 10.0


def _check_address(address: str) -> None:
    """Raise OSError if nobody listens at a HOST:PORT; Ray itself would try for minutes."""
    if match := _ADDRESS.fullmatch(address):
        socket.create_connection((match[1], int(match[2])), _CONNECT_SECONDS).close()


class Reader:
    """What runs in an actor."""

    def __init__(self, reading: worker.Reading) -> None:
        self._reading = reading

    def begin(self) -> str:
        """Says that it is there."""
        return worker.READY

    def process(self, task: Task) -> Outcome | MissingExtra:
        """See ``worker.process``."""
        return worker.process(task, self._reading)


class RayWorker(Worker):
    """An actor on the cluster.

    Args:
        ray: The package.
        actor: The actor's handle.
    """

    def __init__(self, ray: Any, actor: Any) -> None:
        super().__init__()
        self._ray, self._actor = ray, actor
        self._beginning = actor.begin.remote()
        self._result: Any = None

    @property
    def awaited(self) -> Any:
        """The reference of its next answer."""
        return self._result if self.ready else self._beginning

    def _send(self, task: Task) -> None:
        self._result = self._actor.process.remote(task)

    def answer(self) -> object:
        """See ``Worker.answer``."""
        try:
            return self._ray.get(self.awaited)
        except self._ray.exceptions.RayError as error:
            self.stop()
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise Died(f"{type(error).__name__}: {lines[0][:300]}") from error

    def stop(self) -> None:
        """See ``Worker.stop``."""
        self._ray.kill(self._actor)


class RayCrew(Crew[RayWorker]):
    """Actors of one core each on the Ray cluster that is running.

    Args:
        workers: How many there may be; None for as many as the cluster has cores.
        reading: How they read signals.

    Raises:
        MissingExtra: Ray is not installed.
        UsageError: No cluster is running.
    """

    attempts = 2  # a node that goes away takes good items with it

    def __init__(self, workers: int | None, reading: worker.Reading) -> None:
        self._ray: Any = require("ray", "ray")
        self._is_ours = not self._ray.is_initialized()
        if self._is_ours:
            self._connect()
        self.workers = workers or max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        self._reading = reading
        # Tasks of one actor are not begun again by Ray: the pool counts how often each was.
        self._actor = self._ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(Reader)

    def _connect(self) -> None:
        try:
            _check_address(os.environ.get("RAY_ADDRESS", ""))
            self._ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError) as error:
            raise UsageError(
                "no Ray cluster was found: start one with 'ray start --head' (and 'ray start --address=…' on "
                f"each further machine), or name one in RAY_ADDRESS ({error})"
            ) from error

    def hire(self) -> RayWorker:
        """See ``Crew.hire``."""
        return RayWorker(self._ray, self._actor.remote(self._reading))

    def wait(self, busy: Sequence[RayWorker], seconds: float) -> Sequence[RayWorker]:
        """See ``Crew.wait``."""
        by_reference = {one.awaited: one for one in busy}
        first, rest = self._ray.wait(list(by_reference), num_returns=1, timeout=seconds)
        more = self._ray.wait(rest, num_returns=len(rest), timeout=0)[0] if rest else []
        return [by_reference[reference] for reference in (*first, *more)]

    def explain_start(self) -> str:
        """See ``Crew.explain_start``."""
        free = self._ray.available_resources().get("CPU", 0)
        total = self._ray.cluster_resources().get("CPU", 0)
        return (
            f"{free:g} of the cluster's {total:g} cores are free, and {self.workers} workers were asked for: "
            "ask for fewer --workers, wait for other jobs, and see that onellm is installed on all nodes"
        )

    def close(self) -> None:
        """See ``Crew.close``."""
        if self._is_ours:
            self._ray.shutdown()
