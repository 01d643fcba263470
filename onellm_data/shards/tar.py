"""Tar members as bytes: written the same way every time, read without trusting them."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator

from onellm_data.errors import OnellmError

HEADER_BYTES = tarfile.BLOCKSIZE

END = b"\0" * (2 * tarfile.BLOCKSIZE)
"""The two empty blocks that end a tar archive (POSIX.1-2001, pax, "ustar interchange format")."""

MAX_MEMBER_BYTES = 8**11 - 1
"""The largest size that the header's eleven octal digits hold."""


class BadTar(OnellmError):
    """Bytes that should be tar members are not."""


def member(name: str, data: bytes) -> bytes:
    """One file as header, data and padding; owner, mode and time are the same for every file.

    Raises:
        BadTar: The name does not fit into a header's 100 bytes, or the data into its size field.
    """
    if len(name.encode()) > tarfile.LENGTH_NAME or len(data) > MAX_MEMBER_BYTES:
        raise BadTar(
            f"got a tar member with a name of {len(name.encode())} bytes and {len(data)} bytes of data, "
            f"expected at most {tarfile.LENGTH_NAME} and {MAX_MEMBER_BYTES}"
        )
    info = tarfile.TarInfo(name)
    info.size = len(data)
    padding = -len(data) % tarfile.BLOCKSIZE
    return info.tobuf(tarfile.USTAR_FORMAT) + data + b"\0" * padding


def members(run: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and data of each file in ``run``, whole members one after another.

    Raises:
        BadTar: A header is damaged, is not a plain file's, or promises more than there is.
    """
    position = 0
    while position < len(run):
        info = _header(run[position : position + tarfile.BLOCKSIZE])
        start = position + tarfile.BLOCKSIZE
        if start + info.size > len(run):
            raise BadTar(f"the member '{info.name}' claims {info.size} bytes, {len(run) - start} are left")
        yield info.name, run[start : start + info.size]
        position = start + info.size + (-info.size % tarfile.BLOCKSIZE)


def name_of(block: bytes) -> str:
    """The name in one tar header of 512 bytes."""
    return _header(block).name


def _header(block: bytes) -> tarfile.TarInfo:
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise BadTar(f"got a damaged tar header ({error}), expected a file's") from error
    if not info.isreg():
        raise BadTar(f"the member '{info.name}' is no plain file (type {info.type!r})")
    return info
