"""The tables of the report: what stands in each cell, and by what number a column is sorted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..standings import Standings
from ..summary import Summary, SummaryCell
from ..text.layout import Block, Cell, blocks, cells, kind


@dataclass(frozen=True)
class Head:
    """The heading of a column."""

    name: str
    note: str = ""
    """Direction and n."""
    ascending: bool = True
    """Whether small is good: what a first click sorts by."""


@dataclass(frozen=True)
class Entry:
    """A cell."""

    value: str
    order: float
    """What it is sorted by; nan: last."""
    rank: str = ""
    marks: str = ""
    interval: str = ""
    note: str = ""
    best: bool = False


@dataclass(frozen=True)
class Line:
    """A row: an explainer."""

    name: str
    entries: Sequence[Entry]

    @property
    def kind(self) -> str:
        """Of one that is not ranked."""
        return kind(self.name)


@dataclass(frozen=True)
class Tabulated:
    """A table: the ranked explainers, below them the controls."""

    title: str
    heads: Sequence[Head]
    ranked: Sequence[Line]
    controls: Sequence[Line]
    notes: Sequence[str]


def per_task(table: pd.DataFrame) -> dict[str, list[Block]]:
    """Task -> its blocks, a family each."""
    found: dict[str, list[Block]] = {}
    for block in blocks(table):
        found.setdefault(str(block.rows.task.iloc[0]), []).append(block)
    return found


def of_block(block: Block) -> Tabulated:
    """A task's table of one family."""
    heads, columns = [], []
    for metric in block.metrics:
        column = block.column(metric)
        higher = bool(column.higher_is_better.iloc[0])
        heads.append(Head(metric, f"{'↑' if higher else '↓'} n={column.n.max()}", not higher))
        columns.append(
            [_entry(cell, mean) for cell, mean in zip(cells(column), column["mean"].astype(float), strict=True)]
        )
    return _tabulated(str(block.rows.category.iloc[0]), heads, block.explainers, columns, block.n_ranked, block.notes)


def of_summary(found: Standings, title: str) -> Tabulated:
    """The standings: explainers and families."""
    summary = Summary(found)
    order = found.order()
    heads, columns = [], []
    for name, told in summary.columns():
        heads.append(Head(name))
        values = _sorted_by(found, name)[order]
        columns.append([_summary_entry(cell, value) for cell, value in zip(told, values, strict=True)])
    names = [found.explainers.names[at] for at in order]
    return _tabulated(title, heads, names, columns, found.explainers.n_ranked, summary.notes())


def _sorted_by(found: Standings, heading: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    if heading == "place":
        return np.asarray(found.place[:, 0])
    if heading == "time":
        return found.costs.times.to_numpy(dtype=np.float64)
    return np.asarray(found.column(heading).mean_rank[:, 0])


def _tabulated(
    title: str,
    heads: Sequence[Head],
    names: Sequence[str],
    columns: Sequence[Sequence[Entry]],
    n_ranked: int,
    notes: Sequence[str],
) -> Tabulated:
    lines = [Line(name, [column[at] for column in columns]) for at, name in enumerate(names)]
    return Tabulated(title, heads, lines[:n_ranked], lines[n_ranked:], notes)


def _entry(cell: Cell, mean: float) -> Entry:
    marks = f"{'*' if cell.best else ''}{'†' if cell.dagger else ''}"
    return Entry(cell.mean, mean, cell.rank, marks, cell.interval, cell.n, cell.best)


def _summary_entry(cell: SummaryCell, value: float) -> Entry:
    return Entry(cell.value, value, marks=cell.marks, interval=cell.interval, best=cell.best)
