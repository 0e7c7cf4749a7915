"""Quality against cost: the mean rank of each explainer and the time that it takes."""

from collections.abc import Collection
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from ..standings import Standing, Standings
from ..style import CONTROL, Style
from ..verdict import front
from .looks import looks
from .marks import columns_of, interval, marker, name_points, panels, per_row

_LEAST, _HEIGHT = 2.6, 2.6
"""Width and height of a panel, inches."""
_FEW_DECADES = 1.7
"""Up to here 2 and 5 are written at the axis of times, too."""


def draw_pareto(found: Standings, columns: Collection[str], path: Path, style: Style | None = None) -> Path:
    """Draw columns of the standings against cost, a panel each.

    Up is better, left is cheaper. The dotted front joins those ranked explainers than which none is both cheaper and
    better; their names are black. Bars are the 95 % intervals of the mean ranks. Controls are open and gray, at the
    rank that they would have.

    Args:
        found: What `leaderboard.standings.standings` found.
        columns: Families, or "overall"; empty: overall.
        path: Where to write it; .png, .pdf or .svg by its suffix. Missing folders are made.
        style: The look.

    Raises:
        ValueError: a column is unknown; of no ranked explainer a cost was measured.
    """
    chosen = columns_of(found, columns)[: None if columns else 1]
    times = found.costs.times.to_numpy(dtype=np.float64)
    if not any((np.isfinite(times) & np.isfinite(column.mean_rank[:, 0])).any() for column in chosen):
        raise ValueError(
            "of no ranked explainer a cost is known in these results: `bench run --metrics seconds` adds it"
        )
    style = style or Style()
    rows = -(-len(chosen) // per_row(style.inches, len(chosen), _LEAST * style.scale))
    with style.drawing(rows * _HEIGHT * style.scale) as figure:
        axes = panels(figure, len(chosen), _LEAST * style.scale)
        for axis, column in zip(axes, chosen, strict=True):
            _draw(axis, found, column, times)
        # Names are placed by where the points are, once that is settled.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for axis, column in zip(axes, chosen, strict=True):
            _name(axis, found, column, times)
        return style.save(figure, path)


def _known(found: Standings, column: Standing, times: np.ndarray) -> list[int]:
    return [at for at in found.order() if np.isfinite(times[at]) and np.isfinite(column.mean_rank[at, 0])]


def _draw(axis: Axes, found: Standings, column: Standing, times: np.ndarray) -> None:
    names, appearance = found.explainers.names, looks(found)
    on_front = [names.index(name) for name in front(found, column)]
    axis.plot(
        times[on_front], column.mean_rank[on_front, 0], drawstyle="steps-post", color=CONTROL, linestyle=":", zorder=1
    )
    for at in _known(found, column, times):
        bars = interval(column.mean_rank[[at]])
        look = {**marker(appearance[names[at]]), "linestyle": "none", "elinewidth": 0.7, "gid": names[at]}
        axis.errorbar(times[[at]], column.mean_rank[[at], 0], bars, **look)
    axis.set_xscale("log")
    axis.margins(x=0.12, y=0.08)
    axis.invert_yaxis()
    first, last = np.log10(axis.get_xlim())
    axis.xaxis.set_major_locator(LogLocator(10, subs=(1,) if last - first > _FEW_DECADES else (1, 2, 5), numticks=12))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"×{value:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set(title=column.column, xlabel="time, in units of the fastest", ylabel="mean rank (1: the best)")
    axis.grid(True, axis="y")


def _name(axis: Axes, found: Standings, column: Standing, times: np.ndarray) -> None:
    names, on_front = found.explainers.names, front(found, column)
    known = _known(found, column, times)
    labels = {at: f"{names[at]} (control)" if at >= found.explainers.n_ranked else names[at] for at in known}
    colours = {labels[at]: "black" if names[at] in on_front else "0.4" for at in known}
    bars = [[(times[at], end) for end in column.mean_rank[at, 1:]] for at in known]
    steps = [(times[names.index(name)], column.mean_rank[names.index(name), 0]) for name in on_front]
    for (left, rank), (right, following) in pairwise(steps):
        bars += [[(left, rank), (right, rank)], [(right, rank), (right, following)]]
    points = {labels[at]: (float(times[at]), float(column.mean_rank[at, 0])) for at in known}
    name_points(axis, points, colours, [_box(axis, ends) for ends in bars if np.isfinite(ends).all()])


def _box(axis: Axes, ends: list[tuple[float, float]]) -> Bbox:
    """About a line between two places, pixels."""
    first, second = axis.transData.transform(ends)
    return Bbox([np.minimum(first, second) - 1, np.maximum(first, second) + 1])
