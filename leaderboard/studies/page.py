"""A study's page: what came out in words, the tables behind it, and what it does not show."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from ..text.layout import number
from ..text.markup import escape_markdown


@dataclass(frozen=True)
class Page:
    """A study, for a rich console; `markdown` writes it to a file."""

    title: str
    verdicts: tuple[tuple[str, tuple[str, ...]], ...]
    """What came out, in lines; before them what they are about, empty for all of it."""
    tables: tuple[tuple[str, pd.DataFrame], ...]
    """Heading and strings."""
    limits: tuple[str, ...]
    """What the study does not show."""
    legend: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield Text(self.title, style="bold")
        for subject, lines in self.verdicts:
            if subject:
                yield Text(f"\n{subject}", style="bold")
            yield from (Text(f"- {line}") for line in lines)
        for heading, frame in self.tables:
            yield Text(f"\n{heading}", style="bold")
            table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
            for index, column in enumerate(frame.columns):
                first = index == 0
                table.add_column(
                    Text(str(column)),
                    justify="left" if first else "right",
                    overflow="fold",
                    min_width=14 if first else 0,
                )
            for row in frame.itertuples(index=False):
                table.add_row(*map(Text, row))
            yield table
        yield Text("\nWhat this does not show", style="bold")
        yield from (Text(f"- {limit}") for limit in self.limits)
        yield Text(f"\n{self.legend}", style="dim")


def markdown(page: Page, figures: Sequence[str] = ()) -> str:
    """The page as Markdown.

    Args:
        page: What to write.
        figures: Paths of pictures, as the document is to name them.
    """
    parts = [f"# {escape_markdown(page.title)}"]
    for subject, lines in page.verdicts:
        parts += [f"**{escape_markdown(subject)}**"] if subject else []
        parts.append(_listed(lines))
    parts += [f"![{escape_markdown(page.title)}]({name})" for name in figures]
    for heading, frame in page.tables:
        escaped = frame.map(lambda cell: escape_markdown(cell.replace("\n", " "))).rename(columns=escape_markdown)
        body = escaped.to_markdown(index=False, disable_numparse=True, stralign=None)
        parts += [f"## {escape_markdown(heading)}", body]
    return (
        "\n\n".join([*parts, "## What this does not show", _listed(page.limits), escape_markdown(page.legend)]) + "\n"
    )


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {escape_markdown(line)}" for line in lines)


def value(of: float, form: Callable[[float], str] = number) -> str:
    """The number, or a dash for nan."""
    return "–" if np.isnan(of) else form(of)


def interval(low: float, high: float) -> str:
    """
    >>> interval(0.25, 0.5), interval(float("nan"), 0.5)
    ('[0.250, 0.500]', '–')
    """
    return "–" if np.isnan(low) or np.isnan(high) else f"[{number(low)}, {number(high)}]"


def signed(of: float) -> str:
    """
    >>> signed(0.25), signed(-0.25), signed(float("nan"))
    ('+0.250', '-0.250', '–')
    """
    return value(of, lambda known: f"{'+' if known > 0 else ''}{number(known)}")


def listed(names: Sequence[str]) -> str:
    """
    >>> listed(["a", "b", "c"]), listed(["a"]), listed([])
    ('a, b and c', 'a', '')
    """
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else ""


def p_cell(p_value: float) -> str:
    """
    >>> p_cell(0.0001), p_cell(0.0123), p_cell(float("nan"))
    ('< 0.001', '0.012', '–')
    """
    return value(p_value, lambda p: "< 0.001" if p < 0.001 else f"{p:.3f}")


def named(row: Any) -> str:
    """The explainer of a row; a control says so."""
    return f"{row.explainer} (control)" if row.control else str(row.explainer)


def shortened(names: Sequence[str]) -> list[str]:
    """The names without the words that all begin with.

    >>> shortened(["phantom_mri_vgg16", "phantom_mri_resnet18"]), shortened(["phantom_mri"])
    (['vgg16', 'resnet18'], ['phantom_mri'])
    """
    words = [name.split("_") for name in names]
    alike = takewhile(lambda column: len(set(column)) == 1, zip(*(of_name[:-1] for of_name in words), strict=False))
    n_common = len(list(alike)) if len(names) > 1 else 0
    return ["_".join(of_name[n_common:]) for of_name in words]


def each(frame: pd.DataFrame) -> list[Any]:
    """The rows, as named tuples whose fields have the columns' types."""
    return list(frame.itertuples())
