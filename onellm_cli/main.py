"""The command ``onellm``: finds its subcommands, and turns errors into messages and exit codes.

A subcommand is one file and one line in ``COMMANDS``.  The file is imported when the command is
asked for, and itself imports only click and ``onellm_data.errors`` at its top, so that
``onellm --help`` answers at once on the base install.

=====  ===============================================================
code   means
=====  ===============================================================
0      done
1      failed; where it is a defect of onellm, the message asks to report it
2      usage or configuration
3      too many rejected items
75     stopped on request; the same command with ``--resume`` goes on
130    interrupted from the keyboard
=====  ===============================================================
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

import click

from onellm_cli.failures import explain
from onellm_data.errors import unknown

COMMANDS = {
    "init": "onellm_cli.init:init",
    "convert": "onellm_cli.convert:convert",
    "prepare": "onellm_cli.prepare:prepare",
    "train": "onellm_cli.train:train",
    "infer": "onellm_cli.infer:infer",
    "inspect": "onellm_cli.inspect:inspect",
    "doctor": "onellm_cli.doctor:doctor",
}
"""Subcommand → ``module:attribute``, in the order in which help lists them (a user's first day)."""


class LazyGroup(click.Group):
    """A group that imports a subcommand only when it is asked for."""

    def __init__(self, *args: Any, targets: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.targets = targets

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the subcommands, in table order."""
        return list(self.targets)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The subcommand called ``cmd_name``, or None."""
        if cmd_name not in self.targets:
            return None
        module, _, attribute = self.targets[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command), f"{module}:{attribute} is not a click command"
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The subcommand that ``args`` ask for.

        Raises:
            UsageError: There is none of that name; the message names the nearest one.
        """
        if args[0] not in self.targets and not args[0].startswith("-"):
            raise unknown("command", args[0], self.targets)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> None:
        """Run the subcommand; what it returns is not an exit code."""
        super().invoke(ctx)


@click.group(
    cls=LazyGroup,
    targets=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="onellm", message="onellm %(version)s")
def cli() -> None:
    """Ask a language model about images, video, audio, points, depth, normals, motion and fMRI.

    A first model: init, prepare, train, infer. 'onellm doctor' says what this machine can do.
    """


def main() -> NoReturn:
    """Run the command line and exit with its code."""
    try:
        code = cli.main(prog_name="onellm", standalone_mode=False) or 0
        sys.stdout.flush()
    except BrokenPipeError:
        code = _leave_pipe()
    except Exception as error:  # noqa: BLE001 - the outermost frame: nothing is swallowed, all is told
        code = explain(error)
    sys.exit(code)


def _leave_pipe() -> int:
    """End quietly: the reader of our output has gone (``onellm … | head``).

    Click does the same, with the same exit code, for what a command prints.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1
