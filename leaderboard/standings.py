"""Standings: explainers ranked over tasks and metrics by the duels that they win, never by a mean of raw scores.

    table = standings(load(Path("results")))

A column is a family of metrics, or all of them together (`duels.OVERALL`). Within a task every sample (every patient,
where patients are known) counts the same, in a column every task, overall every family, unless weights say otherwise.

Intervals come from drawing the samples of each task again, 2,000 times: percentiles, at the levels of
`statistics.widened`. They speak of other samples of these tasks. So do the tests over samples; the tests over tasks,
of which each is one observation, speak of other tasks.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from .duels import OVERALL, Pairs, TaskDuels, all_pairs, fight
from .letters import ordered_letters
from .record import Results
from .scores import Cube, Explainers, cubes, explainers
from .signed_rank import Comparisons, compare, least_n
from .statistics import LEVEL, Friedman, friedman, holm, resample_counts, widened
from .table import COSTS, check_cut

N_RESAMPLES = 2_000
"""Of the standings."""

SECONDS = "seconds"
"""The metric that the column of costs shows."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Tests:
    """Paired tests of a column, all pairs at once."""

    pairs: Pairs
    found: Comparisons
    """What each pair's contrasts say; observations are samples (patients), or tasks."""
    adjusted: Array
    """(P,) two-sided p-values, Holm-corrected over the pairs of two ranked explainers; nan for those with controls."""
    friedman: Friedman
    """Whether any of the ranked explainers differ, by their duels; observations that lack one are left out."""
    too_few: str
    """Why nothing can be told apart, whatever the scores; empty where something can."""

    def separable(self, n_ranked: int) -> NDArray[np.bool_]:
        """(R, R): which ranked explainers differ significantly."""
        matrix = np.zeros((n_ranked, n_ranked), dtype=bool)
        rejected = np.flatnonzero(self.adjusted < LEVEL)
        first, second = self.pairs.first[rejected], self.pairs.second[rejected]
        matrix[first, second] = matrix[second, first] = True
        return matrix


@dataclass(frozen=True)
class Standing:
    """A column: how the explainers stand in a family, or overall. E as in `Standings.explainers`."""

    column: str
    tasks: tuple[str, ...]
    n_units: int
    unit: str
    """What a unit is, and so an observation of the tests over samples: "patient" where patients are known."""
    share_won: Array
    """(E,) of duels; the mean over the tasks, each the mean over its units."""
    mean_rank: Array
    """(E, 3): estimate, low, high; 1 is the best. Of a control, where it would be, were it ranked. nan: no scores."""
    letters: tuple[str, ...]
    """Of the ranked: who shares one cannot be told apart over samples; all empty where there are too few."""
    beats_controls: tuple[bool | None, ...]
    """Of the ranked: significantly better than every control, over samples; None: no control, or too few samples."""
    over_samples: Tests
    over_tasks: Tests


@dataclass(frozen=True)
class Standings:
    """All columns, OVERALL first, and what else belongs to a summary."""

    explainers: Explainers
    tasks: tuple[str, ...]
    n_samples: int
    n_units: int
    columns: tuple[Standing, ...]
    """None where no explainer has a score in any family."""
    place: Array
    """(E, 3): 1 + the number of ranked explainers with a better mean rank overall, and its interval."""
    covered: Mapping[str, Array]
    """Family -> share (E,) of its scores that an explainer has, of the most that any has."""
    costs: pd.DataFrame
    """By explainer: `times`, seconds an image over those of the fastest ranked explainer, geometric mean over the
    tasks; `seconds`, the median over the tasks. nan: not measured."""
    cut: str
    """The outcomes that were selected; empty: all."""
    weights: Mapping[str, float]
    """Family -> its weight overall, where it is not 1."""

    def column(self, name: str) -> Standing:
        return next(column for column in self.columns if column.column == name)

    def order(self) -> list[int]:
        """Explainers by their overall mean rank, those without one last; controls after the ranked."""
        n = len(self.explainers.names)
        rank = np.nan_to_num(self.columns[0].mean_rank[:, 0], nan=np.inf) if self.columns else np.zeros(n)
        control = np.arange(n) >= self.explainers.n_ranked
        return [int(at) for at in np.lexsort((np.arange(n), rank, control))]


def standings(
    results: Results,
    tasks: Collection[str] | None = None,
    categories: Collection[str] | None = None,
    outcomes: Collection[str] | None = None,
    weights: Mapping[str, float] | None = None,
) -> Standings:
    """How the explainers stand, over all tasks and metrics.

    Args:
        results: What `leaderboard.record.load` read.
        tasks: Only these.
        categories: Only metrics of these.
        outcomes: Only samples of these.
        weights: Family -> its weight overall; a family that is not named has 1, 0 leaves it out.

    Raises:
        ValueError: a name is unknown, or a weight is negative or not finite; the message names what there is.
    """
    check_cut(results, tasks, categories, outcomes)
    weights = dict(weights or {})
    _check_weights(weights, set(results.cells.category.unique()) - {COSTS})
    who = explainers(results)
    pairs = all_pairs(who)
    fights, times = [], {}
    for cube in cubes(results, tasks, categories, outcomes):
        fights.append(fight(cube, who, pairs, weights))
        times[cube.task] = _seconds(cube, len(who.names))
    families = list(dict.fromkeys(name for one in fights for name in one.covered))
    columns = _columns(fights, who, pairs, families, weights)
    return Standings(
        who,
        tuple(one.task for one in fights),
        sum(one.n_samples for one in fights),
        sum(one.n_units for one in fights),
        columns[0],
        columns[1],
        {family: _coverage(fights, family) for family in families},
        _costs(times, who),
        ", ".join(sorted(outcomes)) if outcomes is not None else "",
        {family: weight for family, weight in weights.items() if weight != 1 and family in families},
    )


def _check_weights(weights: Mapping[str, float], known: Collection[str]) -> None:
    for family, weight in weights.items():
        if family not in known:
            raise ValueError(f"no family {family} to weigh in these results; there are: {', '.join(sorted(known))}")
        if not 0 <= weight < float("inf"):
            raise ValueError(f"the weight of {family} is {weight}: give it 0 or more")


def _columns(
    fights: Sequence[TaskDuels], who: Explainers, pairs: Pairs, families: Sequence[str], weights: Mapping[str, float]
) -> tuple[tuple[Standing, ...], Array]:
    """The columns, OVERALL first, and the places."""
    names = [OVERALL, *families] if families else []
    of_families = _drawn(fights, families, len(who.names))
    shares = dict(zip(families, of_families, strict=True))
    if families:
        shares[OVERALL] = _weighted(of_families, np.array([weights.get(family, 1.0) for family in families]))
    level = _levels(fights)
    columns = tuple(_standing(name, fights, who, pairs, shares[name], level) for name in names)
    place = _places(shares[OVERALL], who.n_ranked, level) if names else np.full((len(who.names), 3), np.nan)
    return columns, place


def _standing(
    name: str, fights: Sequence[TaskDuels], who: Explainers, pairs: Pairs, shares: Array, level: tuple[float, float]
) -> Standing:
    there = [one for one in fights if name in one.won]
    contrasts = [one.contrasts[name] for one in there]
    won = [one.won[name] for one in there]
    unit = "patient" if any(one.n_units < one.n_samples for one in there) else "sample"
    over_samples = _tests(np.hstack(contrasts), np.hstack(won), pairs, who, unit)
    over_tasks = _tests(_task_means(contrasts), _task_means(won), pairs, who, "task")
    mean_rank = _mean_ranks(shares, won, who.n_ranked)
    order = np.argsort(np.nan_to_num(mean_rank[: who.n_ranked, 0], nan=np.inf), kind="stable")
    dealt = ordered_letters(over_samples.separable(who.n_ranked), [int(at) for at in order])
    known = np.isfinite(mean_rank[: who.n_ranked, 0]) & (over_samples.too_few == "")
    return Standing(
        name,
        tuple(one.task for one in there),
        sum(int(np.isfinite(part).any(axis=0).sum()) for part in won),
        unit,
        shares[:, 0],
        _with_interval(mean_rank, level),
        tuple(letter if is_known else "" for letter, is_known in zip(dealt, known, strict=True)),
        _beats_controls(over_samples, who),
        over_samples,
        over_tasks,
    )


def _tests(contrasts: Array, won: Array, pairs: Pairs, who: Explainers, observation: str) -> Tests:
    """Tests of contrasts (P, N) and duels (E, N)."""
    found = compare(contrasts)
    adjusted = np.full(len(pairs.first), np.nan)
    adjusted[: pairs.n_ranked] = holm(found.p_value[: pairs.n_ranked])
    n = int(found.n[: pairs.n_ranked].max(initial=0))
    needed = least_n(pairs.n_ranked, LEVEL) if pairs.n_ranked else 0
    comparisons = f"{pairs.n_ranked} comparison{'s' if pairs.n_ranked != 1 else ''}"
    too_few = f"too few {observation}s: {n}, and {comparisons} need at least {needed}" if n < needed else ""
    ranked = won[: who.n_ranked]
    present = np.isfinite(ranked).any(axis=1)
    return Tests(pairs, found, adjusted, friedman(ranked[present].T), too_few)


def _beats_controls(tests: Tests, who: Explainers) -> tuple[bool | None, ...]:
    n_controls = len(who.controls)
    n = tests.found.n[tests.pairs.n_ranked :].reshape(who.n_ranked, n_controls)
    p_values = tests.found.p_above[tests.pairs.n_ranked :].reshape(n.shape)
    # A control without scores is no rival; one-sided, so a test needs one sample less.
    fights = n.any(axis=0)
    n, p_values = n[:, fights], p_values[:, fights]
    if not n.size or n.max() < least_n(n.size, LEVEL) - 1:
        return (None,) * who.n_ranked
    beaten = (holm(p_values.ravel()) < LEVEL).reshape(n.shape)
    return tuple(bool(row.all()) if known.any() else None for row, known in zip(beaten, n, strict=True))


def _drawn(fights: Sequence[TaskDuels], families: Sequence[str], n_explainers: int) -> Array:
    """The share of duels won in each family, (F, E, 1 + B): as it is, then of each resample. nan: no duel."""
    total, n = np.zeros((2, len(families), n_explainers, 1 + N_RESAMPLES))
    for turn, one in enumerate(fights):
        known = [place for place, family in enumerate(families) if family in one.won]
        if known:
            won = np.stack([one.won[families[place]] for place in known])
            defined = np.isfinite(won)
            drawn = _sums(defined.astype(np.float64)) if not defined.all() else np.full((1, 1, 1), one.n_units)
            there = drawn > 0
            share = np.where(there, _sums(np.where(defined, won, 0)) / np.where(there, drawn, 1), 0)
            total[known] += _turned(share, turn)
            n[known] += _turned(there, turn)
    return np.where(n > 0, total / np.where(n > 0, n, 1), np.nan)


def _sums(values: Array) -> Array:
    """Sums of values (F, E, U) over the units, (F, E, 1 + B): as they are, then of each resample."""
    flat = values.reshape(-1, values.shape[-1])
    drawn = flat @ resample_counts(flat.shape[1], N_RESAMPLES)
    return np.hstack([flat.sum(axis=1, keepdims=True), drawn]).reshape(*values.shape[:-1], -1)


def _turned(drawn: NDArray[Any], place: int) -> NDArray[Any]:
    """(…, 1 + B), the resamples so many places on: tasks of one size have the same ones, which must be independent."""
    return np.concatenate([drawn[..., :1], np.roll(drawn[..., 1:], place, axis=-1)], axis=-1)


def _weighted(shares: Array, weights: Array) -> Array:
    """The mean of (F, E, B) over the families that are there, by their weights (F,)."""
    weight = np.isfinite(shares) * weights[:, None, None]
    total = weight.sum(axis=0)
    return np.where(total > 0, (np.nan_to_num(shares) * weight).sum(axis=0) / np.where(total > 0, total, 1), np.nan)


def _mean_ranks(shares: Array, won: Sequence[Array], n_ranked: int) -> Array:
    """Mean ranks (E, 1 + B) of shares of duels won, among those ranked explainers that have scores."""
    present = np.any([np.isfinite(part).any(axis=1) for part in won], axis=0)
    rivals = np.full(len(shares), present[:n_ranked].sum())
    rivals[:n_ranked] -= 1
    return np.asarray(1 + rivals[:, None] * (1 - shares))


def _places(shares: Array, n_ranked: int, level: tuple[float, float]) -> Array:
    """Places (E, 3) of overall shares (E, 1 + B), with their interval; nan without a share."""
    rounded = shares.round(12)
    places = np.full(shares.shape, np.nan)
    for explainer, own in enumerate(rounded):
        places[explainer] = np.where(np.isnan(own), np.nan, 1 + (rounded[:n_ranked] > own).sum(axis=0))
    return _with_interval(places, level)


def _with_interval(values: Array, level: tuple[float, float]) -> Array:
    """The first column of (E, 1 + B), and the percentiles of the others at the levels; (E, 3)."""
    ends = np.full((len(values), 3), np.nan)
    ends[:, 0] = values[:, 0]
    known = np.isfinite(values[:, 0])
    if known.any():
        ends[known, 1:] = np.nanquantile(values[known, 1:], level, axis=1).T
    return ends


def _levels(fights: Sequence[TaskDuels]) -> tuple[float, float]:
    """Where the distribution of resamples is cut; everything is covered where no task has two units."""
    sizes = [one.n_units for one in fights if one.n_units > 1]
    if not sizes:
        return 0.0, 1.0
    low = float(special.ndtr(-widened(min(sizes), sum(sizes) - len(sizes))))
    return low, 1 - low


def _task_means(parts: Sequence[Array]) -> Array:
    """(rows, tasks)"""
    return np.stack([row_means(part) for part in parts], axis=1)


def row_means(values: Array) -> Array:
    """The means (P,) of rows (P, N) over what is not nan; nan where there is nothing."""
    defined = np.isfinite(values)
    n = defined.sum(axis=1)
    return np.where(n > 0, np.where(defined, values, 0).sum(axis=1) / np.where(n > 0, n, 1), np.nan)


def _coverage(fights: Sequence[TaskDuels], family: str) -> Array:
    """The share (E,) of the scores that an explainer has, of the most that any has in each task."""
    counts = np.array([one.covered[family] for one in fights if family in one.covered])
    return np.asarray(counts.sum(axis=0) / max(counts.max(axis=1).sum(), 1))


def _seconds(cube: Cube, n_explainers: int) -> Array:
    """Seconds an image (E,), the mean over the samples; nan: not measured."""
    if SECONDS not in cube.metrics:
        return np.full(n_explainers, np.nan)
    return row_means(-cube.scores[cube.metrics.index(SECONDS)])


def _costs(times: Mapping[str, Array], who: Explainers) -> pd.DataFrame:
    seconds = np.array(list(times.values())).reshape(len(times), len(who.names))
    logarithms = np.log(np.where(seconds > 0, seconds, np.nan))
    fastest = np.array([np.nanmin(row) if np.isfinite(row).any() else np.nan for row in logarithms[:, : who.n_ranked]])
    medians = [np.median(column[np.isfinite(column)]) if np.isfinite(column).any() else np.nan for column in seconds.T]
    ratios = row_means((logarithms - fastest[:, None]).T)
    return pd.DataFrame({"times": np.exp(ratios), "seconds": medians}, index=list(who.names))
