"""Errors that a user can act on, each with the exit code that the command line ends with.

A message says what was got, what was expected and what to do.  Whatever is not one of
these (an ``AssertionError``, a ``TypeError``) is a defect of onellm itself.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_REJECTS = 3
EXIT_INTERRUPTED = 75  # EX_TEMPFAIL of sysexits.h: stopped on request, resume to go on


class OnellmError(ValueError):
    """Something went wrong that the user can mend."""

    exit_code = EXIT_FAILED


class UsageError(OnellmError):
    """A path, key, name or value that was given is not what it should be."""

    exit_code = EXIT_USAGE


class SignalError(OnellmError):
    """One file does not hold the signal that it should.

    Args:
        reason: A few fixed words that name the kind of defect; rejects are counted by it.
        detail: What was got in this file and what was expected.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class TooManyRejects(OnellmError):
    """More items were rejected than ``--max-reject-rate`` allows."""

    exit_code = EXIT_REJECTS


class Interrupted(OnellmError):
    """Stopped on request (SIGTERM, SIGINT) after saving; the same command with ``--resume`` goes on."""

    exit_code = EXIT_INTERRUPTED


class MissingExtra(OnellmError):
    """A package that an optional extra brings is not installed."""


def require(module: str, extra: str) -> ModuleType:
    """Import ``module``, or say which extra installs it.

    Raises:
        MissingExtra: The module's package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = (error.name or module).split(".")[0]
        raise MissingExtra(
            f"the package '{package}' is not installed; it comes with the extra '{extra}': "
            f"pip install 'onellm[{extra}]'"
        ) from error


def unknown(what: str, got: str, choices: Iterable[str]) -> UsageError:
    """The error for a name that is not among ``choices``; names the nearest one."""
    known = sorted(choices)
    near = difflib.get_close_matches(got, known, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return UsageError(f"unknown {what} '{got}'{hint} (choose from: {', '.join(known)})")
