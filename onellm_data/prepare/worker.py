"""One item → tar members, in a worker process."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from onellm_data import modalities
from onellm_data.errors import MissingExtra, OnellmError, SignalError
from onellm_data.modalities.base import Modality
from onellm_data.prepare.tasks import Kept, Outcome, Rejected, Task
from onellm_data.records import Record
from onellm_data.shards import codec
from onellm_data.sources.base import Item, Reject, SignalReader
from onellm_data.sources.inside import UNREADABLE

READY = "ready"
"""What a worker says first."""

MAX_KEPT_FILE = 64 << 20
"""Bytes of the largest file that is stored as it is; a larger one is stored anew."""

WRONG_SUFFIX = "unsupported file ending"
CANNOT_STORE = "cannot be stored"
UNEXPECTED = "unexpected error"


@dataclass(frozen=True)
class Reading:
    """How signals are read.

    Attributes:
        options: Keyword arguments of ``Modality.read``; only those that somebody gave.
    """

    options: Mapping[str, Any] = field(default_factory=dict)


def main(connection: Connection, reading: Reading) -> None:
    """Answer tasks with outcomes until the parent process closes the connection or ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    connection.send(READY)
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        connection.send(process(task, reading))


def _leave_with_parent() -> None:
    """End this process when the parent has ended, even while an item is being read."""
    parent = parent_process()
    assert parent is not None, "a worker runs in a child process"
    wait([parent.sentinel])
    os._exit(1)


def process(task: Task, reading: Reading = Reading()) -> Outcome | MissingExtra:
    """Read, check and store the signals of one item.

    Returns:
        What became of it. A package that is missing is no fault of the item: the error is returned
        for the parent to raise.
    """
    if isinstance(task.item, Reject):
        return Rejected(task.item.reason, task.item.detail)
    try:
        return Kept(_run(task.index, task.item, reading))
    except SignalError as error:
        return Rejected(error.reason, error.detail)
    except MissingExtra as error:
        return error
    except OnellmError as error:
        return Rejected(CANNOT_STORE, str(error))
    except OSError as error:
        return Rejected(UNREADABLE, error.strerror or str(error))
    except Exception as error:  # noqa: BLE001 - one of a million files must not end the run; it is told and counted
        return Rejected(f"{UNEXPECTED} ({type(error).__name__})", f"{error}"[:500])


def _run(index: int, item: Item, reading: Reading) -> bytes:
    stored = {name: _stored(modalities.get(name), files, reading) for name, files in item.files.items()}
    key = codec.key_of(index, item.name)
    text = Record(key, {}, item.captions, item.conversations, item.meta).text()
    return codec.pack(key, stored, text)


def _stored(modality: Modality, files: tuple[Path, ...] | SignalReader, reading: Reading) -> dict[str, bytes]:
    """The shard members of one signal."""
    if isinstance(files, tuple):
        return _stored_files(modality, files, reading)
    return modality.store(files.read())


def _stored_files(modality: Modality, paths: Sequence[Path], reading: Reading) -> dict[str, bytes]:
    """The shard members of a signal in files: the file itself if it is canonical already.

    With options it is read another way, so that the file itself is not what was asked for.
    """
    for path in paths:
        if path.suffix.lower() not in modality.suffixes:
            raise SignalError(
                WRONG_SUFFIX, f"got '{path.suffix}', expected one of {', '.join(modality.suffixes)}"
            )
    read = modality.read(paths, **reading.options)
    if reading.options or modality.keep is None or len(paths) > 1:
        return modality.store(read)
    if paths[0].stat().st_size <= MAX_KEPT_FILE:
        data = paths[0].read_bytes()
        ending = modality.keep(data)
        if ending is not None:
            return {ending: data}
    return modality.store(read)
