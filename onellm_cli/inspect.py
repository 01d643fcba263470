"""``onellm inspect``: what is in a model folder or a prepared folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from onellm_cli.options import json_option
from onellm_cli.rendering import echo_json, echo_summary
from onellm_data.errors import UsageError


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
@click.option(
    "--plot",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Also draw some records, and histograms of all kinds, into FILE.png or FILE.html.",
)
@json_option
def shards(path: str, plot: Path | None, as_json: bool) -> None:
    """Show what a prepared folder holds: samples, captions, sizes and rejects.

    PATH is a folder made by 'onellm prepare', or any fsspec URL of one.
    """
    if plot is not None and plot.suffix not in (".png", ".html"):
        raise UsageError(f"got --plot {plot}, expected a name that ends in .png or .html")
    from onellm_data.shards.summary import summarise

    summary = summarise(path)
    if plot is not None:
        _draw(path, plot)
    _echo(summary, as_json)


def _draw(path: str, plot: Path) -> None:
    """Write what a look at the folder shows."""
    from onellm_data.files import atomic_file
    from onellm_data.shards.figures import look
    from onellm_data.shards.page import write_html
    from onellm_data.shards.sheet import write_png

    figures = look(path)
    with atomic_file(plot) as work:
        (write_png if plot.suffix == ".png" else write_html)(figures, work)


def _echo(summary: dict[str, Any], as_json: bool) -> None:
    """Print the summary for a machine or for a person."""
    if as_json:
        echo_json(summary)
    else:
        echo_summary(summary)
