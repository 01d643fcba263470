"""Tokenizers against plain loops."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onellm_core.model.tokenizers import PointTokenizer, build_tokenizer, furthest_points, nearest_points
from onellm_data.modalities.tokenizer_specs import (
    Conv1dSpec,
    Conv2dSpec,
    LinearSpec,
    PatchSpec,
    PointGroupsSpec,
)

WIDTH = 8


def furthest_by_loop(xyz: torch.Tensor, count: int) -> list[int]:
    """One cloud, one candidate at a time."""
    chosen = [0]
    while len(chosen) < count:
        distances = [min(((p - xyz[c]) ** 2).sum().item() for c in chosen) for p in xyz]
        chosen.append(max(range(len(xyz)), key=lambda i: distances[i]))
    return chosen


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 30), st.integers(0, 10_000))
def test_furthest_points_equal_a_plain_loop(points: int, seed: int) -> None:
    xyz = torch.randn(2, points, 3, generator=torch.Generator().manual_seed(seed))
    count = max(1, points // 2)
    ours = furthest_points(xyz, count)
    assert ours.tolist() == [furthest_by_loop(cloud, count) for cloud in xyz]


@pytest.mark.parametrize("xyz", ["first", "last"])
def test_point_groups_equal_grouping_before_the_linear_map(xyz: str) -> None:
    torch.manual_seed(0)
    tokenizer = PointTokenizer(6, WIDTH, centers=5, neighbours=4, xyz=xyz)
    cloud = torch.randn(2, 40, 6)
    for row, points in enumerate(cloud):
        place = points[:, :3] if xyz == "first" else points[:, 3:]
        for group, center in enumerate(furthest_by_loop(place, 5)):
            distance = (place - place[center]).square().sum(-1)
            members = points[distance.argsort()[:4]]
            expected = tokenizer.linear(members).amax(0)
            torch.testing.assert_close(tokenizer(cloud)[row, group], expected)


def test_nearest_points_survive_large_offsets() -> None:
    # |a-b|² by the expanded square loses these differences in float32.
    xyz = torch.tensor([[[1e4, 0, 0], [1e4 + 0.01, 0, 0], [1e4 + 0.05, 0, 0]]])
    assert set(nearest_points(xyz[:, :1], xyz, 2)[0, 0].tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        (Conv2dSpec(kernel=16, stride=10), (1, 128, 1024)),
        (Conv1dSpec(kernel=10, bias=False), (6, 400)),
        (LinearSpec(n_tokens=8), (1, 50)),
        (PointGroupsSpec(centers=16, neighbours=4), (40, 6)),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_a_tokenizer_makes_as_many_tokens_as_its_spec_says(spec: object, shape: tuple[int, ...]) -> None:
    tokenizer = build_tokenizer(spec, shape, WIDTH)
    assert tokenizer is not None
    assert tokenizer(torch.randn(2, *shape)).shape == (2, spec.tokens(shape, patch=14), WIDTH)


def test_published_token_counts() -> None:
    assert Conv2dSpec(kernel=16, stride=10).tokens((1, 128, 1024), 14) == 1212
    assert Conv1dSpec(kernel=10, bias=False).tokens((6, 400), 14) == 391
    assert PatchSpec().tokens((3, 224, 224), 14) == 256
    assert build_tokenizer(PatchSpec(), (3, 224, 224), WIDTH) is None


def test_linear_tokens_are_columns_of_the_output() -> None:
    tokenizer = build_tokenizer(LinearSpec(n_tokens=3), (1, 5), WIDTH)
    assert tokenizer is not None
    x = torch.randn(2, 1, 5)
    flat = x[:, 0] @ tokenizer.linear.weight.T + tokenizer.linear.bias
    torch.testing.assert_close(tokenizer(x)[1, 2], flat[1, 2::3])
