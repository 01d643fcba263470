"""No path from raw data leads out of its folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from onellm_data.errors import SignalError
from onellm_data.sources.inside import LEAVES_FOLDER, MISSING_FILE, NOT_A_FILE, UNREADABLE, inside


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a file, a sub-folder, links, a pipe, and a secret outside."""
    (tmp_path / "secret.txt").write_text("secret")
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "file.txt").write_text("x")
    (root / "sub" / "deep.txt").write_text("x")
    (root / "good_link").symlink_to("sub/deep.txt")
    (root / "evil_link").symlink_to("../secret.txt")
    (root / "evil_folder").symlink_to("..")
    (root / "loop").symlink_to("loop")
    (root / "dangling").symlink_to("nothing")
    os.mkfifo(root / "pipe")
    (tmp_path / "root-twin").mkdir()
    (tmp_path / "root-twin" / "file.txt").write_text("x")
    return root


@pytest.mark.parametrize("name", ["file.txt", "./sub/../file.txt", "sub/deep.txt", "good_link"])
def test_files_inside(root: Path, name: str) -> None:
    assert inside(str(root), name) == root / os.path.normpath(name)


def test_an_absolute_path_inside(root: Path) -> None:
    assert inside(str(root), str(root / "file.txt")) == root / "file.txt"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../secret.txt", LEAVES_FOLDER),
        ("sub/../../secret.txt", LEAVES_FOLDER),
        ("../root-twin/file.txt", LEAVES_FOLDER),
        ("/etc/passwd", LEAVES_FOLDER),
        ("evil_link", LEAVES_FOLDER),
        ("evil_folder/secret.txt", LEAVES_FOLDER),
        ("..", LEAVES_FOLDER),
        ("missing", MISSING_FILE),
        ("dangling", MISSING_FILE),
        ("file.txt/x", MISSING_FILE),
        ("", MISSING_FILE),
        ("a\0b", MISSING_FILE),
        ("sub", NOT_A_FILE),
        (".", NOT_A_FILE),
        ("pipe", NOT_A_FILE),
        ("loop", UNREADABLE),
        ("x" * 300, UNREADABLE),
    ],
)
def test_what_is_refused(root: Path, name: str, reason: str) -> None:
    with pytest.raises(SignalError) as caught:
        inside(str(root), name)
    assert caught.value.reason == reason
    assert caught.value.detail


def test_the_root_of_the_disk_is_a_folder_too() -> None:
    assert inside("/", "etc/../etc/hostname") == Path("/etc/hostname")
