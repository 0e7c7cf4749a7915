"""Critical-difference diagrams: explainers at their mean rank, bars over those that cannot be told apart.

References:
    Demšar, Statistical comparisons of classifiers over multiple data sets, JMLR 7 (2006); the bars are not Nemenyi's
    but of Holm-corrected paired tests, as Benavoli, Corani and Mangili, JMLR 17 (2016), advise.
"""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .letters import groups
from .standings import Standing, Standings

_WIDTH, _MARGIN, _LINE, _HEAD, _FOOT = 7.5, 2.3, 0.2, 0.62, 0.3
"""Of the page, left and right of the axis for the names, of a name or bar, above and below; inches."""


def bars(standings: Standings, column: Standing) -> list[tuple[float, ...]]:
    """The mean ranks that each bar joins: the largest groups of ranked explainers of which no two differ.

    Groups of one have no bar; where there are too few samples to tell any apart one bar joins all. Tests compare two
    explainers alone, so a bar may pass over one that does not belong to its group: members have a dot on it.
    """
    rank = column.mean_rank[: standings.explainers.n_ranked, 0]
    known = np.flatnonzero(np.isfinite(rank))
    separable = column.over_samples.separable(standings.explainers.n_ranked)[np.ix_(known, known)]
    members = (tuple(sorted(rank[known[sorted(group)]].tolist())) for group in groups(separable) if len(group) > 1)
    return sorted(members)


def diagrams(standings: Standings, columns: list[str], path: Path, dpi: int = 150) -> Path:
    """Draw the diagrams of columns one beneath the other, the best at the left; controls, gray, where they would be.

    Args:
        standings: What `leaderboard.standings.standings` found.
        columns: Families, or "overall"; empty: all.
        path: Where to write it; .png, .pdf or .svg by its suffix. Missing folders are made.
        dpi: Dots an inch, for .png.

    Returns:
        The path.

    Raises:
        ValueError: a column is unknown, or there is none.
    """
    known = [column.column for column in standings.columns]
    unknown = [name for name in columns if name not in known]
    if unknown or not known:
        raise ValueError(f"no ranked family {', '.join(unknown)} in these results; there are: {', '.join(known)}")
    chosen = [standings.column(name) for name in columns or known]
    spans = [bars(standings, column) for column in chosen]
    n_lines = (len(standings.explainers.names) + 1) // 2
    heights = [_HEAD + _LINE * (0.5 * len(span) + n_lines) + _FOOT for span in spans]
    figure = Figure(figsize=(_WIDTH, sum(heights)))
    FigureCanvasAgg(figure)
    foot = sum(heights)
    for column, span, height in zip(chosen, spans, heights, strict=True):
        foot -= height
        axis = figure.add_axes((0, foot / sum(heights), 1, height / sum(heights)))
        axis.set_xlim(0, _WIDTH)
        axis.set_ylim(height, 0)
        axis.axis("off")
        _draw(axis, standings, column, span)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi)
    return path


def _draw(axis: Axes, standings: Standings, column: Standing, spans: list[tuple[float, ...]]) -> None:
    """A scale, the bars beneath it, then a line to the name of each, the better half at the left."""
    ranks = column.mean_rank[:, 0]
    last = max(2.0, float(np.ceil(np.nanmax(ranks))) if np.isfinite(ranks).any() else 2.0)

    def place(rank: float) -> float:
        return _MARGIN + (rank - 1) / (last - 1) * (_WIDTH - 2 * _MARGIN)

    unit = "sample" if column.n_units == 1 else "samples"
    title = f"{column.column}: mean rank, n = {column.n_units} {unit}; joined by a bar: not separable"
    reason = column.over_samples.too_few
    axis.text(0.1, 0.17, f"{title} ({reason})" if reason else title, fontsize=8, weight="bold", parse_math=False)
    axis.plot([place(1), place(last)], [_HEAD, _HEAD], color="black", linewidth=0.8)
    for tick in range(1, int(last) + 1):
        axis.plot([place(tick)] * 2, [_HEAD - 0.06, _HEAD], color="black", linewidth=0.8)
        axis.text(place(tick), _HEAD - 0.09, str(tick), ha="center", fontsize=7)
    for at, members in enumerate(spans):
        top = _HEAD + _LINE * 0.5 * (at + 0.7)
        axis.plot(
            [place(rank) for rank in members], [top] * len(members), "o-", color="black", linewidth=2, markersize=4
        )
    beneath = _HEAD + _LINE * 0.5 * len(spans) + 0.1
    there = [int(at) for at in np.argsort(ranks, kind="stable") if np.isfinite(ranks[at])]
    half = (len(there) + 1) // 2
    for position, at in enumerate(there):
        left = position < half
        top = beneath + _LINE * (0.5 + (position if left else len(there) - 1 - position))
        control = at >= standings.explainers.n_ranked
        colour = "0.55" if control else "black"
        end = _MARGIN - 0.15 if left else _WIDTH - _MARGIN + 0.15
        axis.plot([place(ranks[at])] * 2 + [end], [_HEAD, top, top], color=colour, linewidth=0.7)
        name = f"{standings.explainers.names[at]}{' (control)' if control else ''} {ranks[at]:.2f}"
        side = "right" if left else "left"
        gap = -0.05 if left else 0.05
        axis.text(end + gap, top, name, ha=side, va="center", fontsize=7, color=colour, parse_math=False)
