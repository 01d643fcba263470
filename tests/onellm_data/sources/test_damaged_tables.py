"""Tables of raw data sets with random damage: every row is an item or a reject, and nothing crashes.

``FUZZ_EXAMPLES`` damaged tables of each source are tried (100 if the environment does not say).
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onellm_data import sources
from onellm_data.errors import UsageError
from onellm_data.prepare.tasks import number
from onellm_data.sources import json_rows
from onellm_data.sources.base import Item, Reject
from onellm_data.sources.tables import BadRow

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "100"))

TURNS = [{"from": "human", "value": "<point>\nWhat?"}, {"from": "gpt", "value": "A \ud83e\ude91 chair."}]
TABLES: dict[str, tuple[str, str, str]] = {
    "wavcaps": (
        "audio",
        "json_files/FreeSound/fsd_final.json",
        json.dumps(
            {
                "num_captions_per_audio": 1,
                "data": [
                    {"id": "1", "caption": 'Rain \u00e9 \\ "loud".', "duration": 1.5, "tags": ["a", "b"]},
                    {"id": "2", "caption": ["One", None, ""], "duration": None},
                ],
            }
        ),
    ),
    "audiocaps": (
        "audio",
        "train.csv",
        'audiocap_id,youtube_id,start_time,caption\n1,-bcdefghijk,30,"One, ""two"""\n2,-bcdefghijk,30,Été\n',
    ),
    "clotho": (
        "audio",
        "clotho_captions_development.csv",
        'file_name,caption_1,caption_2\n"1.wav","One, two",Two\n Été:.wav,,Three\n',
    ),
    "cap3d": ("point", "Cap3D_automated_Objaverse_full.csv", '1,"A chair, red"\n2,Été\n1,Twice\n'),
    "pointllm": (
        "point",
        "PointLLM_complex_instruction_70K.json",
        json.dumps(
            [
                {"object_id": "1", "conversations": TURNS},
                {"object_id": "2", "conversation_type": "multi_round", "conversations": TURNS * 2},
            ]
        ),
    ),
}
MEDIA = (
    *("FreeSound/1.flac", "FreeSound/2.flac", "Y-bcdefghijk.wav", "1.wav", "Été_.wav"),
    *("1.pt", "2.ply", "1_8192.npy", "2_8192.npy"),
)
WEEDS = (b"", b'"', b"\\", b"\0", b"\xff", b"\n", b",", b"[", b"}", b"\\ud800", b"NaN", b"../", b"1e999")

damage = st.lists(
    st.tuples(
        st.integers(0, 10**6),
        st.integers(0, 3),
        st.sampled_from(WEEDS) | st.binary(max_size=4),
    ),
    max_size=4,
)


def damaged(data: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    """Replace ``cut`` bytes at each place by others."""
    for place, cut, new in changes:
        at = place % (len(data) + 1)
        data = data[:at] + new + data[at + cut :]
    return data


@pytest.mark.parametrize("name", TABLES)
def test_damaged_tables(name: str, tmp_path: Path) -> None:
    modality, table, text = TABLES[name]
    for place in (table, *MEDIA):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).touch()
    source = sources.get(name)
    (tmp_path / table).write_text(text, encoding="utf-8")
    assert all(isinstance(one, Item) for one in source.items(tmp_path, modality))

    @settings(deadline=None, max_examples=EXAMPLES)
    @given(damage)
    def run(changes: list[tuple[int, int, bytes]]) -> None:
        (tmp_path / table).write_bytes(damaged(text.encode(), changes))
        try:
            source.detect(tmp_path, modality)
            items = list(source.items(tmp_path, modality))
        except UsageError:
            return
        for one in items:
            assert isinstance(one, (Item, Reject))
            if isinstance(one, Item):
                turns = [turn.text for turn in one.conversations]
                assert one.captions or turns
                told = [one.name, *one.captions, *turns, dict(one.meta)]
                json.dumps(told, ensure_ascii=False, allow_nan=False).encode()
                assert all(str(path).startswith(f"{tmp_path}{os.sep}") for path in one.files[modality])
        assert len(list(number(iter(items), "train"))) == len(items)

    run()


@settings(deadline=None, max_examples=EXAMPLES)
@given(damage, st.integers(1, 50))
def test_damaged_json(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int, bytes]], chunk: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.json"
    data = damaged(TABLES["pointllm"][2].encode(), changes)
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "CHUNK", chunk)
        try:
            rows = list(json_rows.rows(path))
        except UsageError:
            return
    assert [row.line for row in rows] == list(range(1, len(rows) + 1))
    try:
        expected = json.loads(data.decode(), parse_constant=lambda name: None)
    except ValueError:
        return  # not JSON, and yet some of its rows may be
    for row, value in zip(rows, expected, strict=True):
        if isinstance(row, BadRow):
            assert not isinstance(value, dict) or "surrogates not allowed" in row.detail
        else:
            assert row.values == value
