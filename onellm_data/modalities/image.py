"""Pictures, as CLIP sees them.

Source of the figures: CLIP ViT-L/14 at 224 pixels (Radford et al. 2021), which OneLLM
(arXiv 2312.03700) takes as it is: 16 × 16 patches of 14 pixels make 256 tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from onellm_data.modalities import drawing
from onellm_data.modalities.base import Modality, Options, SignalContract
from onellm_data.modalities.decoding import decoding
from onellm_data.modalities.pictures import (
    EXIF_ORIENTATION,
    PICTURE_OPTIONS,
    SUFFIXES,
    normalised,
    only_member,
    open_picture,
    png_bytes,
    random_crop,
    read_picture,
    resize_and_crop,
    rgb_array,
)
from onellm_data.modalities.tokenizer_specs import PatchSpec

if TYPE_CHECKING:
    from PIL import Image

DRAWN_SIZE = 320

_KEPT = {"JPEG": "jpg", "PNG": "png"}


def read(paths: Sequence[Path]) -> np.ndarray:
    """Read a picture of any kind that ``pictures.FORMATS`` lists.

    Returns:
        uint8 ``[H, W, 3]``, RGB, upright.

    Raises:
        SignalError: The file holds no such picture.
    """
    (path,) = paths
    with decoding(path, "a picture"):
        return rgb_array(read_picture(path))


def to_input(signal: np.ndarray, options: Options) -> np.ndarray:
    """CLIP's preprocessing: short side to ``size``, centre square, normalised.

    Args:
        signal: uint8 ``[H, W, 3]``.
        options: ``size`` (pixels), ``mean`` and ``std`` (one number for each of R, G, B).

    Returns:
        float32 ``[3, size, size]``.
    """
    return normalised(resize_and_crop(signal, options["size"]), options)


def augment(planes: np.ndarray, options: Options, rng: np.random.Generator) -> np.ndarray:
    """A random crop of 90 to 100 % of the input, for training."""
    return random_crop(planes, rng)


def keep(data: bytes) -> str | None:
    """The ending under which a file may be stored as it is: an upright 8-bit RGB JPEG or PNG."""
    with decoding("picture", "a picture"):
        picture = open_picture(data)
        ordinary = picture.mode == "RGB" and "transparency" not in picture.info
        if not ordinary or picture.getexif().get(EXIF_ORIENTATION, 1) != 1:
            return None
        return _KEPT.get(picture.format or "")


def store(signal: np.ndarray) -> dict[str, bytes]:
    """The picture as PNG: nothing is lost."""
    return {"png": png_bytes(signal)}


def load(members: Mapping[str, bytes]) -> np.ndarray:
    """The inverse of ``store``; any picture that ``read`` understands, under any ending.

    Tars made by others hold PNG files called ``.jpg`` and grey JPEG files: the bytes decide.
    """
    with decoding("shard member", "a picture"):
        return rgb_array(open_picture(only_member(members)))


def draw(signal: np.ndarray) -> Image.Image:
    """The picture itself, small."""
    return drawing.thumbnail(signal, DRAWN_SIZE)


MODALITY = Modality(
    name="image",
    title="picture",
    contract=SignalContract(
        shape="[H, W, 3]",
        dtype="uint8",
        axes="row (top first), column, colour (R, G, B)",
        units="sRGB, 0 to 255",
    ),
    extra="image",
    suffixes=SUFFIXES,
    tokenizer=PatchSpec(),
    options=PICTURE_OPTIONS,
    input_shape=lambda options: (3, options["size"], options["size"]),
    read=read,
    to_input=to_input,
    store=store,
    load=load,
    draw=draw,
    keep=keep,
    augment=augment,
)
