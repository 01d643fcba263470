"""Tables and summaries as a person reads them."""

from __future__ import annotations

import pytest

from onellm_cli.rendering import echo_summary, echo_table, human_bytes


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 20, "5.0 MiB"), (3 << 40, "3.0 TiB")],
)
def test_bytes_in_units(size: int, text: str) -> None:
    assert human_bytes(size) == text


def test_numbers_are_aligned_to_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    echo_table([("a", 5, None), ("bcd", 12345, True)], ("name", "count", "ok"))
    assert capsys.readouterr().out == "name   count  ok\na          5\nbcd   12,345  yes\n"


def test_a_table_without_rows_is_its_header(capsys: pytest.CaptureFixture[str]) -> None:
    echo_table([], ("name", "count"))
    assert capsys.readouterr().out == "name  count\n"


def test_a_summary_is_lines_then_tables(capsys: pytest.CaptureFixture[str]) -> None:
    echo_summary(
        {
            "source": "folder",
            "size_bytes": 2048,
            "modalities": ["imu"],
            "rejected": {},
            "splits": {"train": {"samples": 40, "bytes": 1024}, "test": {"samples": 4, "bytes": 10}},
            "parts": [
                {"part": "llm", "parameters": 1500, "shape": [2, 3], "norm": {"eps": 1e-5, "on": True}}
            ],
            "options": {"limit": None, "split": "train", "std": [9.80665, 3.14159]},
        }
    )
    assert capsys.readouterr().out == (
        "source      folder\n"
        "size        2.0 KiB\n"
        "modalities  imu\n"
        "\n"
        "splits  samples    bytes\n"
        "train        40  1.0 KiB\n"
        "test          4     10 B\n"
        "\n"
        "parts\n"
        "part  parameters  shape   norm\n"
        "llm        1,500  [2, 3]  eps 1e-05, on yes\n"
        "\n"
        "options\n"
        "  limit\n"
        "  split  train\n"
        "  std    [9.81, 3.14]\n"
    )


def test_an_empty_summary_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    echo_summary({"rejected": {}})
    assert capsys.readouterr().out == ""
