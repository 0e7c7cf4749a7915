"""Explainers against each other on one sample at a time, a family of metrics at a time.

Metrics have no common scale, and those of a family say nearly the same; so neither their scores are averaged nor
their p-values counted. On each sample the metrics of a family are put together first, in ranks, and what a test then
counts is samples, each once, however many metrics speak about it. Two such numbers are made:

- **Share of duels won**, of one explainer: in how many of its comparisons with another ranked explainer, on this
  sample by a metric of this family, it has the better score; a tie is half. It is Borda's count in units of the
  highest possible, and `1 + (K - 1) (1 - share)` is the mean rank among K. Shown, never tested: whether two explainers
  differ must not depend on who else is there [2].
- **Contrast**, of two explainers: for every metric the differences on all samples are replaced by their signed ranks
  over n + 1 (`signed_rank.signed_ranks`), and on each sample averaged over the metrics. This is O'Brien's rank-sum
  for several endpoints [1], paired. If the two explainers are exchangeable, all contrasts of a sample turn their sign
  together, so a signed-rank test of them holds its level however the metrics are correlated. Of a single metric it
  is Wilcoxon's test of that metric.

The overall column averages, on each sample, the families that are defined there, by their weights. What an explainer
lacks is left out of both, and counted (`TaskDuels.covered`). Costs (the family runtime) do not take part.

References:
    [1] O'Brien, Procedures for comparing samples with multiple endpoints, Biometrics 40 (1984).
    [2] Benavoli, Corani and Mangili, Should we really use post-hoc tests based on mean-ranks?, JMLR 17 (2016).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .scores import Cube, Explainers
from .signed_rank import signed_ranks
from .table import COSTS
from .threads import in_parts

OVERALL = "overall"
"""The name of the column that puts the families together."""

_N_DECIMALS = 12
"""To which contrasts are rounded: equal ones must not differ by the order of summing."""

Array = NDArray[np.float64]


class Pairs(NamedTuple):
    """Who is compared with whom, places in `Explainers.names`: P pairs."""

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    n_ranked: int
    """So many pairs, the first ones, are of two ranked explainers; the others of one of them and a control."""


@dataclass(frozen=True)
class TaskDuels:
    """The duels on one task, a column a family and OVERALL."""

    task: str
    n_samples: int
    n_units: int
    """U, patients, or samples where patients are not known."""
    won: Mapping[str, Array]
    """Column -> share of duels won (E, U), of controls against the ranked; nan: no duel."""
    contrasts: Mapping[str, Array]
    """Column -> contrast (P, U) in (-1, 1), positive where the first is better; nan: one of them has no score."""
    covered: Mapping[str, NDArray[np.int64]]
    """Family -> scores that each explainer has (E,)."""
    samples: tuple[str, ...]
    """The names of the N samples."""
    of_samples: Array
    """The contrasts of OVERALL, sample by sample (P, N), also where a unit is a patient."""
    pairs_won: Mapping[str, Array]
    """Column -> share of the duels of each pair that its first wins (P, U); nan: no duel. Empty if not asked for."""


def all_pairs(who: Explainers) -> Pairs:
    """Every two ranked explainers, then every ranked explainer with every control."""
    first, second = np.triu_indices(who.n_ranked, 1)
    controls = np.arange(who.n_ranked, len(who.names))
    with_controls = np.repeat(np.arange(who.n_ranked), len(controls))
    return Pairs(
        np.concatenate([first, with_controls]),
        np.concatenate([second, np.tile(controls, who.n_ranked)]),
        len(first),
    )


def fight(
    cube: Cube, who: Explainers, pairs: Pairs, weights: Mapping[str, float], one_by_one: bool = False
) -> TaskDuels:
    """The duels of a task.

    Args:
        cube: Of E explainers, those of `who`.
        who: The first `n_ranked` are ranked.
        pairs: Whose contrasts are wanted.
        weights: Family -> its weight in OVERALL, not negative; a family that is not named has 1.
        one_by_one: Whether `pairs_won` is wanted.
    """
    won: dict[str, Array] = {}
    contrasts: dict[str, Array] = {}
    pairs_won: dict[str, Array] = {}
    covered: dict[str, NDArray[np.int64]] = {}
    for family in dict.fromkeys(name for name in cube.families if name != COSTS):
        metrics = cube.scores[[name == family for name in cube.families]]
        won[family] = _mean(_shares_won(scores, who.n_ranked) for scores in metrics)
        contrasts[family] = _of_pairs(_contrast, metrics, pairs).round(_N_DECIMALS)
        covered[family] = np.isfinite(metrics).sum(axis=(0, 2))
        if one_by_one:
            pairs_won[family] = _of_pairs(_won, metrics, pairs)
    columns = [_with_overall(of_families, weights) for of_families in (won, contrasts, pairs_won)]
    won, contrasts, pairs_won = ({name: cube.of_units(values) for name, values in column.items()} for column in columns)
    return TaskDuels(
        task=cube.task,
        n_samples=len(cube.samples),
        n_units=int(cube.units.max(initial=-1)) + 1,
        won=won,
        contrasts=contrasts,
        covered=covered,
        samples=cube.samples,
        of_samples=columns[1].get(OVERALL, np.zeros((len(pairs.first), 0))),
        pairs_won=pairs_won,
    )


def _with_overall(families: Mapping[str, Array], weights: Mapping[str, float]) -> dict[str, Array]:
    """The families, and of each place the mean over those that are defined there."""
    if not families:
        return {}
    overall = _Mean()
    for family, values in families.items():
        overall.add(values, weights.get(family, 1.0))
    return {**families, OVERALL: overall.value().round(_N_DECIMALS)}


def _shares_won(scores: Array, n_ranked: int) -> Array:
    """Of the duels of each explainer with the ranked ones, by one metric (E, N).

    Where there is but one ranked explainer it has nobody to lose against: it wins.
    """
    defined = np.isfinite(scores)
    halves = np.zeros(scores.shape, dtype=np.int16)
    for rival in scores[:n_ranked]:
        halves += scores > rival
        halves += scores >= rival
    n = defined * defined[:n_ranked].sum(axis=0)
    # Nobody fights against themselves.
    halves[:n_ranked] -= defined[:n_ranked]
    n[:n_ranked] -= defined[:n_ranked]
    if n_ranked == 1:
        halves[0], n[0] = 2 * defined[0], defined[0]
    return np.where(n > 0, halves / 2 / np.where(n > 0, n, 1), np.nan)


def _of_pairs(value: Callable[[Array], Array], metrics: Array, pairs: Pairs) -> Array:
    """The mean (P, N) over metrics (M, E, N) of what is made of the differences of each pair."""
    found = np.empty((len(pairs.first), metrics.shape[2]))

    def of_part(part: slice) -> None:
        first, second = pairs.first[part], pairs.second[part]
        found[part] = _mean(value(scores[first] - scores[second]) for scores in metrics)

    in_parts(of_part, *found.shape)
    return found


def _contrast(differences: Array) -> Array:
    """Signed ranks (P, N) over n + 1."""
    n = np.isfinite(differences).sum(axis=1, keepdims=True)
    return np.asarray(signed_ranks(differences) / (n + 1))


def _won(differences: Array) -> Array:
    """1 where the first is better, 0 where the second is, half where they tie."""
    return np.asarray((np.sign(differences) + 1) / 2)


def _mean(parts: Iterable[Array]) -> Array:
    mean = _Mean()
    for values in parts:
        mean.add(values)
    return mean.value()


class _Mean:
    """A weighted mean of arrays of one shape, place by place over those that are defined there."""

    def __init__(self) -> None:
        self._total: Array = np.zeros(())
        self._weight: Array = np.zeros(())

    def add(self, values: Array, weight: float = 1.0) -> None:
        defined = np.isfinite(values)
        self._total = self._total + weight * np.where(defined, values, 0)
        self._weight = self._weight + weight * defined

    def value(self) -> Array:
        known = self._weight > 0
        return np.where(known, self._total / np.where(known, self._weight, 1), np.nan)
