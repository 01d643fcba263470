"""``onellm prepare`` as a person types it: what it prints, where, and its exit codes."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

Call = Callable[..., tuple[int, str, str]]
WriteTable = Callable[..., Path]


def test_what_a_person_reads(call: Call, write_table: WriteTable, tmp_path: Path) -> None:
    src = write_table(["number 1", "reject too dark", *(["number 2"] * 9)])
    code, stdout, stderr = call("--src", src, "--out", tmp_path / "out")
    assert code == 0
    assert stderr.splitlines() == [
        "reading a folder with metadata.csv (format 'folder')",
        f"rejected {src}/1.toy: too dark (as the file says)",
    ]
    words = [line.split() for line in stdout.splitlines()]
    for line in (["read", "11"], ["kept", "10"], ["too", "dark", "1"], ["train", "10", "24.0", "KiB", "4"]):
        assert line in words


def test_what_a_machine_reads(call: Call, write_table: WriteTable, tmp_path: Path) -> None:
    src = write_table(["number 1", "reject x"])
    code, stdout, stderr = call("--src", src, "--out", tmp_path / "out", "--json")
    report = json.loads(stdout)
    assert code == 3
    assert report == {
        "modality": "toy",
        "source": "folder",
        "recognised": "a folder with metadata.csv",
        "out": str(tmp_path / "out"),
        "read": 2,
        "kept": 1,
        "rejected": {"x": 1},
        "splits": {"train": {"samples": 1, "bytes": 3072, "shards": 1}},
    }
    assert (
        "Error: 1 of 2 items were rejected, 50.0%; --max-reject-rate allows 10.0%. Reasons: x (1)" in stderr
    )


def test_a_check(call: Call, write_table: WriteTable) -> None:
    code, stdout, _ = call("--src", write_table(["number 1"]), "--check", "--json")
    assert code == 0
    assert json.loads(stdout)["splits"] == {"train": {"samples": 1}}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "expected a modality and --src"),
        (["--src", "missing", "--out", "out"], "there is nothing at --src missing"),
        (["--src", "src"], "got no --out: name the folder to write, or use --check"),
        (
            ["--src", "src", "--out", "out", "--format", "foldr"],
            "unknown format 'foldr'; did you mean 'folder'?",
        ),
        (
            ["--src", "src", "--out", "out", "--shard-size", "1T"],
            "got --shard-size '1T', expected a number of bytes",
        ),
        (["--src", "src", "--out", "out", "--workers", "0"], "got --workers 0, expected more than 0"),
        (["--src", "src", "--out", "out", "--max-reject-rate", "2"], "2.0 is not in the range 0<=x<=1"),
    ],
)
def test_usage(call: Call, write_table: WriteTable, tmp_path: Path, options: list[str], message: str) -> None:
    write_table(["number 1"])
    code, stdout, stderr = call(*options, cwd=tmp_path)
    assert (code, stdout) == (2, "")
    assert message in stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("size", "shards"), [("1", 3), ("3K", 2), ("4kb", 2), ("1MiB", 1), ("1g", 1)])
def test_shard_sizes(call: Call, write_table: WriteTable, tmp_path: Path, size: str, shards: int) -> None:
    src = write_table(["number 1"] * 3)
    code, stdout, stderr = call("--src", src, "--out", tmp_path / "out", "--shard-size", size, "--json")
    assert (code, json.loads(stdout)["splits"]["train"]["shards"]) == (0, shards), stderr


def test_the_list(call: Call) -> None:
    code, stdout, _ = call("--list")
    rows = [line.split()[:2] for line in stdout.splitlines()]
    assert code == 0
    assert rows[0] == ["modality", "format"]
    assert {row[0] for row in rows[1:]} == {"toy"}
    assert ["toy", "folder"] in rows


def test_many_rejects_do_not_flood_the_screen(call: Call, write_table: WriteTable, tmp_path: Path) -> None:
    code, _, stderr = call("--src", write_table(["reject x"] * 50), "--out", tmp_path / "out")
    assert code == 3
    assert stderr.count("rejected /") == 20
    assert "further rejects are counted, not shown" in stderr


def test_names_from_raw_data_cannot_steer_the_terminal(
    call: Call, write_table: WriteTable, tmp_path: Path
) -> None:
    src = write_table(["number 1"])
    (src / "metadata.csv").write_text("file,caption\n\x1b[2Jevil.toy,one\n")
    _, _, stderr = call("--src", src, "--out", tmp_path / "out")
    assert "\x1b" not in stderr
    assert "missing file" in stderr
    assert "/?[2Jevil.toy" in stderr


def test_a_bar_on_a_terminal(
    command: tuple[list[str], dict[str, str]], write_table: WriteTable, tmp_path: Path
) -> None:
    arguments, environment = command
    src = write_table(["number 1", "reject x", "number 2"])
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    line = [*arguments, "--src", str(src), "--out", str(tmp_path / "out"), "--max-reject-rate", "1"]
    with subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        screen = b"".join(iter(partial(_read_terminal, ours), b"")).decode()
        os.close(ours)
    assert process.returncode == 0, screen
    assert "/3 [" in screen
    assert re.search(r"2/3 \[.*item/s, .*B/s, 1 rejected\]", screen), screen
    assert not screen.split("\r")[-2].strip(), "the bar is wiped away at the end"


def _read_terminal(descriptor: int) -> bytes:
    """What is on the terminal; nothing after the process has closed it."""
    try:
        return os.read(descriptor, 4096)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b""
