"""How a comparison looks: verdicts, the samples on which the explainers disagree most, then every task and metric."""

import io
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from .comparison import Comparison, Verdict
from .duels import OVERALL
from .letters import ordered_letters
from .pictures.sheets import wrapped
from .text.layout import number
from .text.markup import escape_latex, escape_markdown
from .text.rendering import Format

PRAISE = {
    "faithfulness": "more faithful",
    "localization": "closer to the evidence",
    "robustness": "more stable",
    "randomization": "more sensitive to the model",
    "complexity": "finer",
    "axiomatic": "truer to the axioms",
}
"""What the better one is called."""

CHEAPER = {"seconds": "faster", "peak_memory": "less memory", "passes": "fewer passes"}

LEGEND = (
    "Verdicts: on each sample the metrics of a family are put together in ranks, then samples are counted (paired "
    "signed-rank test, two-sided, Holm over all verdicts), so metrics that say the same do not count twice. Duels: one "
    "sample, one metric. Details: means over the samples that both have, the difference of the first less the second "
    "with its 95 % interval, p by Holm over all of them, share of samples on which the first is better (ties half), "
    "and rank-biserial effect, from -1 (the second always better) to 1. Runtime: one measurement a batch, so no test."
)


@dataclass(frozen=True)
class ComparisonPage:
    """A comparison, for a rich console; `render_comparison` writes it in the other formats."""

    comparison: Comparison
    details: bool = True
    """Whether every task and metric is shown."""

    @property
    def title(self) -> str:
        """Who is compared, on what."""
        found = self.comparison
        tasks = found.tasks[0] if len(found.tasks) == 1 else f"{len(found.tasks)} tasks"
        samples = f"{found.n_samples} sample{'s' if found.n_samples != 1 else ''}"
        patients = f" of {found.n_units} patients" if found.n_units != found.n_samples else ""
        cut = f", {found.cut} only" if found.cut else ""
        return f"{', '.join(found.explainers[:-1])} and {found.explainers[-1]} · {tasks} · {samples}{patients}{cut}"

    def verdicts(self) -> list[tuple[str, str]]:
        """Family and what is to be said of it, a line each; costs last."""
        found = self.comparison
        families = list(dict.fromkeys(verdict.family for verdict in found.verdicts))
        of_family = {name: [one for one in found.verdicts if one.family == name] for name in families}
        tell = _sentence if len(found.explainers) == 2 else _standing
        lines = [(name, tell(verdicts)) for name, verdicts in of_family.items()]
        return [*lines, *([("runtime", told)] if (told := _costs(found)) else [])]

    def samples(self) -> list[str]:
        """The samples on which the explainers are furthest apart, a line for each of them."""
        found = self.comparison
        return [
            f"{one.winner} ahead of {one.loser}: {one.task}, {one.sample} ({one.contrast:.2f})"
            for one in found.disagreements
        ]

    def tables(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """Title and rows of each table of details, one a task, family and pair."""
        if not self.details:
            return
        keys = ["task", "category", "first", "second"]
        for (task, family, first, second), rows in self.comparison.details.groupby(keys, sort=False, observed=True):
            pair = f" · {first} and {second}" if len(self.comparison.explainers) > 2 else ""
            headings = ["metric", first, second, "difference", "95 % interval", "p", "won", "effect", "n"]
            cells = [_row(row) for row in rows.to_dict("records")]
            yield f"{task} · {family}{pair}", pd.DataFrame(cells, columns=headings, dtype=str)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield Text(self.title, style="bold")
        lines = Table(box=None, show_header=False, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
        lines.add_column(no_wrap=True)
        lines.add_column(overflow="fold")
        for family, told in self.verdicts():
            lines.add_row(Text(family, style="bold"), Text(told))
        yield lines
        if self.samples():
            yield Text("\nThe samples on which they are furthest apart", style="bold")
            yield from map(Text, self.samples())
        for title, rows in self.tables():
            yield Text(f"\n{title}", style="bold")
            table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
            for index, heading in enumerate(rows.columns):
                table.add_column(wrapped(heading), justify="right" if index else "left", overflow="fold")
            for row in rows.itertuples(index=False):
                table.add_row(*map(Text, row))
            yield table
        yield Text(f"\n{LEGEND}", style="dim")


def render_comparison(comparison: Comparison, format: Format, width: int = 100, details: bool = True) -> str:
    """The comparison as a string: text wrapped to `width` columns, Markdown, LaTeX, or CSV (`comparison_frame`).

    Raises:
        ValueError: the format is not one of text, markdown, csv, latex.
    """
    page = ComparisonPage(comparison, details)
    if format == "text":
        paper = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False, legacy_windows=False)
        with paper.capture() as capture:
            paper.print(page)
        return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"
    if format == "csv":
        return comparison_frame(comparison).to_csv(index=False, lineterminator="\n")
    if format == "markdown":
        return _markdown(page)
    if format == "latex":
        return _latex(page)
    raise ValueError(f"no format {format!r}; there are: text, markdown, csv, latex")


def comparison_frame(comparison: Comparison) -> pd.DataFrame:
    """Verdicts, then details, as one long table: of verdicts `task` and `metric` are empty, and so are the scores."""
    verdicts = pd.DataFrame([asdict(verdict) for verdict in comparison.verdicts])
    verdicts = verdicts.rename(columns={"family": "category"}).assign(task="", metric="")
    told = ["p_over_tasks", "n_tasks", "n_tasks_won", "too_few"]
    return pd.concat([verdicts, comparison.details], ignore_index=True)[[*comparison.details.columns, *told]]


def p_text(p_value: float) -> str:
    """
    >>> [p_text(value) for value in (0.2, 0.0123, 0.00001, float("nan"))]
    ['p = 0.20', 'p = 0.012', 'p < 0.001', 'not tested']
    """
    if np.isnan(p_value):
        return "not tested"
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.{2 if p_value >= 0.0995 else 3}f}"


def _sentence(verdicts: list[Verdict]) -> str:
    """Of the one pair."""
    (verdict,) = verdicts
    if verdict.n == 0:
        return "no sample for which both have a score"
    if verdict.too_few:
        return f"too few samples: {verdict.too_few}"
    first_wins = verdict.winner == verdict.first
    share = verdict.share_won if first_wins else 1 - verdict.share_won
    n_won = verdict.n_tasks_won if first_wins else verdict.n_tasks - verdict.n_tasks_won
    ahead = f", ahead on {n_won} of {verdict.n_tasks} tasks" if verdict.n_tasks > 1 else ""
    over_tasks = "" if verdict.p_over_tasks is None else f" ({p_text(verdict.p_over_tasks)} over tasks)"
    numbers = (
        f"wins {100 * share:.0f} % of the duels{ahead}{over_tasks}, effect {abs(verdict.effect):.2f}, n = {verdict.n}"
    )
    if not verdict.separable:
        return f"not separable, {p_text(verdict.p_value)}: {verdict.winner} {numbers}"
    praise = "better" if verdict.family == OVERALL else PRAISE.get(verdict.family, "better")
    return f"{verdict.winner} {praise}, {p_text(verdict.p_value)}: {numbers}"


def _standing(verdicts: list[Verdict]) -> str:
    """Of several pairs: the explainers by the duels that they win, who shares a letter is not separable."""
    names = list(dict.fromkeys(name for verdict in verdicts for name in (verdict.first, verdict.second)))
    separable = np.zeros((len(names), len(names)), dtype=bool)
    shares: dict[str, list[float]] = {name: [] for name in names}
    for verdict in verdicts:
        at = names.index(verdict.first), names.index(verdict.second)
        separable[at] = separable[at[::-1]] = verdict.separable
        if verdict.n:
            shares[verdict.first].append(verdict.share_won)
            shares[verdict.second].append(1 - verdict.share_won)
    won = np.array([np.mean(shares[name]) if shares[name] else -1.0 for name in names])
    order = [int(at) for at in np.argsort(-won, kind="stable")]
    dealt = ordered_letters(separable, order)
    if all(verdict.too_few for verdict in verdicts):
        return f"too few samples: {verdicts[0].too_few}"
    told = [
        f"{names[at]} {dealt[at]} {100 * won[at]:.0f} %" if won[at] >= 0 else f"{names[at]} has no score"
        for at in order
    ]
    return ", ".join(told)


def _costs(found: Comparison) -> str:
    """Who is cheaper, by how much: of two in words, of several each over the cheapest."""
    parts = []
    for metric, ratios in sorted(found.costs.items(), key=lambda item: item[0] != "seconds"):
        known = {name: ratio for name, ratio in ratios.items() if np.isfinite(ratio)}
        ordered = sorted(known, key=lambda name: known[name])
        if len(found.explainers) == 2 and len(ordered) == 2:
            parts.append(f"{ordered[0]} {_times(known[ordered[1]])} {CHEAPER.get(metric, f'less {metric}')}")
        elif ordered:
            parts.append(f"{metric}: {', '.join(f'{name} ×{_factor(known[name])}' for name in ordered)}")
    return "; ".join(parts)


def _times(ratio: float) -> str:
    return f"{_factor(ratio)} times"


def _factor(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio < 9.95 else f"{ratio:.0f}"


def _row(row: Mapping[Hashable, object]) -> tuple[str, ...]:
    def told(name: str, form: Callable[[float], str]) -> str:
        value = float(str(row[name]))
        return "–" if np.isnan(value) else form(value)

    interval = "–" if told("low", number) == "–" else f"[{told('low', number)}, {told('high', number)}]"
    return (
        f"{row['metric']} {'↑' if row['higher_is_better'] else '↓'}",
        told("mean_first", number),
        told("mean_second", number),
        told("difference", number),
        interval,
        told("p_value", lambda p: p_text(p).removeprefix("p ").removeprefix("= ")),
        told("share_won", lambda share: f"{100 * share:.0f} %"),
        told("effect", lambda effect: f"{effect:.2f}"),
        str(row["n"]),
    )


def _markdown(page: ComparisonPage) -> str:
    parts = [f"## {escape_markdown(page.title)}"]
    parts.append("\n".join(f"- **{escape_markdown(name)}**: {escape_markdown(told)}" for name, told in page.verdicts()))
    if page.samples():
        parts.append("### The samples on which they are furthest apart")
        parts.append("\n".join(f"- {escape_markdown(line)}" for line in page.samples()))
    for title, rows in page.tables():
        escaped = rows.map(escape_markdown).rename(columns=escape_markdown)
        body = escaped.to_markdown(index=False, disable_numparse=True, stralign=None)
        parts += [f"### {escape_markdown(title)}", body]
    return "\n\n".join([*parts, escape_markdown(LEGEND)]) + "\n"


def _latex(page: ComparisonPage) -> str:
    def paragraph(text: str) -> str:
        return rf"\par\noindent {text}"

    def plain(text: str) -> str:
        return escape_latex(text).replace("↑", r"$\uparrow$").replace("↓", r"$\downarrow$")

    parts = [paragraph(rf"\textbf{{{plain(page.title)}}}")]
    parts += [paragraph(rf"\textbf{{{plain(name)}}} {plain(told)}") for name, told in page.verdicts()]
    parts += [paragraph(plain(line)) for line in page.samples()]
    for title, rows in page.tables():
        escaped = rows.map(plain).rename(columns=plain)
        places = "l" + "r" * (rows.shape[1] - 1)
        caption = plain(title)
        parts.append(escaped.to_latex(index=False, escape=False, caption=caption, column_format=places).rstrip())
    return "\n".join([*parts, paragraph(plain(LEGEND))]) + "\n"
