"""Do metrics of one family agree on the order of the explainers? As matrices, and as a picture of them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import stats

from .record import Results
from .sheets import SIGNED
from .table import CONTROLS, COSTS

_CELL, _NAMES, _HEAD = 0.36, 1.75, 0.4
"""Side of a square, room for the names at the left and beneath, and above; inches."""
_APART = 0.25
_ACROSS = 13.0
"""Width from which on the next family begins a new row; inches."""

Array = NDArray[np.float64]


def agreement(results: Results) -> dict[str, pd.DataFrame]:
    """Family -> Kendall's tau-b between each two of its metrics: (M, M), in [-1, 1], names of metrics on both sides.

    On each task, explainers are ordered by the mean of their scores, the better the higher whatever the metric's
    direction; tau is averaged over the tasks. Controls do not take part: to agree that they are bad is easy. nan where
    no task has three explainers with scores of both, not all equal.
    Metrics without any score are left out, as are costs and families of one metric.
    """
    cells = results.cells[(results.cells.family != CONTROLS) & (results.cells.category != COSTS)]
    key = ["task", "explainer", "metric"]
    scores = results.scores[results.scores.explainer.isin(cells.explainer)]
    scores = scores[np.isfinite(scores.score)].drop_duplicates([*key, "sample"], keep="last")
    metrics = (
        cells[cells.metric.isin(scores.metric.astype(str).unique())]
        .drop_duplicates("metric")
        .set_index("metric")
        .sort_index()
    )
    means = scores.astype(dict.fromkeys(key, str)).groupby(key).score.mean().unstack("metric")
    means = means.reindex(columns=metrics.index) * np.where(metrics.higher_is_better.astype(bool), 1.0, -1.0)
    families = metrics.groupby("category", sort=True).groups
    return {str(family): _taus(means[list(names)]) for family, names in families.items() if len(names) > 1}


def with_others(matrix: pd.DataFrame) -> "pd.Series[float]":
    """(M,) mean of each row of (M, M) without the metric itself; nan where there is none."""
    return matrix.where(~np.eye(len(matrix), dtype=bool)).mean(axis=1)


def _taus(means: pd.DataFrame) -> pd.DataFrame:
    """(M, M) from means, rows indexed by task and explainer."""
    taus = np.stack([_taus_of_task(of_task.to_numpy()) for _, of_task in means.groupby(level="task")])
    known = np.isfinite(taus).sum(axis=0)
    total = np.nansum(taus, axis=0)
    mean = np.divide(total, known, out=np.full_like(total, np.nan), where=known > 0)
    return pd.DataFrame(mean, index=list(means.columns), columns=list(means.columns))


def _taus_of_task(means: Array) -> Array:
    """(M, M) from (K, M)."""
    n_metrics = means.shape[1]
    taus = np.full((n_metrics, n_metrics), np.nan)
    for first in range(n_metrics):
        for second in range(first, n_metrics):
            both = means[np.isfinite(means[:, [first, second]]).all(axis=1)][:, [first, second]]
            if len(both) >= 3 and (np.ptp(both, axis=0) > 0).all():
                taus[first, second] = taus[second, first] = stats.kendalltau(both[:, 0], both[:, 1]).statistic
    return taus


def draw(matrices: Mapping[str, pd.DataFrame], path: Path, dpi: int = 110) -> Path:
    """Draw the matrices of `agreement`, the largest first.

    Red agrees, blue disagrees, white has nothing in common, gray is not known.

    Args:
        matrices: Family -> (M, M).
        path: Where to write it; .png, .pdf or .svg by its suffix. Missing folders are made.
        dpi: Dots an inch, for .png.

    Returns:
        The path.

    Raises:
        ValueError: there is no matrix.
    """
    if not matrices:
        raise ValueError("no family has two metrics: there is no agreement to draw")
    matrices = dict(sorted(matrices.items(), key=lambda item: -len(item[1])))
    places, width, height = _laid_out({family: len(matrix) for family, matrix in matrices.items()})
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    for family, matrix in matrices.items():
        left, top = places[family]
        side = len(matrix) * _CELL
        axis = figure.add_axes((left / width, 1 - (top + side) / height, side / width, side / height))
        _draw(axis, family, matrix)
    figure.text(
        _APART / width,
        0.12 / height,
        "Kendall's tau between orders of the explainers, mean over tasks (red 1, white 0, blue -1; gray: not known)",
        fontsize=8,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi)
    return path


def _laid_out(sizes: Mapping[str, int]) -> tuple[dict[str, tuple[float, float]], float, float]:
    """Left and top of each family's squares, and the width and height of the sheet; inches."""
    places = {}
    left, top, row, width = _APART, 0.0, 0.0, 0.0
    for family, size in sizes.items():
        extent = _NAMES + size * _CELL
        if left > _APART and left + extent > _ACROSS:
            left, top, row = _APART, top + row, 0.0
        places[family] = (left + _NAMES, top + _HEAD)
        left += extent + _APART
        row, width = max(row, _HEAD + extent), max(width, left)
    return places, width, top + row + 0.3


def _draw(axis: Axes, family: str, matrix: pd.DataFrame) -> None:
    values = matrix.to_numpy(dtype=np.float64)
    axis.set_facecolor("0.8")
    axis.imshow(np.ma.masked_invalid(values), cmap=SIGNED, vmin=-1, vmax=1)
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = "white" if abs(value) > 0.6 else "black"
            axis.text(
                column, row, f"{value:.2f}".replace("0.", "."), ha="center", va="center", fontsize=6, color=colour
            )
    names = list(map(str, matrix.columns))
    axis.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axis.set_yticks(range(len(names)), names, fontsize=7)
    axis.tick_params(length=0)
    axis.set_title(family, fontsize=9, weight="bold", loc="left")
