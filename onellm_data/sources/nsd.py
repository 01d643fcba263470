"""The Natural Scenes Dataset as its authors publish it: responses of 7T fMRI to COCO's pictures.

Source of the layout: the NSD data manual (Allen et al. 2022, doi 10.1038/s41593-021-00962-x).  A record
is a picture with the mean response over its repeats, each z-scored within its session.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from onellm_data.errors import SignalError, UsageError
from onellm_data.modalities import fmri
from onellm_data.modalities.decoding import decoding
from onellm_data.options import Option
from onellm_data.sources import nsd_captions, nsd_design, nsd_sessions
from onellm_data.sources.base import Item, Reject, Source
from onellm_data.sources.inside import inside

PEOPLE = "nsddata_betas/ppdata"
ROIS = "nsddata/ppdata/{subject}/{space}/roi/{roi}.nii.gz"
VERSIONS = ("betas_fithrf_GLMdenoise_RR", "betas_fithrf", "betas_assumehrf")
"""Ways to estimate the responses, the finest first."""

NO_PICTURE = "no picture for the trial"

BETAS = Option("betas", "Which estimate of the responses is read; the first that is there.", None, VERSIONS)
ROI = Option("roi", "The mask whose voxels above 0 are read.", "nsdgeneral")
SPACE = Option("space", "The resolution of volumes.", "func1pt8mm", ("func1pt8mm", "func1mm"))

_SESSION = re.compile(r"betas_session(\d+)\.(?:hdf5|nii\.gz|nii)")


@dataclass(frozen=True)
class Response:
    """The mean response to a picture.

    Attributes:
        where: The folder of the sessions, and the picture's number.
        values: float32 numbers, as bytes; not told in messages.
    """

    where: str
    values: bytes = field(repr=False)

    def read(self) -> np.ndarray:
        """The canonical signal, float32 ``[V]``."""
        return fmri.canonical(np.frombuffer(self.values, dtype=np.float32))


@dataclass(frozen=True)
class _Place:
    """Where one subject's files are, all in ``root``."""

    root: str
    subject: str
    folder: str
    sessions: dict[int, str]

    def path(self, number: int) -> Path:
        return inside(self.root, os.path.join(self.folder, self.sessions[number]))


def detect(src: Path, modality: str) -> str | None:
    """What of this layout is in ``src``."""
    return f"the Natural Scenes Dataset: {PEOPLE}" if (src / PEOPLE).is_dir() else None


def items(
    src: Path,
    modality: str,
    subject: str | None = None,
    betas: str | None = None,
    roi: str = ROI.default,
    space: str = SPACE.default,
    coco: str | None = None,
) -> Iterator[Item | Reject]:
    """Rejected sessions and trials, then pictures by their number.

    All sessions are read before the first picture is given: a picture's repeats lie weeks apart.

    Raises:
        UsageError: The subject's files are not there, or do not fit together.
    """
    place = _place(src, subject, betas, space)
    design = nsd_design.load(src, place.subject)
    captions = nsd_captions.captions(src, coco)
    mask = _mask(place, ROIS.format(subject=place.subject, space=space, roi=roi))
    with tempfile.TemporaryFile() as file:
        sums = nsd_sessions.Sums(file, int(mask.sum()))
        yield from _summed(place, design, mask, sums)
        for picture in sorted(set(design.pictures.values())):
            if sums.count(picture):
                yield _item(place, design, picture, sums, captions)


def _place(src: Path, subject: str | None, betas: str | None, space: str) -> _Place:
    people = src / PEOPLE
    found = (
        {name for name in os.listdir(people) if re.fullmatch(r"subj\d\d", name)} if people.is_dir() else set()
    )
    person = nsd_captions.only_subject(src, found, subject)
    for version in [betas] if betas else VERSIONS:
        folder = f"{PEOPLE}/{person}/{space}/{version}"
        names = sorted(os.listdir(src / folder)) if (src / folder).is_dir() else []
        sessions = {int(match[1]): match[0] for name in names if (match := _SESSION.fullmatch(name))}
        if sessions:
            return _Place(os.path.realpath(src), person, folder, sessions)
    raise UsageError(
        f"there are no betas_session01.hdf5 or .nii.gz in {people / person / space}/{betas or 'betas_…'}; "
        f"expected {SOURCE.layout}"
    )


def _mask(place: _Place, name: str) -> np.ndarray:
    """The region's voxels, bool ``[X, Y, Z]``. NSD's masks are -1 outside of the brain, 0 and 1 in it."""
    try:
        path = inside(place.root, name)
        with decoding(path, "a mask"):
            mask = fmri.read_volume(path) > 0
    except SignalError as error:
        raise UsageError(
            f"the mask {name} cannot be used: {error}; say another one with {ROI.flag}"
        ) from error
    if mask.ndim != 3 or not mask.any():
        raise UsageError(
            f"the mask {name} has the shape {mask.shape} and {mask.sum()} voxels; expected a volume"
        )
    return mask


def _summed(
    place: _Place, design: nsd_design.Design, mask: np.ndarray, sums: nsd_sessions.Sums
) -> Iterator[Reject]:
    """Add every trial's response to its picture's sum; what cannot be is rejected."""
    first = 0
    usual = 0
    for number in range(1, max(place.sessions) + 1):
        if number not in place.sessions:
            first += usual or _usual(place)
            continue
        try:
            responses = nsd_sessions.read(place.path(number), mask)
        except SignalError as error:
            yield Reject(
                place.sessions[number], f"{place.folder}/{place.sessions[number]}", error.reason, error.detail
            )
            first += usual or _usual(place)
            continue
        usual = len(responses)
        for trial, response in enumerate(responses, start=first):
            picture = design.pictures.get(trial)
            if picture is None:
                where = f"{place.folder}/{place.sessions[number]}"
                yield Reject(
                    f"trial {trial + 1}", where, NO_PICTURE, f"session {number}, trial {trial - first + 1}"
                )
            else:
                sums.add(picture, response)
        first += usual


def _usual(place: _Place) -> int:
    """Trials of the first session whose file can be read, for those before it that cannot."""
    for number in sorted(place.sessions):
        try:
            return nsd_sessions.trials(place.path(number))
        except SignalError:
            continue  # it is rejected where its responses are read
    raise UsageError(f"no session in {place.root}/{place.folder} can be read; fetch them again")


def _item(
    place: _Place,
    design: nsd_design.Design,
    picture: int,
    sums: nsd_sessions.Sums,
    captions: nsd_captions.Captions,
) -> Item | Reject:
    name = f"{place.subject}/picture{picture:05d}"
    where = f"{place.folder}: picture {picture}"
    split = "test" if picture in design.shared else "train"
    try:
        texts = captions(picture)
    except SignalError as error:
        return Reject(name, where, error.reason, error.detail, split)
    response = Response(where, sums.mean(picture).tobytes())
    meta = {"subject": place.subject, "picture": picture, "repeats": sums.count(picture)}
    return Item(name, {"fmri": response}, texts, split=split, meta=meta)


SOURCE = Source(
    name="nsd",
    layout=(
        f"{PEOPLE}/subj01/func1pt8mm/betas_…/betas_session01.hdf5 of the Natural Scenes Dataset, nsddata "
        "with the mask and the design beside it, and COCO's captions"
    ),
    modalities=("fmri",),
    detect=detect,
    items=items,
    options=(nsd_captions.SUBJECT, BETAS, ROI, SPACE, nsd_captions.COCO),
    names_files=False,
)
