"""Mean ranks: a row an explainer, a panel a family of metrics, and letters for who cannot be told apart."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ..standings import Standing, Standings
from ..style import Style
from .looks import looks
from .marks import columns_of, interval, marker, panels, per_row

_ROW, _HEAD = 0.15, 0.55
"""Height of a row, and of title and axis; inches."""
_LEAST = 1.3
"""Width of a panel, inches."""


def draw_ranks(found: Standings, columns: Collection[str], path: Path, style: Style | None = None) -> Path:
    """Draw the mean ranks of columns with their 95 % intervals; the best overall on top, controls, open, below all.

    Right of a panel stand the letters of its column: ranked explainers that share one cannot be told apart. Without
    enough samples there are none, and the title says so.

    Args:
        found: What `leaderboard.standings.standings` found.
        columns: Families, or "overall"; empty: all.
        path: Where to write it; .png, .pdf or .svg by its suffix. Missing folders are made.
        style: The look.

    Raises:
        ValueError: a column is unknown, or there is none.
    """
    chosen = columns_of(found, columns)
    style = style or Style()
    rows = -(-len(chosen) // per_row(style.inches, len(chosen), _LEAST * style.scale))
    height = rows * style.scale * (_HEAD + _ROW * len(found.explainers.names))
    with style.drawing(height) as figure:
        axes = panels(figure, len(chosen), _LEAST * style.scale, sharey=True)
        for axis, column in zip(axes, chosen, strict=True):
            _draw(axis, found, column)
        return style.save(figure, path)


def _draw(axis: Axes, found: Standings, column: Standing) -> None:
    order, who, appearance = found.order(), found.explainers, looks(found)
    for row, at in enumerate(order):
        if np.isfinite(column.mean_rank[at, 0]):
            look = {**marker(appearance[who.names[at]]), "linestyle": "none", "elinewidth": 0.8}
            bars = interval(column.mean_rank[[at]])
            axis.errorbar(column.mean_rank[[at], 0], [row], xerr=bars, gid=who.names[at], **look)
        told = column.letters[at] if at < who.n_ranked else ""
        axis.text(1.02, row, told, transform=axis.get_yaxis_transform(), va="center", gid=f"letters {who.names[at]}")
    names = [f"{who.names[at]} (control)" if at >= who.n_ranked else who.names[at] for at in order]
    axis.set_yticks(range(len(order)), names)
    axis.set_ylim(len(order) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.grid(True, axis="y")
    axis.spines["left"].set_visible(False)
    if 0 < who.n_ranked < len(order):
        axis.axhline(who.n_ranked - 0.5, color="0.5", linewidth=0.5)
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    few = " (too few samples)" if column.over_samples.too_few else ""
    axis.set_title(f"{column.column}{few}", loc="left")
    axis.set_xlabel("mean rank")
