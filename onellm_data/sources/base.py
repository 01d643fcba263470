"""What a source turns a raw layout into: items, and rejects for what cannot become one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from onellm_data.modalities.base import Signal
from onellm_data.options import Option
from onellm_data.records import Turn


@dataclass(frozen=True)
class Place:
    """Bytes of a file that its modality's ``load`` takes for a signal, under ``ending``.

    A ``SignalReader`` whose signal lies so has it as its attribute ``place``: ``onellm prepare
    --in-place`` leaves such a signal where it is.
    """

    file: Path
    offset: int
    size: int
    ending: str | None = None

    def read(self) -> bytes:
        """The bytes."""
        with self.file.open("rb") as stream:
            stream.seek(self.offset)
            return stream.read(self.size)


class SignalReader(Protocol):
    """Reads a signal that is not whole files of its own: a window, a row of an array, an archive's member.

    It is sent to a worker process, so it must be a small picklable object, such as a frozen dataclass.
    """

    @property
    def where(self) -> str:
        """The file, and the place in it, for messages."""
        ...

    def read(self) -> Signal:
        """The canonical signal.

        Raises:
            SignalError: It is not there, or is not what it should be.
        """
        ...


@dataclass(frozen=True)
class Item:
    """One future record: where its signals are, and its text.

    Attributes:
        name: What a person calls it, mostly the file's path in the source; part of the record's key.
        files: Modality → one file for each of the modality's parts, or what reads the signal.
        captions: Texts that each describe the signals.
        conversations: A dialogue about the signals.
        split: The split that the source says, None if it says none.
        meta: Whatever else the source says; JSON values.
    """

    name: str
    files: Mapping[str, tuple[Path, ...] | SignalReader] = field(default_factory=dict)
    captions: tuple[str, ...] = ()
    conversations: tuple[Turn, ...] = ()
    split: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reject:
    """Something in the source that cannot become a record.

    Attributes:
        name: What: the item's name, or the row's.
        where: The file that the defect is in, with the line if there is one.
        reason: A few fixed words; rejects are counted by it.
        detail: What was got and what was expected.
        split: As for ``Item``.
    """

    name: str
    where: str
    reason: str
    detail: str = ""
    split: str | None = None


@dataclass(frozen=True)
class Source:
    """One raw layout.

    Attributes:
        name: What ``--format`` calls it.
        layout: How it looks on disk, in one line, for ``onellm prepare --list`` and messages.
        modalities: Modalities it may hold; None for any.
        detect: Path and modality → what was recognised, in words; None if this is another layout.
        items: Path and modality → items and rejects, in an order that is the same every time, read
            as they are asked for. The iterator may tell its length (``operator.length_hint``).
            Takes ``options`` as keyword arguments.
        options: What the layout leaves open; flags of ``onellm prepare``.
        names_files: Whether items name whole files, which the modality reads with its ``read_options``;
            False if each comes with what reads it.
    """

    name: str
    layout: str
    modalities: tuple[str, ...] | None
    detect: Callable[[Path, str], str | None]
    items: Callable[..., Iterator[Item | Reject]]
    options: tuple[Option, ...] = ()
    names_files: bool = True
