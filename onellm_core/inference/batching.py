"""Which requests share a batch: those of similar length, within a budget of tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def windows(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Consecutive groups of ``size`` items, the last perhaps smaller; reads no further than it must."""
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group


def batches(lengths: Sequence[int], new_tokens: int, max_rows: int, max_tokens: int) -> list[list[int]]:
    """Group requests so that little is padded and no batch is too large.

    Args:
        lengths: Prompt length of each request in tokens, blocks included.
        new_tokens: How many tokens an answer may have.
        max_rows: Rows of a batch at most.
        max_tokens: Rows x (longest prompt + ``new_tokens``) at most; a request that alone is longer
            has a batch to itself.

    Returns:
        Positions in ``lengths``, each once, longest first.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    groups: list[list[int]] = []
    for i in order:
        row = lengths[groups[-1][0]] + new_tokens if groups else 0
        if groups and len(groups[-1]) < max_rows and (len(groups[-1]) + 1) * row <= max_tokens:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups
