"""Responses of the Natural Scenes Dataset, session by session: voxels of a mask, z-scored.

Source of the format: the NSD data manual (Allen et al. 2022, doi 10.1038/s41593-021-00962-x).  A file
holds 300 × the percent signal change as int16: HDF5 (data set ``betas``; h5py sees MATLAB's axes
reversed, ``[trial, Z, Y, X]``) or NIfTI ``[X, Y, Z, trial]``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from onellm_data.errors import SignalError, require
from onellm_data.files import full_disk
from onellm_data.modalities.decoding import TOO_LARGE, UNREADABLE, WRONG_SHAPE, check_not_empty, decoding

SCALE = 300
"""Steps of the files for one percent of signal change."""

MAX_VOLUME = 20_000_000
MAX_TRIALS = 4096
"""Bounds of what a file may claim: voxels of a volume (at 1 mm: 4 million), and trials (NSD has 750)."""

_TRIALS_AT_ONCE = 32


def read(path: Path, mask: np.ndarray) -> np.ndarray:
    """All responses of a session.

    Args:
        path: The file.
        mask: bool ``[X, Y, Z]``, the voxels that are taken.

    Returns:
        float32 ``[trials, V]``, z-scored over the session's trials for each voxel (deviation with n in
        the denominator); voxels in C order of the mask; 0 where a voxel never changes, as those at the
        edge that a session did not cover.

    Raises:
        SignalError: The file is damaged, or has other axes than the mask.
    """
    with decoding(path, "responses of one session"):
        check_not_empty(path)
        parts = _hdf5(path, mask) if path.suffix in (".hdf5", ".h5") else _nifti(path, mask)
        shape = next(parts)
        percent = np.empty(shape, dtype=np.float32)
        for rows, columns, values in parts:
            percent[rows, columns] = values
    percent /= SCALE
    return standardised(percent)


def standardised(values: np.ndarray) -> np.ndarray:
    """Z-scores of each column; 0 where it is constant.

    Args:
        values: float32 ``[trials, V]``; overwritten.
    """
    mean = values.mean(axis=0, dtype=np.float64)
    deviation = values.std(axis=0, dtype=np.float64)
    constant = (values == values[:1]).all(axis=0)  # exactly: rounding may leave such a deviation above 0
    values -= mean.astype(np.float32)
    values /= np.where(constant, 1, deviation).astype(np.float32)
    values[:, constant] = 0
    return values


def trials(path: Path) -> int:
    """The number of trials in a session's file, without reading them.

    Raises:
        SignalError: The file is damaged.
    """
    with decoding(path, "responses of one session"):
        check_not_empty(path)
        if path.suffix in (".hdf5", ".h5"):
            with require("h5py", "fmri").File(path, "r") as file:
                return int(_betas(file).shape[0])
        return int(_image(path).shape[3])


def _betas(file: Any) -> Any:
    """The data set ``betas``."""
    betas = file.get("betas", getlink=False)
    if not isinstance(betas, require("h5py", "fmri").Dataset):
        raise SignalError(UNREADABLE, f"has {', '.join(list(file)[:10]) or 'nothing'}; expected /betas")
    if betas.dtype.kind not in "iuf" or betas.external or betas.is_virtual:
        raise SignalError(UNREADABLE, f"/betas holds {betas.dtype}; expected plain numbers in the file")
    _check(betas.shape[:0:-1], betas.shape[:1])
    return betas


def _image(path: Path) -> Any:
    nibabel = require("nibabel", "fmri")
    try:
        image = nibabel.load(path, keep_file_open=True)  # a packed file is then unpacked only once
    except (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError) as error:
        raise SignalError(UNREADABLE, f"{error}") from error
    _check(image.shape[:3], image.shape[3:])
    return image


def _check(volume: tuple[int, ...], count: tuple[int, ...]) -> None:
    if len(volume) != 3 or len(count) != 1 or not count[0]:
        raise SignalError(WRONG_SHAPE, f"volumes {volume}, trials {count}; expected [X, Y, Z] and trials")
    if int(np.prod(volume, dtype=np.float64)) > MAX_VOLUME or count[0] > MAX_TRIALS:
        raise SignalError(TOO_LARGE, f"volumes {volume}, trials {count}")


def _check_mask(volume: tuple[int, ...], mask: np.ndarray) -> None:
    if volume != mask.shape:
        raise SignalError(WRONG_SHAPE, f"volumes {volume} for a mask of {mask.shape}")


def _hdf5(path: Path, mask: np.ndarray) -> Iterator[Any]:
    """Shape of the result, then its parts, plane by plane: the files are chunked by voxel."""
    numbers = np.cumsum(mask).reshape(mask.shape) - 1
    with require("h5py", "fmri").File(path, "r") as file:
        betas = _betas(file)
        _check_mask(tuple(betas.shape[:0:-1]), mask)
        yield betas.shape[0], int(mask.sum())
        for z in np.flatnonzero(mask.any(axis=(0, 1))):
            plane = betas[:, int(z)].transpose(0, 2, 1)  # [trials, X, Y]
            yield slice(None), numbers[:, :, z][mask[:, :, z]], plane[:, mask[:, :, z]]


def _nifti(path: Path, mask: np.ndarray) -> Iterator[Any]:
    """Shape of the result, then its parts, some trials at a time."""
    image = _image(path)
    _check_mask(tuple(image.shape[:3]), mask)
    count = image.shape[3]
    yield count, int(mask.sum())
    for first in range(0, count, _TRIALS_AT_ONCE):
        part = np.asarray(image.dataobj[..., first : first + _TRIALS_AT_ONCE])
        yield slice(first, first + part.shape[3]), slice(None), part[mask].T


class Sums:
    """Sums of rows on disk: a subject's 10,000 pictures would take 600 MB of memory.

    Args:
        file: An open file to keep them in.
        width: Numbers of a row.
    """

    def __init__(self, file: BinaryIO, width: int) -> None:
        self._file = file
        self._width = width
        self._places: dict[int, int] = {}
        self._counts: dict[int, int] = {}

    def add(self, key: int, row: np.ndarray) -> None:
        """Add a row, float32 ``[width]``, to those of ``key``.

        Raises:
            OnellmError: The disk is full.
        """
        total = self._get(key) + row if self.count(key) else row
        place = self._places.setdefault(key, len(self._places))
        try:
            self._file.seek(place * self._width * 4)
            self._file.write(total.astype(np.float32).tobytes())
        except OSError as error:
            raise full_disk(error, f"sums of responses in {tempfile.gettempdir()} (TMPDIR)") from error
        self._counts[key] = self.count(key) + 1

    def count(self, key: int) -> int:
        """How many rows were added for ``key``."""
        return self._counts.get(key, 0)

    def mean(self, key: int) -> np.ndarray:
        """The mean of the rows of ``key``, of which there is at least one."""
        return self._get(key) / np.float32(self.count(key))

    def _get(self, key: int) -> np.ndarray:
        self._file.seek(self._places[key] * self._width * 4)
        return np.frombuffer(self._file.read(self._width * 4), dtype=np.float32)
