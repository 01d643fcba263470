"""Running ``prepare`` in this process and, to be killed, in one of its own."""

from __future__ import annotations

import errno
import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from onellm_data.modalities.base import Modality
from onellm_data.prepare.options import PrepareOptions
from onellm_data.prepare.report import Report
from onellm_data.prepare.run import prepare
from onellm_data.shards.reader import ShardReader, load_manifest
from onellm_data.shards.verify import verify
from onellm_data.shards.writer import ShardSize


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where results go; not made yet."""
    return tmp_path / "out"


@pytest.fixture
def run(toy: Modality, out: Path) -> Callable[..., Report]:
    """Prepare toys in this process (and its workers), three to a shard unless said otherwise."""

    def run(src: Path, **options: Any) -> Report:
        given = {"modality": "toy", "out": out, "size": ShardSize(samples=3), "workers": 1, **options}
        return prepare(PrepareOptions(src=src, **given))

    return run


@pytest.fixture
def command(repository: Path, toy_package: Path) -> tuple[list[str], dict[str, str]]:
    """``onellm prepare toy`` as a process: arguments before the options, and environment."""
    paths = os.pathsep.join([str(toy_package), str(repository)])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    arguments = [
        sys.executable,
        "-m",
        "onellm_cli",
        "prepare",
        "toy",
        "--samples-per-shard",
        "3",
        "--workers",
        "1",
    ]
    return arguments, environment


@pytest.fixture
def start(command: tuple[list[str], dict[str, str]]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start ``onellm prepare toy`` as a process; whatever still runs at the end is killed."""
    arguments, environment = command
    started: list[subprocess.Popen[str]] = []

    def start(*more: object, **extra: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*arguments, *map(str, more)],
            env=environment | extra.pop("env", {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **extra,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def call(start: Callable[..., subprocess.Popen[str]]) -> Callable[..., tuple[int, str, str]]:
    """Run ``onellm prepare toy`` as a process: exit code, stdout, stderr."""

    def call(*more: object, **extra: Any) -> tuple[int, str, str]:
        process = start(*more, **extra)
        stdout, stderr = process.communicate(timeout=120)
        return process.returncode, stdout, stderr

    return call


@pytest.fixture
def start_onellm(command: tuple[list[str], dict[str, str]]) -> Callable[..., tuple[int, str, str]]:
    """Run ``onellm`` with other arguments as a process: exit code, stdout, stderr."""
    arguments, environment = command

    def call(*more: object) -> tuple[int, str, str]:
        line = [*arguments[: arguments.index("prepare")], *map(str, more)]
        done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout, done.stderr

    return call


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes]]:
    """Every file of a folder, hidden ones too, by name; the result is checked first."""

    def contents(folder: Path) -> dict[str, bytes]:
        verify(folder)
        return {
            str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
        }

    return contents


@pytest.fixture
def outcome(toy: Modality) -> Callable[[Path], tuple[dict[str, list[int]], list[tuple[int, str]]]]:
    """What a folder holds: split → the records' numbers, and (item, reason) of the rejects."""

    def outcome(folder: Path) -> tuple[dict[str, list[int]], list[tuple[int, str]]]:
        manifest = load_manifest(folder)
        kept = {
            split: [int(record.signals["toy"][0]) for record in ShardReader(folder, split)]
            for split in manifest.splits
        }
        lines = (folder / "rejects.jsonl").read_text().splitlines()
        rejects = [(row["item"], row["why"]) for row in map(json.loads, lines)]
        assert manifest.read == manifest.kept + len(rejects)
        return kept, rejects

    return outcome


class Pipe:
    """A named pipe outside the data: an item ``wait PIPE`` is being read until somebody writes to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)

    def __str__(self) -> str:
        return str(self.path)

    @contextmanager
    def being_read(self, process: subprocess.Popen[str]) -> Iterator[int]:
        """Wait until ``process`` reads the item; the pipe, open for writing."""
        while True:
            try:
                descriptor = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
                break
            except OSError as error:
                if error.errno != errno.ENXIO:  # no reader yet
                    raise
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
                raise AssertionError(f"the run ended before: {process.communicate()}")
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def answer(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        """Give the item the number 99 and wait for the end of ``process``: exit code, stderr."""
        with self.being_read(process) as descriptor:
            os.write(descriptor, b"99\n")
            _, stderr = process.communicate(timeout=120)
        return process.returncode, stderr

    def kill(self, process: subprocess.Popen[str]) -> None:
        """Kill ``process`` with SIGKILL while it reads the item; its worker is gone afterwards."""
        with self.being_read(process) as descriptor:
            process.kill()
            process.wait()
            poll = select.poll()
            poll.register(descriptor, select.POLLERR)  # an error: nobody reads any more
            assert poll.poll(60_000), "a worker outlived its run by 60 s"


@pytest.fixture
def pipe(tmp_path: Path) -> Pipe:
    """See ``Pipe``."""
    return Pipe(tmp_path / "pipe")
