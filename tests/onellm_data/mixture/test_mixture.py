"""The mixture: a pure function of seed and step, exact in its weights."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onellm_data import mixture as mixture_module
from onellm_data.errors import UsageError
from onellm_data.mixture import MAX_BLOCK, Mixture, MixturePart

PARTS = st.lists(
    st.builds(
        MixturePart,
        name=st.uuids().map(str),
        size=st.integers(1, 60),
        weight=st.integers(1, 9).map(float),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda part: part.name,
)
SEEDS = st.integers(0, 2**32)


@settings(max_examples=30, deadline=None)
@given(parts=PARTS, batch=st.integers(1, 17), seed=SEEDS)
def test_each_epoch_of_each_part_is_a_permutation(parts: list[MixturePart], batch: int, seed: int) -> None:
    mixture = Mixture(parts, batch, seed)
    seen: dict[str, list[int]] = {part.name: [] for part in parts}
    for step in range(3 * mixture.block + 5):
        drawn = mixture.batch(step)
        assert len(drawn.ids) == batch
        seen[drawn.part].extend(drawn.ids)
    for part in parts:
        ids = seen[part.name]
        for start in range(0, len(ids) - part.size + 1, part.size):
            assert sorted(ids[start : start + part.size]) == list(range(part.size))
        rest = ids[len(ids) // part.size * part.size :]
        assert len(set(rest)) == len(rest)


@settings(max_examples=30, deadline=None)
@given(parts=PARTS, seed=SEEDS)
def test_every_block_meets_the_weights_exactly(parts: list[MixturePart], seed: int) -> None:
    mixture = Mixture(parts, 2, seed)
    total = sum(part.weight for part in parts)
    for block in range(4):
        steps = range(block * mixture.block, (block + 1) * mixture.block)
        taken = Counter(mixture.batch(step).part for step in steps)
        for part in parts:
            assert taken[part.name] * total == part.weight * mixture.block


@settings(max_examples=30, deadline=None)
@given(parts=PARTS, seed=SEEDS, steps=st.integers(0, 200))
def test_counts_are_those_of_the_batches(parts: list[MixturePart], seed: int, steps: int) -> None:
    mixture = Mixture(parts, 3, seed)
    taken = Counter(mixture.batch(step).part for step in range(steps))
    assert mixture.counts(steps) == {part.name: taken[part.name] for part in parts}
    passes = mixture.epoch(steps)
    assert all(passes[part.name] == taken[part.name] * 3 / part.size for part in parts)


@settings(max_examples=30, deadline=None)
@given(parts=PARTS, seed=SEEDS, steps=st.lists(st.integers(0, 10**12), max_size=10))
def test_a_step_does_not_depend_on_the_steps_before(
    parts: list[MixturePart], seed: int, steps: list[int]
) -> None:
    """What a run does after any restart."""
    used = Mixture(parts, 4, seed)
    assert [used.batch(step) for step in steps] == [Mixture(parts, 4, seed).batch(step) for step in steps]


@settings(max_examples=30, deadline=None)
@given(parts=PARTS, seed=SEEDS, step=st.integers(0, 10**6), share=st.integers(1, 4))
def test_any_number_of_ranks_has_the_same_global_batch(
    parts: list[MixturePart], seed: int, step: int, share: int
) -> None:
    batch = Mixture(parts, 8 * share, seed).batch(step)
    for world in (1, 2, 4, 8):
        ranks = [batch.ids[rank::world] for rank in range(world)]
        assert {len(ids) for ids in ranks} == {8 * share // world}
        assert [ids[turn] for turn in range(8 * share // world) for ids in ranks] == list(batch.ids)


def test_seeds_parts_and_epochs_have_orders_of_their_own() -> None:
    parts = [MixturePart("a", 100), MixturePart("b", 100)]

    def orders(seed: int) -> list[tuple[int, ...]]:
        return [batch.ids for step in range(4) if (batch := Mixture(parts, 100, seed).batch(step))]

    assert len(set(orders(0) + orders(1))) == 8


def test_the_order_inside_blocks_differs() -> None:
    mixture = Mixture([MixturePart("a", 10, 3), MixturePart("b", 10, 7)], 1, 0)
    assert mixture.block == 10
    orders = {tuple(mixture.batch(10 * block + step).part for step in range(10)) for block in range(20)}
    assert len(orders) > 10


@pytest.mark.parametrize(
    ("weights", "shares"),
    [
        ([0.1, 0.2, 0.7], [1, 2, 7]),
        ([1 / 3, 2 / 3], [1, 2]),
        ([5.0], [1]),
        ([1e9, 4e5], [2500, 1]),
        ([1e-9, 1.0], [1, MAX_BLOCK - 1]),
        ([2**0.5, 1.0], [5858, 4142]),
    ],
)
def test_shares_of_a_block(weights: list[float], shares: list[int]) -> None:
    parts = [MixturePart(str(number), 5, weight) for number, weight in enumerate(weights)]
    assert Mixture(parts, 1, 0).shares == shares


@settings(deadline=None)
@given(weights=st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=12))
def test_odd_weights_are_met_to_a_step_of_the_longest_block(weights: list[float]) -> None:
    parts = [MixturePart(str(number), 5, weight) for number, weight in enumerate(weights)]
    mixture = Mixture(parts, 1, 0)
    assert mixture.block <= MAX_BLOCK + len(weights)
    for share, weight in zip(mixture.shares, weights, strict=True):
        assert share >= 1
        assert abs(share - weight / sum(weights) * mixture.block) <= 1 + len(weights)


@pytest.mark.parametrize(
    ("parts", "batch", "message"),
    [
        ([], 1, "one or more parts"),
        ([MixturePart("a", 1), MixturePart("a", 2)], 1, "different names"),
        ([MixturePart("a", 0)], 1, "'a' of the mixture is empty"),
        ([MixturePart("a", 1, 0.0)], 1, "weight 0.0, expected a number above 0"),
        ([MixturePart("a", 1, float("nan"))], 1, "weight nan"),
        ([MixturePart("a", 1, float("inf"))], 1, "weight inf"),
        ([MixturePart("a", 1)], 0, "batch size 0, expected 1 or more"),
    ],
)
def test_what_cannot_be_mixed(parts: list[MixturePart], batch: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Mixture(parts, batch, 0)


HUGE = [MixturePart("image", 10**9, 0.6), MixturePart("audio", 4 * 10**8, 0.4)]


def test_a_billion_samples_start_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any step costs the same few rounds of the network."""
    rounds = 0
    mix = mixture_module._mix

    def counted(value: int) -> int:
        nonlocal rounds
        rounds += 1
        return mix(value)

    monkeypatch.setattr(mixture_module, "_mix", counted)
    mixture = Mixture(HUGE, 256, 0)
    for step in (0, 10**6, 10**9):
        before = rounds
        assert len(set(mixture.batch(step).ids)) == 256
        assert rounds - before < 256 * 40


MEASURE = """
import resource
from onellm_data.mixture import Mixture, MixturePart
parts = [MixturePart("image", 10**9, 0.6), MixturePart("audio", 4 * 10**8, 0.4)]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
mixture = Mixture(parts, 256, 0)
batches = [mixture.batch(step) for step in (0, 1, 10**6, 10**9)]
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_a_billion_samples_need_no_memory() -> None:
    """In a process of its own, so that nothing else counts; megabytes."""
    result = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    assert float(result.stdout) < 50
