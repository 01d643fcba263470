"""Clotho: five captions, metadata in latin-1, and names that systems spell differently."""

from __future__ import annotations

import csv
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile

from onellm_data import sources
from onellm_data.errors import UsageError
from onellm_data.prepare.options import PrepareOptions
from onellm_data.prepare.run import prepare
from onellm_data.shards.reader import ShardReader
from onellm_data.sources import clotho
from onellm_data.sources.base import Item, Reject
from onellm_data.sources.folder import NO_CAPTION, WRONG_VALUE
from onellm_data.sources.inside import LEAVES_FOLDER, MISSING_FILE

FIVE = tuple(f"Caption {number}, of five" for number in range(1, 6))
METADATA = ["file_name", "keywords", "sound_id", "sound_link", "start_end_samples", "manufacturer", "license"]


def write(path: Path, header: list[str], rows: list[tuple[str, ...]], encoding: str) -> None:
    with path.open("w", newline="", encoding=encoding) as stream:
        csv.writer(stream).writerows([header, *rows])


def write_captions(src: Path, split: str, rows: dict[str, tuple[str, ...]]) -> None:
    header = ["file_name", *(f"caption_{number}" for number in range(1, 6))]
    table = [(name, *captions) for name, captions in rows.items()]
    write(src / f"clotho_captions_{split}.csv", header, table, "utf-8")


def put(*places: Path) -> None:
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(place, np.random.default_rng(0).normal(0, 0.1, 4410), 44_100)


@pytest.fixture
def src(tmp_path: Path) -> Path:
    """Clotho with names of all kinds; the disk's spelling differs from the table's."""
    src = tmp_path / "clotho"
    put(
        src / "development/Cicadas, 2 'by' \"night\".wav",
        src / "development/leading blank.wav",
        src / "development" / unicodedata.normalize("NFD", "Été à la mer.wav"),
        src / "development" / unicodedata.normalize("NFD", "12_30 clés.wav"),
        src / "development/colon: kept.wav",
        src / "development/silent.wav",
        src / "development/twice a_b.wav",
        src / "development/twice a_b .wav",
        src / "development/not listed.wav",
        src / "clotho_audio_evaluation/evaluation/Cicadas.wav",
        tmp_path / "outside.wav",
    )
    (src / "development/link.wav").symlink_to(tmp_path / "outside.wav")
    captions = {
        "Cicadas, 2 'by' \"night\".wav": FIVE,
        " leading blank.wav": ("One", " ", "", "Four", "Two\nlines"),
        "Été à la mer.wav": FIVE,
        "12:30 clés.wav ": FIVE,
        "colon: kept.wav": FIVE,
        "silent.wav": ("", " ", "", "", ""),
        "twice a:b.wav": FIVE,
        "Cicadas.wav": FIVE,  # in the folder of another split only
        "link.wav": FIVE,
        " ": FIVE,
    }
    write_captions(src, "development", captions)
    write_captions(src, "evaluation", {"Cicadas.wav": FIVE})
    told = [
        ("Été à la mer.wav", "mer;été; vague", "1", "https://x", "[0, 4410]", "Ren\xe9", "CC0"),
        ("colon: kept.wav", "", "2", "https://y", "[1, 2]", "somebody", "CC BY"),
    ]
    write(src / "clotho_metadata_development.csv", METADATA, told, "latin-1")
    return src


def plain(items: list[Item | Reject]) -> list[tuple[str, ...]]:
    return [(one.name, one.reason) if isinstance(one, Reject) else (one.name, *one.captions) for one in items]


def test_rows_become_items_or_rejects(src: Path) -> None:
    items = list(clotho.items(src, "audio"))
    assert plain(items) == [
        ("development/Cicadas, 2 'by' \"night\".wav", *FIVE),
        ("development/ leading blank.wav", "One", "Four", "Two lines"),
        ("development/Été à la mer.wav", *FIVE),
        ("development/12:30 clés.wav ", *FIVE),
        ("development/colon: kept.wav", *FIVE),
        ("silent.wav", NO_CAPTION),
        ("twice a:b.wav", clotho.AMBIGUOUS),
        ("Cicadas.wav", MISSING_FILE),
        ("link.wav", LEAVES_FOLDER),
        ("row 12", WRONG_VALUE),
        ("evaluation/Cicadas.wav", *FIVE),
    ]
    files = [str(one.files["audio"][0].relative_to(src)) for one in items if isinstance(one, Item)]
    assert files == [
        "development/Cicadas, 2 'by' \"night\".wav",
        "development/leading blank.wav",
        unicodedata.normalize("NFD", "development/Été à la mer.wav"),
        unicodedata.normalize("NFD", "development/12_30 clés.wav"),
        "development/colon: kept.wav",
        "clotho_audio_evaluation/evaluation/Cicadas.wav",
    ]
    assert {one.split for one in items[:-2]} == {"development"}
    assert items[-1].split == "evaluation"


def test_metadata_in_latin_1(src: Path) -> None:
    by_name = {one.name: one for one in clotho.items(src, "audio") if isinstance(one, Item)}
    assert by_name["development/Été à la mer.wav"].meta == {
        "file_name": "Été à la mer.wav",
        "keywords": ["mer", "été", "vague"],
        "sound_id": "1",
        "sound_link": "https://x",
        "start_end_samples": "[0, 4410]",
        "manufacturer": "René",
        "license": "CC0",
    }
    assert by_name["development/colon: kept.wav"].meta["license"] == "CC BY"
    assert by_name["evaluation/Cicadas.wav"].meta == {"file_name": "Cicadas.wav"}


def test_sounds_that_lie_beside_the_tables(tmp_path: Path) -> None:
    put(tmp_path / "a.wav")
    write_captions(tmp_path, "validation", {"a.wav": FIVE})
    (item,) = clotho.items(tmp_path, "audio")
    assert isinstance(item, Item)
    assert (item.split, item.files) == ("validation", {"audio": (tmp_path / "a.wav",)})


def test_sounds_of_another_split_are_not_meant(tmp_path: Path) -> None:
    put(tmp_path / "development/a.wav")
    write_captions(tmp_path, "validation", {"a.wav": FIVE})
    assert plain(list(clotho.items(tmp_path, "audio"))) == [("a.wav", MISSING_FILE)]


def test_detection(src: Path, tmp_path: Path) -> None:
    source, recognised = sources.choose("auto", src, "audio")
    assert (source, recognised) == (clotho.SOURCE, "Clotho (development, evaluation)")
    assert clotho.detect(tmp_path, "audio") is None
    with pytest.raises(UsageError, match=r"has no clotho_captions_development.csv"):
        clotho.items(tmp_path, "audio")


def test_prepared_and_read_back(src: Path, tmp_path: Path) -> None:
    report = prepare(PrepareOptions("audio", src, tmp_path / "out", workers=1))
    reader = ShardReader(tmp_path / "out", "development")
    assert [reader[number].captions for number in range(5)] == [
        FIVE,
        ("One", "Four", "Two lines"),
        FIVE,
        FIVE,
        FIVE,
    ]
    assert reader[2].meta["manufacturer"] == "René"
    assert len(reader[2].signals["audio"]) == 1600
    assert len(ShardReader(tmp_path / "out", "evaluation")) == 1
    assert sum(report.rejected.values()) == 5
    assert reader.manifest.read == 11
