"""Options that several commands share, as decorators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def json_option(command: Command) -> Command:
    """``--json``: the result as one JSON object on stdout, for machines; passed as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for machines.")(
        command
    )
