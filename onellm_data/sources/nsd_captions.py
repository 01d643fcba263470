"""What the pictures of the Natural Scenes Dataset show: their COCO captions, by picture.

The 73,000 pictures are crops of COCO's (Allen et al. 2022, doi 10.1038/s41593-021-00962-x); a caption
tells of the whole photograph.  Pictures are numbered from 0, as in ``nsd_stim_info_merged.csv``.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onellm_data.errors import SignalError, UsageError
from onellm_data.modalities.decoding import decoding
from onellm_data.options import Option
from onellm_data.sources import json_rows
from onellm_data.sources.folder import NO_CAPTION, NOT_UTF8
from onellm_data.sources.tables import Row, rows
from onellm_data.sources.texts import captions_of

STIMULI = "nsd_stim_info_merged.csv"
CURATED = "COCO_73k_annots_curated.npy"
COCO_SPLITS = ("train2017", "val2017")

FOLDERS = ("", "annotations", "coco", "coco/annotations", "nsddata/experiments/nsd")
"""Where these files are looked for, in --src and in --coco."""

COCO = Option(
    "coco", f"The folder with {CURATED}, or with {STIMULI} and COCO's captions_*.json, if not --src."
)
SUBJECT = Option("subject", "The person whose responses are read, such as subj01, if there are several.")

UNKNOWN_PICTURE = "unknown picture"

Captions = Callable[[int], tuple[str, ...]]
"""A picture's number → its captions; raises ``SignalError`` where there are none."""


@dataclass(frozen=True)
class Stimulus:
    """What ``nsd_stim_info_merged.csv`` says of a picture.

    Attributes:
        picture: Its number, from 0.
        coco_id: The photograph's number in COCO.
        is_shared: Whether all subjects saw it (the 1000 pictures that are kept for tests).
        trials: For each subject, the numbers, from 1, of the trials that showed it.
    """

    picture: int
    coco_id: int
    is_shared: bool
    trials: dict[str, tuple[int, ...]]


def find(src: Path, name: str, coco: str | None = None) -> Path | None:
    """A file of this name, in one of the usual places of ``coco`` (if given) or of ``src``."""
    bases = [Path(coco)] if coco else []
    places = (base / folder / name for base in (*bases, src) for folder in FOLDERS)
    return next((path for path in places if path.is_file()), None)


def captions(src: Path, coco: str | None) -> Captions:
    """The captions of the pictures.

    Raises:
        UsageError: The files that tell them are not there, or are not what they should be.
    """
    curated, stimuli = find(src, CURATED, coco), find(src, STIMULI, coco)
    if curated:
        return _curated(curated)
    annotations = [path for split in COCO_SPLITS if (path := find(src, f"captions_{split}.json", coco))]
    if not stimuli or not annotations:
        missing = STIMULI if not stimuli else "captions_train2017.json"
        raise UsageError(
            f"there is no {missing} in {src}{f' and {coco}' if coco else ''}; expected {CURATED}, or "
            f"{STIMULI} and COCO's captions_train2017.json and captions_val2017.json: put them there, or "
            f"say {COCO.flag} FOLDER"
        )
    return _from_coco({one.picture: one.coco_id for one in stimuli_of(stimuli)}, annotations)


def _curated(path: Path) -> Captions:
    """Captions from an array of text, ``[pictures, captions]``."""
    try:
        with decoding(path, "an array of text"):
            texts = np.load(path, mmap_mode="r", allow_pickle=False)
    except SignalError as error:
        raise UsageError(f"{path} is no array of text ({error}); expected [73000, 5] captions") from error
    if (
        not isinstance(texts, np.ndarray)
        or texts.ndim != 2
        or not (texts.dtype.kind == "U" and texts.dtype.isnative and texts.itemsize)
    ):
        raise UsageError(f"{path} is no array [73000, 5] of text; fetch it again")

    def of(picture: int) -> tuple[str, ...]:
        if not 0 <= picture < len(texts):
            raise SignalError(UNKNOWN_PICTURE, f"number {picture}, expected 0 to {len(texts) - 1}")
        row = np.ascontiguousarray(texts[picture])
        if (row.view(np.uint32) > sys.maxunicode).any():  # Python fails on such an array of text
            raise SignalError(NOT_UTF8, f"the captions of picture {picture} are damaged")
        return captions_of(row.tolist())

    return of


def _from_coco(coco_ids: dict[int, int], annotations: list[Path]) -> Captions:
    """Captions from COCO's own files, those of the pictures only."""
    wanted = set(coco_ids.values())
    texts: dict[int, list[object]] = defaultdict(list)
    for path in annotations:
        for row in json_rows.rows(path, "annotations"):
            image = row.values.get("image_id") if isinstance(row, Row) else None
            if isinstance(row, Row) and image in wanted:
                texts[image].append(row.values.get("caption"))

    def of(picture: int) -> tuple[str, ...]:
        if picture not in coco_ids:
            raise SignalError(UNKNOWN_PICTURE, f"number {picture} is not in {STIMULI}")
        if coco_ids[picture] not in texts:
            raise SignalError(NO_CAPTION, f"COCO's picture {coco_ids[picture]} has none in these files")
        return captions_of(texts[coco_ids[picture]])

    return of


def stimuli_of(path: Path) -> Iterator[Stimulus]:
    """The rows of ``nsd_stim_info_merged.csv``.

    Raises:
        UsageError: A column is missing, or holds something else than whole numbers.
    """
    for row in rows(path, ("nsdId", "cocoId", "shared1000")):
        try:
            if not isinstance(row, Row):
                raise ValueError(row.detail)
            values = row.values
            yield Stimulus(
                int(values["nsdId"]),
                int(values["cocoId"]),
                values["shared1000"] in ("1", "True"),
                _trials(values),
            )
        except ValueError as error:
            raise UsageError(f"{path}:{row.line}: {error}; fetch the file again") from error


def _trials(values: dict[str, str]) -> dict[str, tuple[int, ...]]:
    """``subject1_rep0`` … ``subject8_rep2``: 0 where the picture was not shown."""
    found: dict[str, list[int]] = defaultdict(list)
    for column, value in values.items():
        subject, _, repeat = column.partition("_rep")
        if repeat and int(value) > 0:
            found[f"subj{int(subject.removeprefix('subject')):02d}"].append(int(value))
    return {subject: tuple(sorted(trials)) for subject, trials in found.items()}


def only_subject(src: Path, found: set[str], subject: str | None) -> str:
    """The subject that is meant.

    Raises:
        UsageError: It is not there, or none is named and there are several.
    """
    if subject is None and len(found) == 1:
        return next(iter(found))
    if subject not in found:
        names = ", ".join(sorted(found)) or "none"
        raise UsageError(f"{src} has the subjects {names}; say which one is meant: {SUBJECT.flag} subj01")
    return subject
