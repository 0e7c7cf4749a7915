"""The signed-rank test of many pairs at once: against scipy, against every sign pattern, and where nothing is known."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from scipy import stats

from leaderboard.signed_rank import compare, least_n, mean_ranks, signed_ranks

Array = NDArray[np.float64]


def _slow_ranks(differences: Array) -> list[float]:
    """One after the other."""
    known = [abs(value) for value in differences if value and not np.isnan(value)]
    ranks = []
    for value in differences:
        below, equal = sum(one < abs(value) for one in known), sum(one == abs(value) for one in known)
        ranks.append(float(np.sign(value) * (below + (equal + 1) / 2)) if value else 0.0)
    return [np.nan if np.isnan(value) else rank for value, rank in zip(differences, ranks, strict=True)]


@pytest.mark.parametrize("seed", range(4))
def test_ranks_agree_with_a_slow_replica(seed: int) -> None:
    rng = np.random.default_rng(seed)
    differences = np.vstack([rng.normal(size=(3, 20)), rng.integers(-3, 4, (5, 20))])
    differences[rng.uniform(size=differences.shape) < 0.2] = np.nan
    np.testing.assert_array_equal(signed_ranks(differences), [_slow_ranks(row) for row in differences])


def _by_scipy(differences: Array) -> Array:
    """Row by row, with scipy's ranks of what is neither 0 nor nan."""
    ranks = np.where(np.isnan(differences), np.nan, 0.0)
    for row, own in zip(differences, ranks, strict=True):
        counts = np.isfinite(row) & (row != 0)
        own[counts] = np.sign(row[counts]) * stats.rankdata(np.abs(row[counts]))
    return ranks


TINY, HUGE = 5e-324, 1.7976931348623157e308
NEAR = [1.0, np.nextafter(1, 2), np.nextafter(1, 0), -np.nextafter(1, 2), 1 + 2**-45]
"""Sizes that differ in the last bits only."""
DIFFERENCES = arrays(
    np.float64,
    array_shapes(min_dims=2, max_dims=2, max_side=40),
    elements=st.one_of(
        st.sampled_from([0.0, -0.0, np.nan, -np.nan, TINY, -TINY, 3 * TINY, 2.3e-308, HUGE, -HUGE, *NEAR]),
        st.integers(-3, 3).map(float),
        st.floats(allow_nan=False, allow_infinity=False),
    ),
    fill=st.nothing(),
)


@given(differences=DIFFERENCES)
@settings(max_examples=150, derandomize=True, deadline=None)
def test_ranks_are_scipys_whatever_the_differences(differences: Array) -> None:
    before = differences.copy()
    np.testing.assert_array_equal(signed_ranks(differences), _by_scipy(differences))
    np.testing.assert_array_equal(differences, before)


@given(differences=DIFFERENCES)
@settings(max_examples=100, derandomize=True, deadline=None)
def test_the_test_is_made_of_scipys_ranks(differences: Array) -> None:
    differences = np.clip(differences, -1e300, 1e300)  # the sum of larger ones would overflow
    ranks = np.nan_to_num(_by_scipy(differences))
    total = np.abs(ranks).sum(axis=1)
    defined = ~np.isnan(differences)
    expected = np.where(defined.any(axis=1), ranks.sum(axis=1) / np.maximum(total, 1), np.nan)
    found = compare(differences)
    np.testing.assert_array_equal(found.effect, expected)
    np.testing.assert_array_equal(found.n, defined.sum(axis=1))


@given(values=arrays(np.float64, (3, 20), elements=st.integers(-3, 3).map(float) | st.floats(-9, 9)))
@settings(max_examples=30, derandomize=True, deadline=None)
def test_mean_ranks_are_scipys(values: Array) -> None:
    np.testing.assert_array_equal(mean_ranks(values), stats.rankdata(values, axis=1))


def test_sizes_that_differ_in_their_last_bits_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    differences = 1 + rng.permuted(np.tile(np.arange(1000.0), (5, 1)), axis=1) * 2.0**-52
    np.testing.assert_array_equal(signed_ranks(differences), _by_scipy(differences))


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (300, 1000), (3, 40_000)])
def test_of_many_rows_each_is_compared_as_it_is_alone(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    differences = rng.normal(size=shape).round(3)
    differences[rng.uniform(size=shape) < 0.1] = np.nan
    together = compare(differences)
    alone = [compare(row[None]) for row in differences]
    for at, column in enumerate(together):
        np.testing.assert_array_equal(column, [one[at][0] for one in alone])


@pytest.mark.parametrize("n", [1, 6, 50, 51, 400])
def test_rows_agree_with_scipy_one_by_one(n: int) -> None:
    differences = np.random.default_rng(n).normal(size=(6, n)) + 0.1
    method = "exact" if n <= 50 else "asymptotic"
    expected = stats.wilcoxon(differences, axis=1, alternative="greater", method=method).pvalue  # type: ignore[call-overload]
    np.testing.assert_allclose(compare(differences).p_above, expected, rtol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_p_values_of_ties_are_those_of_every_sign_pattern(seed: int) -> None:
    differences = np.random.default_rng(seed).integers(-3, 4, 12).astype(float)
    ranks = signed_ranks(differences[None])[0]
    size, seen = np.abs(ranks[ranks != 0]), ranks[ranks > 0].sum()
    patterns = itertools.product([0, 1], repeat=len(size))
    slow = np.mean([np.dot(pattern, size) >= seen - 1e-9 for pattern in patterns])
    assert compare(differences[None]).p_above[0] == pytest.approx(slow)


def test_what_nobody_knows_does_not_count() -> None:
    differences = np.array([[1.0, -2.0, 3.0, 4.0, np.nan, 0.0], [np.nan] * 6, [0.0] * 6])
    found = compare(differences)
    alone = compare(differences[:1, :4])
    assert found.n.tolist() == [5, 0, 6]
    assert found.p_value[0] == alone.p_value[0]
    assert found.p_value[1:].tolist() == [1, 1]
    assert np.isnan(found.effect[1])
    assert found.effect[2] == 0
    assert np.isnan(found.difference[1])


def test_effect_is_the_rank_biserial_correlation() -> None:
    found = compare(np.array([[1.0, 2.0, -3.0, 4.0], [1.0, 2.0, 3.0, 4.0], [-1.0, -1.0, -1.0, 0.0]]))
    assert found.effect.tolist() == [(1 + 2 + 4 - 3) / 10, 1, -1]


@pytest.mark.parametrize("n_tests", [1, 3, 21, 276])
def test_least_n_is_where_agreement_begins_to_suffice(n_tests: int) -> None:
    n = least_n(n_tests, 0.05)
    assert compare(np.arange(1.0, n + 1)[None]).p_value[0] * n_tests < 0.05
    assert compare(np.arange(1.0, n)[None]).p_value[0] * n_tests >= 0.05


def test_the_test_holds_its_level_and_finds_an_effect() -> None:
    noise = np.random.default_rng(0).normal(size=(2000, 20))
    assert 0.035 < (compare(noise).p_value < 0.05).mean() < 0.065
    assert (compare(noise + 1).p_value < 0.05).mean() > 0.95
