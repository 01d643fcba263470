"""The registry of modalities: built-in ones by lazy name, others by entry point.

=======  ==========================================
file     holds
=======  ==========================================
base     the fields that a modality declares
tokenizer_specs  the declarative tokenizers
image … fmri     one modality each
=======  ==========================================
"""

from __future__ import annotations

import importlib
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from onellm_data.errors import OnellmError, unknown

if TYPE_CHECKING:
    from onellm_data.modalities.base import Modality

ENTRY_POINT_GROUP = "onellm.modalities"

_BUILT_IN = {
    name: f"onellm_data.modalities.{name}:MODALITY"
    for name in ("image", "video", "audio", "point", "depth", "normal", "imu", "fmri")
}


@cache
def _targets() -> dict[str, str]:
    """Every known modality's name → ``module:attribute``, in the order in which help lists them."""
    targets = dict(_BUILT_IN)
    for point in entry_points(group=ENTRY_POINT_GROUP):
        if point.name in targets:
            raise OnellmError(
                f"the modality '{point.name}' is declared twice: {targets[point.name]} and "
                f"{point.value}; uninstall one of the two packages"
            )
        targets[point.name] = point.value
    return targets


def names() -> list[str]:
    """Names of all modalities; imports none of them."""
    return list(_targets())


@cache
def get(name: str) -> Modality:
    """The modality called ``name``.

    Raises:
        UsageError: There is none; the message names the nearest one.
    """
    from onellm_data.modalities.base import Modality

    if name not in _targets():
        raise unknown("modality", name, _targets())
    module, _, attribute = _targets()[name].partition(":")
    modality = getattr(importlib.import_module(module), attribute)
    assert isinstance(modality, Modality), f"{module}:{attribute} is not a Modality"
    return modality
