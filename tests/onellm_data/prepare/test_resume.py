"""Runs that were killed or stopped, and go on: nothing is lost, nothing is there twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onellm_data.errors import OnellmError, UsageError
from onellm_data.prepare.lock import locked
from onellm_data.prepare.report import Report

Run = Callable[..., Report]
WriteTable = Callable[..., Path]
Outcome = Callable[[Path], tuple[dict[str, list[int]], list[tuple[int, str]]]]
Contents = Callable[[Path], dict[str, bytes]]
Start = Callable[..., "subprocess.Popen[str]"]
Call = Callable[..., tuple[int, str, str]]
Pipe = Any  # the class in conftest.py

DEEDS = [
    "number 0",
    "number 1",
    "reject x",
    "number 3",
    "number 4",
    "reject y",
    "number 6",
    "number 7",
    "reject z",
]
SPLITS = ["train", "test", "train", "train", "test", "test", "train", "train", "train"]


def held(deeds: list[str], at: int, pipe: Pipe) -> list[str]:
    """The deeds, with item ``at`` waiting at the pipe; it holds the number 99."""
    return [f"wait {pipe}" if number == at else deed for number, deed in enumerate(deeds)]


@pytest.mark.parametrize("at", [0, 1, 4, 8])
def test_killed_while_an_item_is_read(
    start: Start,
    write_table: WriteTable,
    pipe: Pipe,
    tmp_path: Path,
    contents: Contents,
    at: int,
) -> None:
    src = write_table(held(DEEDS, at, pipe), SPLITS)
    killed = start("--src", src, "--out", tmp_path / "out")
    pipe.kill(killed)
    assert not (tmp_path / "out" / "manifest.json").exists()
    again = start("--src", src, "--out", tmp_path / "out", "--resume", "--max-reject-rate", 1)
    assert pipe.answer(again)[0] == 0
    whole = start("--src", src, "--out", tmp_path / "whole", "--max-reject-rate", 1)
    assert pipe.answer(whole)[0] == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize(("at", "name"), [(0, "SIGTERM"), (4, "SIGTERM"), (7, "SIGTERM"), (7, "SIGINT")])
def test_stopped_on_request(
    start: Start,
    write_table: WriteTable,
    pipe: Pipe,
    tmp_path: Path,
    contents: Contents,
    at: int,
    name: str,
) -> None:
    """Exit code 75 at once, although an item is being read; and no item before it is read again."""
    src = write_table(held(DEEDS, at, pipe), SPLITS)
    log = {"env": {"TOY_LOG": str(tmp_path / "log")}}
    stopped = start("--src", src, "--out", tmp_path / "out", **log)
    with pipe.being_read(stopped):
        stopped.send_signal(signal.Signals[name])
        _, stderr = stopped.communicate(timeout=60)
    assert stopped.returncode == 75
    assert "stopped on request; the same command with --resume goes on" in stderr
    again = start("--src", src, "--out", tmp_path / "out", "--resume", "--max-reject-rate", 1, **log)
    assert pipe.answer(again)[0] == 0
    reads = Counter((tmp_path / "log").read_text().split())
    assert reads == {f"{number}.toy": 2 if number == at else 1 for number in range(len(DEEDS))}
    whole = start("--src", src, "--out", tmp_path / "whole", "--max-reject-rate", 1)
    assert pipe.answer(whole)[0] == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_workers_end_with_the_run(start: Start, write_table: WriteTable, pipe: Pipe, out: Path) -> None:
    """A worker that is reading an item is not left behind by a killed run: ``Pipe.kill`` waits for it."""
    killed = start("--src", write_table(held(["number 0"], 0, pipe)), "--out", out)
    pipe.kill(killed)
    with pytest.raises(OSError, match="No such device or address"):  # nobody reads
        os.open(pipe.path, os.O_WRONLY | os.O_NONBLOCK)


def _dying(command: tuple[list[str], dict[str, str]], step: int, *more: object) -> int:
    arguments, environment = command
    script = Path(__file__).parent / "dying.py"
    tail = arguments[arguments.index("prepare") :]
    line = [sys.executable, str(script), str(step), *tail, *map(str, more)]
    return subprocess.run(line, env=environment, capture_output=True, timeout=120).returncode


@pytest.fixture
def undisturbed(run: Run, write_table: WriteTable, tmp_path: Path, contents: Contents) -> dict[str, bytes]:
    """The result of the deeds without any crash."""
    run(write_table(DEEDS, SPLITS), out=tmp_path / "whole")
    return contents(tmp_path / "whole")


@pytest.mark.parametrize("step", [1, 6, 13, 20, 27, 34])
def test_killed_at_a_durable_step(
    command: tuple[list[str], dict[str, str]],
    call: Call,
    undisturbed: dict[str, bytes],
    tmp_path: Path,
    contents: Contents,
    step: int,
) -> None:
    _crash_once(command, call, tmp_path, step)
    assert contents(tmp_path / "out") == undisturbed


def _crash_once(command: tuple[list[str], dict[str, str]], call: Call, tmp_path: Path, step: int) -> bool:
    """Crash at a step and go on; whether the run got as far as to crash."""
    options = ["--src", tmp_path / "src", "--out", tmp_path / "out", "--max-reject-rate", 1]
    code = _dying(command, step, *options)
    assert code in (0, -signal.SIGKILL)
    code_again, _, stderr = call(*options, "--resume")
    assert code_again == 0, stderr
    return code != 0


@pytest.mark.slow
def test_killed_at_every_durable_step(
    command: tuple[list[str], dict[str, str]],
    call: Call,
    undisturbed: dict[str, bytes],
    tmp_path: Path,
    contents: Contents,
) -> None:
    step, crashed = 1, True
    while crashed:
        crashed = _crash_once(command, call, tmp_path, step)
        assert contents(tmp_path / "out") == undisturbed, f"after a crash at step {step}"
        for path in sorted((tmp_path / "out").iterdir()):
            path.unlink()
        step += 1
    assert step > 40, "the run has more durable steps than that"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_killed_again_and_again(
    command: tuple[list[str], dict[str, str]],
    run: Run,
    write_table: WriteTable,
    tmp_path: Path,
    contents: Contents,
    seed: int,
) -> None:
    """Sixty items in two splits, killed at random steps until it gets through, three workers."""
    chance = random.Random(seed)
    deeds = [chance.choice(["number 1", "number 2", "number 3", "reject x"]) for _ in range(60)]
    src = write_table(deeds, [chance.choice(["train", "test"]) for _ in deeds])
    run(src, out=tmp_path / "whole")
    options = ["--src", src, "--out", tmp_path / "out", "--resume", "--workers", 3, "--max-reject-rate", 1]
    crashes = 0
    while _dying(command, chance.randint(1, 60), *options) != 0:
        crashes += 1
    assert crashes >= 3, "a run of more than 180 durable steps dies at least so often"
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


# ---- what a run may go on with


def test_an_unfinished_folder_wants_resume(
    start: Start, run: Run, write_table: WriteTable, pipe: Pipe, out: Path
) -> None:
    src = write_table(held(DEEDS, 8, pipe))
    killed = start("--src", src, "--out", out)
    pipe.kill(killed)
    with pytest.raises(
        UsageError, match=r"holds an unfinished run; add --resume to go on with it, or remove"
    ):
        run(src)


def test_a_finished_folder_is_not_overwritten(
    run: Run, write_table: WriteTable, out: Path, contents: Contents
) -> None:
    src = write_table(DEEDS)
    first = run(src)
    before = contents(out)
    with pytest.raises(
        UsageError, match=r"holds a finished result; choose another --out, remove it, or use --retry"
    ):
        run(src)
    assert run(src, resume=True) == first
    assert contents(out) == before


def test_resume_in_a_new_folder_starts(
    run: Run, write_table: WriteTable, out: Path, outcome: Outcome
) -> None:
    run(write_table(["number 5"]), resume=True)
    assert outcome(out) == ({"train": [5]}, [])


@pytest.fixture
def unfinished(start: Start, write_table: WriteTable, pipe: Pipe, out: Path) -> Path:
    """The source of a run that was killed at its last item, with two shards finished."""
    src = write_table(held(DEEDS, 8, pipe))
    killed = start("--src", src, "--out", out)
    pipe.kill(killed)
    assert len(list(out.glob("train-*.tar"))) == 2
    return src


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 9}, r"limit was None, is now 9"),
        ({"split": "test"}, r"split was 'train', is now 'test'"),
        ({"modality": "pair"}, r"modality was 'toy', is now 'pair'"),
    ],
)
def test_other_options_are_refused(run: Run, unfinished: Path, options: dict[str, Any], message: str) -> None:
    if options.get("modality") == "pair":
        (unfinished / "metadata.csv").write_text("left,right,caption\n")
    with pytest.raises(UsageError, match=rf"asked for something else: .*{message}.*; use the same options"):
        run(unfinished, resume=True, **options)


def test_another_source_is_refused(
    run: Run, unfinished: Path, tmp_path: Path, write_table: WriteTable
) -> None:
    other = write_table(DEEDS, folder="other")
    with pytest.raises(UsageError, match=rf"src was '{unfinished}', is now '{other}'"):
        run(other, resume=True)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("item 1", "item one"),
        ("1.toy", "2.toy"),
        ("0.toy,item 0,\n", ""),
        ("4.toy,item 4,", "4.toy,item 4,test"),
    ],
)
def test_a_source_that_changed_is_refused(run: Run, unfinished: Path, old: str, new: str) -> None:
    """And nothing is spoiled: with the source restored, the run goes on."""
    table = unfinished / "metadata.csv"
    text = table.read_text()
    table.write_text(text.replace(old, new))
    with pytest.raises(UsageError, match=r"the source is not what it was in the first run: item \d+"):
        run(unfinished, resume=True)
    table.write_text(text)
    (unfinished / "8.toy").write_text("reject z")
    report = run(unfinished, resume=True)
    assert (report.read, report.kept) == (9, 6)


def test_a_source_that_shrank_is_refused(run: Run, unfinished: Path) -> None:
    table = unfinished / "metadata.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:4]))
    with pytest.raises(UsageError, match=r"item 7 of the split 'train' is not there any more|item \d+"):
        run(unfinished, resume=True)


# ---- two runs at once


def test_two_runs_in_one_folder(
    start: Start, call: Call, write_table: WriteTable, pipe: Pipe, out: Path, outcome: Outcome
) -> None:
    src = write_table(held(DEEDS, 4, pipe))
    first = start("--src", src, "--out", out, "--max-reject-rate", 1)
    with pipe.being_read(first):
        code, _, stderr = call("--src", src, "--out", out, "--resume")
        assert (code, "another 'onellm prepare' is writing to" in stderr) == (1, True)
        assert pipe.answer(first)[0] == 0
    assert outcome(out)[0] == {"train": [0, 1, 3, 99, 6, 7]}


def test_a_lock_that_is_left_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    with locked(tmp_path):
        assert (tmp_path / ".lock").exists()
        with pytest.raises(OnellmError, match="another 'onellm prepare' is writing"), locked(tmp_path):
            raise AssertionError("locked twice")
    assert not list(tmp_path.iterdir())
