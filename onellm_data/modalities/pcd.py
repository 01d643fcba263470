"""PCD files of the Point Cloud Library: ascii, binary and binary_compressed.

Format: https://pointclouds.org/documentation/tutorials/pcd_file_format.html (version 0.7).
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass

import numpy as np

from onellm_data.errors import SignalError
from onellm_data.modalities.decoding import TOO_LARGE, UNREADABLE

MAX_HEADER_LINES = 100
MAX_UNPACKED = 128 * 2**20
"""Bytes of a compressed body once unpacked: eight million points of 16 bytes."""

PACKED_COLOR = ("rgb", "rgba")


@dataclass(frozen=True)
class Header:
    """Row type, number of points, kind of data, and where the data begins."""

    row: np.dtype
    points: int
    kind: str
    start: int


def read_columns(data: bytes) -> dict[str, np.ndarray]:
    """All columns of a PCD file by lower-case name; a packed colour becomes ``r``, ``g``, ``b``.

    Raises:
        SignalError: No PCD file, or it ends before its points do.
    """
    header = _read_header(data)
    readers = {"ascii": _ascii, "binary": _binary, "binary_compressed": _compressed}
    if header.kind not in readers:
        raise SignalError(UNREADABLE, f"DATA {header.kind}; expected {', '.join(readers)}")
    columns = readers[header.kind](data[header.start :], header)
    for name in PACKED_COLOR:
        if name in columns:
            columns.update(_unpack_color(columns.pop(name)))
    return columns


def _read_header(data: bytes) -> Header:
    """The lines up to ``DATA``."""
    stream, entries = io.BytesIO(data), {}
    for _ in range(MAX_HEADER_LINES):
        words = stream.readline(4096).decode("ascii", "replace").split()
        if words and not words[0].startswith("#"):
            entries[words[0].upper()] = words[1:]
        if "DATA" in entries:
            break
    missing = {"FIELDS", "SIZE", "TYPE", "DATA"} - entries.keys()
    if missing:
        raise SignalError(UNREADABLE, f"the header has no line {', '.join(sorted(missing))}")
    row = _row_type(entries)
    points = int(entries["POINTS"][0]) if "POINTS" in entries else _area(entries)
    if not 0 <= points <= len(data) and entries["DATA"] != ["binary_compressed"]:
        raise SignalError(TOO_LARGE, f"the header promises {points} points in {len(data)} bytes")
    return Header(row, points, entries["DATA"][0], stream.tell())


def _area(entries: dict[str, list[str]]) -> int:
    """Points of an organised cloud."""
    return int(entries["WIDTH"][0]) * int(entries["HEIGHT"][0])


def _row_type(entries: dict[str, list[str]]) -> np.dtype:
    """One point as a NumPy type; padding fields (``_``) get names of their own."""
    names = [f"_{place}" if name == "_" else name.lower() for place, name in enumerate(entries["FIELDS"])]
    counts = entries.get("COUNT", ["1"] * len(names))
    if not set("".join(entries["TYPE"]).upper()) <= set("FIU"):
        raise SignalError(UNREADABLE, f"TYPE {' '.join(entries['TYPE'])}; expected F, I and U")
    columns = zip(names, entries["TYPE"], entries["SIZE"], counts, strict=True)
    return np.dtype([(name, f"<{kind.lower()}{size}", (int(count),)) for name, kind, size, count in columns])


def _first(rows: np.ndarray) -> dict[str, np.ndarray]:
    """Structured rows as columns, the first value of each field."""
    return {name: rows[name][:, 0] for name in rows.dtype.names or ()}


def _binary(body: bytes, header: Header) -> dict[str, np.ndarray]:
    """Points one after the other."""
    _check_size(len(body), header)
    return _first(np.frombuffer(body, header.row, header.points))


def _ascii(body: bytes, header: Header) -> dict[str, np.ndarray]:
    """One point a line."""
    lines = body.split(b"\n", header.points)[: header.points]
    if not any(lines):
        raise SignalError(UNREADABLE, f"none of the {header.points} points that the header promises")
    table = np.loadtxt([line.decode("ascii") for line in lines], ndmin=2)
    widths = [header.row[name].shape[0] for name in header.row.names or ()]
    if table.shape != (header.points, sum(widths)):
        raise SignalError(
            UNREADABLE,
            f"{table.shape[0]} points of {table.shape[1]} numbers; the header promises "
            f"{header.points} of {sum(widths)}",
        )
    places = np.cumsum([0, *widths[:-1]])
    names = header.row.names or ()
    return {
        name: table[:, place].astype(header.row[name].base) for name, place in zip(names, places, strict=True)
    }


def _compressed(body: bytes, header: Header) -> dict[str, np.ndarray]:
    """LZF; unpacked, all values of one field stand together."""
    packed, unpacked = struct.unpack_from("<II", body)
    if unpacked > MAX_UNPACKED:
        raise SignalError(TOO_LARGE, f"{unpacked} bytes once unpacked; at most {MAX_UNPACKED}")
    if packed > len(body) - 8:
        raise SignalError(UNREADABLE, f"{len(body) - 8} of {packed} compressed bytes: truncated")
    plain = lzf_decompress(body[8 : 8 + packed], unpacked)
    _check_size(len(plain), header)
    columns, offset = {}, 0
    for name in header.row.names or ():
        kind = header.row[name]
        values = np.frombuffer(plain, kind.base, header.points * kind.shape[0], offset)
        columns[name] = values.reshape(header.points, -1)[:, 0]
        offset += values.nbytes
    return columns


def _check_size(size: int, header: Header) -> None:
    """Refuse a body that is shorter than its header promises."""
    if not 0 <= header.points * header.row.itemsize <= size:
        held = size // max(header.row.itemsize, 1)
        raise SignalError(UNREADABLE, f"{held} of the {header.points} points that the header promises")


def lzf_decompress(packed: bytes, size: int) -> bytes:
    """Undo LZF (Marc Lehmann's liblzf): literal runs, and copies of what was written before.

    A control byte below 32 announces as many literals plus one; otherwise its upper three bits
    are a length (7: one more byte is added to it) and the rest, with the next byte, a distance.

    Raises:
        SignalError: The result is not ``size`` bytes long, or a copy points before its start.
    """
    plain, place = bytearray(), 0
    while place < len(packed) and len(plain) <= size:
        control = packed[place]
        place += 1
        if control < 32:
            plain += packed[place : place + control + 1]
            place += control + 1
            continue
        length = control >> 5
        if length == 7:
            length += packed[place]
            place += 1
        start = len(plain) - ((control & 31) << 8) - packed[place] - 1
        place += 1
        if start < 0:
            raise SignalError(UNREADABLE, "the compressed points refer to what is before their start")
        length += 2
        pattern = plain[start : start + length]
        plain += (pattern * (length // len(pattern) + 1))[:length]  # a copy may overlap itself
    if len(plain) != size:
        raise SignalError(UNREADABLE, f"{len(plain)} unpacked bytes; the file promises {size}")
    return bytes(plain)


def _unpack_color(values: np.ndarray) -> dict[str, np.ndarray]:
    """The channels of a colour packed as 0x00RRGGBB, whatever type its four bytes are declared as."""
    if values.dtype.itemsize != 4:
        raise SignalError(UNREADABLE, f"a packed colour of {values.dtype.itemsize} bytes; expected 4")
    bits = np.ascontiguousarray(values).view(np.uint32)
    return {name: (bits >> shift & 255).astype(np.uint8) for name, shift in (("r", 16), ("g", 8), ("b", 0))}
