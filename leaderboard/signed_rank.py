"""Wilcoxon's signed-rank test [1], of many paired comparisons at once.

Rows are comparisons, columns are samples; nan is a sample that one of the two does not have. Differences of zero say
nothing and are dropped, as Wilcoxon has it; equal ones share the mean of their ranks.

References:
    [1] Wilcoxon, Individual comparisons by ranking methods, Biometrics Bulletin 1 (1945).
    [2] Kerby, The simple difference formula, Comprehensive Psychology 3 (2014).
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from .threads import in_parts

N_EXACT = 50
"""Up to so many differences that are not zero a p-value is exact, ties or none; beyond, the normal approximation."""

Array = NDArray[np.float64]


class Comparisons(NamedTuple):
    """What P paired comparisons of a with b say, each entry (P,)."""

    n: NDArray[np.int64]
    """Samples that both have."""
    difference: Array
    """Mean of a - b over them; nan where there are none."""
    p_value: Array
    """Two-sided: neither tends to be above the other. 1 where nothing differs, or where the ranks of the differences
    and their mean point to different sides."""
    p_above: Array
    """One-sided: small where a is above b."""
    effect: Array
    """Matched-pairs rank-biserial correlation [2] in [-1, 1]: of all ranks of differences, the share that speaks for a
    less that which speaks for b. 0 where nothing differs, nan without samples."""


def compare(differences: Array) -> Comparisons:
    """The signed-rank test of each row of differences (P, N).

    The two-sided p-value is twice the one-sided one in the direction of the mean difference.
    """
    found = Comparisons(np.empty(len(differences), np.int64), *np.empty((4, len(differences))))

    def compare_part(part: slice) -> None:
        for column, values in zip(found, _compared(differences[part]), strict=True):
            column[part] = values

    in_parts(compare_part, *differences.shape)
    return found


def _compared(differences: Array) -> Comparisons:
    defined = np.isfinite(differences)
    n = defined.sum(axis=1)
    total = np.where(defined, differences, 0).sum(axis=1)
    # Sums of ranks do not ask whose they are.
    ordered = _by_size(differences)
    ranks = np.where(np.isfinite(ordered), _ranks(np.abs(ordered)) * np.sign(ordered), 0)
    p_above, p_below = _p_values(ranks)
    size = np.abs(ranks).sum(axis=1)
    effect = ranks.sum(axis=1) / np.where(size > 0, size, 1)
    return Comparisons(
        n,
        _over(total, n),
        np.minimum(1, 2 * np.where(total > 0, p_above, p_below)),
        p_above,
        np.where(n > 0, effect, np.nan),
    )


def signed_ranks(differences: Array) -> Array:
    """The rank of |d| among those of its row that are neither 0 nor nan, with the sign of d: (P, N).

    Ranks begin at 1; ties share their mean rank. 0 stays 0, nan stays nan.

    >>> signed_ranks(np.array([[0.5, -2.0, 0.0, 0.5, np.nan]]))
    array([[ 1.5, -3. ,  0. ,  1.5,  nan]])
    """
    order, ordered = _order(np.abs(differences))
    ranks = np.empty(differences.shape)
    ranks.ravel()[order] = _ranks(ordered)
    return np.asarray(ranks * np.sign(differences))


def mean_ranks(values: Array) -> Array:
    """The ranks 1 … N of each row of finite values (P, N); ties share their mean rank.

    >>> mean_ranks(np.array([[0.5, -2.0, 0.5]]))
    array([[2.5, 1. , 2.5]])
    """
    order = np.argsort(values, axis=1)
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, _shared_places(np.take_along_axis(values, order, axis=1)), axis=1)
    return ranks


def _by_size(differences: Array) -> Array:
    """Each row in the order of |d|; nan comes last.

    Faster than `argsort`: the bits of a float64 that is not negative, read as a whole number, order as the float does.
    Turned left by one, so that the sign comes last, those of d order as |d| does, and lose nothing.
    """
    bits = differences.view(np.uint64)
    turned = bits << 1 | bits >> 63
    turned.sort(axis=1)
    return (turned >> 1 | turned << 63).view(np.float64)


def _order(size: Array) -> tuple[NDArray[np.int64], Array]:
    """Sizes (P, N), none of them negative, with each row in order, nan last; before them, their places in all P × N.

    As `_by_size`, and what gives way to the place are the lowest bits of the size. Sizes that differ in those only may
    come out the wrong way round; so the order is checked, and rows with such neighbours are sorted again, slowly.
    """
    places = np.arange(size.size).reshape(size.shape)
    low = (1 << size.size.bit_length()) - 1
    order = size.view(np.int64) & ~low | places
    order.sort(axis=1)
    order &= low
    ordered = size.take(order)
    wrong = (ordered[:, 1:] < ordered[:, :-1]).any(axis=1)
    if wrong.any():
        order[wrong] = np.argsort(size[wrong], axis=1) + places[wrong, :1]
        ordered[wrong] = size.take(order[wrong])
    return order, ordered


def _ranks(ordered: Array) -> Array:
    """Ranks (P, N) of sorted rows, the mean rank where values are equal; zeros, in front, do not count."""
    places = np.broadcast_to(np.arange(1.0, ordered.shape[1] + 1), ordered.shape)
    tied = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
    if tied.any():
        places = places.copy()
        places[tied] = _shared_places(ordered[tied])
    return np.asarray(places - (ordered == 0).sum(axis=1, keepdims=True))


def least_n(n_tests: int, level: float) -> int:
    """So few samples cannot reject one of n_tests hypotheses, Holm-corrected, even if all of them agree: one less.

    A two-sided signed-rank test of n samples has no p-value below 2^(1 - n).

    >>> least_n(1, 0.05), least_n(21, 0.05)
    (6, 10)
    """
    n = 1
    while n_tests * 2.0 ** (1 - n) >= level:
        n += 1
    return n


def _shared_places(ordered: Array) -> Array:
    """Places 1 … N of sorted rows (P, N), the mean place where values are equal."""
    first = np.ones(ordered.shape, dtype=bool)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    starts = np.flatnonzero(first)
    lengths = np.diff(starts, append=ordered.size)
    return np.repeat(starts % ordered.shape[1] + (lengths + 1) / 2, lengths).reshape(ordered.shape)


def _p_values(ranks: Array) -> tuple[Array, Array]:
    """One-sided p-values (P,), above and below, of signed ranks (P, N): given the ranks, every sign is a fair coin."""
    variance = np.square(ranks).sum(axis=1)
    z = ranks.sum(axis=1) / np.sqrt(np.where(variance > 0, variance, 1))
    p_above, p_below = special.ndtr(-z), special.ndtr(z)
    for row in np.flatnonzero((ranks != 0).sum(axis=1) <= N_EXACT):
        # Mean ranks are multiples of a half: doubled they are whole.
        doubled = (2 * ranks[row][ranks[row] != 0]).astype(np.int64)
        tail = _upper_tail(np.sort(np.abs(doubled)).tobytes())
        p_above[row], p_below[row] = tail[doubled[doubled > 0].sum()], tail[-doubled[doubled < 0].sum()]
    return np.asarray(p_above), np.asarray(p_below)


@lru_cache(maxsize=1024)
def _upper_tail(steps: bytes) -> Array:
    """P(S >= s), s = 0, 1, …, for the sum S of those whole numbers, in bytes, for which a fair coin falls on heads."""
    chances = np.ones(1)
    for step in np.frombuffer(steps, dtype=np.int64):
        longer = np.zeros(len(chances) + step)
        longer[: len(chances)] = chances / 2
        longer[step:] += chances / 2
        chances = longer
    return np.asarray(np.minimum(chances[::-1].cumsum()[::-1], 1))


def _over(total: Array, n: NDArray[np.int64]) -> Array:
    return np.where(n > 0, total / np.where(n > 0, n, 1), np.nan)
