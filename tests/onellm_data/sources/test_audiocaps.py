"""AudioCaps: five rows a clip, ids that look like numbers or options, and files named in many ways."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from onellm_data import sources
from onellm_data.errors import UsageError
from onellm_data.prepare.options import PrepareOptions
from onellm_data.prepare.run import prepare
from onellm_data.shards.reader import ShardReader
from onellm_data.sources import audiocaps
from onellm_data.sources.base import Item, Reject
from onellm_data.sources.folder import NO_CAPTION, WRONG_VALUE
from onellm_data.sources.inside import LEAVES_FOLDER, MISSING_FILE
from onellm_data.sources.tables import BAD_ROW

HEADER = "audiocap_id,youtube_id,start_time,caption\n"
TRAIN = """\
1,-bcdefghijk,30,"A dog barks, twice"
2,1e10_efghij,0,Rain
3,gone4567890,130,Wind
4,abcdefghijk,x,Bells
5,blank567890,10,
6,too,many,fields,here
"""
TEST = (
    "".join(f"{90 + number},tttttttt-_t,20,Caption {number}\n" for number in range(4))
    + "99,tttttttt-_t,20, \n"
)


@pytest.fixture
def src(tmp_path: Path) -> Path:
    """The tables and no sounds."""
    src = tmp_path / "audiocaps"
    (src / "dataset").mkdir(parents=True)
    (src / "dataset/train.csv").write_text(HEADER + TRAIN)
    (src / "dataset/test.csv").write_text(HEADER + TEST)
    return src


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "sound.wav"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 16_000), 16_000)
    return path


def put(sound: Path, *places: Path) -> None:
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(sound, place)


def plain(items: list[Item | Reject]) -> list[tuple[str, ...]]:
    return [(one.name, one.reason) if isinstance(one, Reject) else (one.name, *one.captions) for one in items]


def test_rows_become_items_or_rejects(src: Path, sound: Path) -> None:
    clips = [src / "audio/train" / f"Y{name}.wav" for name in ("-bcdefghijk", "1e10_efghij", "blank567890")]
    put(sound, *clips, src / "audio/test/Ytttttttt-_t.wav")
    items = list(audiocaps.items(src, "audio"))
    assert plain(items) == [
        ("train/-bcdefghijk_30", "A dog barks, twice"),
        ("train/1e10_efghij_0", "Rain"),
        ("train/gone4567890_130", MISSING_FILE),
        ("row 5", WRONG_VALUE),
        ("train/blank567890_10", NO_CAPTION),
        ("row 7", BAD_ROW),
        ("test/tttttttt-_t_20", "Caption 0", "Caption 1", "Caption 2", "Caption 3"),
    ]
    assert items[0] == Item(
        "train/-bcdefghijk_30",
        {"audio": (clips[0],)},
        ("A dog barks, twice",),
        split="train",
        meta={"youtube_id": "-bcdefghijk", "start_time": 30, "audiocap_ids": ["1"]},
    )
    last = items[-1]
    assert isinstance(last, Item)
    assert (last.split, last.meta["audiocap_ids"]) == ("test", ["90", "91", "92", "93", "99"])
    missing = items[2]
    assert isinstance(missing, Reject)
    assert (missing.where, missing.split) == (f"{src}/dataset/train.csv:4", "train")


@pytest.mark.parametrize(
    "name",
    ["Ytttttttt-_t.flac", "tttttttt-_t_20.wav", "tttttttt-_t.mp3", "93.wav", "a/b/tttttttt-_t.wav"],
)
def test_usual_names_are_found(src: Path, sound: Path, name: str) -> None:
    put(sound, src / "clips" / name)
    *_, item = audiocaps.items(src, "audio")
    assert isinstance(item, Item)
    assert item.files == {"audio": (src / "clips" / name,)}


def test_the_clips_of_another_split_are_not_meant(src: Path, sound: Path) -> None:
    put(sound, src / "audio/train/tttttttt-_t.wav")
    *_, reject = audiocaps.items(src, "audio")
    assert isinstance(reject, Reject)
    assert reject.reason == MISSING_FILE


@pytest.mark.parametrize(
    ("template", "place"),
    [
        ("{split}/id_{youtube_id}_{start:06d}_{end:06d}.wav", "test/id_tttttttt-_t_000020_000030.wav"),
        ("caps-{audiocap_id}.wav", "caps-92.wav"),
    ],
)
def test_a_template_names_the_files(src: Path, sound: Path, template: str, place: str) -> None:
    put(sound, src / place, src / "Ytttttttt-_t.wav")
    *_, item = audiocaps.items(src, "audio", clip_name=template)
    assert isinstance(item, Item)
    assert item.files == {"audio": (src / place,)}


def test_a_template_leads_nowhere_outside(src: Path, sound: Path) -> None:
    put(sound, src.parent / "-bcdefghijk.wav")
    first, *_ = audiocaps.items(src, "audio", clip_name="../{youtube_id}.wav")
    assert isinstance(first, Reject)
    assert first.reason == LEAVES_FOLDER


@pytest.mark.parametrize(
    "template",
    [
        "{id}.wav",
        "Y.wav",
        "{youtube_id",
        "{youtube_id.__class__}.wav",
        "{youtube_id:06d}.wav",
        "{start:{x}}",
        "",
    ],
)
def test_a_template_that_cannot_be_used(src: Path, template: str) -> None:
    with pytest.raises(UsageError, match=r"--clip-name .* cannot be used: .*; expected .*{youtube_id}"):
        audiocaps.items(src, "audio", clip_name=template)


def test_detection(src: Path, tmp_path: Path) -> None:
    source, recognised = sources.choose("auto", src, "audio")
    assert (source, recognised) == (audiocaps.SOURCE, "AudioCaps (train.csv, test.csv)")
    (tmp_path / "train.csv").write_text("id,caption\n")
    assert audiocaps.detect(tmp_path, "audio") is None
    with pytest.raises(UsageError, match=r"has no train.csv, val.csv or test.csv"):
        audiocaps.items(tmp_path, "audio")


def test_prepared_and_read_back(src: Path, sound: Path, tmp_path: Path) -> None:
    put(sound, src / "Y-bcdefghijk.wav", src / "Ytttttttt-_t.wav")
    report = prepare(PrepareOptions("audio", src, tmp_path / "out", workers=1))
    assert ShardReader(tmp_path / "out", "train")[0].captions == ("A dog barks, twice",)
    test = ShardReader(tmp_path / "out", "test")
    assert test[0].captions == ("Caption 0", "Caption 1", "Caption 2", "Caption 3")
    assert report.rejected == {MISSING_FILE: 2, WRONG_VALUE: 1, NO_CAPTION: 1, BAD_ROW: 1}
    assert test.manifest.read == 2 + 5
