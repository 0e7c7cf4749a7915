"""How the long table looks: as text for a terminal, as Markdown, as LaTeX, as CSV.

A block is one task and one category: rows are explainers, ranked ones first, controls apart; columns are metrics.
"""

import html
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.table import Table
from rich.text import Text

Format = Literal["text", "markdown", "csv", "latex"]

_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_RULED = box.Box("    \n    \n ── \n    \n ── \n    \n    \n    \n")
"""No lines but one under the header and one above the controls."""

_NAME_WIDTH = 26
_HEADER_WIDTH = 18

LEGEND = (
    "Mean over samples, below it the 95 % bootstrap interval. Raised number: rank, 1 + number of explainers separably "
    "better (paired Wilcoxon, Holm over the column, 5 %). * and bold: not separable from the best. † not "
    "significantly better than every control (not asked of runtime: a control costs nothing). n= in a cell: other "
    "samples count than in the rest of the column. – inapplicable."
)


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
        return _document(table, _markdown_block, _MARKDOWN.escape)
    if format == "latex":
        return _document(table, _latex_block, _LATEX.escape)
    raise ValueError(f"no format {format!r}; there are: text, markdown, csv, latex")


def to_rich(table: pd.DataFrame) -> RenderableType:
    """The long table for a rich console: as wide as the console is, in several tables where one does not fit."""
    return _Leaderboard(table)


@dataclass(frozen=True)
class _Block:
    """One task and one category of the long table, laid out."""

    title: str
    rows: pd.DataFrame
    explainers: list[str]
    """In order of their mean rank; controls last."""
    n_ranked: int
    metrics: list[str]
    notes: list[str]

    def column(self, metric: str) -> pd.DataFrame:
        """The rows of a metric, in the order of the explainers."""
        return self.rows[self.rows.metric == metric].set_index("explainer").loc[self.explainers]


@dataclass(frozen=True)
class _Leaderboard:
    table: pd.DataFrame

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        for block in _blocks(self.table):
            yield from _text_block(block, options.max_width)
        yield Text(LEGEND, style="dim")


def _blocks(table: pd.DataFrame) -> Iterator[_Block]:
    for (task, category), rows in table.groupby(["task", "category"], sort=False):
        order = _explainer_order(rows)
        head = rows.iloc[0]
        cut = f", {head.outcomes} only" if head.outcomes else ""
        title = f"{task} · {category} · {head.n_samples} sample{'s' if head.n_samples != 1 else ''}{cut}"
        n_ranked = int((~rows.drop_duplicates("explainer").control).sum())
        metrics = list(dict.fromkeys(rows.metric))
        yield _Block(title, rows, order, n_ranked, metrics, _notes(rows, len(metrics)))


def _explainer_order(rows: pd.DataFrame) -> list[str]:
    """By mean rank, then name; a missing rank counts as the last, so that failing does not help. Controls last."""
    last = rows.explainer.nunique()
    place = rows.assign(rank=rows["rank"].astype("Float64").fillna(last))
    order = place.groupby(["control", "explainer"], sort=True)["rank"].mean().reset_index()
    return list(order.sort_values(["control", "rank", "explainer"]).explainer)


def _notes(rows: pd.DataFrame, n_metrics: int) -> list[str]:
    """Each reason once, with the explainers and metrics it holds for; and how many scores are undefined."""
    notes = []
    for (status, reason), of_reason in rows[rows.reason != ""].groupby(["status", "reason"], sort=True):
        who = [
            str(name) if len(metrics) == n_metrics else f"{name}: {', '.join(map(str, metrics))}"
            for name, metrics in of_reason.groupby("explainer", sort=True).metric
        ]
        notes.append(f"{status}: {' '.join(str(reason).split())} ({'; '.join(who)})")
    for metric, of_metric in rows[rows.n_undefined > 0].groupby("metric", sort=False):
        counts = of_metric.groupby("n_undefined", sort=True).explainer
        who = [f"{count} {_plural('sample', count)} of {', '.join(map(str, names))}" for count, names in counts]
        notes.append(f"undefined: {metric} for {'; '.join(who)}")
    return notes


def _plural(word: str, count: object) -> str:
    return word if count == 1 else f"{word}s"


def number(value: float) -> str:
    """Three significant digits, without an exponent from 0.001 up to 999999.

    >>> [number(value) for value in (0.5, -12.345, 1234.5, 0.0000123, 2.5e7, 0.0)]
    ['0.500', '-12.3', '1234', '1.23e-5', '2.50e7', '0']
    """
    size = abs(value)
    if value == 0:
        return "0"
    if size < 0.0009995 or size >= 999999.5:
        return re.sub(r"e([+-])0*", lambda found: "e" + found[1].strip("+"), f"{value:.2e}")
    return f"{value:.0f}" if size >= 99.95 else f"{value:#.3g}"


@dataclass(frozen=True)
class _Cell:
    """What stands in a cell: the mean with its marks, or a word for why there is none."""

    mean: str
    rank: str = ""
    best: bool = False
    dagger: bool = False
    n: str = ""
    interval: str = ""


def _cell(row: dict[str, Any], n_usual: int) -> _Cell:
    if row["n"] == 0:
        words = {"inapplicable": "–", "scored": "undefined" if row["n_undefined"] else "no sample"}
        return _Cell(words.get(row["status"], row["status"]))
    return _Cell(
        mean=number(row["mean"]),
        rank="" if row["rank"] is pd.NA else str(row["rank"]),
        best=bool(row["best"]),
        dagger=row["beats_controls"] is not pd.NA and not row["beats_controls"],
        n=f"n={row['n']}" if row["n"] != n_usual else "",
        interval=f"[{number(row['low'])}, {number(row['high'])}]",
    )


def _cells(column: pd.DataFrame) -> list[_Cell]:
    usual = int(column.n.max())
    return [_cell({str(name): value for name, value in row.items()}, usual) for row in column.to_dict("records")]


def _header(metric: str, column: pd.DataFrame, up: str = "↑", down: str = "↓") -> str:
    arrow = up if column.higher_is_better.iloc[0] else down
    return f"{metric} {arrow} n={column.n.max()}"


# Text


def _text_block(block: _Block, width: int) -> Iterator[RenderableType]:
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
        title = f"\n{block.title} (continued)" if index else block.title
        yield Group(Text(title, style="bold"), _text_table(names, page, block.n_ranked))
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
    name, *rest = _header(metric, column).rsplit(" ", 2)
    return [_folded(name, _HEADER_WIDTH).append(f"\n{' '.join(rest)}"), *(_text_cell(cell) for cell in _cells(column))]


def _text_cell(cell: _Cell) -> Text:
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


# Markdown and LaTeX


@dataclass(frozen=True)
class _Markup:
    """How a format writes what it treats specially."""

    escape: Callable[[str], str]
    bold: str
    rank: str
    dagger: str
    arrows: tuple[str, str]
    star: str


def _escape_markdown(text: str) -> str:
    text = re.sub(r"([\\`*\[\]|~#])", r"\\\1", html.escape(text, quote=False))
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\_", text)


_LATEX_CHARACTERS = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "–": "--", "†": r"$\dagger$", "·": r"$\cdot$"}
)

_MARKDOWN = _Markup(_escape_markdown, "**{}**", "<sup>{}</sup>", "†", ("↑", "↓"), r"\*")
_LATEX = _Markup(
    lambda text: text.translate(_LATEX_CHARACTERS),
    *(r"\textbf{{{}}}", r"$^{{{}}}$", r"$\dagger$", (r"$\uparrow$", r"$\downarrow$"), "*"),
)


def _document(table: pd.DataFrame, block_of: Callable[[_Block], str], escape: Callable[[str], str]) -> str:
    return "\n\n".join([*(block_of(block) for block in _blocks(table)), escape(LEGEND)]) + "\n"


def _markdown_block(block: _Block) -> str:
    frame = _frame(block, _MARKDOWN)
    body = frame.to_markdown(index=False, disable_numparse=True, stralign=None)
    notes = "\n".join(f"- {_MARKDOWN.escape(note)}" for note in block.notes)
    return "\n\n".join(part for part in (f"### {_MARKDOWN.escape(block.title)}", body, notes) if part)


def _latex_block(block: _Block) -> str:
    frame = _frame(block, _LATEX)
    body = frame.to_latex(
        index=False, escape=False, caption=_LATEX.escape(block.title), column_format="l" + "r" * len(block.metrics)
    )
    notes = [rf"\par\noindent {_LATEX.escape(note)}" for note in block.notes]
    return "\n".join([body.rstrip(), *notes])


def _frame(block: _Block, markup: _Markup) -> pd.DataFrame:
    """The block as strings, a row an explainer; controls say so."""
    labels = [markup.escape(name) for name in block.explainers]
    labels[block.n_ranked :] = [f"{label} (control)" for label in labels[block.n_ranked :]]
    columns = {"explainer": labels}
    for metric in block.metrics:
        column = block.column(metric)
        name, arrow, n = _header(metric, column).rsplit(" ", 2)
        header = f"{markup.escape(name)} {markup.arrows[arrow == '↓']} {n}"
        columns[header] = [_marked(cell, markup) for cell in _cells(column)]
    return pd.DataFrame(columns)


def _marked(cell: _Cell, markup: _Markup) -> str:
    mean = markup.escape(cell.mean)
    mean = markup.bold.format(mean) + markup.star if cell.best else mean
    rank = markup.rank.format(cell.rank) if cell.rank else ""
    marked = f"{mean}{rank}{markup.dagger if cell.dagger else ''}"
    return " ".join(part for part in (cell.n, marked, markup.escape(cell.interval)) if part)
