"""The Natural Scenes Dataset as published for MindEye: tars with a picture's responses in each sample.

Source of the layout: the data set pscotti/naturalscenesdataset on Hugging Face (Scotti et al. 2023,
arXiv 2305.18274), which OneLLM was trained with.  A sample has always three rows of responses; where a
picture was shown less often, the rows after ``num_uniques`` are copies that fill up.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

import numpy as np

from onellm_data.errors import SignalError, UsageError
from onellm_data.modalities import fmri
from onellm_data.modalities.decoding import TOO_LARGE, WRONG_SHAPE, decoding, from_npy_bytes
from onellm_data.sources import nsd_captions
from onellm_data.sources.base import Item, Reject, Source
from onellm_data.sources.inside import inside
from onellm_data.sources.tar_members import Member, walk

RESPONSES, PICTURE, UNIQUES = "nsdgeneral.npy", "coco73k.npy", "num_uniques.npy"
MAX_RESPONSES = 16 << 20
"""Bytes of the largest responses; three rows of 17,907 voxels (subject 6) in float64 take 0.4 MB."""

MAX_NUMBER = 4096
INCOMPLETE = "incomplete sample"
WRONG_NUMBER = "wrong number"

_TAR = re.compile(r"(train|val|test)_(subj\d\d)_(\d+)\.tar")
_FOLDERS = ("", "train", "val", "test")
_BASES = ("", "webdataset_avg_split")


@dataclass(frozen=True)
class Responses:
    """Reads the responses of one sample.

    Attributes:
        path: The tar.
        name: The member.
        offset: Byte at which the member's data begins.
        size: Bytes of it.
        rows: How many rows are averaged; None for all.
    """

    path: Path
    name: str
    offset: int
    size: int
    rows: int | None

    @property
    def where(self) -> str:
        """The tar and the member."""
        return f"{self.path}:{self.name}"

    def read(self) -> np.ndarray:
        """The canonical signal, float32 ``[V]``."""
        if self.size > MAX_RESPONSES:
            raise SignalError(TOO_LARGE, f"{self.size} bytes, at most {MAX_RESPONSES}")
        with self.path.open("rb") as stream:
            responses = from_npy_bytes(_data(stream, self.offset, self.size))
        if responses.ndim != 2:
            raise SignalError(WRONG_SHAPE, f"{responses.shape}, expected [repeats, voxels]")
        if self.rows is not None and not 1 <= self.rows <= len(responses):
            raise SignalError(WRONG_NUMBER, f"{self.rows} distinct repeats of {len(responses)} rows")
        return fmri.canonical(responses[: self.rows])


def _data(stream: BinaryIO, offset: int, size: int) -> bytes:
    stream.seek(offset)
    return stream.read(size)


@dataclass(frozen=True)
class _Tar:
    name: str  # in the folder
    split: str
    subject: str
    number: int


def _tars(src: Path) -> list[_Tar]:
    """The tars of the layout, in the order of split, subject and number."""
    root = os.path.realpath(src)
    found = []
    for folder in (os.path.join(base, folder) for base in _BASES for folder in _FOLDERS):
        place = os.path.join(root, folder)
        for name in sorted(os.listdir(place)) if os.path.isdir(place) else ():
            match = _TAR.fullmatch(name)
            if match:
                found.append(_Tar(os.path.join(folder, name), match[1], match[2], int(match[3])))
    return sorted(found, key=lambda tar: (tar.split, tar.subject, tar.number))


def detect(src: Path, modality: str) -> str | None:
    """What of this layout is in ``src``."""
    count = len(_tars(src))
    return f"the Natural Scenes Dataset in {count} tars" if count else None


def items(
    src: Path,
    modality: str,
    fmri_average: str = fmri.AVERAGE.default,
    subject: str | None = None,
    coco: str | None = None,
) -> Iterator[Item | Reject]:
    """Samples, tar by tar, in the order of the archives.

    Raises:
        UsageError: There are no tars, or no captions, or several subjects and none is named.
    """
    tars = _tars(src)
    if not tars:
        raise UsageError(f"there are no tars in {src}; expected {SOURCE.layout}")
    person = nsd_captions.only_subject(src, {tar.subject for tar in tars}, subject)
    captions = nsd_captions.captions(src, coco)
    root = os.path.realpath(src)
    for tar in tars:
        if tar.subject != person:
            continue
        try:
            path = inside(root, tar.name)
            with path.open("rb") as stream:
                for key, members in groupby(walk(stream), lambda member: member.name.partition(".")[0]):
                    yield _item(_Sample(tar, path, stream, key, list(members)), captions, fmri_average)
        except SignalError as error:
            yield Reject(tar.name, os.path.join(root, tar.name), error.reason, error.detail, tar.split)


@dataclass(frozen=True)
class _Sample:
    """Members of an open tar whose names begin alike."""

    tar: _Tar
    path: Path
    stream: BinaryIO
    key: str
    members: list[Member]


def _item(sample: _Sample, captions: nsd_captions.Captions, average: str) -> Item | Reject:
    named = {member.name.partition(".")[2]: member for member in sample.members}
    tar, path = sample.tar, sample.path
    try:
        for name in (RESPONSES, PICTURE, UNIQUES):
            if name not in named:
                raise SignalError(INCOMPLETE, f"has {', '.join(sorted(named))}; expected {name}")
        picture, uniques = (_number(sample.stream, named[name]) for name in (PICTURE, UNIQUES))
        found = named[RESPONSES]
        rows = uniques if average == "unique" else None
        reader = Responses(path, found.name, found.offset, found.size, rows)
        meta = {"subject": tar.subject, "picture": picture, "repeats": uniques}
        return Item(sample.key, {"fmri": reader}, captions(picture), split=tar.split, meta=meta)
    except SignalError as error:
        return Reject(sample.key, f"{path}:{sample.key}", error.reason, error.detail, tar.split)


def _number(stream: BinaryIO, member: Member) -> int:
    """The whole number in a small ``.npy`` member."""
    with decoding(member.name, "a whole number"):
        if member.size > MAX_NUMBER:
            raise SignalError(WRONG_NUMBER, f"{member.size} bytes")
        array = from_npy_bytes(_data(stream, member.offset, member.size))
        if array.size != 1 or array.dtype.kind not in "iu":
            raise SignalError(WRONG_NUMBER, f"an array of {array.dtype} {array.shape}")
        return int(array.reshape(()))


SOURCE = Source(
    name="nsd_webdataset",
    layout=(
        "train/train_subj01_0.tar … of pscotti/naturalscenesdataset (sample….nsdgeneral.npy, .coco73k.npy, "
        f".num_uniques.npy), and {nsd_captions.CURATED} or {nsd_captions.STIMULI} with COCO's captions"
    ),
    modalities=("fmri",),
    detect=detect,
    items=items,
    options=(fmri.AVERAGE, nsd_captions.SUBJECT, nsd_captions.COCO),
    names_files=False,
)
