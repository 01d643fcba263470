"""Workers that are processes on this machine.

They are spawned, not forked: they share no thread, lock or open file with this process.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import connection
from multiprocessing.context import SpawnProcess

from onellm_data.prepare import worker
from onellm_data.prepare.crew import Crew, Died, Worker
from onellm_data.prepare.tasks import Task

_LEAVE_SECONDS = 5.0
_ONE_THREAD: Mapping[str, str] = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)


class ProcessWorker(Worker):
    """A worker process."""

    def __init__(self, reading: worker.Reading) -> None:
        super().__init__()
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=worker.main, args=(theirs, reading), daemon=True)
        with _environment(_ONE_THREAD):
            self.process.start()
        theirs.close()

    def _send(self, task: Task) -> None:
        try:
            self.connection.send(task)
        except BrokenPipeError:
            return  # it died while idle: collecting its answer finds that out

    def answer(self) -> object:
        """See ``Worker.answer``."""
        try:
            return self.connection.recv()
        except (EOFError, ConnectionResetError) as error:
            self.process.join(_LEAVE_SECONDS)  # its connection is closed; let it say by itself how it ended
            self.stop()
            raise Died(_cause(self.process.exitcode)) from error

    def stop(self) -> None:
        """See ``Worker.stop``."""
        self.connection.close()
        self.process.kill()
        self.process.join()


class Processes(Crew[ProcessWorker]):
    """Worker processes on this machine.

    Args:
        workers: How many there may be.
        reading: How they read signals.
    """

    def __init__(self, workers: int, reading: worker.Reading) -> None:
        self.workers, self._reading = workers, reading

    def hire(self) -> ProcessWorker:
        """See ``Crew.hire``."""
        return ProcessWorker(self._reading)

    def wait(self, busy: Sequence[ProcessWorker], seconds: float) -> Sequence[ProcessWorker]:
        """See ``Crew.wait``."""
        answered = set(connection.wait([one.connection for one in busy], seconds))
        return [one for one in busy if one.connection in answered]


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


def _cause(exitcode: int | None) -> str:
    if exitcode is None or exitcode >= 0:
        return f"it ended with exit code {exitcode}"
    name = signal.Signals(-exitcode).name
    hint = ", perhaps for want of memory" if exitcode == -signal.SIGKILL else ""
    return f"killed by {name}{hint}"
