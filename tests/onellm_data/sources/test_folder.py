"""A folder with a table, or with a text beside each file."""

from __future__ import annotations

import json
import operator
import os
from pathlib import Path

import pytest

from onellm_data.errors import UsageError
from onellm_data.modalities.base import Modality
from onellm_data.sources import folder
from onellm_data.sources.base import Item, Reject
from onellm_data.sources.inside import LEAVES_FOLDER, MISSING_FILE, NOT_A_FILE

pytestmark = pytest.mark.usefixtures("toy")


@pytest.fixture
def src(tmp_path: Path) -> Path:
    """A folder with the files a.toy to e.toy, and a secret beside it."""
    (tmp_path / "secret.toy").write_text("number 1")
    (tmp_path / "secret.txt").write_text("secret")
    src = tmp_path / "src"
    src.mkdir()
    for name in "abcde":
        (src / f"{name}.toy").write_text("number 1")
    return src


def listed(src: Path, rows: str, modality: str = "toy", name: str = "metadata.csv") -> list[Item | Reject]:
    (src / name).write_text(rows, encoding="utf-8", errors="surrogateescape", newline="")
    return list(folder.items(src, modality))


def plain(items: list[Item | Reject]) -> list[tuple[str, ...]]:
    """What and why for rejects, what and captions for items."""
    return [(one.name, one.reason) if isinstance(one, Reject) else (one.name, *one.captions) for one in items]


# ---- with a table


def test_items_of_a_table(src: Path) -> None:
    first, second = listed(src, "file,caption,split,place\nb.toy,one ,TRAIN,home\n./a.toy,two,,\n")
    assert first == Item("b.toy", {"toy": (src / "b.toy",)}, ("one",), split="train", meta={"place": "home"})
    assert second == Item("a.toy", {"toy": (src / "a.toy",)}, ("two",), split=None, meta={"place": ""})


def test_rows_of_one_file_are_one_item(src: Path) -> None:
    table = "file,caption\nb.toy,one\na.toy,two\n./b.toy,three\na.toy,\nc.toy, \nb.toy,one\n"
    assert plain(listed(src, table)) == [
        ("b.toy", "one", "three", "one"),
        ("a.toy", "two"),
        ("c.toy", folder.NO_CAPTION),
    ]


def test_json_lines(src: Path) -> None:
    values = [
        {"file": "a.toy", "caption": ["one", " ", "two"], "split": "test", "rate": 50},
        {"file": "a.toy", "caption": "three", "split": "test"},
    ]
    (item,) = listed(src, "\n".join(map(json.dumps, values)), name="metadata.jsonl")
    assert isinstance(item, Item)
    assert (item.captions, item.split, item.meta) == (("one", "two", "three"), "test", {"rate": 50})


def test_a_pair_has_a_column_for_each_file(src: Path) -> None:
    (item,) = listed(src, "left,right,caption\na.toy,b.toy,both\n", "pair")
    assert isinstance(item, Item)
    assert item.files == {"pair": (src / "a.toy", src / "b.toy")}
    assert item.name == "a.toy"


def test_pairs_that_share_one_file_stay_apart(src: Path) -> None:
    table = "left,right,caption\na.toy,b.toy,one\na.toy,c.toy,two\na.toy,b.toy,three\n"
    assert plain(listed(src, table, "pair")) == [("a.toy", "one", "three"), ("a.toy", "two")]


def test_a_pair_of_which_one_file_is_missing(src: Path) -> None:
    assert plain(listed(src, "left,right,caption\na.toy,x.toy,one\n", "pair")) == [("a.toy", MISSING_FILE)]


def test_a_pair_needs_its_columns(src: Path) -> None:
    with pytest.raises(
        UsageError, match=r"has the columns 'file', 'caption'; expected 'left', 'right', 'caption'"
    ):
        listed(src, "file,caption\na.toy,one\n", "pair")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("missing.toy,one", MISSING_FILE),
        ("../secret.toy,one", LEAVES_FOLDER),
        ("/etc/passwd,one", LEAVES_FOLDER),
        ("link.toy,one", LEAVES_FOLDER),
        ("pipe.toy,one", NOT_A_FILE),
        (",one", folder.WRONG_VALUE),
        ("a.toy,", folder.NO_CAPTION),
        ("a.toy,caf\udce9", folder.NOT_UTF8),
        ("a.toy,one,two", "unreadable row"),
    ],
)
def test_a_bad_row_is_rejected_alone(src: Path, row: str, reason: str) -> None:
    (src / "link.toy").symlink_to("../secret.toy")
    os.mkfifo(src / "pipe.toy")
    first, bad, last = listed(src, f"file,caption\nb.toy,one\n{row}\nc.toy,three\n")
    assert isinstance(bad, Reject)
    assert (bad.reason, bad.where) == (reason, f"{src}/metadata.csv:3")
    assert plain([first, last]) == [("b.toy", "one"), ("c.toy", "three")]


@pytest.mark.parametrize("value", [1, None, {}, [1], ["one", None, 2]])
def test_a_caption_that_is_no_text(src: Path, value: object) -> None:
    (bad,) = listed(src, json.dumps({"file": "a.toy", "caption": value}), name="metadata.jsonl")
    assert isinstance(bad, Reject)
    assert bad.reason in (folder.WRONG_VALUE, folder.NO_CAPTION)


def test_a_file_name_with_a_zero_byte(src: Path) -> None:
    (bad,) = listed(src, json.dumps({"file": "a.toy\0", "caption": "one"}), name="metadata.jsonl")
    assert plain([bad]) == [("row 1", folder.WRONG_VALUE)]


def test_one_file_in_two_splits_would_leak(src: Path) -> None:
    (bad,) = listed(src, "file,caption,split\na.toy,one,train\na.toy,two,test\na.toy,three,\n")
    assert isinstance(bad, Reject)
    assert (bad.reason, bad.detail) == (folder.TWO_SPLITS, "rows put it into test and train")


def test_two_tables(src: Path) -> None:
    (src / "metadata.jsonl").write_text("")
    with pytest.raises(UsageError, match=r"has both metadata.csv and metadata.jsonl; remove or rename"):
        listed(src, "file,caption\n")


def test_a_table_that_leads_elsewhere(src: Path, tmp_path: Path) -> None:
    (src / "metadata.csv").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(UsageError, match=r"table of .* cannot be used: leaves the folder"):
        folder.items(src, "toy")


def test_the_number_of_items_is_known(src: Path) -> None:
    (src / "metadata.csv").write_text("file,caption\na.toy,one\na.toy,two\nb.toy,three\nx\n")
    assert operator.length_hint(folder.items(src, "toy")) == 3


def test_names_that_are_not_utf8(src: Path) -> None:
    name = os.fsdecode(b"caf\xe9.toy")
    (src / name).write_text("number 1")
    (item,) = listed(src, f"file,caption\n{name},one\n")
    assert isinstance(item, Item)
    assert item.files == {"toy": (src / name,)}


# ---- without a table


def test_a_text_beside_each_file(src: Path) -> None:
    (src / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\n\n  two \n")
    (src / "sub").mkdir()
    (src / "sub" / "z.TOY").write_text("number 1")
    (src / "sub" / "z.txt").write_text("three")
    (src / ".hidden.toy").write_text("number 1")
    (src / ".cache").mkdir()
    (src / ".cache" / "y.toy").write_text("number 1")
    (src / "README.md").write_text("no data")
    got = list(folder.items(src, "toy"))
    assert plain(got) == [
        ("a.toy", "one", "two"),
        *((f"{name}.toy", folder.NO_CAPTION) for name in "bcde"),
        ("sub/z.TOY", "three"),
    ]
    assert isinstance(got[0], Item)
    assert got[0].files == {"toy": (src / "a.toy",)}
    assert operator.length_hint(folder.items(src, "toy")) == 6


def test_a_file_of_another_kind_with_a_text_is_meant(src: Path) -> None:
    """It will be rejected for its ending; it must not vanish."""
    (src / "x.heic").write_bytes(b"")
    (src / "x.txt").write_text("a photo")
    assert ("x.heic", "a photo") in plain(list(folder.items(src, "toy")))


def test_links_of_a_folder_without_a_table(src: Path, tmp_path: Path) -> None:
    for name in "abcde":
        (src / f"{name}.txt").write_text(name)
    (src / "out.toy").symlink_to("../secret.toy")
    (src / "folder_out").symlink_to(tmp_path)
    (src / "folder_in").symlink_to(".")
    (src / "in.toy").symlink_to("a.toy")
    (src / "in.txt").symlink_to("a.txt")
    (src / "e.txt").unlink()
    (src / "e.txt").symlink_to("../secret.txt")
    assert plain(list(folder.items(src, "toy"))) == [
        *((f"{name}.toy", name) for name in "abcd"),
        ("e.toy", LEAVES_FOLDER),
        ("folder_out", LEAVES_FOLDER),
        ("in.toy", "a"),
        ("out.toy", LEAVES_FOLDER),
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b" \n\n", folder.NO_CAPTION),
        (b"caf\xe9", folder.NOT_UTF8),
        (b"x" * (folder.MAX_TEXT + 1), folder.WRONG_VALUE),
    ],
)
def test_texts_that_are_none(src: Path, text: bytes, reason: str) -> None:
    (src / "a.txt").write_bytes(text)
    assert plain(list(folder.items(src, "toy")))[0] == ("a.toy", reason)


def test_a_text_that_is_a_pipe_is_not_waited_for(src: Path) -> None:
    os.mkfifo(src / "a.txt")
    assert plain(list(folder.items(src, "toy")))[0] == ("a.toy", NOT_A_FILE)


def test_a_pair_needs_a_table(src: Path) -> None:
    with pytest.raises(UsageError, match=r"pair needs one with the columns left, right and caption"):
        folder.items(src, "pair")


# ---- recognition


def test_what_is_recognised(src: Path, toy: Modality) -> None:
    assert folder.detect(src, "toy") is None
    (src / "a.txt").write_text("one")
    assert folder.detect(src, "toy") == "a folder with a NAME.txt beside each file"
    (src / "metadata.jsonl").write_text("")
    assert folder.detect(src, "toy") == "a folder with metadata.jsonl"


def test_packed_files_have_their_text_beside_them(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.nii", "a.txt", "b.txt"):
        (tmp_path / name).write_text(name)
    assert folder.detect(tmp_path, "fmri") == "a folder with a NAME.txt beside each file"
    assert plain(list(folder.items(tmp_path, "fmri"))) == [("a.nii.gz", "a.txt"), ("b.nii", "b.txt")]
