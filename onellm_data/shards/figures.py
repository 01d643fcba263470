"""What a look at a prepared folder shows: figures of some of its records, and drawings of a few."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from onellm_data import modalities
from onellm_data.errors import UsageError
from onellm_data.modalities.base import Modality, Signal
from onellm_data.records import Record
from onellm_data.shards.reader import ShardReader, load_manifest

if TYPE_CHECKING:
    from PIL import Image

LOOKED_AT = 300
"""About so many records, evenly spread over the splits, make the figures."""

DRAWN = 6
"""About so many records of each modality are drawn, evenly spread over those looked at."""

TEXT_ALONE = "text alone"

Place = tuple[str, int]
"""Split and number of a record."""

_ARRAY = re.compile(r"\[([^\]]*)\]")
_RATE = re.compile(r"([\d.]+) (k?)Hz")
_COMMA = re.compile(r",\s*(?![^(]*\))")  # not those in brackets


@dataclass(frozen=True)
class Drawing:
    """One signal for a person: its record's key and texts, and the picture."""

    modality: str
    split: str
    key: str
    texts: tuple[str, ...]
    picture: Image.Image


@dataclass(frozen=True)
class Figures:
    """What a look at a folder shows.

    Attributes:
        path: The folder.
        samples: Split → number of records, all of them.
        counts: Modality (or ``TEXT_ALONE``) → number of records among those that were looked at.
        histograms: Title → values, one for each record that was looked at, or for each caption.
        drawings: Signals of a few records.
    """

    path: str
    samples: Mapping[str, int]
    counts: Mapping[str, int]
    histograms: Mapping[str, list[float]]
    drawings: tuple[Drawing, ...]

    @property
    def title(self) -> str:
        """One line on the whole folder."""
        splits = ", ".join(f"{name} {count:,}" for name, count in self.samples.items())
        return f"{self.path}: {sum(self.samples.values()):,} records ({splits})"

    @property
    def looked_at(self) -> str:
        """One line on the records that were looked at."""
        return "of the records looked at: " + ", ".join(f"{name} {n}" for name, n in self.counts.items())


def look(path: str | Path) -> Figures:
    """Read some records of each split of a prepared folder.

    Raises:
        UsageError: ``path`` is no prepared folder, or has no records.
        OnellmError: A record is damaged.
    """
    manifest = load_manifest(path)
    if not manifest.kept:
        raise UsageError(f"{path} has no records to draw")
    readers = {name: ShardReader(path, name) for name in manifest.splits}
    places: dict[str, list[Place]] = {}
    histograms: dict[str, list[float]] = {}
    for split, index in _spread(readers):
        record = readers[split][index]
        for name in list(record.signals) or [TEXT_ALONE]:
            places.setdefault(name, []).append((split, index))
        for title, value in _values(record):
            histograms.setdefault(title, []).append(value)
    return Figures(
        str(path),
        {name: len(reader) for name, reader in readers.items()},
        {name: len(found) for name, found in places.items()},
        {title: values for title, values in histograms.items() if len(set(values)) > 1},
        tuple(_drawings(readers, places)),
    )


def _spread(readers: Mapping[str, ShardReader]) -> Iterator[Place]:
    """Places of about ``LOOKED_AT`` records, evenly spread."""
    for split, reader in readers.items():
        wanted = min(len(reader), max(1, LOOKED_AT // len(readers)))
        yield from ((split, place * len(reader) // wanted) for place in range(wanted))


def _values(record: Record) -> Iterator[tuple[str, float]]:
    """Titles and values of all histograms that a record takes part in."""
    yield from (("words of a caption", len(caption.split())) for caption in record.captions)
    if record.conversations:
        yield "turns of a conversation", len(record.conversations)
    for name, signal in record.signals.items():
        yield from _sizes(modalities.get(name), signal)


def _sizes(modality: Modality, signal: Signal) -> Iterator[tuple[str, float]]:
    """Length of each axis whose length the contract leaves open; in seconds where there is a rate."""
    words = [re.sub(r"\s*\(.*\)", "", axis) for axis in _COMMA.split(modality.contract.axes)]
    rate = _RATE.search(modality.contract.rate)
    arrays = _ARRAY.findall(modality.contract.shape)
    for axes, array in zip(arrays, _arrays(signal), strict=False):
        names = [name.strip() for name in axes.split(",")]
        for word, name, length in zip(words, names, array.shape, strict=False):
            if rate and name == "N":
                hertz = float(rate[1]) * (1000 if rate[2] else 1)
                yield f"{modality.name}: duration [s]", length / hertz
            elif name.isalpha():
                yield f"{modality.name}: length of {name} ({word})", length


def _arrays(signal: Signal) -> list[np.ndarray]:
    if isinstance(signal, np.ndarray):
        return [signal]
    values = [getattr(signal, field.name) for field in dataclasses.fields(signal)]
    return [value for value in values if isinstance(value, np.ndarray)]


def _drawings(readers: Mapping[str, ShardReader], places: Mapping[str, list[Place]]) -> Iterator[Drawing]:
    """Drawings of about ``DRAWN`` records of each modality."""
    for name, found in places.items():
        for split, index in found[:: -(-len(found) // DRAWN)] if name != TEXT_ALONE else ():
            record = readers[split][index]
            picture = modalities.get(name).draw(record.signals[name])
            yield Drawing(name, split, record.key, _texts(record), picture)


def _texts(record: Record) -> tuple[str, ...]:
    return (*record.captions, *(f"{turn.role}: {turn.text}" for turn in record.conversations))
