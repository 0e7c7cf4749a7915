"""Scores as arrays: of each task one cube, metrics × explainers × samples, every score the higher the better."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .record import Results, Status
from .table import CATEGORIES, CONTROLS
from .units import means_of_units, units_of

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Explainers:
    """The explainers of a results folder, ranked ones before controls, each sorted by name."""

    names: tuple[str, ...]
    n_ranked: int

    @property
    def ranked(self) -> tuple[str, ...]:
        return self.names[: self.n_ranked]

    @property
    def controls(self) -> tuple[str, ...]:
        return self.names[self.n_ranked :]


@dataclass(frozen=True)
class Cube:
    """What all metrics say about all explainers on the samples of one task."""

    task: str
    metrics: tuple[str, ...]
    """M names, by family and name."""
    families: tuple[str, ...]
    """M names."""
    higher_is_better: tuple[bool, ...]
    """M, as the metrics have it."""
    samples: tuple[str, ...]
    """N names, sorted."""
    units: NDArray[np.int64]
    """(N,), equal for samples of one patient: 0, 1, …; where patients are not known each sample is a unit."""
    scores: Array
    """(M, E, N), turned so that higher is better; nan: undefined or missing. E as in `Explainers`."""

    def of_explainers(self, places: Sequence[int]) -> "Cube":
        """The cube of these explainers only, in this order."""
        return replace(self, scores=self.scores[:, list(places)])

    def of_units(self, values: Array) -> Array:
        """The mean over the samples of each unit, (…, N) -> (…, U); nan where a unit has none."""
        if len(np.unique(self.units)) == len(self.units):
            return values
        return means_of_units(values, self.units)


def explainers(results: Results) -> Explainers:
    """Who is compared: all that the records tell of, whether they have scores or not."""
    families = results.cells.drop_duplicates("explainer").set_index("explainer").family.astype(str).sort_index()
    control = families == CONTROLS
    names = map(str, [*families.index[~control], *families.index[control]])
    return Explainers(tuple(names), int((~control).sum()))


def cubes(
    results: Results,
    tasks: Collection[str] | None = None,
    categories: Collection[str] | None = None,
    outcomes: Collection[str] | None = None,
) -> Iterator[Cube]:
    """The cubes of the tasks that have metrics and samples, sorted by name, one at a time.

    Args:
        results: What `leaderboard.record.load` read. Where its table of samples has a column `patient`, samples of
            one patient are one unit.
        tasks: Only these.
        categories: Only metrics of these.
        outcomes: Only samples of these.
    """
    who = pd.Index(explainers(results).names)
    cells = results.cells[results.cells.status == Status.SCORED]
    for name, of_task in cells.groupby("task", sort=True, observed=True):
        if tasks is not None and name not in tasks:
            continue
        metrics = _metrics(of_task, categories)
        rows = results.scores[(results.scores.task == name).to_numpy()]
        samples = _samples(results.samples, str(name), outcomes)
        cube = _cube(str(name), metrics, who, rows, samples)
        if cube.metrics and cube.samples:
            yield cube


def _metrics(cells: pd.DataFrame, categories: Collection[str] | None) -> pd.DataFrame:
    """category and higher_is_better of the metrics that scored, in the order of the tables."""
    metrics = cells.drop_duplicates("metric").set_index("metric")[["category", "higher_is_better"]]
    if categories is not None:
        metrics = metrics[metrics.category.isin(list(categories))]
    order = [*CATEGORIES, *sorted(set(metrics.category) - set(CATEGORIES))]
    places = np.array([order.index(category) for category in metrics.category], dtype=np.intp)
    return metrics.iloc[np.lexsort((metrics.index.astype(str), places))]


def _samples(samples: pd.DataFrame, task: str, outcomes: Collection[str] | None) -> pd.DataFrame | None:
    """What is known of the task's samples, after the cut; None: nothing, so all scores count."""
    if "task" not in samples:
        return None
    known = samples[samples.task == task].drop_duplicates("sample")
    if outcomes is not None:
        return known[known.outcome.isin(list(outcomes))]
    return known if len(known) else None


def _cube(task: str, metrics: pd.DataFrame, who: pd.Index, rows: pd.DataFrame, samples: pd.DataFrame | None) -> Cube:
    names = pd.Index(sorted(rows["sample"].unique()) if samples is None else sorted(samples["sample"]))
    places = [_places(rows[column], of) for column, of in (("metric", metrics.index), ("explainer", who))]
    places.append(_places(rows["sample"], names))
    valid = np.logical_and.reduce([place >= 0 for place in places])
    scores = np.full((len(metrics), len(who), len(names)), np.nan)
    scores[tuple(place[valid] for place in places)] = rows.score.to_numpy(dtype=np.float64)[valid]
    scores[~np.isfinite(scores)] = np.nan
    higher = metrics.higher_is_better.to_numpy(dtype=bool)
    scores[~higher] *= -1
    return Cube(
        task,
        tuple(map(str, metrics.index)),
        tuple(map(str, metrics.category)),
        tuple(bool(one) for one in higher),
        tuple(map(str, names)),
        units_of(None if samples is None else samples.set_index("sample"), names),
        scores,
    )


def _places(column: pd.Series, names: pd.Index) -> NDArray[np.intp]:
    """Each row's place among the names; -1: not among them."""
    column = column.astype("category")
    return np.append(names.get_indexer(column.cat.categories), -1)[column.cat.codes]
