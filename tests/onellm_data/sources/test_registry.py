"""Finding the source for a path."""

from __future__ import annotations

from pathlib import Path

import pytest

from onellm_data import modalities, sources
from onellm_data.errors import UsageError

pytestmark = pytest.mark.usefixtures("toy")


def test_every_source_is_there_and_says_what_it_reads() -> None:
    for name in sources.names():
        source = sources.get(name)
        assert source.name == name
        assert source.layout
        assert set(source.modalities or ()) <= set(modalities.names())


def test_every_modality_has_a_source() -> None:
    assert all(sources.of(name) for name in modalities.names())


def test_auto_recognises(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("file,caption\n")
    source, recognised = sources.choose("auto", tmp_path, "toy")
    assert (source.name, recognised) == ("folder", "a folder with metadata.csv")


def test_nothing_is_recognised(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"is no layout with toy that is known; expected one of: .*folder: a folder"
    ):
        sources.choose("auto", tmp_path, "toy")
    source, recognised = sources.choose("folder", tmp_path, "toy")
    assert (source.name, recognised) == ("folder", "as --format says")


def test_nothing_is_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is nothing at --src .*missing; expected a folder"):
        sources.choose("auto", tmp_path / "missing", "toy")


def test_a_format_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown format 'foldr'; did you mean 'folder'\?"):
        sources.choose("foldr", tmp_path, "toy")
