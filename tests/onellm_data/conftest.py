"""A modality for tests, installed like one from another package, and folders of its files."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from onellm_data import modalities
from onellm_data.modalities.base import Modality

TOY_PACKAGE = Path(__file__).parent / "toy"


@pytest.fixture(scope="session")
def toy_package() -> Path:
    """The folder of the package ``onellm-toy``; put it on ``PYTHONPATH`` of a process to install it there."""
    return TOY_PACKAGE


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, toy_package: Path) -> Iterator[Modality]:
    """The modality ``toy`` (files of one part) with ``pair`` (two parts) beside it; see its file."""
    monkeypatch.syspath_prepend(toy_package)
    modalities._targets.cache_clear()
    yield modalities.get("toy")
    modalities._targets.cache_clear()


@pytest.fixture
def write_table(tmp_path: Path) -> Callable[..., Path]:
    """Write a folder ``src`` with toy files and its ``metadata.csv``."""

    def write(deeds: Sequence[str], splits: Sequence[str] | None = None, folder: str = "src") -> Path:
        src = tmp_path / folder
        src.mkdir(exist_ok=True)
        for number, deed in enumerate(deeds):
            (src / f"{number}.toy").write_text(deed)
        with (src / "metadata.csv").open("w", newline="", encoding="utf-8") as stream:
            table = csv.writer(stream)
            table.writerow(["file", "caption", "split"])
            for number in range(len(deeds)):
                table.writerow([f"{number}.toy", f"item {number}", splits[number] if splits else ""])
        return src

    return write
