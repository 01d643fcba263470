"""``onellm doctor``: what this machine can do, and what to install for the rest."""

from __future__ import annotations

import click

from onellm_cli.options import json_option
from onellm_cli.rendering import echo_json, echo_table, human_bytes
from onellm_data.errors import EXIT_FAILED


@click.command()
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Say what this machine can do, and what to install for the rest.

    Ends with 0, or with 1 when something that is installed does not work. A missing extra is no
    fault: its commands say so when they are asked.
    """
    from onellm_cli import machine

    found = machine.examine()
    if as_json:
        echo_json(found)
    else:
        _show(found)
    ctx.exit(EXIT_FAILED if found["problems"] else 0)


def _show(found: dict) -> None:
    """Print what was found, for a person."""
    for name, value in found["machine"].items():
        text = human_bytes(value) if name.endswith("_bytes") else value
        click.echo(
            f"{name.removesuffix('_bytes').replace('_', ' '):<16}{'not known' if text is None else text}"
        )
    click.echo()
    rows = [(e["name"], "ready" if e["ready"] else "missing", _advice(e)) for e in found["extras"]]
    echo_table(rows, ("extra", "state", "what to do"))
    for title, lines in (("notes", found["notes"]), ("problems", found["problems"])):
        if lines:
            click.echo(f"\n{title}")
        for line in lines:
            click.echo(f"  - {line}")


def _advice(extra: dict) -> str:
    """How to make the extra ready."""
    if extra["ready"]:
        return ""
    return f"{extra['install']}  (lacks {', '.join(extra['missing'])})"
