"""Statistics of a leaderboard's column: means with intervals, paired comparisons, ranks with ties, controls.

A column is what one metric says about one task: a matrix samples × explainers of scores, nan where a score is
undefined or missing. Nothing here replaces a missing score: what is not there does not count, and n says so.

References:
    [1] Efron, Better bootstrap confidence intervals, JASA 82 (1987).
    [2] Wilcoxon, Individual comparisons by ranking methods, Biometrics Bulletin 1 (1945).
    [3] Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statistics 6 (1979).
    [4] Pratt & Gibbons, Concepts of Nonparametric Theory, ch. 3 (1981): the exact test where ranks are tied.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

LEVEL = 0.05
"""Family-wise error of the comparisons of a column; intervals cover 1 - LEVEL."""

_SEED = 20240229
_N_EXACT = 50
"""Up to so many differences the signed-rank test is exact; beyond, the normal approximation is as good."""
_N_AT_ONCE = 1 << 21
"""So many differences are ranked at a time: bounds the memory."""

Array = NDArray[np.float64]


class Comparison(NamedTuple):
    """What a paired comparison of two explainers says."""

    n: int
    """Samples that both have."""
    difference: float
    """Mean of a - b over them; nan where there are none."""
    p_value: float
    """Two-sided: neither tends to be above the other. 1 where all differences are zero."""
    p_above: float
    """One-sided: small where a is above b."""


def better(a: ArrayLike, b: ArrayLike) -> Comparison:
    """Wilcoxon's signed-rank test of the paired scores (N,) of a and b [2], over the samples that both have.

    Zero differences are dropped. Exact, ties included [4], up to 50 differences; else the normal approximation
    with the variance of the tied ranks.

    >>> better([3.0, 5.0, 4.0, 9.0, 7.0], [1.0, 2.0, 3.0, 4.0, 1.0])
    Comparison(n=5, difference=3.4, p_value=0.0625, p_above=0.03125)
    """
    differences = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    above, below = _signed_rank(differences[None])
    n = int(np.isfinite(differences).sum())
    mean = float(np.nanmean(differences)) if n else float("nan")
    return Comparison(n, mean, float(_two_sided(above, below)[0]), float(above[0]))


def intervals(scores: ArrayLike) -> tuple[NDArray[np.int64], Array, Array, Array]:
    """n, mean, and the ends of its 95 % bootstrap interval over samples, of each column of scores (N, K).

    The bias-corrected and accelerated interval [1], of 10,000 resamples (fewer from 200 samples on, 2,000 from
    1,000 on) that depend on n only: the same scores give the same interval, and columns of one n share their
    resamples. Where it degenerates (the mean lies outside all resampled means), the percentile interval. Of one
    sample, or of equal scores, both ends are the mean; of none, all three are nan.
    """
    rows = np.ascontiguousarray(np.asarray(scores, dtype=np.float64).T)
    defined = np.isfinite(rows)
    n = defined.sum(axis=1)
    mean, low, high = (np.full(len(rows), np.nan) for _ in range(3))
    for count in np.unique(n[n > 0]):
        of_count = n == count
        values = rows[of_count][defined[of_count]].reshape(-1, count)
        mean[of_count], low[of_count], high[of_count] = _bootstrap(values)
    return n, mean, low, high


def holm(p_values: Array) -> Array:
    """Holm's adjusted p-values [3] of a family of tests (M,): the family-wise error is theirs.

    >>> holm(np.array([0.01, 0.04, 0.03])).round(6).tolist()
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    steps = p_values[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty_like(steps)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def ranks(scores: ArrayLike, higher_is_better: bool) -> NDArray[np.int64]:
    """Rank (K,) of each column of scores (N, K): 1 + the number of columns that are separably better.

    Separably better: the two-sided paired Wilcoxon test rejects at 5 %, Holm-corrected over all pairs, and the
    ranks of the differences and their mean point the same way. What cannot be told from the best has rank 1; so
    ranks tie, and a rank may be left out after ties. A column without scores is not separable from any.
    """
    rows = _oriented(scores, higher_is_better)
    first, second = np.triu_indices(len(rows), 1)
    above, below, difference = _compare(rows, first, second)
    separable = holm(_two_sided(above, below)) < LEVEL
    first_wins = separable & (above < below) & (difference > 0)
    second_wins = separable & (below < above) & (difference < 0)
    losses = np.bincount(second[first_wins], minlength=len(rows)) + np.bincount(first[second_wins], minlength=len(rows))
    return 1 + losses


def beats_controls(scores: ArrayLike, controls: ArrayLike, higher_is_better: bool) -> NDArray[np.bool_]:
    """Whether each column of scores (N, K) is significantly better than every column of controls (N, C): (K,).

    One-sided paired Wilcoxon tests at 5 %, Holm-corrected over all explainers × controls. A control without any
    score is left out; without controls all columns pass. Meaningless for the category runtime: a control costs
    nothing, and to be faster than it says nothing about an explanation.
    """
    rows, rivals = _oriented(scores, higher_is_better), _oriented(controls, higher_is_better)
    rivals = rivals[np.isfinite(rivals).any(axis=1)]
    first, second = (index.ravel() for index in np.indices((len(rows), len(rivals))))
    above, _, _ = _compare(np.concatenate([rows, rivals]), first, second + len(rows))
    beaten: NDArray[np.bool_] = np.all((holm(above) < LEVEL).reshape(len(rows), len(rivals)), axis=1)
    return beaten


def judge(scores: pd.DataFrame, control: NDArray[np.bool_], higher_is_better: bool, costs: bool) -> pd.DataFrame:
    """All that a column of the leaderboard says about its explainers.

    Args:
        scores: Samples × explainers; nan: undefined or missing.
        control: (K,), which explainers are controls: they are not ranked.
        higher_is_better: The metric's direction.
        costs: The metric tells a cost (category runtime): nothing is compared with controls.

    Returns:
        A row an explainer: n, mean, low, high (`intervals`), rank (`ranks`), best (rank 1), beats_controls
        (`beats_controls`); rank and beats_controls are missing (NA) for controls and where there are no scores.
    """
    values = scores.to_numpy(dtype=np.float64)
    n, mean, low, high = intervals(values)
    ranked = ~control & (n > 0)
    rank = pd.Series(pd.NA, index=scores.columns, dtype="Int64")
    rank[ranked] = ranks(values[:, ranked], higher_is_better)
    beats = pd.Series(pd.NA, index=scores.columns, dtype="boolean")
    if not costs and (control & (n > 0)).any():
        beats[ranked] = beats_controls(values[:, ranked], values[:, control], higher_is_better)
    columns = {
        "n": n,
        "mean": mean,
        "low": low,
        "high": high,
        "rank": rank,
        "best": (rank == 1).fillna(False).astype(bool),
    }
    return pd.DataFrame({**columns, "beats_controls": beats}, index=scores.columns)


def _oriented(scores: ArrayLike, higher_is_better: bool) -> Array:
    """(K, N): a row an explainer, the higher the better."""
    rows: Array = np.ascontiguousarray(np.asarray(scores, dtype=np.float64).T)
    return rows if higher_is_better else -rows


def _bootstrap(values: Array) -> tuple[Array, Array, Array]:
    """Mean, low, high (K,) of values (K, n) without nan."""
    n = values.shape[1]
    mean = values.mean(axis=1)
    centred = values - mean[:, None]
    # Rounding must not decide whether a resampled mean equals the mean: with scores of 0 and 1 many do.
    noise = 1e-12 * np.abs(values).max(axis=1)
    resampled = centred @ _resamples(n).T / n
    resampled.sort(axis=1)
    below = (resampled < -noise[:, None]).mean(axis=1)
    ties = (resampled <= noise[:, None]).mean(axis=1) - below
    low, high = (_quantile(resampled, level) for level in _bca_levels(centred, below + ties / 2))
    constant = values.min(axis=1) == values.max(axis=1)
    mean = np.where(constant, values[:, 0], mean)
    return mean, np.where(constant, mean, mean + low), np.where(constant, mean, mean + high)


@lru_cache(maxsize=2)
def _resamples(n: int) -> Array:
    """(B, n): how often each of n samples is drawn. A resampled sum is then a matrix product."""
    n_resamples = int(np.clip(2_000_000 // n, 2_000, 10_000))
    drawn = np.random.default_rng([_SEED, n]).integers(n, size=(n_resamples, n))
    drawn += np.arange(n_resamples)[:, None] * n
    counts = np.bincount(drawn.ravel(), minlength=n_resamples * n)
    return counts.reshape(n_resamples, n).astype(np.float64)


def _bca_levels(centred: Array, below: Array) -> tuple[Array, Array]:
    """The quantiles (K,) that bound the interval: below is the share of resampled means below the mean."""
    spread = (centred**2).sum(axis=1)
    usable = (below > 0) & (below < 1) & (spread > 0)
    # For a mean the jackknife's acceleration has this closed form.
    acceleration = (centred**3).sum(axis=1) / (6 * np.where(usable, spread, 1) ** 1.5)
    bias = stats.norm.ppf(np.where(usable, below, 0.5))
    levels = []
    for level in (LEVEL / 2, 1 - LEVEL / 2):
        shifted = bias + stats.norm.ppf(level)
        corrected = stats.norm.cdf(bias + shifted / (1 - acceleration * shifted))
        levels.append(np.where(usable, corrected, level))
    return levels[0], levels[1]


def _quantile(ordered: Array, levels: Array) -> Array:
    """Row i's quantile at levels[i], of rows (K, B) in ascending order; linear between neighbours."""
    place = levels * (ordered.shape[1] - 1)
    index = np.floor(place).astype(np.intp)[:, None]
    low = np.take_along_axis(ordered, index, axis=1)[:, 0]
    high = np.take_along_axis(ordered, np.minimum(index + 1, ordered.shape[1] - 1), axis=1)[:, 0]
    quantiles: Array = low + (place - index[:, 0]) * (high - low)
    return quantiles


def _compare(rows: Array, first: NDArray[np.intp], second: NDArray[np.intp]) -> tuple[Array, Array, Array]:
    """p that first is above, p that it is below, and the mean difference (0 without common samples) of P pairs."""
    above, below, difference = np.ones(len(first)), np.ones(len(first)), np.zeros(len(first))
    step = max(1, _N_AT_ONCE // max(1, rows.shape[1]))
    for start in range(0, len(first), step):
        part = slice(start, start + step)
        differences = rows[first[part]] - rows[second[part]]
        n = np.isfinite(differences).sum(axis=1)
        difference[part] = np.nansum(differences, axis=1) / np.maximum(n, 1)
        above[part], below[part] = _signed_rank(differences)
    return above, below, difference


def _two_sided(above: Array, below: Array) -> Array:
    p_values: Array = np.minimum(1, 2 * np.minimum(above, below))
    return p_values


def _signed_rank(differences: Array) -> tuple[Array, Array]:
    """One-sided p-values (P,), that differences (P, N) are above and below zero; nan and zero do not count."""
    doubled, positive = _doubled_ranks(np.where(np.isfinite(differences), differences, 0))
    counts = (doubled > 0).sum(axis=1)
    sums = (doubled * positive).sum(axis=1)
    totals = doubled.sum(axis=1)
    spread = np.sqrt(np.maximum((doubled.astype(np.float64) ** 2).sum(axis=1), 1))
    z = (2 * sums - totals) / spread
    above, below = stats.norm.sf(z), stats.norm.cdf(z)
    for row in np.flatnonzero(counts <= _N_EXACT):
        tail = _tail(doubled[row, doubled.shape[1] - counts[row] :].astype(np.uint8).tobytes())
        above[row], below[row] = tail[sums[row]], tail[totals[row] - sums[row]]
    return above, below


def _doubled_ranks(differences: Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Ranks × 2 of |differences| (P, N), ascending, 0 for zeros, means of ties; and which belong to positive ones.

    The bits of a non-negative float order as the float does. One bit to the left there is room for the sign, and
    a plain sort, several times faster than ranking by index, keeps both together.
    """
    keys = (np.abs(differences).view(np.uint64) << np.uint64(1)) | (differences > 0)
    keys.sort(axis=1)
    size = keys >> np.uint64(1)
    place = np.arange(1, keys.shape[1] + 1) - (size == 0).sum(axis=1)[:, None]
    doubled = 2 * np.maximum(place, 0)
    tied = np.any((size[:, 1:] == size[:, :-1]) & (size[:, 1:] > 0), axis=1)
    if tied.any():
        doubled[tied] = _share_ties(size[tied], place[tied])
    return doubled, (keys & np.uint64(1)).astype(bool)


def _share_ties(size: NDArray[np.uint64], place: NDArray[np.int64]) -> NDArray[np.int64]:
    """First + last place of the group of equal sizes that each belongs to; 0 for size 0."""
    steps = size[:, 1:] != size[:, :-1]
    edge = np.ones((len(size), 1), dtype=bool)
    first = np.maximum.accumulate(np.where(np.hstack([edge, steps]), place, place.min()), axis=1)
    closing = np.where(np.hstack([steps, edge]), place, place.max())
    last = np.minimum.accumulate(closing[:, ::-1], axis=1)[:, ::-1]
    return np.where(size > 0, first + last, 0)


@lru_cache(maxsize=4096)
def _tail(doubled_ranks: bytes) -> Array:
    """Chance, at each w, that the doubled ranks of random signs' positives sum to w or more: all 2^n sign patterns."""
    chances = np.ones(1)
    for rank in doubled_ranks:
        chances = (np.pad(chances, (0, rank)) + np.pad(chances, (rank, 0))) / 2
    tail: Array = np.minimum(chances[::-1].cumsum()[::-1], 1)
    return tail
