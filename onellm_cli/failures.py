"""What a person reads when a command fails, and the exit code.

Three kinds: what the user can mend (a message), what the machine lacks (a message), and a defect
of onellm (the traceback, and how to report it).
"""

from __future__ import annotations

import errno
import traceback

import click

from onellm_cli.extras import extra_of_module, install_command
from onellm_data.errors import EXIT_FAILED, OnellmError

EXIT_KEYBOARD = 130

_MACHINE_ERRORS = {
    errno.ENOSPC: "free some space, or write to another disk, and run the command again",
    errno.EDQUOT: "your quota is used up: free some space and run the command again",
    errno.EROFS: "the disk can only be read: choose another place to write to",
    errno.EACCES: "this user may not do that there: choose another place or change its permissions",
    errno.EPERM: "this user may not do that there: choose another place or change its permissions",
    errno.EMFILE: "too many files are open: raise the limit with 'ulimit -n' or use fewer workers",
    errno.EIO: "the disk reports an error: check it, or use another one",
}


def explain(error: Exception) -> int:
    """Print why the command failed, on stderr, and return its exit code."""
    if isinstance(error, click.exceptions.Abort):
        click.echo("Interrupted.", err=True)
        return EXIT_KEYBOARD
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    message = _message(error)
    if message is None:
        click.echo(_defect(error), err=True)
        return EXIT_FAILED
    click.echo(f"Error: {message}", err=True)
    return error.exit_code if isinstance(error, OnellmError) else EXIT_FAILED


def _message(error: Exception) -> str | None:
    """What the user can do about ``error``, or None if it is a defect of onellm."""
    if isinstance(error, OnellmError):
        return str(error)
    if isinstance(error, OSError) and error.errno in _MACHINE_ERRORS:
        where = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror}{where}: {_MACHINE_ERRORS[error.errno]}"
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        extra = extra_of_module(package)
        if extra:
            return (
                f"the package '{package}' is not installed; it comes with the extra '{extra}': "
                f"{install_command(extra)}"
            )
    return None


def _defect(error: Exception) -> str:
    """The traceback, and what to do with it."""
    lines = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return (
        f"{lines}\nThis is a defect of onellm, not of what you typed. Please report it with the lines "
        "above, the command, and the output of 'onellm doctor'."
    )
