"""Statistics of a leaderboard's column: means with intervals, paired comparisons, ranks with ties, controls.

A column is what one metric says about one task: a matrix samples × explainers of scores, nan where a score is
undefined or missing. Nothing here replaces a missing score: what is not there does not count, and n says so.

References:
    [1] Hall, Theoretical comparison of bootstrap confidence intervals, Annals of Statistics 16 (1988).
    [2] Wilcoxon, Individual comparisons by ranking methods, Biometrics Bulletin 1 (1945).
    [3] Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statistics 6 (1979).
    [4] Hesterberg, What teachers should know about the bootstrap, The American Statistician 69 (2015).
    [5] DiCiccio and Efron, More accurate confidence intervals in exponential families, Biometrika 79 (1992).
    [6] Friedman, The use of ranks to avoid the assumption of normality …, JASA 32 (1937); Iman and Davenport,
        Approximations of the critical region of the Friedman statistic, Comm. Statistics A 9 (1980).
    [7] Bell and McCaffrey, Bias reduction in standard errors for linear regression with multi-stage samples, Survey
        Methodology 28 (2002).
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special

from .signed_rank import compare, mean_ranks
from .units import Units, means_of_units, sums_of

LEVEL = 0.05
"""Family-wise error of the comparisons of a column; intervals cover 1 - LEVEL."""

N_RESAMPLES = 5_000
"""Of an interval."""

N_RESAMPLED = 256
"""Up to so many samples (or patients) an interval is made by resampling; beyond, by its closed form."""

N_HELD = 8
"""From so many samples (or patients) on an interval is held within the scores; the mean of fewer may lie outside."""

LEAST_DEVIATION = 0.3
"""Of a resample, in deviations of the scores: one that drew hardly anything but equal scores has none of its own."""

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

    The bootstrap-t interval [1, 4] of 5,000 resamples that depend on n only: the same scores give the same interval. It
    is the t interval, with quantiles of the resamples' own t in place of Student's, and so knows skewness. Beyond 256
    samples its closed form, the ABC interval [5] with Student's quantile. From 8 samples on both ends lie within the
    scores. Of one sample, or of equal scores, both ends are the mean; of none, all three are nan.

    Args:
        scores: (N, K); nan does not count.
        clusters: (N,), what is equal for samples that belong together, those of one patient: they are drawn together,
            and the deviation of the mean is found by leaving each patient out [7].
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
        if size >= N_HELD:
            low[of_size], high[of_size] = _held(rows[of_size], low[of_size], high[of_size])
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


def ranks(scores: ArrayLike, higher_is_better: bool, units: Units | None = None) -> NDArray[np.int64]:
    """Rank (K,) of each column of scores (N, K): 1 + the number of columns that are separably better.

    Separably better: the two-sided paired Wilcoxon test rejects at 5 %, Holm-corrected over all pairs, and the
    ranks of the differences and their mean point the same way. What cannot be told from the best has rank 1; so
    ranks tie, and a rank may be left out after ties. A column without scores is not separable from any. What is
    tested is the mean difference of each unit (N,), of each sample where none are given.
    """
    rows = _oriented(scores, higher_is_better)
    first, second = np.triu_indices(len(rows), 1)
    difference, p_value, _ = _pairs(rows[first], rows[second], units)
    separable = holm(p_value) < LEVEL
    losers = np.where(difference > 0, second, first)[separable]
    return 1 + np.bincount(losers, minlength=len(rows))


def beats_controls(
    scores: ArrayLike, controls: ArrayLike, higher_is_better: bool, units: Units | None = None
) -> NDArray[np.bool_]:
    """Whether each column of scores (N, K) is significantly better than every column of controls (N, C): (K,).

    One-sided paired Wilcoxon tests at 5 %, Holm-corrected over all explainers × controls. A control without any
    score is left out; without controls all columns pass. Units as in `ranks`. Meaningless for the category runtime: a
    control costs nothing, and to be faster than it says nothing about an explanation.
    """
    rows, rivals = _oriented(scores, higher_is_better), _oriented(controls, higher_is_better)
    rivals = rivals[np.isfinite(rivals).any(axis=1)]
    p_above = _pairs(rows.repeat(len(rivals), axis=0), np.tile(rivals, (len(rows), 1)), units)[2]
    beaten = (holm(p_above) < LEVEL).reshape(len(rows), len(rivals))
    return np.asarray(beaten.all(axis=1))


def judge(
    scores: pd.DataFrame,
    control: NDArray[np.bool_],
    higher_is_better: bool,
    costs: bool,
    units: Units | None = None,
) -> pd.DataFrame:
    """All that a column of the leaderboard says about its explainers.

    Args:
        scores: Samples × explainers; nan: undefined or missing.
        control: (K,), which explainers are controls: they are not ranked.
        higher_is_better: The metric's direction.
        costs: The metric tells a cost (category runtime). All samples of a batch share one measurement, so tests and
            intervals over samples would count it many times: there are none, nor a comparison with controls.
        units: Which samples are of one patient: intervals and tests count patients; None: every sample by itself.

    Returns:
        A row an explainer: n, mean, low, high (`intervals`), rank (`ranks`), best (rank 1), beats_controls
        (`beats_controls`); rank and beats_controls are missing (NA) for controls and where there are no scores.
    """
    values = scores.to_numpy(dtype=np.float64)
    n, mean, low, high = intervals(values, units)
    ranked = ~control & (n > 0)
    rank = pd.Series(pd.NA, index=scores.columns, dtype="Int64")
    if costs:
        low, high = np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    else:
        rank[ranked] = ranks(values[:, ranked], higher_is_better, units)
    beats = pd.Series(pd.NA, index=scores.columns, dtype="boolean")
    if not costs and (control & (n > 0)).any():
        beats[ranked] = beats_controls(values[:, ranked], values[:, control], higher_is_better, units)
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


def _pairs(first: Array, second: Array, units: Units | None) -> tuple[Array, Array, Array]:
    """Mean difference, two-sided and one-sided p-value (P,) of each row of first (P, N) with that of second."""
    found = np.empty((3, len(first)))
    for chunk in _chunks(np.arange(len(first)), first.shape[1]):
        compared = compare(means_of_units(first[chunk] - second[chunk], units))
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


def _chunks(places: NDArray[np.intp], size: int) -> list[NDArray[np.intp]]:
    """The places in turn, so many at a time as rows of the size fit the memory."""
    step = max(1, _N_AT_ONCE // max(size, 1))
    return [places[start : start + step] for start in range(0, len(places), step)]


def _resampled(totals: Array, sizes: Array) -> tuple[Array, Array]:
    """The ends (K,) of the bootstrap-t intervals [1] of totals.sum() / sizes.sum(), each (K, n), resampling the n."""
    counts = resample_counts(totals.shape[1])
    alike = bool((sizes == sizes[0, 0]).all())
    if alike:
        totals, sizes = totals / sizes, np.ones((1, sizes.shape[1]))
    total, drawn = sizes.sum(axis=1, keepdims=True), sizes @ counts
    mean = totals.sum(axis=1, keepdims=True) / total
    deviations = totals - sizes * mean
    deviations /= _divisor(_length(deviations))[:, None]
    moved = deviations @ counts
    crossed = moved.copy() if alike else (deviations * sizes) @ counts
    moved /= drawn
    squares = np.square(deviations) @ counts + moved * (moved * (np.square(sizes) @ counts) - 2 * crossed)
    # The scores' own deviation is now 1 / total.
    t = moved / np.maximum(np.sqrt(np.maximum(squares, 0)) / drawn, LEAST_DEVIATION / total)
    deviation = _length(_influence(totals, sizes))
    low, high = (mean[:, 0] - deviation * _quantiles(t, level) for level in (1 - LEVEL / 2, LEVEL / 2))
    return low, high


def _in_closed_form(totals: Array, sizes: Array) -> tuple[Array, Array]:
    """The same as `_resampled`, to second order and without resampling: the ABC interval [5] of a ratio."""
    n = totals.shape[1]
    mean = totals.sum(axis=1) / sizes.sum(axis=1)
    influence = _influence(totals, sizes)
    deviation = _length(influence)
    direction = influence / _divisor(deviation[:, None])
    # A sixth of the skewness, also the bias of the mean; and what a step in this direction adds to the sizes.
    skewness, added = (direction**3).sum(axis=1) / 6, (direction * sizes).sum(axis=1) / sizes.sum(axis=1)
    z = widened(n, n - 1)
    steps = [(skewness + end) / np.square(1 - skewness * (skewness + end)) for end in (-z, z)]
    low, high = (mean + deviation * step / np.maximum(1 + step * added, 0.5) for step in steps)
    return low, high


def _length(values: Array) -> Array:
    """The root (K,) of the sum of squares of each row, of any unit: squares may neither overflow nor vanish."""
    largest = _divisor(np.abs(values).max(axis=1))
    return np.asarray(largest * np.sqrt(np.square(values / largest[:, None]).sum(axis=1)))


def _divisor(values: Array) -> Array:
    """The values, 1 where they are 0."""
    return np.where(values > 0, values, 1)


def _influence(totals: Array, sizes: Array) -> Array:
    """By how much each of the n moves the mean (K, n): what leaving it out does [7], times (n - 1) / n."""
    n, size = totals.shape[1], sizes.sum(axis=1, keepdims=True)
    deviations = totals - sizes * totals.sum(axis=1, keepdims=True) / size
    return np.asarray(deviations / (size - sizes) * ((n - 1) / n))


def _held(rows: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """The ends (K,) within the scores that are known of rows (K, N)."""
    return np.maximum(low, np.nanmin(rows, axis=1)), np.minimum(high, np.nanmax(rows, axis=1))


def widened(n: int, freedom: int) -> float:
    """Where a normal variable would be cut, so that the mean of n is covered as often as is said [4]; n > 1.

    Args:
        n: A sample of n is narrower than what it is drawn from, by √((n - 1) / n).
        freedom: Degrees of freedom of its estimated deviation.
    """
    return float(np.sqrt(n / (n - 1)) * special.stdtrit(freedom, 1 - LEVEL / 2))


def _quantiles(values: Array, level: float) -> Array:
    """The quantile of each row (K, B), between neighbours in proportion: np.quantile without its copies."""
    place = level * (values.shape[1] - 1)
    before = int(place)
    after = min(before + 1, values.shape[1] - 1)
    values.partition((before, after), axis=1)
    return np.asarray(values[:, before] + (place - before) * (values[:, after] - values[:, before]))


@lru_cache(maxsize=4)
def resample_counts(n: int, n_resamples: int = N_RESAMPLES) -> Array:
    """How often each of n is drawn into each resample (n, n_resamples): of n only, always the same."""
    rng = np.random.default_rng([_SEED, n])
    counts = rng.multinomial(n, np.full(n, 1 / n), size=n_resamples).T.astype(np.float64)
    counts.flags.writeable = False
    return counts
