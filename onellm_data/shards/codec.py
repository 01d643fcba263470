"""A record as a run of tar members: ``{key}.{modality}.{ending}`` … and ``{key}.json`` last."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from onellm_data import modalities
from onellm_data.errors import OnellmError
from onellm_data.records import Record, Turn
from onellm_data.shards import tar

TEXT_ENDING = "json"

_KEY = re.compile(r"[^./\s]+")
_SLUG_LENGTH = 40


def key_of(index: int, name: str) -> str:
    """The key of the source's item number ``index``: the number, and a readable piece of its name.

    The number alone makes keys unique, so nobody has to remember the keys that were given out.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:_SLUG_LENGTH].strip("-")
    return f"{index:09d}-{slug or 'item'}"


def encode(record: Record) -> bytes:
    """The run of tar members for ``record``; each signal is stored by its modality."""
    stored = {name: modalities.get(name).store(signal) for name, signal in record.signals.items()}
    return pack(record.key, stored, record.text())


def pack(key: str, stored: Mapping[str, Mapping[str, bytes]], text: Mapping[str, Any]) -> bytes:
    """The run of tar members for signals that are stored already.

    Args:
        key: The record's key.
        stored: Modality → ending → bytes.
        text: Captions, conversations and meta, as ``Record.text`` gives them.

    Raises:
        OnellmError: The key has a dot, a slash or a space, or ``meta`` is not JSON.
    """
    if not _KEY.fullmatch(key):
        raise OnellmError(f"got the key {key!r}, expected one without dots, slashes and spaces")
    try:
        document = json.dumps(text, ensure_ascii=False, sort_keys=True, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise OnellmError(
            f"the text or meta of the record '{key}' cannot be written as JSON: {error}"
        ) from error
    files = [
        (f"{key}.{name}.{ending}", data) for name, parts in stored.items() for ending, data in parts.items()
    ]
    files.append((f"{key}.{TEXT_ENDING}", document))
    return b"".join(tar.member(name, data) for name, data in files)


def decode(run: bytes) -> Record:
    """The inverse of ``encode``.

    Raises:
        OnellmError: The run does not hold exactly one record.
    """
    return loaded(*unpack(run))


def loaded(key: str, stored: Mapping[str, Mapping[str, bytes]], text: Mapping[str, Any]) -> Record:
    """The record of what ``unpack`` gives: signals in canonical form."""
    signals = {name: modalities.get(name).load(parts) for name, parts in stored.items()}
    turns = tuple(Turn(turn["role"], turn["text"]) for turn in text["conversations"])
    return Record(key, signals, tuple(text["captions"]), turns, text["meta"])


def unpack(run: bytes) -> tuple[str, dict[str, dict[str, bytes]], dict[str, Any]]:
    """Key, stored signals (modality → ending → bytes) and text of one run."""
    keys: set[str] = set()
    stored: dict[str, dict[str, bytes]] = {}
    text: dict[str, Any] | None = None
    for name, data in tar.members(run):
        key, _, rest = name.partition(".")
        keys.add(key)
        modality, _, ending = rest.partition(".")
        if rest == TEXT_ENDING:
            text = _parse_text(key, data)
        elif modality and ending:
            stored.setdefault(modality, {})[ending] = data
        else:
            raise OnellmError(f"got the member '{name}', expected KEY.MODALITY.ENDING or KEY.json")
    if len(keys) != 1 or text is None:
        raise OnellmError(f"got members of the records {sorted(keys)}, expected one record and its .json")
    return keys.pop(), stored, text


def _parse_text(key: str, data: bytes) -> dict[str, Any]:
    try:
        text = json.loads(data)
    except ValueError as error:
        raise OnellmError(f"the text of the record '{key}' is not JSON: {error}") from error
    if not isinstance(text, dict) or set(text) != {"captions", "conversations", "meta"}:
        raise OnellmError(f"the text of the record '{key}' has not the fields captions, conversations, meta")
    return text
