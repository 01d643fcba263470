"""Blocks go right after the start token, whatever the padding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onellm_core.model.splice import IGNORE_INDEX, splice

WIDTH = 2


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[list[int]], list[int], bool]:
    """Token rows, prefix lengths and the side of the padding."""
    rows = draw(st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=6), min_size=1, max_size=5))
    prefixes = [draw(st.integers(0, 4)) for _ in rows]
    return rows, prefixes, draw(st.booleans())


@given(batches())
def test_each_row_is_start_prefix_rest(batch: tuple[list[list[int]], list[int], bool]) -> None:
    rows, prefix_lengths, left = batch
    length = max(map(len, rows))
    ids = torch.zeros(len(rows), length)
    mask = torch.zeros(len(rows), length, dtype=torch.long)
    for b, row in enumerate(rows):
        span = slice(length - len(row), length) if left else slice(0, len(row))
        ids[b, span], mask[b, span] = torch.tensor(row, dtype=torch.float), 1
    labels = torch.where(mask.bool(), ids.long(), IGNORE_INDEX)
    prefixes = [-torch.ones(n, WIDTH) for n in prefix_lengths]
    out = splice(ids.unsqueeze(-1).expand(-1, -1, WIDTH), mask, prefixes, labels)

    assert out.embeds.shape == (len(rows), length + max(prefix_lengths), WIDTH)
    for b, row in enumerate(rows):
        kept = out.mask[b].bool()
        expected = [row[0], *[-1] * prefix_lengths[b], *row[1:]]
        assert out.embeds[b, kept, 0].tolist() == expected
        assert not out.embeds[b, ~kept].any()
        assert out.positions[b, kept].tolist() == list(range(len(expected)))
        learned = [IGNORE_INDEX] * (1 + prefix_lengths[b]) + row[1:]
        assert out.labels is not None
        assert out.labels[b, kept].tolist() == learned
        assert (out.labels[b, ~kept] == IGNORE_INDEX).all()
        filled = kept.nonzero().flatten().tolist()
        assert filled == list(range(filled[0], filled[-1] + 1))
        assert filled[-1] == len(kept) - 1 if left and min(map(len, rows)) < length else filled[0] == 0


@pytest.mark.parametrize("row", [[0, 0, 0], [1, 0, 1]])
def test_a_mask_with_holes_is_refused(row: list[int]) -> None:
    mask = torch.tensor([[1, 1, 1], row])
    with pytest.raises(ValueError, match="a row without a token, or with padding between tokens"):
        splice(torch.zeros(2, 3, WIDTH), mask, [torch.zeros(1, WIDTH)] * 2)
