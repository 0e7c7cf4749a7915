"""The summary: explainers × families of metrics, on one page, before all details.

print(render_summary(standings(load(Path("results"))), "text"))
"""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from .duels import OVERALL
from .standings import Standing, Standings
from .statistics import LEVEL
from .text.markup import escape_latex, escape_markdown
from .text.rendering import Format

LEGEND = (
    "Mean rank by duels: on every sample, by every metric of the family, each explainer against each other one; 1 wins "
    "them all. Beneath it its 95 % interval over samples. Letters: explainers that share one cannot be told apart "
    "(paired tests over samples, Holm over the column, 5 %). † not significantly better than every control. overall: "
    "the families, each counting {weights}. place: 1 + explainers with a better mean rank overall, and its interval. "
    "time: seconds an image, in units of the fastest. Controls are not ranked: in brackets, where they would be."
)

_RULED = box.Box("    \n    \n ── \n    \n ── \n    \n    \n    \n")
_BROKEN = {
    "faithfulness": "faithful-\nness",
    "localization": "local-\nization",
    "robustness": "robust-\nness",
    "randomization": "random-\nization",
    "complexity": "complex-\nity",
    "axiomatic": "axio-\nmatic",
}
"""Headings over two lines, so that all families stand beside each other on a narrow terminal."""


@dataclass(frozen=True)
class SummaryCell:
    """What stands in a cell of the summary."""

    value: str
    interval: str = ""
    marks: str = ""
    best: bool = False

    def in_a_line(self) -> str:
        """Value, marks, and the interval in parentheses."""
        return " ".join(filter(None, (self.value, self.marks, f"({self.interval})" if self.interval else "")))


@dataclass(frozen=True)
class Summary:
    """The summary laid out, for a rich console; `render_summary` writes it in the other formats."""

    standings: Standings

    @property
    def title(self) -> str:
        found = self.standings
        n = found.n_samples
        of_patients = f" of {found.n_units} patients" if found.n_units != n else ""
        tasks = found.tasks[0] if len(found.tasks) == 1 else f"{len(found.tasks)} tasks"
        cut = f", {found.cut} only" if found.cut else ""
        return f"Summary · {tasks} · {n} sample{'s' if n != 1 else ''}{of_patients}{cut}"

    def columns(self) -> Iterator[tuple[str, list[SummaryCell]]]:
        """Heading and cells of each column, in the order of the rows."""
        found, order = self.standings, self.standings.order()
        if found.columns:
            yield "place", [_place(found, at) for at in order]
        for column in found.columns:
            yield column.column, [_cell(column, at, found.explainers.n_ranked) for at in order]
        if found.costs.times.notna().any():
            yield "time", [_time(found, at) for at in order]

    def notes(self) -> list[str]:
        """What one must know to read this very table, a line each."""
        if not self.standings.columns:
            return ["nothing is ranked: there is no score but of costs"]
        return [*_too_few(self.standings), *_nothing_differs(self.standings), *_lacking(self.standings)]

    def legend(self) -> str:
        """What the cells and their marks mean."""
        weights = ", ".join(f"{family} {weight:g}" for family, weight in self.standings.weights.items())
        return LEGEND.format(weights=f"1 but for {weights}" if weights else "the same")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        order, n_ranked = self.standings.order(), self.standings.explainers.n_ranked
        names = [Text(_folded(self.standings.explainers.names[at], 24)) for at in order]
        columns = [[_heading(name), *map(_text, cells)] for name, cells in self.columns()]
        for index, page in enumerate(_pages(columns, options.max_width - max(map(_width, names), default=0) - 1)):
            yield Text(f"\n{self.title} (continued)" if index else self.title, style="bold")
            yield _table(names, page, n_ranked)
        yield from (Text(note, style="dim") for note in self.notes())
        yield Text(self.legend(), style="dim")


def render_summary(standings: Standings, format: Format, width: int = 100) -> str:
    """The summary as a string: text wrapped to `width` columns, Markdown, LaTeX, or CSV (`summary_frame`).

    Raises:
        ValueError: the format is not one of text, markdown, csv, latex.
    """
    summary = Summary(standings)
    if format == "text":
        page = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False, legacy_windows=False)
        with page.capture() as capture:
            page.print(summary)
        return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"
    if format == "csv":
        return summary_frame(standings).to_csv(index=False, lineterminator="\n")
    if format == "markdown":
        body = _frame(summary, escape_markdown).to_markdown(index=False, disable_numparse=True, stralign=None)
        listed = "\n".join(f"- {escape_markdown(note)}" for note in summary.notes())
        parts = (f"## {escape_markdown(summary.title)}", body, listed, escape_markdown(summary.legend()))
        return "\n\n".join(part for part in parts if part) + "\n"
    if format == "latex":
        frame = _frame(summary, escape_latex)
        places = "l" + "r" * (frame.shape[1] - 1)
        caption = escape_latex(summary.title)
        body = frame.to_latex(index=False, escape=False, caption=caption, column_format=places).rstrip()
        notes = [rf"\par\noindent {escape_latex(note)}" for note in (*summary.notes(), summary.legend())]
        return "\n".join([body, *notes]) + "\n"
    raise ValueError(f"no format {format!r}; there are: text, markdown, csv, latex")


def summary_frame(standings: Standings) -> pd.DataFrame:
    """The standings as a long table, a row a column (OVERALL first) and explainer.

    column; explainer; control; n_tasks, n_units (samples, or patients where they are known) of the column; share_won
    (of duels, in [0, 1]); mean_rank, mean_rank_low, mean_rank_high; letters; beats_controls; covered (share of its
    scores that the explainer has); place, place_low, place_high (of the column overall only); times (fastest), seconds.
    """
    rows = [_row(standings, column, at) for column in standings.columns for at in standings.order()]
    return pd.DataFrame(rows)


def _row(standings: Standings, column: Standing, at: int) -> dict[str, object]:
    who, name = standings.explainers, column.column
    ranked = at < who.n_ranked
    rank, low, high = column.mean_rank[at]
    place, place_low, place_high = standings.place[at] if name == OVERALL else (np.nan,) * 3
    return {
        "column": name,
        "explainer": who.names[at],
        "control": not ranked,
        "n_tasks": len(column.tasks),
        "n_units": column.n_units,
        "share_won": column.share_won[at],
        "mean_rank": rank,
        "mean_rank_low": low,
        "mean_rank_high": high,
        "letters": column.letters[at] if ranked else "",
        "beats_controls": column.beats_controls[at] if ranked else None,
        "covered": standings.covered[name][at] if name in standings.covered else np.nan,
        "place": place,
        "place_low": place_low,
        "place_high": place_high,
        "times": standings.costs.times.iloc[at],
        "seconds": standings.costs.seconds.iloc[at],
    }


def _cell(column: Standing, at: int, n_ranked: int) -> SummaryCell:
    rank, low, high = column.mean_rank[at]
    if np.isnan(rank):
        return SummaryCell("–")
    interval = "" if np.isnan(low) else f"{low:.1f}–{high:.1f}"
    if at >= n_ranked:
        return SummaryCell(f"({rank:.1f})", interval)
    beats = column.beats_controls[at]
    letters = column.letters[at]
    marks = f"{letters}{'†' if beats is False else ''}"
    first = np.nanargmin(column.mean_rank[:n_ranked, 0])
    best = at == first or bool(set(letters) & set(column.letters[first]))
    return SummaryCell(f"{rank:.1f}", interval, marks, best)


def _place(found: Standings, at: int) -> SummaryCell:
    place, low, high = found.place[at]
    if np.isnan(place):
        return SummaryCell("–")
    value = f"{place:.0f}" if at < found.explainers.n_ranked else f"({place:.0f})"
    first, last = np.floor(low), np.ceil(high)
    return SummaryCell(value, f"{first:.0f}–{last:.0f}" if first < last else "")


def _time(found: Standings, at: int) -> SummaryCell:
    times, seconds = found.costs.iloc[at]
    return SummaryCell("–") if np.isnan(times) else SummaryCell(f"×{_ratio(times)}", span(seconds))


def _ratio(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 0.95 else f"{value:.2g}"


def span(seconds: float) -> str:
    """
    >>> [span(seconds) for seconds in (0.0000261, 0.00238, 0.1, 12.3)]
    ['26 µs', '2.4 ms', '100 ms', '12 s']
    """
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * factor >= 1 or unit == "µs":
            break
    return f"{seconds * factor:.1f} {unit}" if seconds * factor < 9.95 else f"{seconds * factor:.0f} {unit}"


def _too_few(found: Standings) -> Iterator[str]:
    reasons: dict[str, list[str]] = {}
    for column in found.columns:
        if column.over_samples.too_few:
            reasons.setdefault(column.over_samples.too_few, []).append(column.column)
    for reason, columns in reasons.items():
        yield f"no letters for {', '.join(columns)}: {reason} to tell any two apart"
    if len(found.tasks) > 1:
        over_tasks = found.columns[0].over_tasks
        n = int((over_tasks.adjusted < LEVEL).sum())
        told = over_tasks.too_few or f"{n} of {over_tasks.pairs.n_ranked} pairs differ significantly overall"
        yield f"other tasks may rank otherwise; with each task as one observation: {told}"


def _nothing_differs(found: Standings) -> Iterator[str]:
    alike = [
        f"{column.column} (p = {column.over_samples.friedman.p_value:.2f})"
        for column in found.columns
        if column.over_samples.friedman.n > 1 and column.over_samples.friedman.p_value >= LEVEL
    ]
    if alike:
        yield f"Friedman's test finds no difference at all in: {', '.join(alike)}"


def _lacking(found: Standings) -> Iterator[str]:
    """Who has fewer scores than others; those that lack the same are named together."""
    names: dict[str, list[str]] = {}
    for at, name in enumerate(found.explainers.names):
        shares = {family: share[at] for family, share in found.covered.items() if share[at] < 1}
        parts = [f"{family} {_percent(share)}" for family, share in shares.items()]
        if parts:
            names.setdefault(", ".join(parts), []).append(name)
    for told, of in names.items():
        yield f"ranked by the part of the scores that there is: {', '.join(of)} ({told})"


def _percent(share: float) -> str:
    """Rounded away from «all» and «nothing»."""
    return "none" if share == 0 else f"{min(max(100 * share, 1), 99):.0f} %"


def _pages(columns: Sequence[list[Text]], room: int) -> list[list[list[Text]]]:
    """The columns, as many on a page as there is room for, one at least."""
    pages: list[list[list[Text]]] = [[]]
    left = room
    for column in columns:
        needed = max(map(_width, column)) + 1
        if pages[-1] and left < needed:
            pages.append([])
            left = room
        pages[-1].append(column)
        left -= needed
    return pages


def _table(names: Sequence[Text], columns: Sequence[list[Text]], n_ranked: int) -> Table:
    table = Table(box=_RULED, show_edge=False, pad_edge=False, padding=0)
    table.add_column("explainer", vertical="top", no_wrap=True)
    for column in columns:
        table.add_column(column[0], justify="right", no_wrap=True)
    for index, name in enumerate(names):
        if index == n_ranked:
            table.add_section()
        table.add_row(name, *(column[index + 1] for column in columns))
    return table


def _heading(name: str) -> Text:
    return Text(_BROKEN.get(name, name))


def _text(cell: SummaryCell) -> Text:
    text = Text(cell.value, style="bold" if cell.best else "")
    text.append(f" {cell.marks}" if cell.marks else "")
    return text.append(f"\n{cell.interval}", style="dim not bold") if cell.interval else text


def _folded(name: str, width: int) -> str:
    lines = [""]
    for part in name.replace("_", "_\0").split("\0"):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _width(text: Text) -> int:
    return max(len(line) for line in text.plain.split("\n"))


def _frame(summary: Summary, escape: Callable[[str], str]) -> pd.DataFrame:
    """The summary as strings, a row an explainer; controls say so."""
    found = summary.standings
    control = np.arange(len(found.explainers.names)) >= found.explainers.n_ranked
    labels = [escape(found.explainers.names[at]) + (" (control)" if control[at] else "") for at in found.order()]
    columns = {"explainer": labels}
    for name, cells in summary.columns():
        columns[escape(name)] = [escape(cell.in_a_line()) for cell in cells]
    return pd.DataFrame(columns)
