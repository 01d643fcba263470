"""Brain responses: one number for each voxel of a mask.

Source of the figures: OneLLM (arXiv 2312.03700) reads the 15724 voxels of the mask "nsdgeneral" of
the Natural Scenes Dataset's subject 1, z-scored, averaged over the repeats of a picture; a linear
map makes 8 tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from onellm_data.errors import SignalError, require
from onellm_data.modalities import drawing
from onellm_data.modalities.base import Modality, Options, SignalContract
from onellm_data.modalities.decoding import (
    MAX_ARRAY_BYTES,
    NOT_FINITE,
    TOO_LARGE,
    UNREADABLE,
    WRONG_SHAPE,
    check_not_empty,
    decoding,
    from_npy_bytes,
    npy_bytes,
    read_array,
)
from onellm_data.modalities.tokenizer_specs import LinearSpec
from onellm_data.options import Option

if TYPE_CHECKING:
    from PIL import Image

NSD_VOXELS = 15_724
MAX_REPEATS = 64
RESPONSES, UNIQUES = ".nsdgeneral.npy", ".num_uniques.npy"

MASK = Option("mask", "A NIfTI volume; of volumes, the voxels where it is above 0 are read.")
AVERAGE = Option(
    "fmri_average",
    "Which repeats are averaged: the distinct ones, or all rows, copies that fill up too, as OneLLM did.",
    "unique",
    ("unique", "all"),
)
CONSTANT = "constant signal"
DRAWN_COLUMNS, DRAWN_VOXEL = 160, 3
DRAWN_LIMIT = 2.5
"""Z-scores that get the full colour."""


def read(paths: Sequence[Path], mask: Path | str | None = None, fmri_average: str = "unique") -> np.ndarray:
    """Read the responses to one stimulus.

    Args:
        paths: The one file: ``.npy`` or ``.npz`` with ``[V]`` or repeats ``[R, V]``; ``.h5`` with one
            such data set; ``.nii`` or ``.nii.gz`` with a volume ``[X, Y, Z]`` or repeats ``[X, Y, Z, R]``.
        mask: A NIfTI volume; voxels above 0 are taken.  Without it a volume gives all its voxels.
        fmri_average: ``unique`` leaves out rows that only fill up, where a file ``NAME.num_uniques.npy``
            beside ``NAME.nsdgeneral.npy`` says how many do not; ``all`` averages every row.

    Returns:
        float32 ``[V]``, the mean over repeats; voxels of a volume in C order of ``[X, Y, Z]``.

    Raises:
        SignalError: The file holds no such responses.
    """
    (path,) = paths
    with decoding(path, "voxel responses"):
        check_not_empty(path)
        name = path.name.lower()
        if name.endswith((".nii", ".nii.gz")):
            return canonical(_masked(read_volume(path), None if mask is None else Path(mask)))
        if name.endswith((".h5", ".hdf5")):
            return canonical(_read_hdf5(path))
        responses = read_array(path)
        return canonical(responses[: _distinct(path, responses)] if fmri_average == "unique" else responses)


def _distinct(path: Path, responses: np.ndarray) -> int | None:
    """How many rows are distinct repeats, if a file of MindEye's tars beside this one says it."""
    beside = path.with_name(path.name.partition(".")[0] + UNIQUES)
    if responses.ndim != 2 or not path.name.endswith(RESPONSES) or not beside.exists():
        return None
    number = read_array(beside)
    if (
        number.size != 1
        or number.dtype.kind not in "iu"
        or not 1 <= int(number.reshape(())) <= len(responses)
    ):
        raise SignalError(WRONG_SHAPE, f"{beside.name} holds {number!r:.80}; expected 1 to {len(responses)}")
    return int(number.reshape(()))


def canonical(responses: np.ndarray) -> np.ndarray:
    """The mean over repeats.

    Args:
        responses: ``[V]`` or ``[R, V]``, z-scored.

    Returns:
        float32 ``[V]``.

    Raises:
        SignalError: Another shape, NaN, or the same number everywhere.
    """
    if responses.ndim == 1:
        responses = responses[None]
    if responses.ndim != 2 or 0 in responses.shape or len(responses) > MAX_REPEATS:
        raise SignalError(
            WRONG_SHAPE,
            f"an array of shape {responses.shape}; expected [voxels] or [repeats, voxels] "
            f"with at most {MAX_REPEATS} repeats",
        )
    with np.errstate(over="ignore", invalid="ignore"):
        signal = responses.mean(axis=0, dtype=np.float64).astype(np.float32)
    if not np.isfinite(signal).all():
        count = int((~np.isfinite(signal)).sum())
        raise SignalError(NOT_FINITE, f"{count} of {len(signal)} voxels are not finite")
    if len(signal) > 1 and (signal == signal[0]).all():
        raise SignalError(CONSTANT, f"all {len(signal)} voxels are {signal[0]:g}")
    return signal


def _check_size(shape: Sequence[int], itemsize: int) -> None:
    """Refuse what would not fit once it is unpacked."""
    size = int(np.prod(shape, dtype=np.float64)) * itemsize
    if size > MAX_ARRAY_BYTES:
        raise SignalError(TOO_LARGE, f"shape {tuple(shape)}, {size} bytes; at most {MAX_ARRAY_BYTES}")


def _read_hdf5(path: Path) -> np.ndarray:
    """The one data set of numbers in an HDF5 file."""
    h5py = require("h5py", "fmri")
    found: list[Any] = []
    with h5py.File(path, "r") as file:
        # Links to other files are not followed: visititems sees what is in this one.
        file.visititems(lambda name, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
        if len(found) != 1:
            raise SignalError(UNREADABLE, f"{len(found)} data sets in the file; expected one")
        (dataset,) = found
        if dataset.dtype.kind not in "fiu" or dataset.external or dataset.is_virtual:
            raise SignalError(
                UNREADABLE, f"a data set of {dataset.dtype}; expected plain numbers in the file"
            )
        _check_size(dataset.shape, dataset.dtype.itemsize)
        return dataset[()]


def read_volume(path: Path) -> np.ndarray:
    """A NIfTI volume, scaled as its header says: float32 ``[X, Y, Z]`` or ``[X, Y, Z, R]``.

    Raises:
        SignalError: Neither three nor four axes, or too large.
    """
    nibabel = require("nibabel", "fmri")
    errors = (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError)
    with decoding(path, "a NIfTI volume", *errors):
        image = nibabel.load(path)
        if len(image.shape) not in (3, 4):
            raise SignalError(WRONG_SHAPE, f"shape {image.shape}; expected [X, Y, Z] or [X, Y, Z, R]")
        _check_size(image.shape, 4)
        return image.get_fdata(dtype=np.float32)


def _masked(volume: np.ndarray, mask: Path | None) -> np.ndarray:
    """Voxels of a volume as ``[R, V]``, those of the mask in C order."""
    if mask is None:
        inside = np.ones(volume.shape[:3], dtype=bool)
    else:
        with decoding(mask, "a mask"):
            inside = read_volume(mask) > 0
            if inside.shape != volume.shape[:3]:
                raise SignalError(WRONG_SHAPE, f"a mask of {inside.shape} for a volume of {volume.shape}")
    voxels = volume[inside]
    return voxels[None] if voxels.ndim == 1 else voxels.T


def to_input(signal: np.ndarray, options: Options) -> np.ndarray:
    """The voxels as they are.

    Args:
        signal: float32 ``[V]``.
        options: ``voxels``, how many the model reads.

    Returns:
        float32 ``[1, V]``.

    Raises:
        SignalError: Another number of voxels: they come from another subject or another mask.
    """
    if len(signal) != options["voxels"]:
        raise SignalError(
            WRONG_SHAPE,
            f"{len(signal)} voxels; the model reads {options['voxels']} of one subject and one mask",
        )
    return signal[None]


def store(signal: np.ndarray) -> dict[str, bytes]:
    """The canonical signal as one ``.npy`` member."""
    return {"npy": npy_bytes(signal)}


def load(members: Mapping[str, bytes]) -> np.ndarray:
    """The inverse of ``store``."""
    signal = from_npy_bytes(members["npy"])
    if signal.dtype != np.float32 or signal.ndim != 1:
        raise SignalError(WRONG_SHAPE, f"{signal.dtype} {signal.shape}; expected float32 [V]")
    return signal


def draw(signal: np.ndarray) -> Image.Image:
    """Voxels in their order, row by row: red above the mean, blue below.  Not an anatomical view."""
    rows = -(-len(signal) // DRAWN_COLUMNS)
    columns = min(len(signal), DRAWN_COLUMNS)
    colors = np.full((rows * columns, 3), 255, dtype=np.uint8)
    colors[: len(signal)] = drawing.colored(signal, -DRAWN_LIMIT, DRAWN_LIMIT, diverging=True)
    strip = drawing.from_array(colors.reshape(rows, columns, 3), (DRAWN_VOXEL * columns, DRAWN_VOXEL * rows))
    title = f"{len(signal)} voxels in mask order, z from -{DRAWN_LIMIT} (blue) to {DRAWN_LIMIT} (red)"
    return drawing.titled(strip, title)


MODALITY = Modality(
    name="fmri",
    title="brain response",
    contract=SignalContract(
        shape="[V]",
        dtype="float32",
        axes="voxel (C order of the mask)",
        units="z-score within a session, averaged over repeats",
    ),
    extra="fmri",
    suffixes=(".npy", ".npz", ".h5", ".hdf5", ".nii", ".nii.gz"),
    tokenizer=LinearSpec(n_tokens=8),
    options={"voxels": NSD_VOXELS},
    input_shape=lambda options: (1, options["voxels"]),
    read=read,
    to_input=to_input,
    store=store,
    load=load,
    draw=draw,
    read_options=(MASK, AVERAGE),
)
