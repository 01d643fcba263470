"""Writes docs/commands.md from the help that the commands print; a test checks that it is current.

python docs/write_commands.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from onellm_cli.main import cli

PAGE = Path(__file__).parent / "commands.md"
WIDTH = 100
INTRODUCTION = """# Commands

What each command prints for `--help`. `make docs` writes this page; a test fails when it is not current.

Exit codes of all: 0 done · 1 failed · 2 usage or configuration · 3 too many rejected items ·
75 stopped on request, the same command with `--resume` goes on · 130 interrupted from the keyboard.
"""


def contexts(command: click.Command, parent: click.Context | None, name: str) -> Iterator[click.Context]:
    """The command's own context, then those of its subcommands, depth first."""
    settings = {**command.context_settings, "max_content_width": WIDTH, "terminal_width": WIDTH}
    ctx = command.context_class(command, info_name=name, parent=parent, **settings)
    yield ctx
    if isinstance(command, click.Group):
        for child in command.list_commands(ctx):
            found = command.get_command(ctx, child)
            assert found is not None, f"{ctx.command_path} lists {child} and does not have it"
            yield from contexts(found, ctx, child)


def page() -> str:
    """The whole page."""
    sections = [
        f"## {ctx.command_path}\n\n```text\n{ctx.get_help()}\n```\n" for ctx in contexts(cli, None, "onellm")
    ]
    return "\n".join([INTRODUCTION, *sections])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE} written")
