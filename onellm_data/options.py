"""Options that a modality or a source declares, and that ``onellm prepare`` offers as flags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Option:
    """One choice that a layout or a signal leaves open.

    Attributes:
        name: The keyword argument's name; the flag is the same with hyphens.
        help: What it decides, for ``--help`` and the docs.
        default: What holds when it is not given; its type is the option's, text if None.
        choices: The values it may have; empty for any.
    """

    name: str
    help: str
    default: Any = None
    choices: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """The command line's flag."""
        return "--" + self.name.replace("_", "-")
