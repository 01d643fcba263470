"""Tars that img2dataset wrote: LAION-400M, LAION-COCO, CC3M and others.

``00000.tar`` holds samples ``KEY.jpg``, ``KEY.json`` and, if there was a caption column, ``KEY.txt``;
``00000.parquet`` has a row for every sample that was asked for, also for those that failed;
``00000_stats.json`` counts them.  Format: github.com/rom1504/img2dataset, writer.py and downloader.py.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onellm_data import modalities
from onellm_data.errors import SignalError, UsageError, require
from onellm_data.modalities.base import Signal
from onellm_data.modalities.decoding import TOO_LARGE, UNREADABLE, check_not_empty, decoding
from onellm_data.modalities.pictures import MAX_FILE_BYTES
from onellm_data.options import Option
from onellm_data.sources.base import Item, Place, Reject, Source
from onellm_data.sources.folder import NO_CAPTION, NOT_UTF8
from onellm_data.sources.inside import inside
from onellm_data.sources.ordering import Counted
from onellm_data.sources.places import files_in, top
from onellm_data.sources.tar_members import Member, walk
from onellm_data.sources.texts import captions_of, check_text, fields

MAX_TEXT = 1 << 20
"""Bytes of the longest ``json`` and ``txt`` member that is read."""

NO_PICTURE = "no picture in sample"
NOT_IN_TAR = "not in the tar"
FAILED = {"failed_to_download": "failed to download", "failed_to_resize": "failed to resize"}
"""What img2dataset writes in a row's status, and the reason that it is counted under."""

CAPTION_KEY = Option(
    "caption_key",
    "The column of a sample's json that holds its caption or captions, such as top_caption or "
    "all_captions of LAION-COCO; its txt, else its json's caption, without this.",
)

_TAR = re.compile(r"\d+\.tar")
_PARQUET = re.compile(r"\d+\.parquet")
_OF_THE_DOWNLOAD = ("key", "status", "error_message", "exif")  # columns that say nothing of the picture


@dataclass(frozen=True)
class Sample:
    """One sample of a tar.

    Attributes:
        key: Its name.
        files: Ending → where that member's data is.
        texts: Ending → bytes, for ``json`` and ``txt`` members of up to ``MAX_TEXT`` bytes.
    """

    key: str
    files: Mapping[str, Member]
    texts: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def start(self) -> int:
        """Byte of the tar at which the sample's run of members begins."""
        return min(member.start for member in self.files.values())

    @property
    def length(self) -> int:
        """Bytes of the run, with headers and padding."""
        return max(member.end for member in self.files.values()) - self.start


def members(tar: Path) -> Iterator[Sample]:
    """The samples of a tar in its order: neighbours that share the name up to the first dot.

    Raises:
        SignalError: The tar is damaged or cut. Samples before have been given by then, but for the
            last one, which may lack members.
    """
    key = ""
    files: dict[str, Member] = {}
    texts: dict[str, bytes] = {}
    check_not_empty(tar)
    with tar.open("rb") as stream:
        for member in walk(stream):
            folder, _, name = member.name.rpartition("/")
            stem, _, ending = name.partition(".")
            if files and (f"{folder}/{stem}" != key or ending.lower() in files):
                yield Sample(key.strip("/"), files, texts)
                files, texts = {}, {}
            key, ending = f"{folder}/{stem}", ending.lower()
            files[ending] = member
            if ending in ("json", "txt") and member.size <= MAX_TEXT:
                stream.seek(member.offset)
                texts[ending] = stream.read(member.size)
    if files:
        yield Sample(key.strip("/"), files, texts)


@dataclass(frozen=True)
class TarPicture:
    """Reads a picture that is a tar's member; its bytes decide the format, not its ending."""

    modality: str
    tar: Path
    name: str
    offset: int
    size: int

    @property
    def where(self) -> str:
        """The tar and the member."""
        return f"{self.tar}:{self.name}"

    @property
    def place(self) -> Place:
        """Where its bytes are."""
        return Place(self.tar, self.offset, self.size, "picture")

    def read(self) -> Signal:
        """The picture, as its modality has it in shards.

        Raises:
            SignalError: The member holds none.
        """
        with decoding(self.where, "a picture"):
            if self.size > MAX_FILE_BYTES:
                raise SignalError(TOO_LARGE, f"{self.size} bytes, at most {MAX_FILE_BYTES} are read")
            return modalities.get(self.modality).load({"picture": self.place.read()})


def detect(src: Path, modality: str) -> str | None:
    """Tars with a number for a name, and what img2dataset writes beside them or into them."""
    names = set(files_in(src))
    tars = sorted(name for name in names if _TAR.fullmatch(name))
    if not tars:
        return None
    stem = tars[0].removesuffix(".tar")
    if names.isdisjoint((f"{stem}_stats.json", f"{stem}.parquet")) and not _is_downloaded(src, tars[0]):
        return None
    return f"{len(tars)} tar{'s' * (len(tars) > 1)} of img2dataset"


def _is_downloaded(src: Path, name: str) -> bool:
    """Whether the first sample's json says what img2dataset says of each."""
    try:
        sample = next(members(inside(top(src), name)), None)
        return sample is not None and {"key", "url", "status"} <= set(_columns(sample))
    except SignalError:
        return False


def items(src: Path, modality: str, caption_key: str | None = None) -> Iterator[Item | Reject]:
    """Samples tar by tar, each in the tar's order; then the tar's failed rows."""
    root, names = top(src), files_in(src)
    if not src.is_dir():  # one tar alone, with what lies beside it
        names += [name for name in files_in(src.parent) if name == f"{src.stem}.parquet"]
    stems = sorted({Path(name).stem for name in names if _TAR.fullmatch(name) or _PARQUET.fullmatch(name)})
    if not stems:
        raise UsageError(f"there is no tar in {src}; expected {SOURCE.layout}")
    found = (one for stem in stems for one in _shard(root, stem, set(names), modality, caption_key))
    total = _total(root, stems)
    return found if total is None else Counted(found, total)


def _total(root: str, stems: list[str]) -> int | None:
    """Rows of all tars together, if each has its statistics."""
    total = 0
    for stem in stems:
        try:
            total += int(json.loads(inside(root, f"{stem}_stats.json").read_bytes()[:MAX_TEXT])["count"])
        except (SignalError, OSError, ValueError, LookupError, TypeError, RecursionError):
            return None  # only the progress bar wants to know
    return max(total, 0)


def _shard(
    root: str, stem: str, names: set[str], modality: str, caption_key: str | None
) -> Iterator[Item | Reject]:
    keys = set()
    if f"{stem}.tar" in names:
        try:
            tar = inside(root, f"{stem}.tar")
            for sample in members(tar):
                keys.add(sample.key)
                yield _item(tar, sample, modality, caption_key)
        except SignalError as error:
            yield Reject(f"{stem}.tar", os.path.join(root, f"{stem}.tar"), error.reason, error.detail)
    if f"{stem}.parquet" in names:
        yield from _not_in_tar(root, stem, keys)


def _item(tar: Path, sample: Sample, modality: str, caption_key: str | None) -> Item | Reject:
    name = f"{tar.stem}/{sample.key}"
    try:
        columns = _columns(sample)
        captions = _captions(sample, columns, caption_key)
        used = (caption_key or "caption", *_OF_THE_DOWNLOAD)
        meta = {key: value for key, value in columns.items() if key not in used and value is not None}
        check_text(name, captions, meta)
        return Item(name, {modality: _picture(tar, sample, modality)}, captions, meta=meta)
    except SignalError as error:
        return Reject(
            name.encode("utf-8", "replace").decode(), f"{tar}:{sample.key}", error.reason, error.detail
        )


def _picture(tar: Path, sample: Sample, modality: str) -> TarPicture:
    suffixes = modalities.get(modality).suffixes
    for ending, member in sample.files.items():
        if f".{ending}" in suffixes:
            return TarPicture(modality, tar, member.name, member.offset, member.size)
    raise SignalError(
        NO_PICTURE, f"got the endings {', '.join(sample.files)[:200]}, expected one of a picture"
    )


def _columns(sample: Sample) -> Mapping[str, Any]:
    """The sample's json; empty if it has none."""
    if "json" not in sample.files:
        return {}
    try:
        return fields(json.loads(_text(sample, "json")))
    except (ValueError, RecursionError) as error:
        if isinstance(error, SignalError):
            raise
        raise SignalError(UNREADABLE, f"the member {sample.key}.json is not JSON: {error}") from error


def _captions(sample: Sample, columns: Mapping[str, Any], caption_key: str | None) -> tuple[str, ...]:
    if caption_key is None:
        in_text = "txt" in sample.files
        return captions_of([_text(sample, "txt") if in_text else columns.get("caption")])
    if caption_key not in columns:
        raise SignalError(
            NO_CAPTION,
            f"its json has no '{caption_key}', but {', '.join(map(str, columns))[:200] or 'nothing'}",
        )
    value = columns[caption_key]
    return captions_of(value if isinstance(value, list) else [value], caption_key)


def _text(sample: Sample, ending: str) -> str:
    if ending not in sample.texts:
        raise SignalError(TOO_LARGE, f"the member {sample.key}.{ending} has more than {MAX_TEXT} bytes")
    try:
        return sample.texts[ending].decode()
    except UnicodeDecodeError as error:
        raise SignalError(NOT_UTF8, f"{sample.key}.{ending}: {error}") from error


# ---- the parquet beside a tar


def _not_in_tar(root: str, stem: str, keys: set[str]) -> Iterator[Reject]:
    """Rows of samples that img2dataset could not get, or that the tar lacks."""
    where = os.path.join(root, f"{stem}.parquet")
    try:
        for row in _rows(inside(root, f"{stem}.parquet")):
            key, status = str(row["key"]), str(row["status"])
            if status == "success" and key in keys:
                continue
            reason = NOT_IN_TAR if status == "success" else FAILED.get(status, "failed")
            detail = f"{row.get('error_message') or status} ({row.get('url')})"
            yield Reject(f"{stem}/{key}", where, reason, detail[:1000])
    except SignalError as error:
        yield Reject(f"{stem}.parquet", where, error.reason, error.detail)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """Key, status, error and address of each row."""
    parquet, arrow = require("pyarrow.parquet", "image"), require("pyarrow", "image")
    check_not_empty(path)
    with (
        decoding(path, "a table of img2dataset", arrow.lib.ArrowException),
        parquet.ParquetFile(path) as table,
    ):
        present = set(table.schema_arrow.names)
        if not {"key", "status"} <= present:
            raise SignalError(
                UNREADABLE, f"got the columns {', '.join(sorted(present))[:200]}, no key and status"
            )
        wanted = [name for name in ("key", "status", "error_message", "url") if name in present]
        for batch in table.iter_batches(batch_size=1024, columns=wanted):
            yield from batch.to_pylist()


SOURCE = Source(
    name="img2dataset",
    layout="tars of img2dataset, 00000.tar … with KEY.jpg, KEY.json, KEY.txt (LAION-400M, LAION-COCO, CC3M)",
    modalities=("image",),
    detect=detect,
    items=items,
    options=(CAPTION_KEY,),
)
