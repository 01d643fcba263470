"""Where a source's table is, and where the files are that it names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path

from onellm_data.errors import SignalError, UsageError
from onellm_data.options import Option
from onellm_data.sources.inside import inside, is_inside

TABLE = Option("table", "The file in --src that lists the items, if there are several; * fits anything.")
ROOT = Option("root", "The folder in --src that file names in the table start from.")


def top(src: Path) -> str:
    """The real path of the folder that nothing may lead out of: ``src``, or the folder it lies in."""
    return os.path.realpath(src if src.is_dir() else src.parent)


def media_root(src: Path, root: str | None) -> str:
    """The real path of the folder that file names start from.

    Raises:
        UsageError: It is not a folder in ``src``.
    """
    path = os.path.realpath(os.path.join(top(src), root or ""))
    if not os.path.isdir(path) or not is_inside(top(src), path):
        raise UsageError(f"got --root {root}, expected the name of a folder in {src}")
    return path


def files_in(src: Path, folders: Sequence[str] = ("",)) -> list[str]:
    """Names of the files in these folders of ``src``, in order; of ``src`` itself if it is a file."""
    if not src.is_dir():
        return [src.name]
    found = []
    for folder in folders:
        path = os.path.join(src, folder)
        if os.path.isdir(path):
            with os.scandir(path) as listed:
                names = (one.name for one in listed if not one.name.startswith(".") and not one.is_dir())
                found += sorted(os.path.join(folder, name) for name in names)
    return found


def tables(
    src: Path, names: Iterable[str], table: str | None, is_table: Callable[[Path], bool]
) -> list[Path]:
    """Those of the files ``names`` that list items, as ``--table`` says or as they look.

    Args:
        src: What ``--src`` says.
        names: Files in it.
        table: What ``--table`` says; it need not look like a table.
        is_table: Whether a file looks like one.

    Raises:
        UsageError: ``table`` names none, or one that leads out of ``src``.
    """
    root = top(src)
    if table is not None:
        wanted = [name for name in names if fnmatch(name, table) or fnmatch(os.path.basename(name), table)]
        try:
            return [inside(root, name) for name in wanted or [table]]
        except SignalError as error:
            raise UsageError(f"got --table {table}: {error}") from error
    found = []
    for name in names:
        try:
            path = inside(root, name)
        except SignalError:
            continue  # a link that leads out of the folder is nobody's table
        if is_table(path):
            found.append(path)
    return found


def only(src: Path, found: Sequence[Path], expected: str) -> Path:
    """The one table of a source that reads one.

    Raises:
        UsageError: There is none, or there are several.
    """
    if not found:
        raise UsageError(f"there is no table in {src}; expected {expected}")
    if len(found) > 1:
        names = ", ".join(path.name for path in found[:10])
        raise UsageError(f"{src} has several tables ({names}); say which one with --table NAME")
    return found[0]


def first_file(root: str, names: Iterable[str]) -> Path:
    """The first of several places in ``root`` at which there is something.

    Raises:
        SignalError: It is no file, or a place leads out of the folder; or there is nothing at any of
            them, and the error is about the first.
    """
    first = None
    for name in names:
        first = name if first is None else first
        path = os.path.normpath(os.path.join(root, name))
        if os.path.lexists(path) or not is_inside(root, path):  # cheap: most places are only guesses
            return inside(root, name)
    assert first is not None, "there is at least one name"
    return inside(root, first)
