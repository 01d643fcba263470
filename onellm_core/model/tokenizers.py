"""The layers that a declarative tokenizer spec stands for.

B batch, L tokens, D width of the encoder, C channels, P points, G groups, M neighbours.
Every tokenizer maps a model input ``[B, …]`` to ``[B, L, D]``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from onellm_data.modalities.tokenizer_specs import (
    Conv1dSpec,
    Conv2dSpec,
    LinearSpec,
    PointGroupsSpec,
    TokenizerSpec,
)


class ConvTokenizer(nn.Module):
    """A 1-D or 2-D convolution whose output positions are the tokens."""

    def __init__(self, conv: nn.Conv1d | nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, …]`` → ``[B, L, D]``."""
        return self.conv(x).flatten(2).transpose(1, 2)


class LinearTokenizer(nn.Module):
    """One linear map of a flat signal to all its tokens.

    The output is viewed as ``[D, L]`` and transposed: neighbouring outputs are neighbouring
    tokens of one channel, which is how the published fMRI weights are laid out.
    """

    def __init__(self, voxels: int, width: int, n_tokens: int) -> None:
        super().__init__()
        self.width = width
        self.n_tokens = n_tokens
        self.linear = nn.Linear(voxels, width * n_tokens)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, 1, V]`` → ``[B, L, D]``."""
        flat = self.linear(x.flatten(1))
        return flat.view(-1, self.width, self.n_tokens).transpose(1, 2)


def furthest_points(xyz: Tensor, count: int) -> Tensor:
    """Furthest point sampling from point 0 (Qi et al., PointNet++, arXiv 1706.02413).

    Args:
        xyz: ``[B, P, 3]`` coordinates.
        count: How many points to choose, at most P.

    Returns:
        ``[B, count]`` int64 indices; each is the point furthest from all chosen before it.
    """
    batch, points, _ = xyz.shape
    chosen = xyz.new_zeros(batch, count, dtype=torch.long)
    distance = xyz.new_full((batch, points), torch.inf)
    rows = torch.arange(batch, device=xyz.device)
    last = chosen[:, 0]
    for i in range(1, count):
        center = xyz[rows, last].unsqueeze(1)
        distance = torch.minimum(distance, (xyz - center).square().sum(-1))
        last = distance.argmax(-1)
        chosen[:, i] = last
    return chosen


def nearest_points(centers: Tensor, xyz: Tensor, count: int) -> Tensor:
    """Indices ``[B, G, count]`` of the ``count`` points of ``xyz [B, P, 3]`` nearest to each centre."""
    distance = torch.cdist(centers, xyz, compute_mode="donot_use_mm_for_euclid_dist")
    return distance.topk(count, dim=-1, largest=False, sorted=False).indices


class PointTokenizer(nn.Module):
    """Local groups of a point cloud, each summarised by a pointwise linear map and a maximum.

    The map is applied to the P points before grouping, not to the G x M grouped ones: each point
    has the same output in every group, so the maximum is the same and the work is less.
    """

    def __init__(self, channels: int, width: int, centers: int, neighbours: int, xyz: str) -> None:
        super().__init__()
        self.centers = centers
        self.neighbours = neighbours
        self.xyz = slice(0, 3) if xyz == "first" else slice(channels - 3, channels)
        self.linear = nn.Linear(channels, width)

    def forward(self, points: Tensor) -> Tensor:
        """``[B, P, C]`` → ``[B, G, D]``."""
        # Half precision would merge neighbouring points: coordinates are compared in float32.
        xyz = points[..., self.xyz].float()
        chosen = furthest_points(xyz, self.centers)
        centers = torch.take_along_dim(xyz, chosen.unsqueeze(-1), dim=1)
        groups = nearest_points(centers, xyz, self.neighbours)
        features = self.linear(points)
        index = groups.flatten(1).unsqueeze(-1).expand(-1, -1, features.shape[-1])
        grouped = features.gather(1, index).unflatten(1, groups.shape[1:])
        return grouped.amax(dim=2)


def build_tokenizer(spec: TokenizerSpec, shape: tuple[int, ...], width: int) -> nn.Module | None:
    """The layers for one modality.

    Args:
        spec: What its tokens are made of.
        shape: Shape of one model input, which gives channels and voxels.
        width: D.

    Returns:
        A module ``[B, *shape] → [B, L, D]``, or None where the encoder's own patches are used.
    """
    if isinstance(spec, Conv2dSpec):
        return ConvTokenizer(nn.Conv2d(shape[0], width, spec.kernel, spec.stride, bias=spec.bias))
    if isinstance(spec, Conv1dSpec):
        return ConvTokenizer(nn.Conv1d(shape[0], width, spec.kernel, spec.stride, bias=spec.bias))
    if isinstance(spec, LinearSpec):
        return LinearTokenizer(shape[-1], width, spec.n_tokens)
    if isinstance(spec, PointGroupsSpec):
        return PointTokenizer(shape[-1], width, spec.centers, spec.neighbours, spec.xyz)
    return None
