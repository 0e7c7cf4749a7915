"""Compact letters: who shares one cannot be told apart, and nobody else does."""

import itertools

import numpy as np
import pytest

from leaderboard.letters import groups, letters, ordered_letters


def _slow_groups(separable: np.ndarray) -> set[frozenset[int]]:
    """Every subset tried: those without a separable pair that no further member fits into."""
    n = len(separable)
    subsets = [frozenset(part) for size in range(1, n + 1) for part in itertools.combinations(range(n), size)]
    alike = [part for part in subsets if not any(separable[i, j] for i in part for j in part)]
    return {part for part in alike if not any(part < other for other in alike)}


@pytest.mark.parametrize("seed", range(30))
def test_groups_are_the_largest_in_which_nobody_is_separable(seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = np.triu(rng.uniform(size=(7, 7)) < rng.uniform(), 1)
    separable = matrix | matrix.T
    assert set(groups(separable)) == _slow_groups(separable)
    dealt = letters(separable)
    for i, j in itertools.combinations(range(7), 2):
        assert bool(set(dealt[i]) & set(dealt[j])) == (not separable[i, j])
    assert all(dealt)


def test_piephos_worked_case() -> None:
    # A chain: neighbours alike, all others not.
    separable = np.abs(np.subtract.outer(range(4), range(4))) > 1
    assert letters(separable) == ["a", "ab", "bc", "c"]


def test_letters_follow_the_order() -> None:
    separable = ~np.eye(3, dtype=bool)
    assert ordered_letters(separable, [2, 0, 1]) == ["b", "c", "a"]
    assert letters(np.zeros((3, 3), dtype=bool)) == ["a", "a", "a"]
    assert letters(np.zeros((0, 0), dtype=bool)) == []


def test_more_groups_than_letters_have_numbers() -> None:
    dealt = letters(~np.eye(60, dtype=bool))
    assert len(set(dealt)) == 60
    assert dealt[25:27] == ["z", "A"]
    assert dealt[52] == "a2"
