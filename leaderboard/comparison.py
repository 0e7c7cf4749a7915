"""Explainers side by side: a verdict for each family of metrics first, then every task and metric.

    print(render_comparison(compare_explainers(load(Path("results")), ["lrp_epsilon_plus", "grad_cam"]), "text"))

A family's verdict counts samples, not metrics: see `duels`. All verdicts of a comparison are corrected together (Holm),
and so are all tests of single metrics.
"""

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .duels import OVERALL, Pairs, TaskDuels, fight
from .record import Results
from .scores import Cube, Explainers, cubes, explainers
from .signed_rank import compare, least_n
from .standings import row_means
from .statistics import LEVEL, holm, intervals
from .table import COSTS, check_cut

N_DISAGREEMENTS = 3
"""So many samples are named for each explainer that is ahead on them."""

DETAILS = (
    *("task", "category", "metric", "higher_is_better", "first", "second", "n", "mean_first", "mean_second"),
    *("difference", "low", "high", "p_value", "share_won", "effect"),
)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """What a family of metrics says about two explainers, over all tasks."""

    family: str
    """Or OVERALL."""
    first: str
    second: str
    n: int
    """Samples (patients, where they are known) that both have."""
    share_won: float
    """Of the duels of the two, by the first, in [0, 1]; the mean over the tasks. nan: no sample."""
    effect: float
    """Matched-pairs rank-biserial correlation of the contrasts, in [-1, 1]."""
    p_value: float
    """Two-sided, Holm-corrected over all verdicts."""
    n_tasks: int
    n_tasks_won: int
    """Tasks whose duels the first wins mostly."""
    p_over_tasks: float | None
    """Two-sided, each task as one observation, not corrected; None where there are too few tasks."""
    too_few: str
    """Why nothing can be told, whatever the scores; empty where something can."""

    @property
    def separable(self) -> bool:
        """Whether the two differ significantly."""
        return not self.too_few and self.p_value < LEVEL

    @property
    def winner(self) -> str:
        """Whom the test speaks for; where it tells nothing, who wins more duels. Of equals the first."""
        first = self.effect > 0 if self.separable else self.share_won >= 0.5
        return self.first if first else self.second


@dataclass(frozen=True)
class Disagreement:
    """A sample on which two explainers are far apart."""

    task: str
    sample: str
    winner: str
    loser: str
    contrast: float
    """In (0, 1): mean over the families of how far the winner is ahead, in ranks among all samples."""


@dataclass(frozen=True)
class Comparison:
    """Explainers side by side."""

    explainers: tuple[str, ...]
    tasks: tuple[str, ...]
    n_samples: int
    n_units: int
    verdicts: tuple[Verdict, ...]
    """By family, OVERALL first; in it by pair."""
    costs: Mapping[str, Mapping[str, float]]
    """Metric of runtime -> explainer -> its mean over that of the cheapest compared, geometric mean over the tasks."""
    details: pd.DataFrame
    """A row a task, metric and pair: task, category, metric, higher_is_better, first, second, n, mean_first,
    mean_second (over the samples that both have), difference (of the two), low, high (its 95 % interval), p_value
    (Holm over all rows), share_won (of samples, by the first; ties are half), effect (rank-biserial, positive: the
    first is better). Of costs there is neither interval nor test."""
    disagreements: tuple[Disagreement, ...]
    """For each winner the samples on which it is furthest ahead."""
    cut: str


def compare_explainers(
    results: Results,
    names: Sequence[str],
    tasks: Collection[str] | None = None,
    categories: Collection[str] | None = None,
    outcomes: Collection[str] | None = None,
) -> Comparison:
    """Compare two explainers or more, controls among them if they are named.

    Raises:
        ValueError: fewer than two names, one twice, or one that the records do not have; they have no task, or no
            score, in common; a name of the cut is unknown.
    """
    check_cut(results, tasks, categories, outcomes)
    everybody = explainers(results)
    _check_names(names, everybody.names)
    places = [everybody.names.index(name) for name in names]
    who = Explainers(tuple(names), len(names))
    pairs = _pairs(len(names))
    fights: list[TaskDuels] = []
    details: list[dict[str, object]] = []
    disagreements: list[Disagreement] = []
    costs: dict[str, list[Array]] = {}
    for whole in cubes(results, tasks, categories, outcomes):
        cube = whole.of_explainers(places)
        duels = fight(cube, who, pairs, {}, one_by_one=True)
        fights.append(duels)
        details += _details(cube, names, pairs)
        disagreements += _disagreements(duels, names, pairs)
        for metric, family in zip(cube.metrics, cube.families, strict=True):
            if family == COSTS:
                costs.setdefault(metric, []).append(row_means(np.abs(cube.scores[cube.metrics.index(metric)])))
    if not any(np.isfinite(one.contrasts[OVERALL]).any() for one in fights if OVERALL in one.contrasts):
        raise ValueError(f"{' and '.join(names)} have no score in common in these results: run them on the same tasks")
    table = pd.DataFrame(details)
    tested = table.p_value.notna().to_numpy()
    table.loc[tested, "p_value"] = holm(table.p_value.to_numpy(dtype=np.float64)[tested])
    return Comparison(
        tuple(names),
        tuple(one.task for one in fights),
        sum(one.n_samples for one in fights),
        sum(one.n_units for one in fights),
        _verdicts(fights, names, pairs),
        {metric: _ratios(np.array(rows), names) for metric, rows in costs.items()},
        table,
        tuple(_furthest(disagreements, names)),
        ", ".join(sorted(outcomes)) if outcomes is not None else "",
    )


def _check_names(names: Sequence[str], known: Collection[str]) -> None:
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError("a comparison needs two different explainers or more: bench compare lrp_epsilon_plus grad_cam")
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
            told = f"did you mean {' or '.join(near)}" if near else f"there are: {', '.join(sorted(known))}"
            raise ValueError(f"these results have no record of {name}: {told}; or `bench run --explainers {name}`")


def _pairs(n: int) -> Pairs:
    first, second = np.triu_indices(n, 1)
    return Pairs(first, second, len(first))


def _verdicts(fights: Sequence[TaskDuels], names: Sequence[str], pairs: Pairs) -> tuple[Verdict, ...]:
    families = list(dict.fromkeys(name for one in fights for name in one.covered))
    columns = [OVERALL, *families]
    found = {}
    for column in columns:
        there = [one for one in fights if column in one.contrasts]
        over_samples = compare(np.hstack([one.contrasts[column] for one in there]))
        over_tasks = compare(np.stack([row_means(one.contrasts[column]) for one in there], axis=1))
        won = np.stack([row_means(one.pairs_won[column]) for one in there], axis=1)
        found[column] = (over_samples, over_tasks, won)
    n_tests = len(columns) * len(pairs.first)
    adjusted = holm(np.concatenate([found[column][0].p_value for column in columns])).reshape(len(columns), -1)
    needed = least_n(n_tests, LEVEL)
    verdicts = []
    for row, column in enumerate(columns):
        over_samples, over_tasks, won = found[column]
        for at, (first, second) in enumerate(combinations(names, 2)):
            n, known = int(over_samples.n[at]), won[at][np.isfinite(won[at])]
            verdicts.append(
                Verdict(
                    column,
                    first,
                    second,
                    n,
                    float(known.mean()) if len(known) else float("nan"),
                    float(over_samples.effect[at]),
                    float(adjusted[row, at]),
                    len(known),
                    int((known > 0.5).sum()),
                    float(over_tasks.p_value[at]) if over_tasks.n[at] >= least_n(1, LEVEL) else None,
                    f"{n}, and {n_tests} verdicts need at least {needed}" if n < needed else "",
                )
            )
    return tuple(verdicts)


def _details(cube: Cube, names: Sequence[str], pairs: Pairs) -> Iterator[dict[str, object]]:
    """The rows of `Comparison.details`, p-values not yet corrected."""
    for metric, family, higher, scores in zip(
        cube.metrics, cube.families, cube.higher_is_better, cube.scores, strict=True
    ):
        first, second = scores[pairs.first], scores[pairs.second]
        differences = cube.of_units(first - second)
        compared = compare(differences)
        _, mean, low, high = intervals((first - second).T, cube.units)
        both = np.isfinite(first - second)
        won = (first > second) + 0.5 * (first == second)
        sign, costs = 1 if higher else -1, family == COSTS
        columns = {
            "n": both.sum(axis=1),
            "mean_first": sign * row_means(np.where(both, first, np.nan)),
            "mean_second": sign * row_means(np.where(both, second, np.nan)),
            "difference": sign * mean,
            # All samples of a batch share one measurement of a cost.
            "low": np.full_like(mean, np.nan) if costs else low if higher else -high,
            "high": np.full_like(mean, np.nan) if costs else high if higher else -low,
            "p_value": np.where(both.any(axis=1) & (not costs), compared.p_value, np.nan),
            "share_won": row_means(np.where(both, won, np.nan)),
            "effect": np.full_like(mean, np.nan) if costs else compared.effect,
        }
        for at, (one, other) in enumerate(combinations(names, 2)):
            numbers = {name: column[at] for name, column in columns.items()}
            yield dict(zip(DETAILS, (cube.task, family, metric, higher, one, other, *numbers.values()), strict=True))


def _disagreements(duels: TaskDuels, names: Sequence[str], pairs: Pairs) -> Iterator[Disagreement]:
    if OVERALL not in duels.contrasts:
        return
    of_samples = duels.of_samples
    for at, (first, second) in enumerate(zip(pairs.first, pairs.second, strict=True)):
        contrasts = np.nan_to_num(of_samples[at])
        for direction, winner, loser in ((1, first, second), (-1, second, first)):
            furthest = np.argsort(-direction * contrasts, kind="stable")[:N_DISAGREEMENTS]
            for sample in furthest[direction * contrasts[furthest] > 0]:
                contrast = float(abs(contrasts[sample]))
                yield Disagreement(duels.task, duels.samples[sample], names[winner], names[loser], contrast)


def _furthest(found: Sequence[Disagreement], names: Sequence[str]) -> Iterator[Disagreement]:
    for name in names:
        ahead = sorted((one for one in found if one.winner == name), key=lambda one: -one.contrast)
        told: set[tuple[str, str]] = set()
        for one in ahead:
            if (one.task, one.sample) not in told and len(told) < N_DISAGREEMENTS:
                told.add((one.task, one.sample))
                yield one


def _ratios(costs: Array, names: Sequence[str]) -> dict[str, float]:
    """Costs (tasks, E) over those of the cheapest, the geometric mean over the tasks that have all."""
    complete = costs[(np.isfinite(costs) & (costs > 0)).all(axis=1)]
    if not len(complete):
        return dict.fromkeys(names, float("nan"))
    ratios = np.exp(np.log(complete).mean(axis=0))
    return dict(zip(names, (ratios / ratios.min()).tolist(), strict=True))
