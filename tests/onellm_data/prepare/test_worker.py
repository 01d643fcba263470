"""What becomes of one item."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from onellm_data.errors import SignalError
from onellm_data.modalities.base import Modality
from onellm_data.prepare import worker
from onellm_data.prepare.tasks import Kept, Rejected, Task, reject_row
from onellm_data.prepare.worker import CANNOT_STORE, Reading, process
from onellm_data.records import Turn
from onellm_data.shards import codec
from onellm_data.sources.base import Item

pytestmark = pytest.mark.usefixtures("toy")


@dataclass(frozen=True)
class Row:
    """A signal that is no file of its own."""

    number: int

    @property
    def where(self) -> str:
        return f"array.h5[{self.number}]"

    def read(self) -> np.ndarray:
        if self.number < 0:
            raise SignalError("no such row", f"got {self.number}")
        return np.full(2, self.number)


def test_the_record_of_an_item(tmp_path: Path) -> None:
    (tmp_path / "a.toy").write_text("number 3")
    turns = (Turn("user", "Which?"), Turn("assistant", "Three."))
    item = Item("A file.toy", {"toy": (tmp_path / "a.toy",)}, ("three",), turns, "train", {"n": 3})
    outcome = process(Task(7, "train", item))
    assert isinstance(outcome, Kept)
    record = codec.decode(outcome.run)
    assert record.key == "000000007-a-file-toy"
    assert record.signals["toy"].tolist() == [3, 3, 3, 3]
    assert (record.captions, record.conversations, record.meta) == (("three",), turns, {"n": 3})


def test_an_item_of_text_alone() -> None:
    outcome = process(Task(0, "train", Item("talk", conversations=(Turn("user", "Hi"),))))
    assert isinstance(outcome, Kept)
    assert codec.decode(outcome.run).signals == {}


def test_a_signal_that_is_no_file() -> None:
    outcome = process(Task(0, "train", Item("row", {"toy": Row(5), "pair": Row(6)})))
    assert isinstance(outcome, Kept)
    signals = codec.decode(outcome.run).signals
    assert {name: signal.tolist() for name, signal in signals.items()} == {"toy": [5, 5], "pair": [6, 6]}


def test_a_signal_that_is_no_file_and_is_not_there() -> None:
    task = Task(4, "test", Item("row", {"toy": Row(-1)}))
    outcome = process(task)
    assert outcome == Rejected("no such row", "got -1")
    assert reject_row(task, outcome) == {
        "item": 4,
        "what": "row",
        "where": "array.h5[-1]",
        "why": "no such row",
        "detail": "got -1",
        "split": "test",
    }


def test_meta_that_is_not_json() -> None:
    outcome = process(Task(0, "train", Item("x", captions=("x",), meta={"rate": float("nan")})))
    assert isinstance(outcome, Rejected)
    assert outcome.reason == CANNOT_STORE


def test_a_large_canonical_file_is_stored_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy: Modality
) -> None:
    """So that no file is taken into memory whole that its modality would not keep in it."""
    path = tmp_path / "a.toy"
    path.write_text("number 3 as it is")
    task = Task(0, "train", Item("a", {"toy": (path,)}))
    members = []
    for limit in (path.stat().st_size, path.stat().st_size - 1):
        monkeypatch.setattr(worker, "MAX_KEPT_FILE", limit)
        outcome = process(task)
        assert isinstance(outcome, Kept)
        members.append(list(codec.unpack(outcome.run)[1]["toy"]))
    assert members == [["kept"], ["i64"]]


def test_options_reach_the_reader_and_nothing_is_kept_as_it_is_then(tmp_path: Path) -> None:
    """A file that is canonical by itself is not what was asked for with an option."""
    (tmp_path / "a.toy").write_text("number 3 as it is")
    task = Task(0, "train", Item("a", {"toy": (tmp_path / "a.toy",)}))
    endings, values = [], []
    for options in ({}, {"plus": 2}):
        outcome = process(task, Reading(options))
        assert isinstance(outcome, Kept)
        endings += [ending for _, parts in [codec.unpack(outcome.run)[:2]] for ending in parts["toy"]]
        values.append(codec.decode(outcome.run).signals["toy"].tolist())
    assert (endings, values) == (["kept", "i64"], [[3], [5, 5, 5, 5]])
