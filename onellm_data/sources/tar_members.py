"""Where the members of a tar are, without unpacking any: headers are walked, data is skipped.

Reads what Python, GNU and BSD tar write: long names in pax or GNU headers.  Folders, links and
devices are passed over; a member's name is a name and never becomes a path.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from onellm_data.errors import SignalError

BAD_ARCHIVE = "damaged archive"
CUT_ARCHIVE = "cut archive"

MAX_EXTENDED = 1 << 16
"""Bytes of the longest extended header; a name and a time need some hundred."""

_BLOCK = tarfile.BLOCKSIZE
_PAX, _PAX_GLOBAL, _LONG_NAME = (b"x", b"X"), b"g", b"L"
_WITHOUT_DATA = (
    *(tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE),
    *(tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE),
)
_NAME = ("utf-8", "surrogateescape")


@dataclass(frozen=True)
class Member:
    """One file in a tar.

    Attributes:
        name: Its name.
        start: Byte at which its first header begins.
        offset: Byte at which its data begins.
        size: Bytes of its data.
    """

    name: str
    start: int
    offset: int
    size: int

    @property
    def end(self) -> int:
        """Byte after its data and the padding."""
        return self.offset + _padded(self.size)


def walk(stream: BinaryIO) -> Iterator[Member]:
    """The plain files of an open tar, in their order; ``stream`` may be read from in between.

    Raises:
        SignalError: A header is damaged, or the archive ends before its end mark.
    """
    total = stream.seek(0, 2)
    position = start = 0
    extended: dict[str, str] = {}
    while True:
        info = _header(stream, position)
        if info is None:
            return
        size = _size(info, extended)
        data, position = position + _BLOCK, position + _BLOCK + _padded(size)
        if position > total:
            raise SignalError(
                CUT_ARCHIVE, f"'{info.name}' claims {size} bytes, {max(total - data, 0)} are left"
            )
        if info.type in _PAX or info.type == _LONG_NAME:
            extended |= _extended(stream, info, data)
            continue
        if info.isreg():
            yield Member(extended.get("path", info.name), start, data, size)
        if info.type != _PAX_GLOBAL:
            extended = {}
        start = position


def _padded(size: int) -> int:
    return size + -size % _BLOCK


def _header(stream: BinaryIO, position: int) -> tarfile.TarInfo | None:
    """The header at ``position``; None at the archive's end mark."""
    stream.seek(position)
    block = stream.read(_BLOCK)
    if len(block) < _BLOCK:
        raise SignalError(CUT_ARCHIVE, f"ends after {position + len(block)} bytes without an end mark")
    if not any(block):
        return None
    try:
        return tarfile.TarInfo.frombuf(block, *_NAME)
    except tarfile.HeaderError as error:
        raise SignalError(BAD_ARCHIVE, f"byte {position}: {error}; expected a tar header") from error


def _size(info: tarfile.TarInfo, extended: dict[str, str]) -> int:
    """Bytes of data behind a header; large files say it in the extended header before."""
    if info.type in _WITHOUT_DATA:
        return 0
    told = extended.get("size", "")
    size = int(told) if told.isdecimal() and len(told) < 20 else info.size
    if size < 0:
        raise SignalError(BAD_ARCHIVE, f"'{info.name}' has {size} bytes")
    return size


def _extended(stream: BinaryIO, info: tarfile.TarInfo, data: int) -> dict[str, str]:
    """What an extended header says of the next member."""
    if info.size > MAX_EXTENDED:
        raise SignalError(BAD_ARCHIVE, f"an extended header of {info.size} bytes, at most {MAX_EXTENDED}")
    stream.seek(data)
    content = stream.read(info.size)
    if info.type == _LONG_NAME:
        return {"path": content.rstrip(b"\0").decode(*_NAME)}
    return _pax_records(content)


def _pax_records(content: bytes) -> dict[str, str]:
    """Records of ``LENGTH KEY=VALUE`` and a line's end (POSIX.1-2001, pax, "extended header")."""
    found = {}
    while content.strip(b"\0"):
        digits, _, _ = content.partition(b" ")
        length = int(digits) if digits.isdigit() and len(digits) < 10 else 0
        key, equals, value = content[len(digits) + 1 : length - 1].partition(b"=")
        if not equals or length > len(content):
            raise SignalError(BAD_ARCHIVE, "an extended header that is no list of LENGTH KEY=VALUE")
        found[key.decode(*_NAME)] = value.decode(*_NAME)
        content = content[length:]
    return found
