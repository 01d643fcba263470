"""The shards are plain WebDataset: the library of that name opens them and gives the same records."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import webdataset

from onellm_data.records import Record


def test_webdataset_reads_the_same_records(prepared: Path, records: list[Record]) -> None:
    urls = [str(path) for path in sorted(prepared.glob("train-*.tar"))]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == [record.key for record in records]
    for sample, record in zip(samples, records, strict=True):
        assert {name for name in sample if not name.startswith("__")} == {"toy.i64", "json"}
        np.testing.assert_array_equal(np.frombuffer(sample["toy.i64"], np.int64), record.signals["toy"])
        assert json.loads(sample["json"]) == record.text()


def test_webdataset_decodes_the_text(prepared: Path, records: list[Record]) -> None:
    urls = str(prepared / "train-{000000..000002}.tar")
    decoded = webdataset.WebDataset(urls, shardshuffle=False).decode().to_tuple("__key__", "json")
    assert [(key, text["captions"]) for key, text in decoded] == [
        (record.key, list(record.captions)) for record in records
    ]
