"""The order of training data, as a pure function of (seed, step).

Nothing is stored and nothing is shuffled in memory: every order is a keyed permutation that is
computed where it is asked for, so a run over 10⁹ samples starts at once, and a resumed run, or
one at another world size, sees exactly the same batches.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from onellm_data.errors import UsageError

MAX_BLOCK = 10_000
"""Steps in the longest block; weights that need a longer one are met to 1 in 10,000."""

_ROUNDS = 6
_MIN_HALF_BITS = 3  # a Feistel network over fewer than 64 values permutes too regularly
_MASK = (1 << 64) - 1


def _mix(value: int) -> int:
    """The finaliser of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators")."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


@lru_cache(maxsize=256)
def _round_keys(key: int) -> tuple[int, ...]:
    return tuple(_mix(key + number) for number in range(1, _ROUNDS + 1))


def permute(index: int, size: int, key: int) -> int:
    """Where ``index`` goes under the permutation of ``range(size)`` that ``key`` names.

    A balanced Feistel network over the next power of four, walked until it lands inside
    ``range(size)`` ("cycle walking": Black and Rogaway, "Ciphers with arbitrary finite domains").

    Raises:
        IndexError: ``index`` is not in ``range(size)``.
    """
    if not 0 <= index < size:
        raise IndexError(f"got the index {index}, expected 0 to {size - 1}")
    half = max(((size - 1).bit_length() + 1) // 2, _MIN_HALF_BITS)
    mask = (1 << half) - 1
    keys = _round_keys(key)
    while True:
        left, right = index >> half, index & mask
        for round_key in keys:
            left, right = right, left ^ (_mix(right ^ round_key) & mask)
        index = left << half | right
        if index < size:
            return index


def _key(*parts: object) -> int:
    """A 64-bit key that names ``parts``, the same on every machine."""
    text = "\0".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


@dataclass(frozen=True)
class MixturePart:
    """One data set of a mixture.

    Attributes:
        name: Names the part in batches and counts, and keys its order.
        size: Number of its records.
        weight: Its share of the steps, relative to the other parts' weights.
    """

    name: str
    size: int
    weight: float = 1.0


@dataclass(frozen=True)
class Batch:
    """The record numbers of one global batch, all of one part; rank r of w takes ``ids[r::w]``."""

    part: str
    ids: tuple[int, ...]


class Mixture:
    """Which records each training step takes.

    Every step takes one batch of one part. Steps come in blocks of ``block`` steps; in each the
    parts get exactly their shares, in an order that differs from block to block. Each part walks
    a new permutation of its records in every epoch.

    Args:
        parts: The data sets.
        batch_size: Records of one global batch, over all ranks.
        seed: Another seed gives another order.

    Raises:
        UsageError: No part, two of one name, an empty one, or a weight or batch size below zero.
    """

    def __init__(self, parts: Sequence[MixturePart], batch_size: int, seed: int) -> None:
        _check(parts, batch_size)
        self.parts = tuple(parts)
        self.batch_size = batch_size
        self.seed = seed
        self.shares = _shares([part.weight for part in parts])
        self.block = sum(self.shares)
        self._plan = lru_cache(maxsize=4)(self._make_plan)

    def _make_plan(self, block: int) -> tuple[list[int], list[int]]:
        """For each step of a block: its part, and how many steps of that part the block has before it."""
        owner = [number for number, share in enumerate(self.shares) for _ in range(share)]
        key = _key("block", self.seed, block)
        order = [owner[permute(step, self.block, key)] for step in range(self.block)]
        seen = [0] * len(self.parts)
        ranks = []
        for number in order:
            ranks.append(seen[number])
            seen[number] += 1
        return order, ranks

    def batch(self, step: int) -> Batch:
        """The batch of step ``step``, counted from 0."""
        block, within = divmod(step, self.block)
        order, ranks = self._plan(block)
        number = order[within]
        turn = block * self.shares[number] + ranks[within]
        part = self.parts[number]
        start = turn * self.batch_size
        return Batch(part.name, tuple(self._record(part, start + i) for i in range(self.batch_size)))

    def _record(self, part: MixturePart, position: int) -> int:
        epoch, index = divmod(position, part.size)
        return permute(index, part.size, _key("part", self.seed, part.name, epoch))

    def counts(self, steps: int) -> dict[str, int]:
        """How many of the first ``steps`` steps each part takes."""
        blocks, rest = divmod(steps, self.block)
        order = self._plan(blocks)[0][:rest]
        return {
            part.name: blocks * self.shares[number] + order.count(number)
            for number, part in enumerate(self.parts)
        }

    def epoch(self, steps: int) -> dict[str, float]:
        """How many times the first ``steps`` steps go through each part."""
        counts = self.counts(steps)
        return {part.name: counts[part.name] * self.batch_size / part.size for part in self.parts}


def _check(parts: Sequence[MixturePart], batch_size: int) -> None:
    names = [part.name for part in parts]
    if not parts or len(set(names)) != len(names):
        raise UsageError(f"a mixture needs one or more parts with different names, got {names}")
    if batch_size < 1:
        raise UsageError(f"got the batch size {batch_size}, expected 1 or more")
    for part in parts:
        if part.size < 1:
            raise UsageError(f"the part '{part.name}' of the mixture is empty; leave it out")
        if not (part.weight > 0 and math.isfinite(part.weight)):
            raise UsageError(
                f"the part '{part.name}' of the mixture has the weight {part.weight}, expected a number "
                "above 0; to switch it off, leave it out"
            )


def _shares(weights: Sequence[float]) -> list[int]:
    """Steps of each part in one block: exact where a block of ``MAX_BLOCK`` steps or fewer can be."""
    exact = [Fraction(weight).limit_denominator(10**9) for weight in weights]
    total = sum(exact)
    if min(exact) > 0:
        fractions = [weight / total for weight in exact]
        block = math.lcm(*(fraction.denominator for fraction in fractions))
        if block <= MAX_BLOCK:
            return [int(fraction * block) for fraction in fractions]
    return _largest_remainders(weights)


def _largest_remainders(weights: Sequence[float]) -> list[int]:
    """``MAX_BLOCK`` steps given out by the largest remainders, at least one to each part."""
    total = math.fsum(weights)
    ideal = [weight / total * MAX_BLOCK for weight in weights]
    shares = [max(1, math.floor(value)) for value in ideal]
    by_remainder = sorted(range(len(ideal)), key=lambda number: shares[number] - ideal[number])
    for number in by_remainder[: max(0, MAX_BLOCK - sum(shares))]:
        shares[number] += 1
    return shares
