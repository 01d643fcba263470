"""PointLLM: descriptions and dialogues, and clouds that are not what the page promises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onellm_data import sources
from onellm_data.errors import UsageError
from onellm_data.prepare.options import PrepareOptions
from onellm_data.prepare.run import prepare
from onellm_data.records import Turn
from onellm_data.shards.reader import ShardReader
from onellm_data.sources import pointllm
from onellm_data.sources.base import Item, Reject
from onellm_data.sources.folder import WRONG_VALUE
from onellm_data.sources.inside import MISSING_FILE
from onellm_data.sources.tables import BAD_ROW
from onellm_data.sources.texts import NOT_IN_TURN, UNKNOWN_ROLE

PLAIN, BYTES, FEW, SAME = (letter * 32 for letter in "abcd")
BAD_COLORS = "6760e543e1d645d5aaacd3803bcae524"
BRIEF, COMPLEX = "PointLLM_brief_description_660K.json", "PointLLM_complex_instruction_70K.json"


def told(*values: str, speakers: tuple[str, ...] = ("human", "gpt")) -> list[dict[str, str]]:
    return [{"from": speakers[n % len(speakers)], "value": value} for n, value in enumerate(values)]


def brief(name: str, answer: str = "A chair.") -> dict[str, Any]:
    return {"object_id": name, "conversations": told("<point>\nWhat is it?", answer)}


def cloud(points: int) -> np.ndarray:
    rng = np.random.default_rng(points)
    return np.concatenate([rng.normal(-1.4, 3, (points, 3)), rng.uniform(0, 1, (points, 3))], axis=1)


@pytest.fixture
def src(tmp_path: Path) -> Path:
    src = tmp_path / "PointLLM"
    (src / "anno_data").mkdir(parents=True)
    (src / "8192_npy").mkdir()
    rows = [
        brief(PLAIN, "A chair\nwith legs."),
        brief(BYTES, "Bytes."),
        brief(BAD_COLORS),
        brief(FEW, "Few."),
        brief(SAME),
        brief("e" * 32),
        brief("../secret"),
        {"object_id": PLAIN, "conversations": told("<point>", "Blank question.")},
        {"object_id": PLAIN, "conversations": told("Who?", "I.", speakers=("human", "system"))},
        {"object_id": PLAIN, "conversations": told("Who?")},
        {"conversations": told("Who?", "I.")},
        "no row",
    ]
    (src / "anno_data" / BRIEF).write_text(json.dumps(rows))
    eight_bit = cloud(8192)
    eight_bit[:, 3:] = np.round(eight_bit[:, 3:] * 255)
    same = cloud(8192)
    same[:, :3] = 2
    clouds = {PLAIN: cloud(8192), BYTES: eight_bit, FEW: cloud(100), SAME: same, BAD_COLORS: cloud(8192)}
    for name, values in clouds.items():
        np.save(src / f"8192_npy/{name}_8192.npy", values.astype(np.float32))
    return src


def plain(items: list[Item | Reject]) -> list[tuple[str, ...]]:
    return [(one.name, one.reason) if isinstance(one, Reject) else (one.name, *one.captions) for one in items]


def test_rows_become_items_or_rejects(src: Path) -> None:
    items = list(pointllm.items(src, "point"))
    assert plain(items) == [
        (PLAIN, "A chair with legs."),
        (BYTES, "Bytes."),
        ("row 3", pointllm.CORRUPT_COLORS),
        (FEW, "Few."),
        (SAME, "A chair."),
        ("row 6", MISSING_FILE),
        ("row 7", WRONG_VALUE),
        ("row 8", "empty turn"),
        ("row 9", UNKNOWN_ROLE),
        ("row 10", NOT_IN_TURN),
        ("row 11", WRONG_VALUE),
        ("row 12", BAD_ROW),
    ]
    assert items[0] == Item(
        PLAIN,
        {"point": (src / "8192_npy" / f"{PLAIN}_8192.npy",)},
        ("A chair with legs.",),
        (Turn("user", "What is it?"), Turn("assistant", "A chair\nwith legs.")),
        "train",
        {"object_id": PLAIN, "conversation_type": "simple_description"},
    )


def test_dialogues_are_no_captions(src: Path) -> None:
    rows = [
        {
            "object_id": PLAIN,
            "conversation_type": kind,
            "conversations": told("<point>\nA?", "B.", "C?", "D."),
        }
        for kind in ("multi_round", "detailed_description")
    ]
    (src / "anno_data" / COMPLEX).write_text(json.dumps(rows))
    items = list(pointllm.items(src, "point", table=COMPLEX))
    assert [(one.captions, len(one.conversations)) for one in items if isinstance(one, Item)] == [
        ((), 4),
        ((), 4),
    ]
    assert [one.meta["conversation_type"] for one in items if isinstance(one, Item)] == [
        "multi_round",
        "detailed_description",
    ]


def test_several_files_must_be_chosen_among(src: Path) -> None:
    name = "PointLLM_brief_description_val_200_GT.json"
    (src / "anno_data" / name).write_text(json.dumps([brief(FEW)]))
    with pytest.raises(UsageError, match=r"several tables .* say which one with --table NAME"):
        pointllm.items(src, "point")
    (item,) = pointllm.items(src, "point", table=name)
    assert (item.name, item.split) == (FEW, "val")


def test_detection(src: Path, tmp_path: Path) -> None:
    source, recognised = sources.choose("auto", src, "point")
    assert (source, recognised) == (pointllm.SOURCE, f"PointLLM ({BRIEF})")
    (tmp_path / "llava.json").write_text(json.dumps([{"id": "1", "conversations": told("a", "b")}]))
    assert pointllm.detect(tmp_path, "point") is None


def test_prepared_and_read_back(src: Path, tmp_path: Path) -> None:
    report = prepare(PrepareOptions("point", src, tmp_path / "out", workers=1))
    reader = ShardReader(tmp_path / "out")
    signals = {reader[n].meta["object_id"]: reader[n].signals["point"] for n in range(len(reader))}
    assert list(signals) == [PLAIN, BYTES, FEW]
    assert (signals[PLAIN] == cloud(8192).astype(np.float32)).all()  # xyz as they are on the disk
    assert np.abs(signals[BYTES] - cloud(8192)).max() < 0.002 + 1e-6  # colours 0 to 255 become 0 to 1
    assert signals[FEW].shape == (100, 6)
    assert report.rejected == {
        pointllm.CORRUPT_COLORS: 1,
        "degenerate cloud": 1,
        MISSING_FILE: 1,
        WRONG_VALUE: 2,
        "empty turn": 1,
        UNKNOWN_ROLE: 1,
        NOT_IN_TURN: 1,
        BAD_ROW: 1,
    }
    assert reader.manifest.read == 12
