"""``onellm inspect``: what is in a model folder or a prepared folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from onellm_cli.options import json_option
from onellm_cli.rendering import echo_json, echo_summary


@click.group()
def inspect() -> None:
    """Show what is in a model folder or a prepared folder."""


@inspect.command()
@click.argument("path")
@json_option
def model(path: str, as_json: bool) -> None:
    """Show a model's parts, modalities and parameter counts; reads no weights.

    PATH is a folder made by 'onellm init', 'convert' or 'train'.
    """
    from onellm_core.model.summary import summarise

    _echo(summarise(Path(path)), as_json)


@inspect.command()
@click.argument("path")
@json_option
def shards(path: str, as_json: bool) -> None:
    """Show what a prepared folder holds: samples, captions, sizes and rejects.

    PATH is a folder made by 'onellm prepare', or any fsspec URL of one.
    """
    from onellm_data.shards.summary import summarise

    _echo(summarise(path), as_json)


def _echo(summary: dict[str, Any], as_json: bool) -> None:
    """Print the summary for a machine or for a person."""
    if as_json:
        echo_json(summary)
    else:
        echo_summary(summary)
