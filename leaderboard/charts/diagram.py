"""Critical-difference diagrams: explainers at their mean rank, bars over those that cannot be told apart.

References:
    Demšar, Statistical comparisons of classifiers over multiple data sets, JMLR 7 (2006); the bars are not Nemenyi's
    but of Holm-corrected paired tests, as Benavoli, Corani and Mangili, JMLR 17 (2016), advise. His observations are
    data sets: here tasks, if asked for, else samples. The mean ranks are the same, those of all tables and charts.
"""

import textwrap
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from ..letters import groups
from ..standings import Standing, Standings, Tests
from ..style import Style

Over = Literal["samples", "tasks"]
"""What is one observation of the tests: a sample (a patient, where patients are known) or a task."""

_LINE, _TITLE, _HEAD, _FOOT = 0.18, 0.14, 0.3, 0.1
"""Of a name or bar, of a line of the title, from the title to the axis, and below; inches."""
_LETTER = 0.58
"""Width of a letter, in sizes of the font."""
_LEAST_AXIS = 0.5
"""Inches."""
_SMALL = 0.9
"""Size of ticks over that of names."""


def bars(standings: Standings, column: Standing, over: Over = "samples") -> list[tuple[float, ...]]:
    """The mean ranks that each bar joins: the largest groups of ranked explainers of which no two differ.

    Groups of one have no bar; where there are too few observations to tell any apart one bar joins all. Tests compare
    two explainers alone, so a bar may pass over one that does not belong to its group: members have a dot on it.
    """
    rank = column.mean_rank[: standings.explainers.n_ranked, 0]
    known = np.flatnonzero(np.isfinite(rank))
    separable = _tests(column, over).separable(standings.explainers.n_ranked)[np.ix_(known, known)]
    members = (tuple(sorted(rank[known[sorted(group)]].tolist())) for group in groups(separable) if len(group) > 1)
    return sorted(members)


def diagrams(
    standings: Standings, columns: list[str], path: Path, style: Style | None = None, over: Over = "samples"
) -> Path:
    """Draw the diagrams of columns one beneath the other, the best at the left; controls, gray, where they would be.

    Args:
        standings: What `leaderboard.standings.standings` found.
        columns: Families, or "overall"; empty: all.
        path: Where to write it; .png, .pdf or .svg by its suffix. Missing folders are made.
        style: The look.
        over: Whose tests the bars show: over samples they speak of other samples of these tasks, over tasks of other
            tasks. The title says it, and where there are too few.

    Returns:
        The path.

    Raises:
        ValueError: a column is unknown, or there is none; or the page is too narrow for the names.
    """
    known = [column.column for column in standings.columns]
    unknown = [name for name in columns if name not in known]
    if unknown or not known:
        raise ValueError(f"no ranked family {', '.join(unknown)} in these results; there are: {', '.join(known)}")
    chosen = [standings.column(name) for name in columns or known]
    style = style or Style()
    page = _page(standings, chosen, style)
    spans = [bars(standings, column, over) for column in chosen]
    titles = [_title(column, over, page) for column in chosen]
    n_lines = (len(standings.explainers.names) + 1) // 2
    heights = [
        page.scale * (_TITLE * len(title) + _HEAD + _LINE * (0.5 * len(span) + n_lines + 0.5) + _FOOT)
        for title, span in zip(titles, spans, strict=True)
    ]
    with style.drawing(sum(heights), None) as figure:
        foot = sum(heights)
        for column, title, span, height in zip(chosen, titles, spans, heights, strict=True):
            foot -= height
            axis = figure.add_axes((0, foot / sum(heights), 1, height / sum(heights)))
            axis.set_xlim(0, page.width)
            axis.set_ylim(height, 0)
            axis.axis("off")
            _draw(axis, standings, column, span, title, page)
        return style.save(figure, path)


class _Page(NamedTuple):
    """Sizes, inches."""

    width: float
    margin: float
    """Left and right of the axis, for the names."""
    scale: float
    """Of what grows with the font."""
    size: float
    """Of the font, points."""

    @property
    def letters(self) -> int:
        """How many stand in a line."""
        return int((self.width - 0.2) / (self.size / 72 * _LETTER))


def _page(standings: Standings, columns: list[Standing], style: Style) -> _Page:
    names = [_name(standings, at, column) for column in columns for at in range(len(standings.explainers.names))]
    margin = 0.25 + style.font_size / 72 * _LETTER * max(map(len, names))
    if style.inches - 2 * margin < _LEAST_AXIS:
        raise ValueError(f"{style.width:g} mm are too narrow for these names: more width, or a smaller font")
    return _Page(style.inches, margin, style.scale, style.font_size)


def _name(standings: Standings, at: int, column: Standing) -> str:
    control = " (control)" if at >= standings.explainers.n_ranked else ""
    return f"{standings.explainers.names[at]}{control} {column.mean_rank[at, 0]:.2f}"


def _tests(column: Standing, over: Over) -> Tests:
    return column.over_tasks if over == "tasks" else column.over_samples


def _title(column: Standing, over: Over, page: _Page) -> list[str]:
    reason = _tests(column, over).too_few
    told = (
        f"nothing can be told apart: {reason}" if reason else f"joined by a bar: not separable over {_n(column, over)}"
    )
    return textwrap.wrap(f"{column.column}: mean rank; {told}", page.letters)


def _n(column: Standing, over: Over) -> str:
    """How many observations."""
    tasks = _counted(len(column.tasks), "task")
    return tasks if over == "tasks" else f"{_counted(column.n_units, column.unit)} of {tasks}"


def _counted(n: int, word: str) -> str:
    return f"{n} {word}{'s' if n != 1 else ''}"


def _draw(
    axis: Axes, standings: Standings, column: Standing, spans: list[tuple[float, ...]], title: list[str], page: _Page
) -> None:
    """A scale, the bars beneath it, then a line to the name of each, the better half at the left."""
    ranks = column.mean_rank[:, 0]
    last = max(2.0, float(np.ceil(np.nanmax(ranks))) if np.isfinite(ranks).any() else 2.0)
    margin, scale = page.margin, page.scale
    top_of_all = scale * (_TITLE * len(title) + _HEAD)

    def place(rank: float) -> float:
        return margin + (rank - 1) / (last - 1) * (page.width - 2 * margin)

    for at, line in enumerate(title):
        axis.text(0.1, scale * _TITLE * (at + 1), line, weight="bold")
    axis.plot([place(1), place(last)], [top_of_all, top_of_all], color="black", linewidth=0.8)
    step = _step(last, place(2) - place(1), page.size)
    for tick in range(1, int(last) + 1):
        axis.plot([place(tick)] * 2, [top_of_all - 0.06 * scale, top_of_all], color="black", linewidth=0.8)
        if (tick - 1) % step == 0:
            axis.text(place(tick), top_of_all - 0.08 * scale, str(tick), ha="center", fontsize=_SMALL * page.size)
    for at, members in enumerate(spans):
        top = top_of_all + scale * _LINE * 0.5 * (at + 0.7)
        axis.plot(
            [place(rank) for rank in members], [top] * len(members), "o-", color="black", linewidth=1.6, markersize=3.5
        )
    beneath = top_of_all + scale * (_LINE * 0.5 * len(spans) + 0.1)
    there = [int(at) for at in np.argsort(ranks, kind="stable") if np.isfinite(ranks[at])]
    half = (len(there) + 1) // 2
    for position, at in enumerate(there):
        left = position < half
        top = beneath + scale * _LINE * (0.5 + (position if left else len(there) - 1 - position))
        colour = "0.45" if at >= standings.explainers.n_ranked else "black"
        end = margin - 0.12 if left else page.width - margin + 0.12
        axis.plot([place(ranks[at])] * 2 + [end], [top_of_all, top, top], color=colour, linewidth=0.7)
        gap = -0.05 if left else 0.05
        shown: dict[str, Any] = {"ha": "right" if left else "left", "va": "center", "color": colour}
        axis.text(end + gap, top, _name(standings, at, column), **shown)


def _step(last: float, apart: float, size: float) -> int:
    """Every how many ticks has a number, so that they do not touch."""
    needed = (len(str(int(last))) + 0.7) * size / 72 * _LETTER
    return max(1, int(np.ceil(needed / apart)))
