"""The leaderboard: records turned into one long table, a row a task, metric and explainer, and printed.

    table = leaderboard(load(Path("results")), tasks=["phantom_brain_mri_vgg16"])
    print(render(table, "text"))

Every number is a pure function of the records: same records, same table.
"""

from collections.abc import Collection, Iterator
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .noise import tells_noise, wide
from .record import HUMAN, Results, Status
from .statistics import judge
from .strata import by_mask_area
from .text.rendering import Format, render, to_rich
from .units import n_patients, of_task, units_of, units_over_tasks

__all__ = ["CATEGORIES", "COLUMNS", "Format", "leaderboard", "render", "to_rich"]

CATEGORIES = ("faithfulness", "localization", "robustness", "randomization", "complexity", "axiomatic", "runtime")
"""The categories in the order of the tables; others follow."""

CONTROLS = "controls"
"""The family whose explainers are controls: compared with, not ranked."""

LOCALIZATION = "localization"
"""The category in which a second reader of the images stands beside the explainers."""

COSTS = "runtime"
"""The category that tells a cost: not compared with controls, which cost nothing."""

COLUMNS = (
    *(
        "task",
        "outcomes",
        "stratum",
        "n_samples",
        "n_patients",
        "category",
        "metric",
        "higher_is_better",
        "tells_noise",
    ),
    *("explainer", "family", "control", "n", "n_undefined", "n_zero_maps", "mean", "low", "high"),
    *("rank", "best", "beats_controls", "status", "reason"),
)

Array = NDArray[np.float64]


def leaderboard(
    results: Results,
    tasks: Collection[str] | None = None,
    categories: Collection[str] | None = None,
    outcomes: Collection[str] | None = None,
    strata: Literal["mask-area"] | None = None,
) -> pd.DataFrame:
    """The long table: a row a task, metric and explainer, with the columns `COLUMNS`.

    Args:
        results: What `leaderboard.record.load` read.
        tasks: Only these.
        categories: Only metrics of these.
        outcomes: Only samples of these: "true positive", "false positive", "true negative", "false negative".
        strata: The samples of each task in strata, each with rows of its own: by the size of the evidence, as
            `strata.by_mask_area` says; the boundaries are those of all samples, whatever their outcome.

    Returns:
        task; outcomes (the cut, empty: all); stratum (empty: all); n_samples (of the task, after the cuts); n_patients
        (whose they are; missing where nobody knows); category; metric; higher_is_better; tells_noise (whether any
        explainer is significantly better than the control noise over the samples of all tasks of this table together,
        see `noise.tells_noise`; missing where nobody knows, and for costs); explainer; family; control; n (samples that
        count); n_undefined (samples the metric is not defined for: nan or infinite); n_zero_maps (samples whose map is
        0 everywhere, whatever the metric);
        mean, low, high (see `statistics.intervals`); rank, best, beats_controls (see `statistics.judge`);
        status: "scored", "failed", "inapplicable", "partial" (some shards scored, some not), "missing" (no record
        tells of it); reason: why there are no scores, or that they were made with other settings of the metric than
        most of the column.

        Where patients are known, intervals and tests count patients, not samples. A sample that two shards share counts
        once. Rows are ordered by task, stratum, category, metric and explainer.

    Raises:
        ValueError: a name is unknown, or nothing is left; the message names what there is.
    """
    check_cut(results, tasks, categories, outcomes)
    cells = _cells(results.cells)
    samples = _cut(results.samples, outcomes) if strata is None else _cut(by_mask_area(results.samples), outcomes, True)
    cells = cells[_among(cells.task, tasks) & _among(cells.category, categories)]
    if samples is not None:
        cells = cells[cells.task.isin(samples.task)]
    if cells.empty:
        raise ValueError(f"no cell is left after the cut; there are {_inventory(results)}")
    table = _rows(cells, results, samples)
    if results.human is not None:
        read = _cells(results.human.cells[results.human.cells.task.isin(cells.task)])
        table = table if read.empty else _with_human(table, _rows(read, results.human, samples))
    table["n_patients"] = table.n_patients.astype("Int64")
    table["outcomes"] = ", ".join(sorted(outcomes)) if outcomes is not None else ""
    table["tells_noise"] = table.metric.map(_telling(results, cells, samples)).astype("boolean")
    return table[list(COLUMNS)]


def _rows(cells: pd.DataFrame, results: Results, samples: pd.DataFrame | None) -> pd.DataFrame:
    """The rows of all tasks and strata."""
    rows = [
        _task_rows(str(task), found, results, keep).assign(stratum=stratum)
        for task, found in cells.groupby("task", sort=True, observed=True)
        for stratum, keep in _strata(str(task), samples)
    ]
    return pd.concat(rows, ignore_index=True)


def _with_human(table: pd.DataFrame, human: pd.DataFrame) -> pd.DataFrame:
    """The table with a row of the second reader's beneath each metric of localization; empty where he has no score."""
    key, of_metric = ["task", "stratum", "metric"], ["category", "higher_is_better", "n_samples", "n_patients"]
    judged = table[(table.category == LOCALIZATION) & table.task.isin(human.task)].drop_duplicates(key, keep="last")
    rows = judged[[*key, *of_metric]].merge(human.drop(columns=of_metric), how="left", on=key)
    about = {"explainer": HUMAN, "family": HUMAN, "control": True, "best": False, "status": "missing", "reason": ""}
    rows = rows.fillna({**about, "n": 0, "n_undefined": 0, "n_zero_maps": 0}).astype(table.dtypes)
    rows.index = judged.index + 0.5
    return pd.concat([table, rows]).sort_index().reset_index(drop=True)


def _strata(task: str, samples: pd.DataFrame | None) -> Iterator[tuple[str, pd.Series | None]]:
    """Name and samples of each stratum of the task; None: all its samples."""
    if samples is None:
        yield "", None
        return
    of_task = samples[samples.task == task]
    if "stratum" not in samples:
        yield "", of_task["sample"]
        return
    for name, members in of_task.groupby("stratum", sort=False):
        yield str(name), members["sample"]


def _telling(results: Results, cells: pd.DataFrame, samples: pd.DataFrame | None) -> dict[str, bool | None]:
    """Metric -> whether it tells some explainer from noise, over the samples of all tasks together."""
    scores = results.scores
    if samples is not None:
        scores = scores.astype({"task": str, "sample": str}).merge(samples[["task", "sample"]].drop_duplicates())
    scores = scores[scores.task.isin(cells.task)]
    ranked = sorted(set(cells.explainer[cells.family != CONTROLS].astype(str)))
    told = cells.drop_duplicates("metric")
    found: dict[str, bool | None] = {}
    for metric, category, higher_is_better in zip(told.metric, told.category, told.higher_is_better, strict=True):
        found[str(metric)] = None
        if category != COSTS:
            of_metric = wide(scores[(scores.metric == metric).to_numpy()])
            units = units_over_tasks(results.samples, of_metric.index)
            found[str(metric)] = tells_noise(of_metric, ranked, bool(higher_is_better), units)
    return found


def check_cut(
    results: Results,
    tasks: Collection[str] | None,
    categories: Collection[str] | None,
    outcomes: Collection[str] | None,
) -> None:
    """Whether the names of a cut are known.

    Raises:
        ValueError: one is not; the message names what there is.
    """
    for kind, wanted, known in (("task", tasks, results.cells.task), ("category", categories, results.cells.category)):
        _check(kind, wanted, known)
    _cut(results.samples, outcomes)


def _task_rows(task: str, cells: pd.DataFrame, results: Results, keep: pd.Series | None) -> pd.DataFrame:
    """The rows of a task: metric by metric, each explainer."""
    explainers = cells.drop_duplicates("explainer").set_index("explainer").family.sort_index()
    metrics = cells.drop_duplicates("metric").set_index("metric")[["category", "higher_is_better"]]
    metrics = metrics.iloc[np.lexsort((metrics.index, _category_order(metrics.category)))]
    names, scores, undefined = _matrices(results.scores, task, metrics.index, explainers.index, keep)
    control = explainers.isin((CONTROLS, HUMAN)).to_numpy()
    states = cells.set_index(["metric", "explainer"])[["status", "reason"]]
    zero_maps = _n_zero_maps(results.zero_maps[results.zero_maps.task == task], explainers.index, keep)
    known = of_task(results.samples, task)
    counted = pd.Index(keep.unique()) if keep is not None else names if known is None else known.index
    sizes = {"n_samples": len(counted), "n_patients": n_patients(known, counted)}
    units = units_of(known, names) if sizes["n_patients"] is not None else None
    judged = []
    for of_metric, category, higher_is_better in zip(scores, metrics.category, metrics.higher_is_better, strict=True):
        values = pd.DataFrame(of_metric.T, columns=explainers.index)
        judged.append(judge(values, control, bool(higher_is_better), category == COSTS, units))
    state = states.reindex(pd.MultiIndex.from_product([metrics.index, explainers.index]))
    n_metrics, n_explainers = undefined.shape
    return (
        pd.concat(judged)
        .reset_index()
        .assign(
            status=state.status.fillna("missing").to_numpy(),
            reason=state.reason.fillna("").to_numpy(),
            family=np.tile(explainers.to_numpy(), n_metrics),
            control=np.tile(control, n_metrics),
            n_undefined=undefined.ravel(),
            n_zero_maps=np.tile(zero_maps, n_metrics),
            task=task,
            **sizes,
            metric=metrics.index.to_numpy().repeat(n_explainers),
            category=metrics.category.to_numpy().repeat(n_explainers),
            higher_is_better=metrics.higher_is_better.to_numpy(dtype=bool).repeat(n_explainers),
        )
    )


def _n_zero_maps(zero_maps: pd.DataFrame, explainers: pd.Index, keep: pd.Series | None) -> NDArray[np.int64]:
    counted = zero_maps if keep is None else zero_maps[zero_maps["sample"].isin(keep)]
    sizes = counted.groupby("explainer").size().reindex(explainers, fill_value=0)
    return np.asarray(sizes, dtype=np.int64)


def _matrices(
    scores: pd.DataFrame, task: str, metrics: pd.Index, explainers: pd.Index, keep: pd.Series | None
) -> tuple[pd.Index, Array, NDArray[np.int64]]:
    """The N samples, scores (M, E, N), nan where undefined or missing, and the number undefined (M, E)."""
    rows = scores[(scores.task == task).to_numpy()]
    places = [_places(rows[column], names) for column, names in (("metric", metrics), ("explainer", explainers))]
    names = rows["sample"].astype("category")
    used = np.zeros(len(names.cat.categories), dtype=bool)
    used[names.cat.codes] = True
    if keep is not None:
        used &= names.cat.categories.isin(keep)
    sample = np.where(used, used.cumsum() - 1, -1)[names.cat.codes]
    valid = (places[0] >= 0) & (places[1] >= 0) & (sample >= 0)
    where = (places[0][valid], places[1][valid], sample[valid])
    values = rows.score.to_numpy(dtype=np.float64)[valid]
    matrix = np.full((len(metrics), len(explainers), int(used.sum())), np.nan)
    matrix[where] = np.where(np.isfinite(values), values, np.inf)
    undefined = np.isinf(matrix)
    matrix[undefined] = np.nan
    return names.cat.categories[used], matrix, undefined.sum(axis=2)


def _places(column: pd.Series, names: pd.Index) -> NDArray[np.intp]:
    """Each row's place among the names; -1: not among them."""
    column = column.astype("category")
    return np.append(names.get_indexer(column.cat.categories), -1)[column.cat.codes]


def _cells(cells: pd.DataFrame) -> pd.DataFrame:
    """A row a task, explainer and metric: what its shards say, put together."""
    key = ["task", "explainer", "metric"]
    cells = cells.assign(status=cells.status.astype(str), other=_other_settings(cells))
    severity = cells.status.map({str(Status.FAILED): 0, str(Status.INAPPLICABLE): 1}).fillna(2)
    worst = cells.iloc[np.lexsort((-cells.other.to_numpy(dtype=int), severity))]
    merged = worst.drop_duplicates(key).set_index(key).sort_index()
    n_statuses = cells.groupby(key, observed=True).status.nunique()
    scored = (cells.status == Status.SCORED).groupby([cells[name] for name in key], observed=True).any()
    merged["status"] = merged.status.where(~scored | (n_statuses == 1), "partial")
    stale = merged.other & (merged.reason == "")
    merged["reason"] = merged.reason.mask(stale, "made with other settings than the rest of the column")
    return merged.reset_index()


def _other_settings(cells: pd.DataFrame) -> NDArray[np.bool_]:
    """Which cells were made with other settings of their metric than most cells of their task and metric."""
    key = ["task", "metric"]
    sizes = cells.groupby([*key, "settings"], observed=True).size().rename("size").reset_index()
    usual = sizes.sort_values("size", ascending=False, kind="stable").drop_duplicates(key).set_index(key).settings
    expected = usual.loc[pd.MultiIndex.from_frame(cells[key])].to_numpy()
    return np.asarray(cells.settings.to_numpy() != expected)


def _cut(samples: pd.DataFrame, outcomes: Collection[str] | None, always: bool = False) -> pd.DataFrame | None:
    """The samples with one of the outcomes; None: no cut, unless there is always one."""
    if outcomes is None:
        return samples if always else None
    if "outcome" not in samples:
        raise ValueError("the records tell of no outcomes: there is no samples.parquet beside them")
    if not samples.outcome.isin(list(outcomes)).any():
        there = ", ".join(sorted(samples.outcome.dropna().unique()))
        raise ValueError(f"no sample with outcome {', '.join(sorted(outcomes))}; there are: {there}")
    return samples[samples.outcome.isin(list(outcomes))]


def _check(kind: str, wanted: Collection[str] | None, known: pd.Series) -> None:
    there = set(known.unique())
    unknown = sorted(set(wanted or ()) - there)
    if unknown:
        raise ValueError(f"no {kind} {', '.join(unknown)} in these results; there are: {', '.join(sorted(there))}")


def _among(column: pd.Series, wanted: Collection[str] | None) -> pd.Series:
    return column.isin(list(wanted)) if wanted is not None else column.notna()


def _category_order(categories: pd.Series) -> NDArray[np.intp]:
    order = [*CATEGORIES, *sorted(set(categories) - set(CATEGORIES))]
    return np.array([order.index(category) for category in categories])


def _inventory(results: Results) -> str:
    cells = results.cells
    kinds = {"tasks": set(cells.task), "categories": set(cells.category)}
    if "outcome" in results.samples:
        kinds["outcomes"] = set(results.samples.outcome.dropna())
    return "; ".join(f"{kind} {', '.join(sorted(names))}" for kind, names in kinds.items())
