"""Requests and answers, one JSON object a line.

A request line::

    {"id": "a1", "signals": {"imu": "walk.csv"}, "prompt": "Describe the motion."}

``signals`` may also be a list of such objects, for several files of one modality, and a signal of
several parts (an RGB picture and its depth map) is a list of files.  ``messages`` (turns with
``role`` and ``content``) may stand in place of ``prompt``.  ``id`` is given back as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onellm_data.errors import OnellmError, UsageError, unknown
from onellm_data.records import ROLES, Turn

KEYS = ("id", "signals", "prompt", "messages")


@dataclass(frozen=True)
class Request:
    """One question.

    Attributes:
        id: Whatever the asker calls it.
        signals: (modality, files of one signal), in the order in which the model reads them.
        turns: The conversation so far, a user's turn last.
    """

    id: Any
    signals: tuple[tuple[str, tuple[Path, ...]], ...]
    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class Failed:
    """A request that cannot be answered, and why; it takes the request's place in every order."""

    id: Any
    error: OnellmError


@dataclass(frozen=True)
class Answer:
    """The answer to one request, or why there is none."""

    id: Any
    text: str | None = None
    error: str | None = None

    def to_json(self) -> str:
        """One JSON line, without its end."""
        content = {"answer": self.text} if self.error is None else {"error": self.error}
        return json.dumps({"id": self.id, **content}, ensure_ascii=False)


def read_requests(lines: Iterable[str]) -> Iterator[Request | Failed]:
    """Requests from JSON lines, in order; blank lines are passed over.

    A line that is no request becomes a ``Failed`` in its place; its id is the line's own if it
    could be read, else its number.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        content: Any = None
        try:
            content = _parse(line)
            yield Request(content.get("id", number), _signals(content.get("signals", {})), _turns(content))
        except OnellmError as error:
            name = content.get("id", number) if isinstance(content, dict) else number
            yield Failed(name, UsageError(f"line {number}: {error}"))


def _parse(line: str) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except ValueError as error:
        raise UsageError(f"not JSON ({error})") from error
    if not isinstance(content, dict):
        raise UsageError(f"got {type(content).__name__}, expected a JSON object with 'prompt' and 'signals'")
    return content


def _signals(given: Any) -> tuple[tuple[str, tuple[Path, ...]], ...]:
    groups = given if isinstance(given, list) else [given]
    pairs = []
    for group in groups:
        if not isinstance(group, Mapping):
            raise UsageError(f'\'signals\' holds {group!r}; expected objects such as {{"image": "cat.jpg"}}')
        for name, files in group.items():
            paths = files if isinstance(files, list) else [files]
            if not paths or not all(isinstance(path, str) for path in paths):
                raise UsageError(f"the signal '{name}' is {files!r}; expected a file name or a list of them")
            pairs.append((name, tuple(Path(path) for path in paths)))
    return tuple(pairs)


def _turns(content: Mapping[str, Any]) -> tuple[Turn, ...]:
    for key in content:
        if key not in KEYS:
            raise unknown("key", key, KEYS)
    if "messages" not in content:
        prompt = content.get("prompt", "")
        if not isinstance(prompt, str):
            raise UsageError(f"'prompt' is {prompt!r}; expected a string")
        return (Turn("user", prompt),)
    if "prompt" in content:
        raise UsageError("got both 'prompt' and 'messages'; expected one of them")
    return _messages(content["messages"])


def _messages(given: Any) -> tuple[Turn, ...]:
    expected = 'expected [{"role": "user", "content": "…"}, …], user and assistant in turn, a user last'
    if not isinstance(given, list) or not given:
        raise UsageError(f"'messages' is {given!r}; {expected}")
    for i, turn in enumerate(given):
        if not isinstance(turn, Mapping) or not isinstance(turn.get("content"), str):
            raise UsageError(f"message {i + 1} is {turn!r}; {expected}")
        if turn.get("role") != ROLES[i % 2]:
            raise UsageError(f"message {i + 1} has the role {turn.get('role')!r}; {expected}")
    if len(given) % 2 == 0:
        raise UsageError(f"the last of {len(given)} messages is the assistant's; {expected}")
    return tuple(Turn(turn["role"], turn["content"]) for turn in given)
