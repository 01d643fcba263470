"""Options that sources and modalities declare: which there are, and which of them a run has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from onellm_data import modalities, sources
from onellm_data.errors import UsageError, unknown
from onellm_data.modalities.base import Modality
from onellm_data.options import Option
from onellm_data.sources.base import Source


@dataclass(frozen=True)
class Offer:
    """A flag of ``onellm prepare`` that some sources or modalities declare, and their names."""

    option: Option
    owners: tuple[str, ...]


@dataclass(frozen=True)
class Choices:
    """What a run has chosen.

    Attributes:
        items: Keyword arguments of ``Source.items``; only those that were given.
        read: Keyword arguments of ``Modality.read``; only those that were given.
        settled: Every option that the source and the modality have, with its value.
    """

    items: Mapping[str, Any] = field(default_factory=dict)
    read: Mapping[str, Any] = field(default_factory=dict)
    settled: Mapping[str, Any] = field(default_factory=dict)


def offers() -> dict[str, Offer]:
    """Every declared option by name; one that several declare is one flag."""
    found: dict[str, Offer] = {}
    for owner, option in _declared():
        known = found.get(option.name)
        owners = (*known.owners, owner) if known else (owner,)
        found[option.name] = Offer(known.option if known else option, owners)
    return found


def _declared() -> Iterator[tuple[str, Option]]:
    for name in modalities.names():
        yield from ((name, option) for option in modalities.get(name).read_options)
    for name in sources.names():
        yield from ((name, option) for option in sources.get(name).options)


def read_options(source: Source, modality: Modality) -> tuple[Option, ...]:
    """The modality's options that mean something for this layout: none if it reads no whole files."""
    return modality.read_options if source.names_files else ()


def choose(source: Source, modality: Modality, given: Mapping[str, Any]) -> Choices:
    """Sort what was given into what the source and what the modality takes.

    Args:
        source: The layout that is read.
        modality: The kind of signal.
        given: Option's name → value.

    Raises:
        UsageError: Neither has such an option, or it has no such value.
    """
    of_reading = read_options(source, modality)
    taken = [*source.options, *of_reading]
    for name in given:
        if name not in {option.name for option in taken}:
            raise _not_here(name, source, modality)
    for option in taken:
        if option.name in given:
            _check(option, given[option.name])
    return Choices(
        {option.name: given[option.name] for option in source.options if option.name in given},
        {option.name: given[option.name] for option in of_reading if option.name in given},
        {option.name: given.get(option.name, option.default) for option in taken},
    )


def _not_here(name: str, source: Source, modality: Modality) -> UsageError:
    known = offers()
    if name not in known:
        return unknown("option", name, known)
    owners = ", ".join(known[name].owners)
    return UsageError(
        f"{known[name].option.flag} means nothing for {modality.name} from the format '{source.name}'; "
        f"it belongs to: {owners}"
    )


def _check(option: Option, value: Any) -> None:
    if option.choices and value not in option.choices:
        raise unknown(f"value of {option.flag}", str(value), option.choices)
    expected = str if option.default is None else type(option.default)
    accepted = (int, float) if expected is float else expected
    if not isinstance(value, accepted) or (isinstance(value, bool) and expected is not bool):
        raise UsageError(f"got {option.flag} {value!r}, expected {expected.__name__}")
