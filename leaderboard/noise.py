"""Whether a metric tells explanations from noise: a question about the metric, asked of the scores at hand."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

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
    if shared.sum() * 0.5 ** found.n.max(initial=0) >= LEVEL or not shared.any():
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
    key = ["task", "sample", "explainer"]
    rows = scores[[*key, "score"]].astype(dict.fromkeys(key, str)).drop_duplicates(key, keep="last")
    matrix = rows.pivot(index=["task", "sample"], columns="explainer", values="score")
    return matrix.where(np.isfinite(matrix))
