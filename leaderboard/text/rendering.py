"""How the long table looks: as text for a terminal, as Markdown, as LaTeX, as CSV."""

import io
from typing import Literal

import pandas as pd
from rich.console import Console, RenderableType

from .markup import latex, markdown
from .terminal import Leaderboard

Format = Literal["text", "markdown", "csv", "latex"]


def render(table: pd.DataFrame, format: Format, width: int = 100) -> str:
    """The long table of `leaderboard.table.leaderboard` as a string; text is wrapped to `width` columns.

    Raises:
        ValueError: the format is not one of text, markdown, csv, latex.
    """
    if format == "text":
        console = Console(
            file=io.StringIO(), width=width, color_system=None, force_terminal=False, legacy_windows=False
        )
        with console.capture() as capture:
            console.print(to_rich(table))
        return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"
    if format == "csv":
        return table.to_csv(index=False, lineterminator="\n")
    if format == "markdown":
        return markdown(table)
    if format == "latex":
        return latex(table)
    raise ValueError(f"no format {format!r}; there are: text, markdown, csv, latex")


def to_rich(table: pd.DataFrame) -> RenderableType:
    """The long table for a rich console: as wide as the console is, in several tables where one does not fit."""
    return Leaderboard(table)
