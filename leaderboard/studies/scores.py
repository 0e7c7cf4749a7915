"""The scores of one task as the studies need them: a row a sample, a column a metric and explainer."""

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..record import Results
from ..scores import Explainers, explainers

CUE = "mass_on_cue"
"""Share of the positive relevance on the misleading cue, whether the decision rests on it or not."""
RESTING, NOT_RESTING = "shortcut_mass", "unused_shortcut_mass"

Array = NDArray[np.float64]


def of_task(results: Results, task: str) -> pd.DataFrame:
    """Scores as the metrics gave them, nan where undefined: rows are samples, columns (metric, explainer).

    Where the two metrics of shortcuts are there, so is a third, `CUE`: whichever of them is defined.
    """
    key = ["sample", "metric", "explainer"]
    rows = results.scores[(results.scores.task == task).to_numpy()]
    rows = rows[[*key, "score"]].astype(dict.fromkeys(key, str)).drop_duplicates(key, keep="last")
    matrix = rows.pivot(index="sample", columns=["metric", "explainer"], values="score")
    matrix = matrix.where(np.isfinite(matrix))
    if RESTING in matrix and NOT_RESTING in matrix:
        resting, not_resting = pd.DataFrame(matrix[RESTING]), pd.DataFrame(matrix[NOT_RESTING])
        either = resting.combine_first(not_resting)
        either.columns = pd.MultiIndex.from_product([[CUE], either.columns])
        matrix = pd.concat([matrix, either], axis=1)
    return matrix


def samples_of(results: Results, task: str) -> pd.DataFrame:
    """What is known of the task's samples; the index is the sample.

    Raises:
        ValueError: nothing is known.
    """
    rows = results.samples[results.samples.task == task] if "task" in results.samples else results.samples
    if rows.empty:
        raise ValueError(f"these results tell nothing of the samples of {task}: run it again")
    return rows.drop_duplicates("sample").set_index("sample")


def column(matrix: pd.DataFrame, metric: str, explainer: str, names: pd.Index) -> Array:
    """One metric's scores of one explainer (N,) on these samples; all nan where there are none."""
    if (metric, explainer) not in matrix:
        return np.full(len(names), np.nan)
    return matrix[metric, explainer].reindex(names).to_numpy(dtype=np.float64)


def who(results: Results) -> Explainers:
    """Explainers that have a score on any task; controls apart."""
    everybody = explainers(results)
    scored = set(results.scores.explainer.astype(str).unique())
    ranked = tuple(name for name in everybody.ranked if name in scored)
    return Explainers((*ranked, *(name for name in everybody.controls if name in scored)), len(ranked))


def balanced(results: Results) -> Results:
    """Only the samples of each task that every explainer and metric with scores there has been asked about.

    A folder that several runs filled holds more samples of some explainers than of others; duels among those few would
    count as if all had taken part.
    """
    key = ["task", "sample", "explainer", "metric"]
    rows = results.scores[key].astype(dict.fromkeys(key, str))
    cell = rows.explainer + "\0" + rows.metric
    n_cells = cell.groupby(rows.task).nunique()
    n_asked = cell.groupby([rows.task, rows["sample"]]).nunique()
    complete = n_asked.index[n_asked.to_numpy() == n_cells.reindex(n_asked.index.get_level_values(0)).to_numpy()]
    keep = pd.MultiIndex.from_frame(rows[["task", "sample"]]).isin(complete)
    samples = results.samples
    if len(samples):
        samples = samples[pd.MultiIndex.from_frame(samples[["task", "sample"]]).isin(complete)]
    return replace(results, scores=results.scores[keep], samples=samples)


def joined(parts: Collection[Results]) -> Results:
    """Results of different tasks as one."""
    first, *others = parts
    for other in others:
        first = replace(
            first,
            scores=pd.concat([first.scores, other.scores], ignore_index=True),
            cells=pd.concat([first.cells, other.cells], ignore_index=True),
            samples=pd.concat([first.samples, other.samples], ignore_index=True),
            zero_maps=pd.concat([first.zero_maps, other.zero_maps], ignore_index=True),
        )
    return first
