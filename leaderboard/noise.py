"""Whether a metric tells explanations from noise: a question about the metric, asked of the scores at hand."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from .signed_rank import compare
from .statistics import LEVEL, holm
from .units import Units, means_of_units

NOISE = "noise"
"""The control whose maps are independent random numbers."""


def n_above(scores: pd.DataFrame, rival: ArrayLike, higher_is_better: bool, units: Units | None = None) -> int | None:
    """How many explainers are significantly better than a rival: one-sided paired Wilcoxon tests at 5 %, after Holm.

    Args:
        scores: (N, K), a row a sample and a column an explainer; nan: undefined or missing.
        rival: (N,), the rival's scores of the same samples.
        higher_is_better: The metric's direction.
        units: (N,), which samples are of one patient: what is tested is a patient's mean difference; None: no two are.

    Returns:
        In [0, K]; None where nobody could be: no explainer shares a sample with the rival, or they are so few that not
        even a test in which all differences have one sign would reject.
    """
    sign = 1 if higher_is_better else -1
    differences = sign * (scores.to_numpy(dtype=np.float64).T - np.asarray(rival, dtype=np.float64))
    found = compare(means_of_units(differences, units))
    shared = found.n > 0
    if not shared.any() or shared.sum() * 0.5 ** found.n.max() >= LEVEL:
        return None
    return int((holm(found.p_above[shared]) < LEVEL).sum())


def tells_noise(
    scores: pd.DataFrame, ranked: list[str], higher_is_better: bool, units: Units | None = None
) -> bool | None:
    """Whether some explainer is significantly better than the control `noise`, as `n_above` tests it.

    Args:
        scores: (N, K), a row a sample of any task and a column an explainer, controls among them.
        ranked: The explainers that are no controls.
        higher_is_better: The metric's direction.
        units: (N,), which samples are of one patient; None: no two are.

    Returns:
        None where nobody knows: there is no noise, or too few samples.
    """
    if NOISE not in scores:
        return None
    above = n_above(scores[[name for name in ranked if name in scores]], scores[NOISE], higher_is_better, units)
    return None if above is None else above > 0


def wide(scores: pd.DataFrame) -> pd.DataFrame:
    """One metric's scores as a matrix: a row a task and sample, a column an explainer, nan where there is none.

    Args:
        scores: task, explainer, sample, score. A sample that occurs twice counts once; infinite is undefined.
    """
    task, sample, explainer = (_places(scores[name]) for name in ("task", "sample", "explainer"))
    unit = task.of_rows * len(sample.names) + sample.of_rows
    there = np.zeros(len(task.names) * len(sample.names), dtype=bool)
    there[unit] = True
    matrix = np.full((there.sum(), len(explainer.names)), np.nan)
    # Where two rows are of one place, the later one stays.
    matrix[(there.cumsum() - 1)[unit], explainer.of_rows] = scores.score.to_numpy(dtype=np.float64)
    matrix[~np.isfinite(matrix)] = np.nan
    of_task, of_sample = np.divmod(np.flatnonzero(there), max(len(sample.names), 1))
    index = pd.MultiIndex.from_arrays([task.names[of_task], sample.names[of_sample]], names=["task", "sample"])
    return pd.DataFrame(matrix, index, explainer.names.rename("explainer"))


class _Places(NamedTuple):
    names: pd.Index
    """Sorted."""
    of_rows: NDArray[np.intp]
    """Where among the names each row's is."""


def _places(column: pd.Series) -> _Places:
    codes, names = pd.factorize(column)
    names = pd.Index(names).astype(str)
    order = names.argsort()
    return _Places(names[order], np.argsort(order)[codes])
