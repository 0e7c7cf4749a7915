"""The leaderboard on a terminal: as wide as the console is, in several tables where one does not fit."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.table import Table
from rich.text import Text

from .layout import LEGEND, Block, Cell, blocks, cells, header

_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_RULED = box.Box("    \n    \n ── \n    \n ── \n    \n    \n    \n")
"""No lines but one under the header and one above the controls."""

_NAME_WIDTH = 26
_HEADER_WIDTH = 18


@dataclass(frozen=True)
class Leaderboard:
    """The long table, for a rich console."""

    table: pd.DataFrame

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        for block in blocks(self.table):
            yield from _text_block(block, options.max_width)
        yield Text(LEGEND, style="dim")


def _text_block(block: Block, width: int) -> Iterator[RenderableType]:
    names = [_folded(name, _NAME_WIDTH) for name in block.explainers]
    first = max(_width(name) for name in names)
    page: list[list[Text]] = []
    room = 0
    pages = [page]
    for metric in block.metrics:
        column = _text_column(metric, block.column(metric))
        needed = max(_width(text) for text in column) + 2
        if page and room < needed:
            page = []
            pages.append(page)
        if not page:
            room = width - first - 2
        page.append(column)
        room -= needed
    for index, page in enumerate(pages):
        title = Text(f"\n{block.title} (continued)" if index else block.title, style="bold")
        yield Group(title, _text_table(names, page, block.n_ranked)) if page else title
    yield from (Text(note, style="dim") for note in block.notes)
    yield Text("")


def _text_table(names: list[Text], columns: list[list[Text]], n_ranked: int) -> Table:
    table = Table(box=_RULED, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("explainer", overflow="fold", vertical="top")
    for column in columns:
        table.add_column(column[0], justify="right", overflow="fold")
    for index, name in enumerate(names):
        if index == n_ranked:
            table.add_section()
        table.add_row(name, *(column[index + 1] for column in columns))
    return table


def _text_column(metric: str, column: pd.DataFrame) -> list[Text]:
    """Header and cells."""
    name, *rest = header(metric, column).rsplit(" ", 2)
    return [_folded(name, _HEADER_WIDTH).append(f"\n{' '.join(rest)}"), *(_text_cell(cell) for cell in cells(column))]


def _text_cell(cell: Cell) -> Text:
    marks = f"{'*' if cell.best else ''}{cell.rank.translate(_SUPERSCRIPT)}{'†' if cell.dagger else ''}"
    text = Text(f"{cell.n} " if cell.n else "").append(cell.mean, style="bold" if cell.best else "").append(marks)
    return text.append(f"\n{cell.interval}", style="dim") if cell.interval else text


def _folded(name: str, width: int) -> Text:
    """The name over several lines, broken after an underscore where there is one."""
    lines = [""]
    for part in re.findall(rf"[^_]{{1,{width - 1}}}_?|_", name):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return Text("\n".join(lines))


def _width(text: Text) -> int:
    return max(cell_len(line) for line in text.plain.split("\n"))
