"""Statistics of a leaderboard's column: means with intervals, paired comparisons, ranks with ties, controls.

A column is what one metric says about one task: a matrix samples × explainers of scores, nan where a score is
undefined or missing. Nothing here replaces a missing score: what is not there does not count, and n says so.

References:
    [1] Efron, Better bootstrap confidence intervals, JASA 82 (1987).
    [2] Wilcoxon, Individual comparisons by ranking methods, Biometrics Bulletin 1 (1945).
    [3] Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statistics 6 (1979).
"""

import warnings
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

LEVEL = 0.05
"""Family-wise error of the comparisons of a column; intervals cover 1 - LEVEL."""

N_RESAMPLES = 5_000
"""Of an interval."""

_SEED = 20240229
_N_AT_ONCE = 1 << 23
"""So many scores are resampled at a time: bounds the memory."""

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

    Zero differences are dropped. Exact up to 50 differences without ties, else the normal approximation. The
    two-sided p-value is twice the one-sided one in the direction of the mean difference: where ranks and mean
    point to different sides it is 1.

    >>> better([3.0, 5.0, 4.0, 9.0, 7.0], [1.0, 2.0, 3.5, 4.0, 1.0])
    Comparison(n=5, difference=3.3, p_value=0.0625, p_above=0.03125)
    """
    differences = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    differences = differences[np.isfinite(differences)]
    if not len(differences):
        return Comparison(0, float("nan"), 1.0, 1.0)
    mean = float(differences.mean())
    p_above = _signed_rank(differences, "greater")
    p_outward = p_above if mean > 0 else _signed_rank(differences, "less")
    return Comparison(len(differences), mean, min(1.0, 2 * p_outward), p_above)


def intervals(scores: ArrayLike) -> tuple[NDArray[np.int64], Array, Array, Array]:
    """n, mean, and the ends of its 95 % bootstrap interval over samples, of each column of scores (N, K).

    The bias-corrected and accelerated interval [1], of resamples that depend on n only: the same scores give the
    same interval. Where it degenerates (the mean lies outside all resampled means), the percentile interval. Of
    one sample, or of equal scores, both ends are the mean; of none, all three are nan.
    """
    rows = np.asarray(scores, dtype=np.float64).T
    defined = np.isfinite(rows)
    n = defined.sum(axis=1)
    mean, low, high = (np.full(len(rows), np.nan) for _ in range(3))
    for count in np.unique(n[n > 0]):
        of_count = np.flatnonzero(n == count)
        values = rows[of_count][defined[of_count]].reshape(-1, count)
        varies = values.min(axis=1) < values.max(axis=1)
        # The mean of equal scores is the score, whatever rounding makes of their sum.
        mean[of_count] = low[of_count] = high[of_count] = np.where(varies, values.mean(axis=1), values[:, 0])
        if varies.any():
            low[of_count[varies]], high[of_count[varies]] = _bootstrap(values[varies])
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
    pairs = list(combinations(range(len(rows)), 2))
    comparisons = [better(rows[first], rows[second]) for first, second in pairs]
    losses = np.zeros(len(rows), dtype=np.int64)
    p_values = holm(np.array([comparison.p_value for comparison in comparisons]))
    for (first, second), comparison, p_value in zip(pairs, comparisons, p_values, strict=True):
        if p_value < LEVEL:
            losses[second if comparison.difference > 0 else first] += 1
    return 1 + losses


def beats_controls(scores: ArrayLike, controls: ArrayLike, higher_is_better: bool) -> NDArray[np.bool_]:
    """Whether each column of scores (N, K) is significantly better than every column of controls (N, C): (K,).

    One-sided paired Wilcoxon tests at 5 %, Holm-corrected over all explainers × controls. A control without any
    score is left out; without controls all columns pass. Meaningless for the category runtime: a control costs
    nothing, and to be faster than it says nothing about an explanation.
    """
    rows, rivals = _oriented(scores, higher_is_better), _oriented(controls, higher_is_better)
    rivals = rivals[np.isfinite(rivals).any(axis=1)]
    p_values = [better(row, rival).p_above for row in rows for rival in rivals]
    beaten = (holm(np.array(p_values)) < LEVEL).reshape(len(rows), len(rivals))
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


def _bootstrap(values: Array) -> tuple[Array, Array]:
    """The ends (K,) of the intervals of the means of values (K, n), none of them constant."""
    bca = _interval(values, "BCa")
    degenerate = ~(np.isfinite(bca[0]) & np.isfinite(bca[1]))
    if degenerate.any():
        for ends, simpler in zip(bca, _interval(values[degenerate], "percentile"), strict=True):
            ends[degenerate] = simpler
    return bca


def _interval(values: Array, method: Literal["BCa", "percentile"]) -> tuple[Array, Array]:
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        # What cannot be corrected is nan, and handled: scores that differ by rounding alone, for one.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        interval = stats.bootstrap(
            (values,),
            np.mean,
            axis=1,
            n_resamples=N_RESAMPLES,
            batch=max(1, _N_AT_ONCE // values.size),
            confidence_level=1 - LEVEL,
            method=method,
            rng=np.random.default_rng([_SEED, values.shape[1]]),
        ).confidence_interval
    return np.array(interval.low), np.array(interval.high)


def _signed_rank(differences: Array, alternative: Literal["greater", "less"]) -> float:
    """p-value of differences (N,) without nan; 1 where none is different from zero."""
    changed = differences[differences != 0]
    return float(stats.wilcoxon(changed, alternative=alternative).pvalue) if len(changed) else 1.0
