"""Modality blocks into the text, right after the start token.

B batch, L text tokens, P prefix tokens of a sample, S = L + the longest prefix, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

IGNORE_INDEX = -100
"""Label of a position that the loss does not count (the default of ``torch.nn.functional.cross_entropy``)."""


@dataclass(frozen=True)
class Spliced:
    """What the language model reads.

    Attributes:
        embeds: ``[B, S, D]``.
        mask: ``[B, S]`` int64; 1 where there is a token.
        positions: ``[B, S]`` int64; counted from each sample's start token.
        labels: ``[B, S]`` int64, or None.
    """

    embeds: Tensor
    mask: Tensor
    positions: Tensor
    labels: Tensor | None


def splice(embeds: Tensor, mask: Tensor, prefixes: Sequence[Tensor], labels: Tensor | None = None) -> Spliced:
    """Put each sample's prefix right after its first token; keep the side that padding is on.

    Args:
        embeds: ``[B, L, D]`` embedded text.
        mask: ``[B, L]``; 1 where there is a token.  Padding is on one side of each row.
        prefixes: For each sample ``[P, D]``; P may differ, and may be 0.
        labels: ``[B, L]``, or None.

    Raises:
        ValueError: A row of ``mask`` has no token, or padding between tokens.
    """
    total = embeds.shape[1] + max((prefix.shape[0] for prefix in prefixes), default=0)
    out_mask = mask.new_zeros(len(prefixes), total)
    out_labels = None if labels is None else labels.new_full((len(prefixes), total), IGNORE_INDEX)
    starts, ends = token_spans(mask)
    left = bool((starts > 0).any())
    rows = []
    for b, (prefix, start, end) in enumerate(zip(prefixes, starts.tolist(), ends.tolist(), strict=True)):
        row = torch.cat([embeds[b, start : start + 1], prefix.to(embeds.dtype), embeds[b, start + 1 : end]])
        at = total - row.shape[0] if left else 0
        text = at + 1 + prefix.shape[0]
        rows.append(F.pad(row, (0, 0, at, total - at - row.shape[0])))
        out_mask[b, at : at + row.shape[0]] = 1
        if out_labels is not None and labels is not None:
            out_labels[b, text : text + end - start - 1] = labels[b, start + 1 : end]
    positions = (out_mask.cumsum(dim=1) - 1).clamp(min=0)
    return Spliced(torch.stack(rows), out_mask, positions, out_labels)


def token_spans(mask: Tensor) -> tuple[Tensor, Tensor]:
    """First token and one past the last token of each row of ``mask [B, L]``, each ``[B]``.

    Raises:
        ValueError: A row without a token, or with padding between tokens.
    """
    present = mask.bool()
    counts = present.sum(dim=1)
    starts = present.int().argmax(dim=1)
    ends = mask.shape[1] - present.flip(1).int().argmax(dim=1)
    if (counts == 0).any() or (counts != ends - starts).any():
        raise ValueError(
            "attention_mask has a row without a token, or with padding between tokens; "
            "expected each row's tokens in one run, padded on one side"
        )
    return starts, ends
