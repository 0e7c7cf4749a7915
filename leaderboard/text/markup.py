"""The leaderboard as Markdown and as LaTeX: names and reasons are escaped, whatever stands in them."""

import html
import re
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from .layout import LEGEND, Block, Cell, blocks, cells, header, kind


@dataclass(frozen=True)
class _Markup:
    """How a format writes what it treats specially."""

    escape: Callable[[str], str]
    bold: str
    rank: str
    dagger: str
    arrows: tuple[str, str]
    star: str


def escape_markdown(text: str) -> str:
    """The text as Markdown shows it."""
    text = re.sub(r"([\\`*\[\]|~#])", r"\\\1", html.escape(text, quote=False))
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\_", text)


_LATEX_CHARACTERS = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "–": "--",
        "†": r"$\dagger$",
        "‡": r"$\ddagger$",
        "·": r"$\cdot$",
        "×": r"$\times$",
        "µ": r"\textmu{}",
    }
)


def escape_latex(text: str) -> str:
    """The text as LaTeX shows it."""
    return text.translate(_LATEX_CHARACTERS)


_MARKDOWN = _Markup(escape_markdown, "**{}**", "<sup>{}</sup>", "†", ("↑", "↓"), r"\*")
_LATEX = _Markup(
    escape_latex,
    *(r"\textbf{{{}}}", r"$^{{{}}}$", r"$\dagger$", (r"$\uparrow$", r"$\downarrow$"), "*"),
)


def _document(table: pd.DataFrame, block_of: Callable[[Block], str], escape: Callable[[str], str]) -> str:
    return "\n\n".join([*(block_of(block) for block in blocks(table)), escape(LEGEND)]) + "\n"


def _markdown_block(block: Block) -> str:
    frame = _frame(block, _MARKDOWN)
    body = frame.to_markdown(index=False, disable_numparse=True, stralign=None) if block.metrics else ""
    notes = "\n".join(f"- {_MARKDOWN.escape(note)}" for note in block.notes)
    return "\n\n".join(part for part in (f"### {_MARKDOWN.escape(block.title)}", body, notes) if part)


def _latex_block(block: Block) -> str:
    notes = [rf"\par\noindent {_LATEX.escape(note)}" for note in block.notes]
    title = _LATEX.escape(block.title)
    if not block.metrics:
        return "\n".join([rf"\par\noindent {title}", *notes])
    frame = _frame(block, _LATEX)
    body = frame.to_latex(index=False, escape=False, caption=title, column_format="l" + "r" * len(block.metrics))
    return "\n".join([body.rstrip(), *notes])


def _frame(block: Block, markup: _Markup) -> pd.DataFrame:
    """The block as strings, a row an explainer; controls say so."""
    labels = [markup.escape(name) for name in block.explainers]
    labels[block.n_ranked :] = [f"{label} ({kind(label)})" for label in labels[block.n_ranked :]]
    columns = {"explainer": labels}
    for metric in block.metrics:
        column = block.column(metric)
        name, arrow, n = header(metric, column).rsplit(" ", 2)
        title = f"{markup.escape(name)} {markup.arrows[arrow == '↓']} {n}"
        columns[title] = [_marked(cell, markup) for cell in cells(column)]
    return pd.DataFrame(columns)


def _marked(cell: Cell, markup: _Markup) -> str:
    mean = markup.escape(cell.mean)
    mean = markup.bold.format(mean) + markup.star if cell.best else mean
    rank = markup.rank.format(cell.rank) if cell.rank else ""
    marked = f"{mean}{rank}{markup.dagger if cell.dagger else ''}"
    return " ".join(part for part in (cell.n, marked, markup.escape(cell.interval)) if part)


def markdown(table: pd.DataFrame) -> str:
    """The long table as a Markdown document: a heading and a table a task and category."""
    return _document(table, _markdown_block, _MARKDOWN.escape)


def latex(table: pd.DataFrame) -> str:
    """The long table as LaTeX: a `table` a task and category, for the package booktabs."""
    return _document(table, _latex_block, _LATEX.escape)
