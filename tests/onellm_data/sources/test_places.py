"""Where tables and the files that they name are."""

from __future__ import annotations

from pathlib import Path

import pytest

from onellm_data.errors import SignalError, UsageError
from onellm_data.sources.inside import LEAVES_FOLDER, MISSING_FILE, NOT_A_FILE
from onellm_data.sources.places import files_in, first_file, media_root, only, tables


@pytest.fixture
def src(tmp_path: Path) -> Path:
    """A folder with files in two folders, a hidden one, and links in and out."""
    src = tmp_path / "src"
    for name in ("b.json", "a.csv", ".hidden.json", "sub/c.json", "sub/d.csv"):
        (src / name).parent.mkdir(parents=True, exist_ok=True)
        (src / name).write_text("x")
    (tmp_path / "secret.json").write_text("x")
    (src / "in.json").symlink_to("sub/c.json")
    (src / "out.json").symlink_to("../secret.json")
    return src


def is_json(path: Path) -> bool:
    return path.suffix == ".json"


def test_files_of_some_folders_in_order(src: Path) -> None:
    assert files_in(src) == ["a.csv", "b.json", "in.json", "out.json"]
    assert files_in(src, ("sub", "none", "")) == ["sub/c.json", "sub/d.csv", *files_in(src)]
    assert files_in(src / "b.json") == ["b.json"]


def test_tables_by_their_looks_never_lead_out(src: Path) -> None:
    assert tables(src, files_in(src), None, is_json) == [src / "b.json", src / "in.json"]
    assert tables(src / "b.json", ["b.json"], None, is_json) == [src / "b.json"]


@pytest.mark.parametrize(
    ("table", "names"),
    [
        ("a.csv", ["a.csv"]),
        ("*.json", ["b.json", "sub/c.json"]),
        ("c.*", ["sub/c.json"]),
        ("sub/*", ["sub/c.json", "sub/d.csv"]),
        ("sub/../b.json", ["b.json"]),
    ],
)
def test_tables_that_are_named(src: Path, table: str, names: list[str]) -> None:
    (src / "in.json").unlink()
    (src / "out.json").unlink()
    assert tables(src, files_in(src, ("", "sub")), table, is_json) == [src / name for name in names]


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("x.csv", MISSING_FILE),
        ("out.json", LEAVES_FOLDER),
        ("../secret.json", LEAVES_FOLDER),
        ("sub", NOT_A_FILE),
    ],
)
def test_a_table_that_cannot_be_read(src: Path, table: str, reason: str) -> None:
    with pytest.raises(UsageError, match=rf"got --table {table}: {reason}"):
        tables(src, files_in(src), table, is_json)


def test_only_one(src: Path) -> None:
    assert only(src, [src / "a.csv"], "a table") == src / "a.csv"
    with pytest.raises(UsageError, match=r"there is no table in .*src; expected a table"):
        only(src, [], "a table")
    with pytest.raises(
        UsageError, match=r"src has several tables \(a.csv, b.json\); say which one with --table"
    ):
        only(src, [src / "a.csv", src / "b.json"], "a table")


def test_the_root_of_files(src: Path) -> None:
    assert media_root(src, None) == media_root(src / "a.csv", None) == str(src)
    assert media_root(src, "sub") == str(src / "sub")
    for root in ("none", "..", "/etc", "a.csv"):
        with pytest.raises(UsageError, match=rf"got --root {root}, expected the name of a folder in"):
            media_root(src, root)


def test_the_first_of_several_places(src: Path) -> None:
    root = str(src)
    assert first_file(root, ["x", "sub/c.json", "b.json"]) == src / "sub/c.json"


@pytest.mark.parametrize(
    ("names", "reason", "place"),
    [
        (["x", "y"], MISSING_FILE, "x"),
        (["x", "../secret.json", "b.json"], LEAVES_FOLDER, "secret.json"),
        (["x", "../nothing", "b.json"], LEAVES_FOLDER, "nothing"),
        (["x", "out.json", "b.json"], LEAVES_FOLDER, "out.json"),
        (["sub", "b.json"], NOT_A_FILE, "sub"),
        (["\0", "x"], MISSING_FILE, "file name"),
    ],
)
def test_no_file_at_any_place(src: Path, names: list[str], reason: str, place: str) -> None:
    with pytest.raises(SignalError, match=place) as caught:
        first_file(str(src), names)
    assert caught.value.reason == reason
