"""Statistics of a leaderboard's column: means with intervals, paired comparisons, ranks with ties, controls.

A column is what one metric says about one task: a matrix samples × explainers of scores, nan where a score is
undefined or missing. Nothing here replaces a missing score: what is not there does not count, and n says so.

References:
    [1] Efron, Better bootstrap confidence intervals, JASA 82 (1987).
    [2] Wilcoxon, Individual comparisons by ranking methods, Biometrics Bulletin 1 (1945).
    [3] Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statistics 6 (1979).
    [4] Hesterberg, What teachers should know about the bootstrap, The American Statistician 69 (2015).
    [5] DiCiccio and Efron, More accurate confidence intervals in exponential families, Biometrika 79 (1992).
    [6] Friedman, The use of ranks to avoid the assumption of normality …, JASA 32 (1937); Iman and Davenport,
        Approximations of the critical region of the Friedman statistic, Comm. Statistics A 9 (1980).
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special

from .signed_rank import compare, mean_ranks

LEVEL = 0.05
"""Family-wise error of the comparisons of a column; intervals cover 1 - LEVEL."""

N_RESAMPLES = 5_000
"""Of an interval."""

N_RESAMPLED = 256
"""Up to so many samples (or patients) an interval is made by resampling; beyond, by its closed form."""

_SEED = 20240229
_N_AT_ONCE = 1 << 22
"""So many means, or differences, are held at a time: bounds the memory."""

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

    Zero differences are dropped. Exact up to 50 differences, else the normal approximation. The
    two-sided p-value is twice the one-sided one in the direction of the mean difference: where ranks and mean
    point to different sides it is 1.

    >>> better([3.0, 5.0, 4.0, 9.0, 7.0], [1.0, 2.0, 3.5, 4.0, 1.0])
    Comparison(n=5, difference=3.3, p_value=0.0625, p_above=0.03125)
    """
    found = compare(np.atleast_2d(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)))
    return Comparison(int(found.n[0]), *(float(column[0]) for column in found[1:4]))


def intervals(scores: ArrayLike, clusters: ArrayLike | None = None) -> tuple[NDArray[np.int64], Array, Array, Array]:
    """n, mean, and the ends of its 95 % bootstrap interval over samples, of each column of scores (N, K).

    The bias-corrected and accelerated interval [1], of 5,000 resamples that depend on n only: the same scores give the
    same interval. Its level is moved from the normal to the t distribution and by the narrowness of small samples [4],
    without which an interval of eight samples would cover 0.89 instead of 0.95. Where it degenerates (the mean lies
    outside all resampled means), the percentile interval. Beyond 256 samples the same to second order in closed form,
    the ABC interval [5], held within the scores. Of one sample, or of equal scores, both ends are the mean; of none,
    all three are nan.

    Args:
        scores: (N, K); nan does not count.
        clusters: (N,), what is equal for samples that belong together, those of one patient: they are drawn together.
    """
    rows = np.asarray(scores, dtype=np.float64).T
    sums, counts = _sums(rows, clusters)
    mean, low, high = (np.full(len(rows), np.nan) for _ in range(3))
    n_clusters = (counts > 0).sum(axis=1)
    for size in np.unique(n_clusters[n_clusters > 0]):
        of_size = np.flatnonzero(n_clusters == size)
        there = counts[of_size] > 0
        totals, sizes = (part[of_size][there].reshape(-1, size) for part in (sums, counts))
        values = totals / sizes
        varies = values.min(axis=1) < values.max(axis=1)
        # The mean of equal scores is the score, whatever rounding makes of their sum.
        mean[of_size] = np.where(varies, totals.sum(axis=1) / sizes.sum(axis=1), values[:, 0])
        low[of_size] = high[of_size] = mean[of_size]
        ends = _resampled if size <= N_RESAMPLED else _in_closed_form
        for chunk in _chunks(np.flatnonzero(varies), N_RESAMPLES):
            low[of_size[chunk]], high[of_size[chunk]] = ends(totals[chunk], sizes[chunk])
    return np.isfinite(rows).sum(axis=1), mean, low, high


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


class Friedman(NamedTuple):
    """Whether any of K differ."""

    n: int
    """Blocks (samples, tasks) that have all K."""
    statistic: float
    """Iman and Davenport's F; infinite where all blocks agree, nan where n or K is below 2."""
    p_value: float


def friedman(scores: ArrayLike) -> Friedman:
    """Friedman's test of the columns of scores (N, K), with ties, in the form of Iman and Davenport [6].

    Blocks that lack a column are left out. The chi-square form of the same test is too careful where N is small.
    """
    blocks = np.asarray(scores, dtype=np.float64)
    blocks = blocks[np.isfinite(blocks).all(axis=1)]
    n, k = blocks.shape
    if n < 2 or k < 2:
        return Friedman(n, float("nan"), 1.0)
    ranked = mean_ranks(blocks)
    spread = np.square(ranked - (k + 1) / 2).sum()
    if spread == 0:
        return Friedman(n, 0.0, 1.0)
    # As in the analysis of variance of ranks: columns against what they leave.
    explained = n * np.square(ranked.mean(axis=0) - (k + 1) / 2).sum()
    left = spread - explained
    if left <= 1e-9 * spread:
        return Friedman(n, float("inf"), float(special.gamma(k + 1) ** (1 - n)))
    statistic = float((n - 1) * explained / left)
    return Friedman(n, statistic, float(special.fdtrc(k - 1, (k - 1) * (n - 1), statistic)))


def ranks(scores: ArrayLike, higher_is_better: bool) -> NDArray[np.int64]:
    """Rank (K,) of each column of scores (N, K): 1 + the number of columns that are separably better.

    Separably better: the two-sided paired Wilcoxon test rejects at 5 %, Holm-corrected over all pairs, and the
    ranks of the differences and their mean point the same way. What cannot be told from the best has rank 1; so
    ranks tie, and a rank may be left out after ties. A column without scores is not separable from any.
    """
    rows = _oriented(scores, higher_is_better)
    first, second = np.triu_indices(len(rows), 1)
    difference, p_value, _ = _pairs(rows[first], rows[second])
    separable = holm(p_value) < LEVEL
    losers = np.where(difference > 0, second, first)[separable]
    return 1 + np.bincount(losers, minlength=len(rows))


def beats_controls(scores: ArrayLike, controls: ArrayLike, higher_is_better: bool) -> NDArray[np.bool_]:
    """Whether each column of scores (N, K) is significantly better than every column of controls (N, C): (K,).

    One-sided paired Wilcoxon tests at 5 %, Holm-corrected over all explainers × controls. A control without any
    score is left out; without controls all columns pass. Meaningless for the category runtime: a control costs
    nothing, and to be faster than it says nothing about an explanation.
    """
    rows, rivals = _oriented(scores, higher_is_better), _oriented(controls, higher_is_better)
    rivals = rivals[np.isfinite(rivals).any(axis=1)]
    p_above = _pairs(rows.repeat(len(rivals), axis=0), np.tile(rivals, (len(rows), 1)))[2]
    beaten = (holm(p_above) < LEVEL).reshape(len(rows), len(rivals))
    return np.asarray(beaten.all(axis=1))


def judge(scores: pd.DataFrame, control: NDArray[np.bool_], higher_is_better: bool, costs: bool) -> pd.DataFrame:
    """All that a column of the leaderboard says about its explainers.

    Args:
        scores: Samples × explainers; nan: undefined or missing.
        control: (K,), which explainers are controls: they are not ranked.
        higher_is_better: The metric's direction.
        costs: The metric tells a cost (category runtime). All samples of a batch share one measurement, so tests and
            intervals over samples would count it many times: there are none, nor a comparison with controls.

    Returns:
        A row an explainer: n, mean, low, high (`intervals`), rank (`ranks`), best (rank 1), beats_controls
        (`beats_controls`); rank and beats_controls are missing (NA) for controls and where there are no scores.
    """
    values = scores.to_numpy(dtype=np.float64)
    n, mean, low, high = intervals(values)
    ranked = ~control & (n > 0)
    rank = pd.Series(pd.NA, index=scores.columns, dtype="Int64")
    if costs:
        low, high = np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    else:
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
    rows: Array = np.asarray(scores, dtype=np.float64).T
    return rows if higher_is_better else -rows


def _pairs(first: Array, second: Array) -> tuple[Array, Array, Array]:
    """Mean difference, two-sided and one-sided p-value (P,) of each row of first (P, N) with that of second."""
    found = np.empty((3, len(first)))
    for chunk in _chunks(np.arange(len(first)), first.shape[1]):
        compared = compare(first[chunk] - second[chunk])
        found[:, chunk] = compared.difference, compared.p_value, compared.p_above
    return found[0], found[1], found[2]


def _sums(rows: Array, clusters: ArrayLike | None) -> tuple[Array, Array]:
    """Sum and number of the scores that count, of each cluster (K, C)."""
    defined = np.isfinite(rows)
    known = np.where(defined, rows, 0)
    if clusters is None:
        return known, defined.astype(np.float64)
    members = np.unique(np.asarray(clusters), return_inverse=True)[1]
    return sums_of(known, members), sums_of(defined.astype(np.float64), members)


def sums_of(values: Array, members: NDArray[np.intp]) -> Array:
    """Sums of values (…, N) over the samples of each cluster: (…, C). members (N,) are 0 … C - 1, each there."""
    order = np.argsort(members, kind="stable")
    starts = np.searchsorted(members[order], np.arange(members.max(initial=-1) + 1))
    return np.asarray(np.add.reduceat(values[..., order], starts, axis=-1)) if len(starts) else values


def _chunks(places: NDArray[np.intp], size: int) -> list[NDArray[np.intp]]:
    """The places in turn, so many at a time as rows of the size fit the memory."""
    step = max(1, _N_AT_ONCE // max(size, 1))
    return [places[start : start + step] for start in range(0, len(places), step)]


def _resampled(totals: Array, sizes: Array) -> tuple[Array, Array]:
    """The ends (K,) of the intervals of totals.sum() / sizes.sum(), each (K, n), by resampling the n."""
    counts = resample_counts(totals.shape[1])
    drawn = (totals @ counts) / (sizes @ counts)
    mean = (totals.sum(axis=1) / sizes.sum(axis=1))[:, None]
    # Half of those that are equal, but for what summing in another order rounds.
    near = 1e-13 * np.abs(drawn).max(axis=1, keepdims=True)
    below = ((drawn < mean - near).mean(axis=1) + (drawn <= mean + near).mean(axis=1)) / 2
    bias, acceleration = special.ndtri(below), _acceleration(totals, sizes)
    corrected = np.isfinite(bias)
    bias, acceleration = np.where(corrected, bias, 0), np.where(corrected, acceleration, 0)
    drawn.sort(axis=1)
    low, high = (_at(drawn, special.ndtr(_moved(z, bias, acceleration))) for z in _bounds(totals.shape[1]))
    return low, high


def _in_closed_form(totals: Array, sizes: Array) -> tuple[Array, Array]:
    """The same as `_resampled`, to second order and without resampling: the ABC interval of a mean [5]."""
    mean = totals.sum(axis=1) / sizes.sum(axis=1)
    influence = _influence(totals, sizes)
    deviation = np.sqrt(np.square(influence).sum(axis=1))
    acceleration = _acceleration(totals, sizes)
    least, most = (totals / sizes).min(axis=1), (totals / sizes).max(axis=1)
    low, high = (np.clip(mean + deviation * _stretched(z, acceleration), least, most) for z in _bounds(totals.shape[1]))
    return low, high


def _influence(totals: Array, sizes: Array) -> Array:
    """By how much each of the n moves the mean (K, n)."""
    n = sizes.sum(axis=1, keepdims=True)
    return np.asarray((totals - sizes * totals.sum(axis=1, keepdims=True) / n) / n)


def _acceleration(totals: Array, sizes: Array) -> Array:
    """A sixth of the skewness of the mean (K,) [1]; 0 where the scores differ by rounding alone."""
    influence = _influence(totals, sizes)
    size = np.abs(influence).max(axis=1, keepdims=True)
    scaled = influence / np.where(size > 0, size, 1)
    spread = np.square(scaled).sum(axis=1)
    return np.asarray((np.square(scaled) * scaled).sum(axis=1) / (6 * np.where(spread > 0, spread, 1) ** 1.5))


def _bounds(n: int) -> tuple[float, float]:
    z = widened(n, n - 1)
    return -z, z


def widened(n: int, freedom: int) -> float:
    """Where a normal variable would be cut, so that the mean of n is covered as often as is said [4]; n > 1.

    Args:
        n: A sample of n is narrower than what it is drawn from, by √((n - 1) / n).
        freedom: Degrees of freedom of its estimated deviation.
    """
    return float(np.sqrt(n / (n - 1)) * special.stdtrit(freedom, 1 - LEVEL / 2))


def _moved(z: float, bias: Array, acceleration: Array) -> Array:
    return np.asarray(bias + (bias + z) / np.maximum(1 - acceleration * (bias + z), 1e-3))


def _stretched(z: float, acceleration: Array) -> Array:
    """As `_moved`; the bias of a mean is its acceleration."""
    return np.asarray((acceleration + z) / (1 - acceleration * (acceleration + z)) ** 2)


def _at(ordered: Array, levels: Array) -> Array:
    """The quantiles of rows (K, B), one level (K,) each, between neighbours in proportion."""
    place = levels * (ordered.shape[1] - 1)
    before = np.floor(place).astype(np.intp)
    after = np.minimum(before + 1, ordered.shape[1] - 1)
    row = np.arange(len(ordered))
    low, high = ordered[row, before], ordered[row, after]
    return np.asarray(low + (place - before) * (high - low))


@lru_cache(maxsize=4)
def resample_counts(n: int, n_resamples: int = N_RESAMPLES) -> Array:
    """How often each of n is drawn into each resample (n, n_resamples): of n only, always the same."""
    rng = np.random.default_rng([_SEED, n])
    counts = rng.multinomial(n, np.full(n, 1 / n), size=n_resamples).T.astype(np.float64)
    counts.flags.writeable = False
    return counts
