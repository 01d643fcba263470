"""Finding damage in a prepared folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from onellm_data.errors import OnellmError
from onellm_data.shards.verify import verify


def test_a_good_folder(prepared: Path) -> None:
    assert verify(prepared) == 12


@pytest.mark.parametrize("place", [0, 600, -1])
def test_one_wrong_byte(prepared: Path, place: int) -> None:
    path = prepared / "train-000002.tar"
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(OnellmError, match=r"train-000002.tar has \(bytes, SHA-256\) = .*: copy it again"):
        verify(prepared)


def test_a_missing_shard(prepared: Path) -> None:
    (prepared / "test-000000.tar").unlink()
    with pytest.raises(OnellmError, match=r"the shard .*test-000000.tar is missing"):
        verify(prepared)


def test_an_index_that_repeats_a_record(prepared: Path) -> None:
    path = prepared / "train-000000.index.npy"
    rows = np.load(path)
    longer = np.stack([rows[0], rows[0], rows[1], [rows[2][0], rows[2][1] + rows[3][1]]])
    np.save(path, longer)
    with pytest.raises(OnellmError, match="expected one record"):
        verify(prepared)


def test_an_index_that_leaves_bytes_out(prepared: Path) -> None:
    """A shard of one record, of which the index hides a second."""
    manifest = json.loads((prepared / "manifest.json").read_text())
    manifest["splits"]["test"]["shards"][0]["samples"] = 1
    manifest["splits"]["test"]["samples"] = 1
    manifest["read"] = manifest["kept"] = 11
    (prepared / "manifest.json").write_text(json.dumps(manifest))
    path = prepared / "test-000000.index.npy"
    np.save(path, np.load(path)[:1])
    with pytest.raises(OnellmError, match=r"\(test\) cover 2048 of 4096 bytes"):
        verify(prepared)
