"""One item → tar members, in a worker process."""

from __future__ import annotations

import os
import signal
import threading
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from onellm_data import modalities
from onellm_data.errors import MissingExtra, OnellmError, SignalError
from onellm_data.modalities.base import Modality, Signal
from onellm_data.prepare.tasks import Kept, Outcome, Rejected, Task
from onellm_data.records import Record
from onellm_data.shards import codec, in_place
from onellm_data.sources.base import Item, Place, Reject, SignalReader
from onellm_data.sources.inside import UNREADABLE, is_inside

READY = "ready"
"""What a worker says first."""

MAX_KEPT_FILE = 64 << 20
"""Bytes of the largest file that is stored as it is; a larger one is stored anew."""

WRONG_SUFFIX = "unsupported file ending"
CANNOT_STORE = "cannot be stored"
UNEXPECTED = "unexpected error"
CANNOT_STAY = "cannot stay in place"


@dataclass(frozen=True)
class Reading:
    """How signals are read.

    Attributes:
        options: Keyword arguments of ``Modality.read``; only those that somebody gave.
        in_place: Signals stay in this folder, and records say where; None if records hold them.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    in_place: str | None = None


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
    key, meta = codec.key_of(index, item.name), dict(item.meta)
    signals = [(name, modalities.get(name), files) for name, files in item.files.items()]
    if reading.in_place is not None:
        root = reading.in_place
        pointers = {name: _pointer(root, one, files) for name, one, files in signals}
        return in_place.pack(key, pointers, _text(key, item, meta))
    stored = {}
    for name, modality, files in signals:
        read, stored[name] = _stored(modality, files, reading)
        if modality.facts is not None:
            meta |= modality.facts(read)
    return codec.pack(key, stored, _text(key, item, meta))


def _text(key: str, item: Item, meta: Mapping[str, Any]) -> dict[str, Any]:
    return Record(key, {}, item.captions, item.conversations, meta).text()


def _stored(
    modality: Modality, files: tuple[Path, ...] | SignalReader, reading: Reading
) -> tuple[Signal, dict[str, bytes]]:
    """One signal and its shard members."""
    if isinstance(files, tuple):
        return _stored_files(modality, files, reading)
    read = files.read()
    return read, _members(modality, read, getattr(files, "place", None))


def _pointer(root: str, modality: Modality, files: tuple[Path, ...] | SignalReader) -> in_place.Pointer:
    """Where a signal is that can be read again from its bytes alone; it is read once, to check it."""
    if isinstance(files, tuple):
        _check_suffixes(modality, files)
        modality.read(files)
        place: Place | None = Place(files[0], 0, files[0].stat().st_size) if len(files) == 1 else None
    else:
        files.read()
        place = getattr(files, "place", None)
    if place is None:
        raise SignalError(CANNOT_STAY, "its bytes do not lie together in one file")
    if not is_inside(root, os.path.abspath(place.file)):
        raise SignalError(CANNOT_STAY, f"{place.file} is not in {root}")
    if place.size > MAX_KEPT_FILE:
        raise SignalError(CANNOT_STAY, f"got {place.size} bytes, expected at most {MAX_KEPT_FILE}")
    data = place.read()
    ending = modality.keep(data) if isinstance(files, tuple) and modality.keep else place.ending
    if ending is None:
        raise SignalError(CANNOT_STAY, f"its bytes are not in the form that shards hold {modality.name} in")
    return in_place.Pointer(
        os.path.relpath(place.file, root), place.offset, place.size, ending, zlib.crc32(data)
    )


def _stored_files(
    modality: Modality, paths: Sequence[Path], reading: Reading
) -> tuple[Signal, dict[str, bytes]]:
    """A signal in files and its shard members: the file itself if it is canonical already.

    With options it is read another way, so that the file itself is not what was asked for.
    """
    _check_suffixes(modality, paths)
    read = modality.read(paths, **reading.options)
    alone = len(paths) == 1 and not reading.options
    place = Place(paths[0], 0, paths[0].stat().st_size) if alone else None
    return read, _members(modality, read, place)


def _members(modality: Modality, read: Signal, place: Place | None) -> dict[str, bytes]:
    """Shard members of a signal: the very bytes at ``place`` if they are canonical already."""
    if place is not None and modality.keep is not None and place.size <= MAX_KEPT_FILE:
        data = place.read()
        ending = modality.keep(data)
        if ending is not None:
            return {ending: data}
    return modality.store(read)


def _check_suffixes(modality: Modality, paths: Sequence[Path]) -> None:
    for path in paths:
        if not path.name.lower().endswith(modality.suffixes):  # ".nii.gz" is one, too
            raise SignalError(
                WRONG_SUFFIX, f"got '{path.suffix}', expected one of {', '.join(modality.suffixes)}"
            )
