"""Processor time of ``onellm --help`` against an empty Python, in the same run.

    python benchmarks/help_time.py [runs]

Processor time (user and system) is what the machine's other work does not change; the smallest of
the runs is printed, for the same reason.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

LIMIT_SECONDS = 0.3
EMPTY = [sys.executable, "-c", "pass"]
HELP = [sys.executable, "-m", "onellm_cli", "--help"]


def processor_seconds(command: Sequence[str]) -> float:
    """User and system time of one run of ``command``, its children included."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return usage.ru_utime + usage.ru_stime


def main(runs: int = 10) -> None:
    """Print the table; end with 1 above the limit."""
    for command in (EMPTY, HELP):  # compiles what is not compiled yet
        processor_seconds(command)
    # In turns, so that a change of the processor's clock meets both.
    pairs = [(processor_seconds(HELP), processor_seconds(EMPTY)) for _ in range(runs)]
    ours, empty = (min(times) for times in zip(*pairs, strict=True))
    print(f"{'what':<16}{'onellm --help':>16}{'python -c pass':>18}{'ratio':>8}")
    print(f"{'processor time':<16}{ours:>14.3f} s{empty:>16.3f} s{ours / empty:>8.1f}")
    if ours > LIMIT_SECONDS:
        sys.exit(f"'onellm --help' takes more than {LIMIT_SECONDS} s of processor time")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
