"""The Natural Scenes Dataset in MindEye's tars."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onellm_data import sources
from onellm_data.errors import UsageError
from onellm_data.prepare.options import PrepareOptions
from onellm_data.prepare.run import prepare
from onellm_data.shards.reader import ShardReader
from onellm_data.sources import nsd_captions, nsd_webdataset
from onellm_data.sources.base import Item, Reject

VOXELS = 11


def npy(value: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, value, allow_pickle=True)
    return buffer.getvalue()


def responses(picture: int, uniques: int) -> np.ndarray:
    """Three rows, those after ``uniques`` copies of the first."""
    rows = np.random.default_rng(picture).standard_normal((uniques, VOXELS))
    return np.concatenate([rows, np.repeat(rows[:1], 3 - uniques, axis=0)]).astype(np.float16)


def sample(picture: int, uniques: int = 3) -> dict[str, bytes]:
    return {
        "coco73k.npy": npy(np.array([picture])),
        "jpg": b"\xff\xd8",
        "nsdgeneral.npy": npy(responses(picture, uniques)),
        "num_uniques.npy": npy(np.array([uniques])),
        "trial.npy": npy(np.arange(3)),
        "wholebrain_3d.npy": npy(np.zeros((3, 2, 2, 2), np.float16)),
    }


def write_tar(path: Path, samples: dict[str, dict[str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for key, members in samples.items():
            for ending, data in members.items():
                info = tarfile.TarInfo(f"{key}.{ending}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


@pytest.fixture
def src(tmp_path: Path) -> Path:
    """Two tars of training, one of test; picture 5 has no caption, 99 does not exist."""
    src = tmp_path / "nsd"
    damaged = {
        "sample000000006": {**sample(2), "num_uniques.npy": npy(np.array([4]))},
        "sample000000007": {**sample(2), "coco73k.npy": npy(np.array([{}], dtype=object))},
        "sample000000008": {name: data for name, data in sample(2).items() if name != "nsdgeneral.npy"},
        "sample000000009": {**sample(2), "nsdgeneral.npy": npy(np.full((3, VOXELS), np.nan, np.float16))},
    }
    write_tar(src / "train/train_subj01_10.tar", {"sample000000005": sample(4), **damaged})
    train = {"sample000000003": sample(3), "sample000000001": sample(1, 2), "sample000000002": sample(5)}
    write_tar(src / "train/train_subj01_2.tar", {**train, "sample000000004": sample(99)})
    write_tar(src / "test/test_subj01_0.tar", {"sample000000000": sample(0, 1)})
    texts = [[f"picture {number}, text {text}" for text in range(2)] for number in range(6)]
    texts[5] = ["", " "]
    texts[3][0] = "  one \n line "
    np.save(src / nsd_captions.CURATED, np.array(texts))
    return src


def told(items: list[Item | Reject]) -> list[tuple[str | None, ...]]:
    return [
        (one.name, one.split, one.reason if isinstance(one, Reject) else one.captions[0]) for one in items
    ]


def test_samples_and_rejects(src: Path) -> None:
    assert told(list(nsd_webdataset.items(src, "fmri"))) == [
        ("sample000000000", "test", "picture 0, text 0"),
        ("sample000000003", "train", "one line"),
        ("sample000000001", "train", "picture 1, text 0"),
        ("sample000000002", "train", "no caption"),
        ("sample000000004", "train", "unknown picture"),
        ("sample000000005", "train", "picture 4, text 0"),
        ("sample000000006", "train", "picture 2, text 0"),
        ("sample000000007", "train", "unreadable file"),
        ("sample000000008", "train", "incomplete sample"),
        ("sample000000009", "train", "picture 2, text 0"),
    ]


def test_prepare(src: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(PrepareOptions("fmri", src, out, workers=1))
    rejects = [json.loads(line) for line in (out / "rejects.jsonl").read_text().splitlines()]
    assert sorted((row["what"][-1], row["why"]) for row in rejects) == [
        ("2", "no caption"),
        ("4", "unknown picture"),
        ("6", "wrong number"),
        ("7", "unreadable file"),
        ("8", "incomplete sample"),
        ("9", "NaN in signal"),
    ]
    train, test = ShardReader(out, "train"), ShardReader(out, "test")
    assert train.manifest.read == len(train) + len(test) + len(rejects) == 10
    assert train[1].meta == {"subject": "subj01", "picture": 1, "repeats": 2}
    assert train[1].captions == ("picture 1, text 0", "picture 1, text 1")
    expected = responses(1, 2)[:2].astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(train[1].signals["fmri"], expected, rtol=1e-6)


@pytest.mark.parametrize("uniques", [1, 2, 3])
def test_which_repeats_are_averaged(tmp_path: Path, src: Path, uniques: int) -> None:
    """Copies that fill up have no part in the mean, unless the published behaviour is asked for."""
    write_tar(src / "test/test_subj01_0.tar", {"a": sample(1, uniques)})
    rows = responses(1, uniques).astype(np.float64)
    for average, expected in (("unique", rows[:uniques].mean(axis=0)), ("all", rows.mean(axis=0))):
        first = next(nsd_webdataset.items(src, "fmri", fmri_average=average))
        assert isinstance(first, Item)
        np.testing.assert_allclose(first.files["fmri"].read(), expected, rtol=1e-6)


def test_a_tar_that_is_cut_costs_only_its_rest(src: Path) -> None:
    path = src / "train/train_subj01_2.tar"
    path.write_bytes(path.read_bytes()[:8000])
    got = told(list(nsd_webdataset.items(src, "fmri")))
    assert ("sample000000003", "train", "one line") in got
    assert ("train/train_subj01_2.tar", "train", "cut archive") in got
    assert ("sample000000005", "train", "picture 4, text 0") in got


def test_a_tar_that_is_a_link_out_of_the_folder(src: Path, tmp_path: Path) -> None:
    path = src / "train/train_subj01_2.tar"
    path.rename(tmp_path / "elsewhere.tar")
    path.symlink_to(tmp_path / "elsewhere.tar")
    got = told(list(nsd_webdataset.items(src, "fmri")))
    assert got[1] == ("train/train_subj01_2.tar", "train", "leaves the folder")


def test_captions_from_coco(src: Path, tmp_path: Path) -> None:
    (src / nsd_captions.CURATED).unlink()
    coco = tmp_path / "coco"
    (coco / "annotations").mkdir(parents=True)
    with (coco / nsd_captions.STIMULI).open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["", "cocoId", "cocoSplit", "cropBox", "nsdId", "shared1000", "subject1_rep0"])
        for picture in range(6):
            split = ("train2017", "val2017")[picture % 2]
            table.writerow([picture, 500 + picture, split, "(0, 0.1, 0, 0)", picture, picture == 0, 7])
    for number, split in enumerate(nsd_captions.COCO_SPLITS):
        annotations = [
            {"id": 1, "image_id": 500 + picture, "caption": f"photo {picture}\n"}
            for picture in range(number, 5, 2)
        ]
        document = {"info": {}, "images": [], "annotations": annotations}
        (coco / f"annotations/captions_{split}.json").write_text(json.dumps(document))
    got = told(list(nsd_webdataset.items(src, "fmri", coco=str(coco))))
    assert got[:5] == [
        ("sample000000000", "test", "photo 0"),
        ("sample000000003", "train", "photo 3"),
        ("sample000000001", "train", "photo 1"),
        ("sample000000002", "train", "no caption"),
        ("sample000000004", "train", "unknown picture"),
    ]


def test_without_captions(src: Path) -> None:
    (src / nsd_captions.CURATED).unlink()
    with pytest.raises(
        UsageError, match=r"there is no nsd_stim_info_merged.csv in .*put them there, or say --coco FOLDER"
    ):
        next(nsd_webdataset.items(src, "fmri"))


def test_captions_that_are_pickled(src: Path) -> None:
    np.save(src / nsd_captions.CURATED, np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(UsageError, match=r"is no array of text .*expected \[73000, 5\] captions"):
        next(nsd_webdataset.items(src, "fmri"))


def test_several_subjects(src: Path) -> None:
    write_tar(src / "train/train_subj02_0.tar", {"other": sample(1)})
    with pytest.raises(
        UsageError, match=r"has the subjects subj01, subj02; say which one .*--subject subj01"
    ):
        next(nsd_webdataset.items(src, "fmri"))
    got = told(list(nsd_webdataset.items(src, "fmri", subject="subj02")))
    assert got == [("other", "train", "picture 1, text 0")]


def test_recognised_by_its_files_only(src: Path, tmp_path: Path) -> None:
    assert sources.choose("auto", src, "fmri")[1] == "the Natural Scenes Dataset in 3 tars"
    src.rename(tmp_path / "webdataset_avg_split")
    assert nsd_webdataset.detect(tmp_path, "fmri") == "the Natural Scenes Dataset in 3 tars"
    (tmp_path / "else").mkdir()
    (tmp_path / "else/00000.tar").write_bytes(b"")
    assert nsd_webdataset.detect(tmp_path / "else", "fmri") is None
