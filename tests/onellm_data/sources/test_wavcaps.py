"""WavCaps: four sources, ids that are no file names, blacklists, and files that are empty or long."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from onellm_data import sources
from onellm_data.errors import UsageError
from onellm_data.modalities.audio import MAX_SAMPLES
from onellm_data.prepare.options import PrepareOptions
from onellm_data.prepare.run import prepare
from onellm_data.shards.reader import ShardReader
from onellm_data.sources import wavcaps
from onellm_data.sources.base import Item, Reject
from onellm_data.sources.folder import NO_CAPTION, WRONG_VALUE
from onellm_data.sources.inside import LEAVES_FOLDER, MISSING_FILE

AUDIOSET = "mnt/data/WavCaps/AudioSet_SL_flac"


def row(identity: object, caption: object = "A sound.", **more: Any) -> dict[str, Any]:
    return {"id": identity, "caption": caption, "audio": "wav_path", "duration": 1.5, **more}


@pytest.fixture
def src(tmp_path: Path) -> Path:
    """WavCaps as it lies there after unpacking, with its known defects."""
    src = tmp_path / "WavCaps"
    tables = {
        "AudioSet_SL": [row("Y-abcdefghij.wav", "A dog barks."), row("Yblacklisted.wav")],
        "BBC_Sound_Effects": [
            row("NHU05093027", "Birds.", description="Robin", category="Nature", download_link="https://x")
        ],
        "FreeSound": [
            row("172957", "Rain falls.", duration=18, tags=["rain", "été"]),
            row("7", " "),
            row("8", "Zero bytes."),
            row("9", "No file."),
            row("172957", "Drops."),
            row("../../secret", "Outside."),
            row(None),
            row("10", "No sound."),
        ],
        "SoundBible": [row("1", "A long sound.", duration=60)],
    }
    for source, rows in tables.items():
        path = src / "json_files" / source / wavcaps.TABLES[source]
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"num_captions_per_audio": 1, "data": rows}, ensure_ascii=False))
    blacklist = src / "json_files/blacklist/blacklist_exclude_test_ac.json"
    blacklist.parent.mkdir()
    blacklist.write_text(json.dumps({"AudioSet": ["Yblacklisted.wav"], "FreeSound": ["172957"]}))
    noise = np.random.default_rng(0).normal(0, 0.1, (48_000, 2))
    for name, samples, rate in (
        (f"{AUDIOSET}/Y-abcdefghij", noise[:, 0], 32_000),
        (f"{AUDIOSET}/Yblacklisted", noise[:, 0], 32_000),
        ("BBC_Sound_Effects/NHU05093027", noise, 44_100),
        ("FreeSound/172957", noise[:, 0], 32_000),
        ("FreeSound/7", noise[:, 0], 32_000),
        ("FreeSound/surplus", noise[:, 0], 32_000),
        ("BBC_Sound_Effects/9", noise[:, 0], 32_000),  # another source's sound of that id
        ("SoundBible/1", np.tile(noise[:, 0], 60), 48_000),
    ):
        path = src / f"{name}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, rate)
    (src / "FreeSound/8.flac").touch()
    (src / "FreeSound/10.flac").write_text("<html>not found</html>")
    soundfile.write(tmp_path / "secret.flac", noise[:, 0], 32_000)
    return src


def plain(items: list[Item | Reject]) -> list[tuple[str, ...]]:
    return [(one.name, one.reason) if isinstance(one, Reject) else (one.name, *one.captions) for one in items]


def test_rows_become_items_or_rejects(src: Path) -> None:
    items = list(wavcaps.items(src, "audio"))
    assert plain(items) == [
        ("AudioSet_SL/Y-abcdefghij.flac", "A dog barks."),
        ("AudioSet_SL/Yblacklisted.flac", "A sound."),
        ("BBC_Sound_Effects/NHU05093027.flac", "Birds."),
        ("FreeSound/172957.flac", "Rain falls.", "Drops."),
        ("FreeSound/7.flac", NO_CAPTION),
        ("FreeSound/8.flac", "Zero bytes."),
        ("FreeSound/9.flac", MISSING_FILE),
        ("FreeSound/../../secret.flac", LEAVES_FOLDER),
        ("row 7", WRONG_VALUE),
        ("FreeSound/10.flac", "No sound."),
        ("SoundBible/1.flac", "A long sound."),
    ]
    first = items[0]
    assert isinstance(first, Item)
    assert first.files == {"audio": (src / AUDIOSET / "Y-abcdefghij.flac",)}
    assert first.meta == {"duration": 1.5, "source": "AudioSet_SL", "id": "Y-abcdefghij"}
    rain = items[3]
    assert isinstance(rain, Item)
    assert rain.meta == {"duration": 18, "tags": ["rain", "été"], "source": "FreeSound", "id": "172957"}
    bad = items[8]
    assert isinstance(bad, Reject)
    assert bad.where == f"{src}/json_files/FreeSound/fsd_final.json:7"


def test_a_blacklist_is_applied_when_asked_for(src: Path) -> None:
    items = wavcaps.items(src, "audio", blacklist="exclude_test_ac")
    rejected = [one.name for one in items if isinstance(one, Reject) and one.reason == wavcaps.BLACKLISTED]
    assert rejected == ["AudioSet_SL/Yblacklisted.flac", "FreeSound/172957.flac"]


def test_a_blacklist_that_is_not_there(src: Path) -> None:
    with pytest.raises(UsageError, match=r"blacklist_exclude_all_ac.json of .* cannot be used: missing file"):
        wavcaps.items(src, "audio", blacklist="exclude_all_ac")
    with pytest.raises(UsageError, match="unknown blacklist 'all'"):
        wavcaps.items(src, "audio", blacklist="all")


def test_one_source_of_the_four(src: Path) -> None:
    (item,) = wavcaps.items(src, "audio", wavcaps_source="SoundBible")
    assert item.name == "SoundBible/1.flac"
    (src / "json_files/SoundBible/sb_final.json").unlink()
    with pytest.raises(UsageError, match="no json_files/SoundBible; it has AudioSet_SL"):
        wavcaps.items(src, "audio", wavcaps_source="SoundBible")


def test_detection(src: Path, tmp_path: Path) -> None:
    source, recognised = sources.choose("auto", src, "audio")
    assert source is wavcaps.SOURCE
    assert recognised == "WavCaps (AudioSet_SL, BBC_Sound_Effects, FreeSound, SoundBible)"
    assert wavcaps.detect(tmp_path, "audio") is None


def test_prepared_and_read_back(src: Path, tmp_path: Path) -> None:
    report = prepare(PrepareOptions("audio", src, tmp_path / "out", workers=1))
    reader = ShardReader(tmp_path / "out")
    lengths = {
        record.captions: len(record.signals["audio"])
        for record in map(reader.__getitem__, range(len(reader)))
    }
    assert lengths == {
        ("A dog barks.",): 24_000,
        ("A sound.",): 24_000,
        ("Birds.",): 17_415,  # 48000 samples at 44.1 kHz
        ("Rain falls.", "Drops."): 24_000,
        ("A long sound.",): MAX_SAMPLES,
    }
    assert report.rejected == {
        NO_CAPTION: 1,
        "empty file": 1,
        MISSING_FILE: 1,
        LEAVES_FOLDER: 1,
        WRONG_VALUE: 1,
        "unreadable file": 1,
    }
    assert reader.manifest.read == len(reader) + sum(report.rejected.values()) == 11
