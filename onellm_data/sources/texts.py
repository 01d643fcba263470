"""Captions and conversations from raw data: what they must be, and what becomes of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from onellm_data.errors import SignalError
from onellm_data.records import Turn
from onellm_data.sources.folder import NO_CAPTION, NOT_UTF8, WRONG_VALUE

ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}
"""Who speaks, in LLaVA's files and those made after them, and in records."""

UNKNOWN_ROLE = "unknown role"
EMPTY_TURN = "empty turn"
NOT_IN_TURN = "turns do not alternate"


def plain(value: object, name: str) -> str:
    """A value that must be text, without space around it; a missing one counts as empty.

    Raises:
        SignalError: It is something else.
    """
    if value is None:
        return ""
    if not isinstance(value, str) or "\0" in value:
        raise SignalError(WRONG_VALUE, f"got {value!r:.80} in '{name}', expected text")
    return value.strip()


def identity(value: object, name: str) -> str:
    """A value that names a thing: text, or a whole number.

    Raises:
        SignalError: It is something else, or nothing.
    """
    told = str(value) if isinstance(value, int) and not isinstance(value, bool) else plain(value, name)
    if not told:
        raise SignalError(WRONG_VALUE, f"got nothing in '{name}', expected a name or a number")
    return told


def captions_of(values: Iterable[object], name: str = "caption") -> tuple[str, ...]:
    """Captions on one line each, blank ones left out.

    Raises:
        SignalError: One is no text, or all are blank.
    """
    captions = tuple(caption for value in values if (caption := " ".join(plain(value, name).split())))
    if not captions:
        raise SignalError(NO_CAPTION, "expected a text that is not blank")
    return captions


def fields(value: object) -> Mapping[str, Any]:
    """A row of a JSON file, which must be an object.

    Raises:
        SignalError: It is something else.
    """
    if not isinstance(value, dict):
        raise SignalError(WRONG_VALUE, f"got JSON {type(value).__name__}, expected an object")
    return value


def turns_of(value: object, tags: Iterable[str] = ()) -> tuple[Turn, ...]:
    """A conversation from ``[{"from": "human" | "gpt", "value": …}, …]``.

    Args:
        value: The list.
        tags: Placeholders for signals, such as ``image`` for ``<image>``; they are taken out.

    Returns:
        Turns of user and assistant, the user first.

    Raises:
        SignalError: It is no such list, or an unknown role speaks, or a turn is blank, or somebody
            speaks twice, or the assistant never does.
    """
    if not isinstance(value, list):
        raise SignalError(WRONG_VALUE, f"got {value!r:.80} in 'conversations', expected a list of turns")
    turns = tuple(_turn(one, tuple(tags)) for one in value)
    roles = [turn.role for turn in turns]
    if len(roles) < 2 or roles != (["user", "assistant"] * len(roles))[: len(roles)]:
        got = ", ".join(roles[:10]) or "no turn"
        raise SignalError(NOT_IN_TURN, f"got {got}; expected user, assistant and so on")
    return turns


def _turn(value: object, tags: tuple[str, ...]) -> Turn:
    row = fields(value)
    said = plain(row.get("from"), "from")
    if said.lower() not in ROLES:
        raise SignalError(UNKNOWN_ROLE, f"got {said[:40]!r}, expected one of {', '.join(ROLES)}")
    text = without_tags(plain(row.get("value"), "value"), tags)
    if not text:
        raise SignalError(EMPTY_TURN, f"got nothing said by {said!r}")
    return Turn(ROLES[said.lower()], text)


def without_tags(text: str, tags: Iterable[str]) -> str:
    """The text without ``<tag>`` for each of ``tags``; of the space around one, that before it stays."""
    for tag in tags:
        text = re.sub(rf"(\s*)<{re.escape(tag)}>(\s*)", lambda found: found[1] or found[2], text)
    return text.strip()


def check_text(*values: object) -> None:
    """Refuse text and meta that JSON cannot hold.

    Raises:
        SignalError: It has bytes that are not UTF-8, or NaN.
    """
    try:
        json.dumps(values, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        raise SignalError(NOT_UTF8, "a text or another value has bytes that are not UTF-8") from error
    except ValueError as error:
        raise SignalError(WRONG_VALUE, f"a value is not JSON: {error}") from error
