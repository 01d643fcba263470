"""What ``onellm prepare`` tells on stderr while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from tqdm import tqdm

from onellm_cli.rendering import human_bytes
from onellm_data.prepare.report import Progress

SHOWN_REJECTS = 20


class Bar(Progress):
    """A bar on a terminal: items/s, bytes/s, rejects, time left. The first rejects are told anywhere."""

    def __init__(self) -> None:
        self._bar = tqdm(unit="item", smoothing=0, miniters=1, dynamic_ncols=True, disable=None)
        self._bytes = 0
        self._rejects = 0

    def begin(self, total: int | None) -> None:
        """See ``Progress``."""
        self._bar.reset(total)

    def skipped(self) -> None:
        """See ``Progress``."""
        if not self._bar.disable:
            self._bar.initial += 1  # done before, so no part of the rate
            self._bar.update()

    def kept(self, size: int) -> None:
        """See ``Progress``."""
        self._bytes += size
        self._step()

    def rejected(self, row: Mapping[str, Any]) -> None:
        """See ``Progress``."""
        self._rejects += 1
        self._step()
        if self._rejects <= SHOWN_REJECTS:
            detail = f" ({row['detail']})" if row["detail"] else ""
            self._tell(f"rejected {row['where']}: {row['why']}{detail}")
        elif self._rejects == SHOWN_REJECTS + 1:
            self._tell("further rejects are counted, not shown")

    def note(self, text: str) -> None:
        """See ``Progress``."""
        self._tell(text)

    def close(self) -> None:
        """Remove the bar."""
        self._bar.leave = False
        self._bar.close()

    def _step(self) -> None:
        if not self._bar.disable:
            rate = self._bytes / max(self._bar.format_dict["elapsed"], 0.1)
            self._bar.set_postfix_str(f"{human_bytes(rate)}/s, {self._rejects} rejected", refresh=False)
        self._bar.update()

    def _tell(self, text: str) -> None:
        """Print one line above the bar; names from raw data cannot steer the terminal."""
        line = "".join(char if char.isprintable() else "?" for char in text)
        with self._bar.external_write_mode():
            click.echo(line, err=True)
