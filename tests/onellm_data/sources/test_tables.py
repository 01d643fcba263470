"""Rows of tables, however bad the table."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onellm_data.errors import UsageError
from onellm_data.sources.tables import BAD_ROW, LONG_LINE, MAX_LINE, BadRow, Row, header, rows

REQUIRED = ["file", "caption"]


def read(path: Path, data: bytes) -> list[Row | BadRow]:
    path.write_bytes(data)
    return list(rows(path, REQUIRED))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "metadata.csv"


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    return tmp_path / "metadata.jsonl"


TEXT = st.text(st.characters(exclude_characters="\r\0", exclude_categories=("Cs",)), max_size=20)


@settings(deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT), max_size=8))
def test_what_the_csv_module_writes(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(REQUIRED)
    writer.writerows(pairs)
    got = read(tmp_path_factory.mktemp("csv") / "metadata.csv", text.getvalue().encode())
    assert [(row.values["file"], row.values["caption"]) for row in got if isinstance(row, Row)] == pairs


def test_line_numbers_blank_lines_and_line_ends(table: Path) -> None:
    got = read(table, b'\xef\xbb\xbffile, caption \r\n\r\na,one\r\nb,"two\r\nlines"\r\nc,three')
    assert [(row.line, row.values) for row in got] == [
        (3, {"file": "a", "caption": "one"}),
        (4, {"file": "b", "caption": "two\r\nlines"}),
        (6, {"file": "c", "caption": "three"}),
    ]


@pytest.mark.parametrize(
    ("header", "shown"),
    [
        (b"path,text\n", r"has the columns 'path', 'text'; expected 'file', 'caption'"),
        (b"file\tcaption\n", r"has the columns 'file\\tcaption'; expected .* separated by commas"),
        (b"file,caption,file\n", r"has the columns 'file', 'caption', 'file'; expected .* each once"),
        (b"a,one\n", r"has the columns 'a', 'one'"),
        (b"", r"is empty, expected a header with the columns file, caption"),
        (b"\n\n", r"is empty"),
        (b'"file,caption\n', r"the header of .* cannot be read: unexpected end of data"),
        (b"f" * (MAX_LINE + 1), r"the header of .* cannot be read: line 1 has more than 1048576 bytes"),
    ],
)
def test_wrong_columns(table: Path, header: bytes, shown: str) -> None:
    with pytest.raises(UsageError, match=shown):
        read(table, header)


@pytest.mark.parametrize(
    ("bad", "detail"),
    [
        (b"a,one,more", "got 3 fields, expected 2 (file,caption)"),
        (b"a", "got 1 fields, expected 2"),
        (b'a,"one" more', "lines 2 to 2: ',' expected after '\"'; is a quotation mark left open?"),
        (b'a,"' + b"x" * 200_000 + b'"', "field larger than field limit"),
    ],
)
def test_a_bad_row_is_alone(table: Path, bad: bytes, detail: str) -> None:
    first, second = read(table, b"file,caption\n" + bad + b"\nb,two\n")
    assert isinstance(first, BadRow)
    assert (first.line, first.reason) == (2, BAD_ROW)
    assert detail in first.detail
    assert second == Row(3, {"file": "b", "caption": "two"})


def test_a_quotation_mark_that_is_never_closed(table: Path) -> None:
    """Rows before it are kept, and it does not silently swallow what follows."""
    got = read(table, b'file,caption\na,one\nb,"two\n' + b"c,three\n" * 5)
    assert got[0] == Row(2, {"file": "a", "caption": "one"})
    assert [(row.line, row.reason) for row in got[1:]] == [(3, BAD_ROW)]
    assert "lines 3 to 8: unexpected end of data" in got[1].detail


def test_a_long_line_is_skipped(table: Path) -> None:
    got = read(table, b"file,caption\na,one\nb," + b"x" * (3 * MAX_LINE) + b"\nc,three\n")
    assert got == [
        Row(2, {"file": "a", "caption": "one"}),
        BadRow(3, LONG_LINE, "line 3 has more than 1048576 bytes"),
        Row(4, {"file": "c", "caption": "three"}),
    ]


def test_bytes_that_are_not_utf8_survive_as_in_file_names(table: Path) -> None:
    (row,) = read(table, b"file,caption\ncaf\xe9.toy,one\n")
    assert row.values["file"].encode("utf-8", "surrogateescape") == b"caf\xe9.toy"


def test_json_lines(lines: Path) -> None:
    values = [{"file": "a", "caption": ["one", "two"], "n": 1}, {"file": "b", "caption": "three"}]
    text = "\n\n".join(json.dumps(value) for value in values)
    assert read(lines, text.encode()) == [Row(1, values[0]), Row(3, values[1])]


@pytest.mark.parametrize(
    ("bad", "reason", "detail"),
    [
        (b"{", BAD_ROW, "not JSON"),
        (b"[1]", BAD_ROW, "got JSON list, expected an object"),
        (b"null", BAD_ROW, "got JSON NoneType"),
        (b"[" * 200_000, BAD_ROW, "not JSON"),
        (b'{"file": "a", "caption": ' + b"1" * 5000 + b"}", BAD_ROW, "not JSON"),
        (b'{"file": "' + b"x" * MAX_LINE + b'"}', LONG_LINE, "line 2"),
    ],
)
def test_a_bad_json_line_is_alone(lines: Path, bad: bytes, reason: str, detail: str) -> None:
    good = b'{"file": "a", "caption": "one"}'
    got = read(lines, good + b"\n" + bad + b"\n" + good)
    assert isinstance(got[1], BadRow)
    assert (got[1].line, got[1].reason) == (2, reason)
    assert detail in got[1].detail
    assert [row.line for row in got if isinstance(row, Row)] == [1, 3]


def test_json_lines_without_the_columns(lines: Path) -> None:
    with pytest.raises(UsageError, match=r"has the columns 'path'; expected 'file', 'caption'"):
        read(lines, b'{"path": "a"}\n')


@settings(deadline=None, max_examples=300)
@given(data=st.binary(max_size=300), name=st.sampled_from(["metadata.csv", "metadata.jsonl"]))
def test_any_bytes_end_in_rows_or_in_our_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str
) -> None:
    path = tmp_path_factory.getbasetemp() / name
    head = b"file,caption\n" if name.endswith("csv") else b'{"file": "a", "caption": "b"}\n'
    for row in read(path, head + data):
        assert isinstance(row, Row | BadRow)


MEASURE = """
import resource, sys
from pathlib import Path
from onellm_data.sources.tables import rows
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = sum(1 for _ in rows(Path(sys.argv[1]), ["file", "caption"]))
print(found, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.parametrize("quote", [b"", b'"'])
def test_a_line_of_100_megabytes_does_not_fill_the_memory(table: Path, quote: bytes) -> None:
    """In a process of its own, so that nothing else counts; megabytes."""
    with table.open("wb") as stream:
        stream.write(b"file,caption\na,one\nb," + quote)
        for _ in range(100):
            stream.write(b"x" * 10**6)
        stream.write(quote + b"\nc,three\n")
    command = [sys.executable, "-c", MEASURE, str(table)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    found, megabytes = result.stdout.split()
    assert int(found) == 3
    assert float(megabytes) < 20


def test_another_delimiter(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('caption\turl\n"a, ""b"""\tc.jpg\n')
    assert list(rows(path, ["url"], "\t")) == [Row(2, {"caption": 'a, "b"', "url": "c.jpg"})]
    assert header(path, "\t") == ["caption", "url"]


@pytest.mark.parametrize("content", [b"", b"\n", b'"' + b"x" * (1 << 21)])
def test_a_file_without_a_header(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    assert header(path) == []


def test_a_table_without_header(table: Path) -> None:
    table.write_bytes(b'a,"one, two"\nb\nc,three\n')
    good, bad, last = rows(table, REQUIRED, has_header=False)
    assert good == Row(1, {"file": "a", "caption": "one, two"})
    assert bad == BadRow(2, BAD_ROW, "got 1 fields, expected 2 (file,caption)")
    assert last == Row(3, {"file": "c", "caption": "three"})
    table.write_bytes(b"")
    assert list(rows(table, REQUIRED, has_header=False)) == []
