"""The permutation under the data order."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onellm_data.mixture import permute

KEYS = st.integers(0, 2**64 - 1)


def test_every_small_size_is_permuted() -> None:
    for size in range(1, 260):
        assert sorted(permute(index, size, 7) for index in range(size)) == list(range(size))


@settings(max_examples=25, deadline=None)
@given(size=st.integers(260, 6000), key=KEYS)
def test_every_index_is_hit_once(size: int, key: int) -> None:
    assert sorted(permute(index, size, key) for index in range(size)) == list(range(size))


@settings(deadline=None)
@given(size=st.integers(1, 10**12), key=KEYS, data=st.data())
def test_large_sizes_stay_inside_and_do_not_collide(size: int, key: int, data: st.DataObject) -> None:
    some = data.draw(st.lists(st.integers(0, size - 1), unique=True, max_size=20))
    images = [permute(index, size, key) for index in some]
    assert all(0 <= image < size for image in images)
    assert len(set(images)) == len(some)


@pytest.mark.parametrize("size", [2, 3, 5, 8, 64, 100])
def test_every_place_is_equally_likely(size: int) -> None:
    """Over many keys, index 0 goes everywhere about equally often (5 standard deviations)."""
    trials = 400 * size
    counts = Counter(permute(0, size, key) for key in range(trials))
    expected = trials / size
    assert all(abs(counts[place] - expected) < 5 * expected**0.5 for place in range(size))


@pytest.mark.parametrize("size", [16, 100, 1000])
def test_neighbours_do_not_stay_neighbours(size: int) -> None:
    """Over many keys, index 1 follows index 0 about as often as any other does (5 standard deviations)."""
    trials = 400 * size
    together = sum(permute(1, size, key) == permute(0, size, key) + 1 for key in range(trials))
    expected = trials / size
    assert abs(together - expected) < 5 * expected**0.5


def test_another_key_gives_another_order() -> None:
    orders = {tuple(permute(index, 50, key) for index in range(50)) for key in range(200)}
    assert len(orders) == 200


@pytest.mark.parametrize("index", [-1, 5, 6])
def test_an_index_outside_is_refused(index: int) -> None:
    with pytest.raises(IndexError, match=rf"got the index {index}, expected 0 to 4"):
        permute(index, 5, 0)


def test_the_order_of_a_release_stays() -> None:
    """Orders that runs have used must not change between versions: resumed runs depend on them."""
    assert [permute(index, 10, 1) for index in range(10)] == [1, 7, 2, 9, 3, 8, 5, 0, 4, 6]
