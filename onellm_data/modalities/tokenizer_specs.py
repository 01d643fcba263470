"""What turns a modality's input into tokens, declared as data.

A spec says only what the input's shape does not: the number of input channels, voxels or
frames is read from the shape.  ``onellm_core`` builds the layers; nothing here knows torch.

Source of the figures: OneLLM (arXiv 2312.03700), section 3.2 and its published weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod


@dataclass(frozen=True)
class PatchSpec:
    """The encoder's own patch convolution and position table, frozen.

    The input is ``[3, H, W]``, or ``[T, 3, H, W]``: frames are encoded one by one and their
    features averaged token by token.
    """

    kind = "patch"

    def tokens(self, shape: tuple[int, ...], patch: int) -> int:
        """Number of tokens for one input of ``shape`` with ``patch``-pixel patches."""
        return (shape[-2] // patch) * (shape[-1] // patch)


@dataclass(frozen=True)
class Conv2dSpec:
    """A 2-D convolution over ``[C, H, W]``; tokens are read row by row."""

    kernel: int
    stride: int
    bias: bool = True
    kind = "conv2d"

    def tokens(self, shape: tuple[int, ...], patch: int) -> int:
        """Number of tokens for one input of ``shape``."""
        return prod((size - self.kernel) // self.stride + 1 for size in shape[1:])


@dataclass(frozen=True)
class Conv1dSpec:
    """A 1-D convolution over ``[C, T]``."""

    kernel: int
    stride: int = 1
    bias: bool = True
    kind = "conv1d"

    def tokens(self, shape: tuple[int, ...], patch: int) -> int:
        """Number of tokens for one input of ``shape``."""
        return (shape[1] - self.kernel) // self.stride + 1


@dataclass(frozen=True)
class LinearSpec:
    """One linear map of the flat input ``[1, V]`` to ``n_tokens`` tokens.

    The map's output is viewed as ``[D, n_tokens]`` and transposed, as the published weights want.
    """

    n_tokens: int
    kind = "linear"

    def tokens(self, shape: tuple[int, ...], patch: int) -> int:
        """Number of tokens, whatever the shape."""
        return self.n_tokens


@dataclass(frozen=True)
class PointGroupsSpec:
    """Groups of neighbouring points of ``[P, 6]``, each a pointwise linear map and a maximum.

    ``centers`` points are chosen by furthest point sampling from point 0; each group is the
    ``neighbours`` points nearest to one of them.  Coordinates for both are channels 0..2
    (``xyz="first"``) or, as the published weights were trained, the last three (``"last"``).
    """

    centers: int = 1024
    neighbours: int = 32
    xyz: str = "first"
    kind = "points"

    def tokens(self, shape: tuple[int, ...], patch: int) -> int:
        """Number of tokens: one for each centre."""
        return self.centers


TokenizerSpec = PatchSpec | Conv2dSpec | Conv1dSpec | LinearSpec | PointGroupsSpec

SPECS: dict[str, type] = {
    spec.kind: spec for spec in (PatchSpec, Conv2dSpec, Conv1dSpec, LinearSpec, PointGroupsSpec)
}
