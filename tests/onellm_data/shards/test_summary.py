"""What ``onellm inspect shards`` tells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onellm_data import modalities
from onellm_data.errors import UsageError
from onellm_data.shards.summary import summarise


def test_the_figures(prepared: Path) -> None:
    summary = summarise(prepared)
    assert (summary["read"], summary["kept"], summary["rejected"]) == (12, 12, {})
    assert summary["modalities"] == ["toy"]
    assert summary["splits"]["train"] == {
        "samples": 10,
        "bytes": 10 * 2048 + 3 * 1024,
        "shards": 3,
        "captions_per_record": 2.0,
        "words_per_caption": 2.0,
        "turns_per_record": 2.0,
    }
    assert summary["signals"] == {"toy": {"stored_as": "i64", "mean_bytes": 24}}
    assert summary["examples"][0] == {"split": "test", "key": "000000000-toy", "text": "number 0"}
    json.dumps(summary)


def test_no_modality_is_imported(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So it works on the base install, whatever was prepared."""

    def refuse(name: str) -> None:
        raise AssertionError(f"imported {name}")

    monkeypatch.setattr(modalities, "get", refuse)
    assert summarise(prepared)["kept"] == 12


def test_a_folder_that_is_not_prepared(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected a folder that 'onellm prepare' wrote"):
        summarise(tmp_path)
