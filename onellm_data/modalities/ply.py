"""PLY files: the vertices of ascii and binary files of both byte orders.

Format: Greg Turk, "The PLY Polygon File Format" (1994).  What a header promises is checked
against the file's size before anything is allocated.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import numpy as np

from onellm_data.errors import SignalError
from onellm_data.modalities.decoding import TOO_LARGE, UNREADABLE

MAX_HEADER_LINES = 1000

_TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"},
    **{"float": "f4", "double": "f8", "float32": "f4", "float64": "f8"},
}
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}


@dataclass
class Element:
    """One kind of row: its name, how many there are, and the type of each property.

    Attributes:
        name: ``vertex``, ``face`` …
        count: Rows that the header promises.
        properties: Name → NumPy type code without byte order.
        lists: Whether a property is a list, so that rows differ in length.
    """

    name: str
    count: int
    properties: dict[str, str] = field(default_factory=dict)
    lists: bool = False


@dataclass(frozen=True)
class Header:
    """What stands before the data: the byte order ("" for ascii), the elements, where the data begins."""

    order: str
    elements: tuple[Element, ...]
    start: int

    def count(self, name: str) -> int:
        """Rows of the element ``name``; 0 if there is none."""
        return sum(element.count for element in self.elements if element.name == name)


def read_header(data: bytes) -> Header:
    """Parse the header and check that the file can hold what it promises.

    Raises:
        SignalError: No PLY file, or it promises more rows than it has bytes.
    """
    stream = io.BytesIO(data)
    if stream.readline().strip() != b"ply":
        raise SignalError(UNREADABLE, "the first line is not 'ply'")
    order, elements = None, []
    for _ in range(MAX_HEADER_LINES):
        words = stream.readline(4096).decode("ascii", "replace").split()
        match words:
            case ["end_header"]:
                break
            case ["format", name, *_] if name in _ORDERS:
                order = _ORDERS[name]
            case ["element", name, count]:
                elements.append(Element(name, int(count)))
            case ["property", "list", _, _, _]:
                elements[-1].lists = True
            case ["property", kind, name]:
                elements[-1].properties[name.lower()] = _TYPES[kind]
    if order is None or words != ["end_header"]:
        raise SignalError(UNREADABLE, "the header has no format line or no end_header")
    for element in elements:
        if not 0 <= element.count <= len(data):
            raise SignalError(
                TOO_LARGE,
                f"the header promises {element.count} rows of '{element.name}' in {len(data)} bytes",
            )
    return Header(order, tuple(elements), stream.tell())


def read_vertices(data: bytes, header: Header) -> dict[str, np.ndarray]:
    """The columns of the element ``vertex``, by lower-case name.

    Raises:
        SignalError: There is none, it comes after rows of varying length in a binary file, or
            the file ends before it does.
    """
    offset, lines = header.start, 0
    for element in header.elements:
        row = np.dtype([(name, header.order + kind) for name, kind in element.properties.items()])
        if element.name == "vertex" and not element.lists:
            if header.order:
                return _columns(_binary(data, offset, element, row))
            return _ascii(data[header.start :], lines, element, row)
        if element.lists and header.order and element.count:
            raise SignalError(UNREADABLE, f"vertices after the lists of '{element.name}' are not supported")
        offset += element.count * row.itemsize
        lines += element.count
    raise SignalError(UNREADABLE, "the header has no element 'vertex' of plain numbers")


def _binary(data: bytes, offset: int, element: Element, row: np.dtype) -> np.ndarray:
    """Fixed-size rows from ``offset`` on."""
    if offset + element.count * row.itemsize > len(data):
        held = max(len(data) - offset, 0) // max(row.itemsize, 1)
        raise SignalError(UNREADABLE, f"{held} of the {element.count} vertices that the header promises")
    return np.frombuffer(data, row, element.count, offset)


def _columns(rows: np.ndarray) -> dict[str, np.ndarray]:
    """Structured rows as columns."""
    return {name: rows[name] for name in rows.dtype.names or ()}


def _ascii(body: bytes, skip: int, element: Element, row: np.dtype) -> dict[str, np.ndarray]:
    """Rows of text after ``skip`` others; each column gets the type that the header names."""
    lines = body.split(b"\n", skip + element.count)[skip : skip + element.count]
    if not any(lines):
        raise SignalError(UNREADABLE, f"none of the {element.count} vertices that the header promises")
    table = np.loadtxt([line.decode("ascii") for line in lines], ndmin=2)
    if table.shape != (element.count, len(element.properties)):
        raise SignalError(
            UNREADABLE,
            f"{table.shape[0]} vertices of {table.shape[1]} numbers; the header promises "
            f"{element.count} of {len(element.properties)}",
        )
    return {name: table[:, place].astype(row[name]) for place, name in enumerate(element.properties)}
