"""Whether metrics agree: Kendall's rank correlation of two metrics over the explainers that both have judged.

Explainers enter by their mean score on the task, turned so that higher is better: 1 says that two metrics order the
explainers alike, -1 that one turns the order of the other round, 0 that neither says anything of the other. Controls
are left out: nearly every metric puts them last, and would agree by that alone.

Reference:
    Kendall, The treatment of ties in ranking problems, Biometrika 33 (1945): tau-b.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .record import Results
from .table import CONTROLS, COSTS

LEAST_EXPLAINERS = 4
"""Of fewer, an order says too little: three of them agree fully by chance one time in six."""

Array = NDArray[np.float64]


class Pair(NamedTuple):
    """Two metrics and how far they agree."""

    first: str
    second: str
    tau: float


@dataclass(frozen=True)
class Agreement:
    """How far the metrics agree on one task, or on the mean of several."""

    title: str
    metrics: tuple[str, ...]
    taus: Array
    """(M, M) in [-1, 1], 1 on the diagonal; nan: fewer than `LEAST_EXPLAINERS`, or a metric that ties them all."""
    n_explainers: int
    """The most that two metrics have in common."""

    def pairs(self) -> list[Pair]:
        """Every two metrics whose agreement is known, from the most alike to the most contrary."""
        first, second = np.triu_indices(len(self.metrics), 1)
        found = [
            Pair(self.metrics[a], self.metrics[b], float(self.taus[a, b]))
            for a, b in zip(first, second, strict=True)
            if np.isfinite(self.taus[a, b])
        ]
        return sorted(found, key=lambda pair: (-pair.tau, pair.first, pair.second))

    def frame(self) -> pd.DataFrame:
        """The taus, names of metrics on both sides."""
        return pd.DataFrame(self.taus, index=list(self.metrics), columns=list(self.metrics))


def agreements(table: pd.DataFrame) -> list[Agreement]:
    """Of every task of the long table that has two metrics to compare; the mean over tasks first, if there are several.

    Costs are left out: they do not judge a map.
    """
    judged = table[~table.control.astype(bool) & (table.category != COSTS) & table["mean"].notna()]
    found = [
        agreement(str(task), _means(rows))
        for task, rows in judged.groupby("task", sort=True, observed=True)
        if rows.metric.nunique() > 1
    ]
    found = [one for one in found if one.pairs()]
    return [_mean(found), *found] if len(found) > 1 else found


def agreement(title: str, means: pd.DataFrame) -> Agreement:
    """Of the columns of a frame, metrics; its rows are explainers, higher is better; nan: not judged."""
    values = means.to_numpy(dtype=np.float64)
    taus, common = _taus(values)
    return Agreement(title, tuple(map(str, means.columns)), taus, common)


def family_agreements(results: Results) -> dict[str, pd.DataFrame]:
    """Family -> `Agreement.frame` of its metrics, the mean over the tasks: of records of which there is no table.

    Metrics without any score are left out, as are costs and families of one metric; a metric that agrees with none is
    nan also with itself where no task has enough explainers.
    """
    cells = results.cells[(results.cells.family != CONTROLS) & (results.cells.category != COSTS)]
    key = ["task", "explainer", "metric"]
    scores = results.scores[results.scores.explainer.isin(cells.explainer)]
    scores = scores[np.isfinite(scores.score)].drop_duplicates([*key, "sample"], keep="last")
    metrics = cells[cells.metric.isin(scores.metric.astype(str).unique())]
    metrics = metrics.drop_duplicates("metric").set_index("metric").sort_index()
    means = scores.astype(dict.fromkeys(key, str)).groupby(key).score.mean().unstack("metric")
    means = means.reindex(columns=metrics.index) * np.where(metrics.higher_is_better.astype(bool), 1.0, -1.0)
    return {
        str(family): _mean([agreement(str(task), rows[list(names)]) for task, rows in means.groupby("task")]).frame()
        for family, names in metrics.groupby("category", sort=True).groups.items()
        if len(names) > 1
    }


def with_others(matrix: pd.DataFrame) -> "pd.Series[float]":
    """(M,) mean of each row of (M, M) without the metric itself; nan where there is none."""
    return matrix.where(~np.eye(len(matrix), dtype=bool)).mean(axis=1)


def _means(rows: pd.DataFrame) -> pd.DataFrame:
    turned = rows.assign(mean=rows["mean"].where(rows.higher_is_better.astype(bool), -rows["mean"]))
    order = list(dict.fromkeys(turned.metric.astype(str)))
    return turned.assign(metric=turned.metric.astype(str)).pivot(index="explainer", columns="metric", values="mean")[
        order
    ]


def _taus(values: Array) -> tuple[Array, int]:
    """tau-b of the columns of (E, M), (M, M), and the most explainers that two share."""
    above = np.sign(values[:, None, :] - values[None, :, :])
    first, second = np.triu_indices(len(values), 1)
    signs = above[first, second]
    known = np.isfinite(signs)
    signs = np.where(known, signs, 0)
    together = known.astype(np.float64)
    # Of the pairs that both metrics know: concordant less discordant, over those that neither ties.
    agreed = signs.T @ signs
    untied = np.square(signs).T @ together
    size = np.sqrt(untied * untied.T)
    there = np.isfinite(values).astype(np.float64)
    n_common = there.T @ there
    defined = (size > 0) & (n_common >= LEAST_EXPLAINERS)
    taus = np.where(defined, agreed / np.where(size > 0, size, 1), np.nan)
    return taus, int(n_common[np.triu_indices(values.shape[1], 1)].max(initial=0))


def _mean(found: Sequence[Agreement]) -> Agreement:
    """The mean over the tasks on which both metrics are comparable."""
    metrics = tuple(dict.fromkeys(metric for one in found for metric in one.metrics))
    places = {metric: at for at, metric in enumerate(metrics)}
    total, n = np.zeros((2, len(metrics), len(metrics)))
    for one in found:
        at = np.array([places[metric] for metric in one.metrics])
        known = np.isfinite(one.taus)
        total[np.ix_(at, at)] += np.where(known, one.taus, 0)
        n[np.ix_(at, at)] += known
    taus = np.where(n > 0, total / np.where(n > 0, n, 1), np.nan)
    return Agreement(f"mean of {len(found)} tasks", metrics, taus, max(one.n_explainers for one in found))
