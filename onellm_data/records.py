"""What one record of a prepared data set holds: signals and the text that belongs to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from onellm_data.modalities.base import Signal

ROLES = ("user", "assistant")


@dataclass(frozen=True)
class Turn:
    """One turn of a conversation.

    Raises:
        ValueError: ``role`` is not one of ``ROLES``.
    """

    role: str
    text: str

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"got the role {self.role!r}, expected one of {', '.join(ROLES)}")


@dataclass(frozen=True)
class Record:
    """One sample.

    Attributes:
        key: Its name, unique in its data set; no dots and no slashes.
        signals: Modality name → canonical signal, in the order in which the model reads them.
        captions: Texts that each describe the signals.
        conversations: A dialogue about the signals, user and assistant in turn.
        meta: Whatever else the source says of it; JSON values.
    """

    key: str
    signals: Mapping[str, Signal] = field(default_factory=dict)
    captions: tuple[str, ...] = ()
    conversations: tuple[Turn, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)

    def text(self) -> dict[str, Any]:
        """The record without its key and signals, as JSON values."""
        turns = [{"role": turn.role, "text": turn.text} for turn in self.conversations]
        return {"captions": list(self.captions), "conversations": turns, "meta": dict(self.meta)}
