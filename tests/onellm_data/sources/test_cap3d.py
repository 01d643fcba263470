"""Cap3D: a table without header, and tensors that are empty, small or gone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from onellm_data import sources
from onellm_data.errors import UsageError
from onellm_data.prepare.options import PrepareOptions
from onellm_data.prepare.run import prepare
from onellm_data.shards.reader import ShardReader
from onellm_data.sources import cap3d
from onellm_data.sources.base import Item, Reject
from onellm_data.sources.folder import NO_CAPTION, WRONG_VALUE
from onellm_data.sources.inside import LEAVES_FOLDER, MISSING_FILE
from onellm_data.sources.tables import BAD_ROW

BIG, EMPTY, SMALL, PLY, LINK, WHITE = (letter * 32 for letter in "abcdef")
TABLE = f"""\
{BIG},"A chair, with four legs"
{EMPTY},Nothing
{SMALL},A small cloud
{PLY},A ply file
{"9" * 32},No file
{BIG},Seen twice
{LINK},A link
{WHITE},
../outside,Elsewhere
{"8" * 32},one,two
"""


def cloud(points: int) -> np.ndarray:
    rng = np.random.default_rng(points)
    return np.concatenate([rng.normal(3, 2, (3, points)), rng.uniform(0, 1, (3, points))]).astype(np.float32)


@pytest.fixture
def src(tmp_path: Path) -> Path:
    src = tmp_path / "Cap3D"
    folder = src / "misc/Cap3D_pcs_pt"
    folder.mkdir(parents=True)
    (src / "Cap3D_automated_Objaverse_full.csv").write_text(TABLE)
    torch.save(torch.from_numpy(cloud(16384)), folder / f"{BIG}.pt")
    (folder / f"{EMPTY}.pt").touch()
    torch.save(torch.from_numpy(cloud(1024)), folder / f"{SMALL}.pt")
    torch.save(torch.from_numpy(cloud(9)), folder / f"{WHITE}.pt")
    torch.save(torch.from_numpy(cloud(10)), tmp_path / "outside.pt")
    (folder / f"{LINK}.pt").symlink_to(tmp_path / "outside.pt")
    (src / "Cap3D_pcs_ply").mkdir()
    vertices = "\n".join(f"{x:.6f} {y:.6f} {z:.6f} 255 0 51" for x, y, z in cloud(20)[:3].T)
    properties = "".join(
        f"property {kind} {name}\n"
        for kind, names in (("float", ("x", "y", "z")), ("uchar", ("red", "green", "blue")))
        for name in names
    )
    text = f"ply\nformat ascii 1.0\nelement vertex 20\n{properties}end_header\n{vertices}\n"
    (src / f"Cap3D_pcs_ply/{PLY}.ply").write_text(text)
    return src


def plain(items: list[Item | Reject]) -> list[tuple[str, ...]]:
    return [(one.name, one.reason) if isinstance(one, Reject) else (one.name, *one.captions) for one in items]


def test_rows_become_items_or_rejects(src: Path) -> None:
    items = list(cap3d.items(src, "point"))
    assert plain(items) == [
        (BIG, "A chair, with four legs", "Seen twice"),
        (EMPTY, "Nothing"),
        (SMALL, "A small cloud"),
        (PLY, "A ply file"),
        ("9" * 32, MISSING_FILE),
        (LINK, LEAVES_FOLDER),
        (WHITE, NO_CAPTION),
        ("row 9", WRONG_VALUE),
        ("row 10", BAD_ROW),
    ]
    first = items[0]
    assert isinstance(first, Item)
    assert first.files == {"point": (src / "misc/Cap3D_pcs_pt" / f"{BIG}.pt",)}
    assert (first.split, first.meta) == (None, {"uid": BIG})


def test_an_object_with_both_files(src: Path) -> None:
    torch.save(torch.from_numpy(cloud(30)), src / f"{PLY}.pt")
    for clouds in ("pt", "ply"):
        item = list(cap3d.items(src, "point", clouds=clouds))[3]
        assert isinstance(item, Item)
        assert item.files["point"][0].suffix == f".{clouds}"
        assert len(list(cap3d.items(src, "point", clouds=clouds))) == 9


def test_several_tables(src: Path) -> None:
    (src / "Cap3D_automated_Objaverse.csv").write_text(f"{SMALL},Older\n")
    with pytest.raises(UsageError, match=r"several tables .* say which one with --table NAME"):
        cap3d.items(src, "point")
    (item,) = cap3d.items(src, "point", table="Cap3D_automated_Objaverse.csv")
    assert plain([item]) == [(SMALL, "Older")]


def test_detection(src: Path, tmp_path: Path) -> None:
    source, recognised = sources.choose("auto", src, "point")
    assert (source, recognised) == (cap3d.SOURCE, "Cap3D (Cap3D_automated_Objaverse_full.csv)")
    assert cap3d.detect(tmp_path, "point") is None


def test_prepared_and_read_back(src: Path, tmp_path: Path) -> None:
    report = prepare(PrepareOptions("point", src, tmp_path / "out", workers=1))
    reader = ShardReader(tmp_path / "out")
    by_id = {reader[number].meta["uid"]: reader[number] for number in range(len(reader))}
    assert {uid: record.signals["point"].shape for uid, record in by_id.items()} == {
        BIG: (8192, 6),
        SMALL: (1024, 6),
        PLY: (20, 6),
    }
    assert (by_id[SMALL].signals["point"] == cloud(1024).T).all()
    assert np.allclose(by_id[PLY].signals["point"][:, 3:], [1, 0, 0.2])
    rows = {tuple(row) for row in cloud(16384).T}
    assert all(tuple(row) in rows for row in by_id[BIG].signals["point"][::100])
    assert report.rejected == {
        "empty file": 1,
        MISSING_FILE: 1,
        LEAVES_FOLDER: 1,
        NO_CAPTION: 1,
        WRONG_VALUE: 1,
        BAD_ROW: 1,
    }
    assert reader.manifest.read == 9
