"""Reading again what was rejected."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onellm_data.errors import UsageError
from onellm_data.prepare.report import Report
from onellm_data.shards.reader import ShardReader
from onellm_data.shards.verify import verify

Run = Callable[..., Report]
WriteTable = Callable[..., Path]
Outcome = Callable[[Path], tuple[dict[str, list[int]], list[tuple[int, str]]]]

DEEDS = ["number 0", "reject x", "number 2", "reject y", "number 4", "reject z"]


@pytest.fixture
def src(run: Run, write_table: WriteTable) -> Path:
    """A source of which three items were rejected."""
    src = write_table(DEEDS)
    run(src)
    return src


def test_what_was_mended_is_added(run: Run, src: Path, out: Path, outcome: Outcome) -> None:
    before = {path.name: path.read_bytes() for path in out.glob("*.tar")}
    (src / "1.toy").write_text("number 1")
    (src / "5.toy").write_text("number 5")
    (src / "2.toy").write_text("number 22")  # was kept: is not read again
    report = run(src, retry_rejects=True)
    assert outcome(out) == ({"train": [0, 2, 4, 1, 5]}, [(3, "y")])
    assert (report.read, report.kept, report.rejected) == (6, 5, {"y": 1})
    assert [ShardReader(out).keys(index)[:9] for index in (3, 4)] == ["000000001", "000000005"]
    assert all((out / name).read_bytes() == data for name, data in before.items()), "finished shards stay"
    assert verify(out) == 5
    assert not (out / ".prepare").exists()


def test_again_until_nothing_is_left(run: Run, src: Path, out: Path, outcome: Outcome) -> None:
    for number in (1, 3, 5):
        (src / f"{number}.toy").write_text(f"number {number}")
        run(src, retry_rejects=True)
    assert outcome(out) == ({"train": [0, 2, 4, 1, 3, 5]}, [])
    report = run(src, retry_rejects=True)
    assert (report.read, report.kept) == (6, 6)


def test_a_caption_that_was_added(run: Run, write_table: WriteTable, out: Path, outcome: Outcome) -> None:
    src = write_table(["number 0", "number 1"])
    table = (src / "metadata.csv").read_text()
    (src / "metadata.csv").write_text(table.replace("item 0", "").replace("item 1,", "item 1,too,many"))
    assert run(src).rejected == {"no caption": 1, "unreadable row": 1}
    (src / "metadata.csv").write_text(table)
    run(src, retry_rejects=True)
    assert outcome(out) == ({"train": [0, 1]}, [])


def test_a_retry_that_was_killed_goes_on(
    start: Callable[..., subprocess.Popen[str]],
    run: Run,
    src: Path,
    out: Path,
    pipe: Any,
    outcome: Outcome,
) -> None:
    (src / "1.toy").write_text("number 1")
    (src / "3.toy").write_text(f"wait {pipe}")
    killed = start("--src", src, "--out", out, "--retry-rejects")
    pipe.kill(killed)
    assert outcome(out) == ({"train": [0, 2, 4]}, [(1, "x"), (3, "y"), (5, "z")]), (
        "the old result still reads"
    )
    (src / "3.toy").write_text("number 3")
    run(src, resume=True)
    assert outcome(out) == ({"train": [0, 2, 4, 1, 3]}, [(5, "z")])


def test_other_items_under_the_old_numbers_are_refused(
    run: Run, src: Path, out: Path, outcome: Outcome
) -> None:
    table = src / "metadata.csv"
    text = table.read_text()
    table.write_text(text.replace("1.toy", "0.toy"))
    with pytest.raises(
        UsageError, match=r"item 1 of the source is 2.toy, but 1.toy was rejected under that number"
    ):
        run(src, retry_rejects=True)
    table.write_text(text.replace("2.toy,item 2,\n", "") + "2.toy,item 2,\n")
    with pytest.raises(UsageError, match=r"item 3 of the source is 4.toy, but 3.toy was rejected"):
        run(src, retry_rejects=True)
    table.write_text(text + "new.toy,new,\n")
    with pytest.raises(UsageError, match=r"the source has 7 items, it had 6 when"):
        run(src, retry_rejects=True)
    table.write_text(text)
    (src / "1.toy").write_text("number 1")
    run(src, retry_rejects=True, resume=True)
    assert outcome(out)[0] == {"train": [0, 2, 4, 1]}


def test_other_options_are_refused(run: Run, src: Path) -> None:
    with pytest.raises(UsageError, match=r"limit was None, is now 3"):
        run(src, retry_rejects=True, limit=3)
