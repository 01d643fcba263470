"""Records whose signals stay where they are: a shard is JSON lines that say where, with the texts.

A line is ``{"key", "signals": {MODALITY: {"file", "offset", "size", "ending", "crc32"}}, "captions",
"conversations", "meta"}``; files are named from the manifest's ``root``.
"""

from __future__ import annotations

import json
import posixpath
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from onellm_data.errors import OnellmError
from onellm_data.shards.storage import Storage

SUFFIX = ".jsonl"

_TEXTS = ("captions", "conversations", "meta")


@dataclass(frozen=True)
class Pointer:
    """Where one signal's bytes are.

    Attributes:
        file: The file's path from the root.
        offset: Byte at which they begin.
        size: Their number.
        ending: What the modality's ``load`` takes them for.
        crc32: Their checksum, so that a file that was changed since does not pass for what it was.
    """

    file: str
    offset: int
    size: int
    ending: str
    crc32: int

    def read(self, storage: Storage) -> bytes:
        """The bytes.

        Raises:
            OnellmError: The file is not there, leads out of the root, or was changed.
        """
        if posixpath.isabs(self.file) or posixpath.normpath(self.file).startswith(".."):
            raise OnellmError(f"the file {self.file!r} leads out of the folder of the raw data")
        try:
            data = storage.read_range(self.file, self.offset, self.size)
        except FileNotFoundError as error:
            raise OnellmError(
                f"the raw file {self.file} is not there any more; put it back (or, if all of it was moved, "
                "set 'root' in manifest.json)"
            ) from error
        if len(data) != self.size or zlib.crc32(data) != self.crc32:
            raise OnellmError(f"the raw file {self.file} was changed since it was prepared; prepare it anew")
        return data


def pack(key: str, pointers: Mapping[str, Pointer], text: Mapping[str, Any]) -> bytes:
    """The line of one record.

    Raises:
        OnellmError: ``meta`` is not JSON.
    """
    signals = {name: asdict(pointer) for name, pointer in pointers.items()}
    try:
        line = json.dumps({"key": key, "signals": signals, **text}, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise OnellmError(f"the text or meta of '{key}' cannot be written as JSON: {error}") from error
    return line.encode() + b"\n"


def unpack(line: bytes) -> tuple[str, dict[str, Pointer], dict[str, Any]]:
    """Key, pointers by modality, and text of one line.

    Raises:
        OnellmError: It is no such line.
    """
    try:
        told = json.loads(line)
        pointers = {name: Pointer(**pointer) for name, pointer in told["signals"].items()}
        return told["key"], pointers, {name: told[name] for name in _TEXTS}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OnellmError(
            f"got {line[:80]!r}, expected a line that names a record ({type(error).__name__}: {error})"
        ) from error
