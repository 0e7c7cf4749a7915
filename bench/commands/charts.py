"""`bench figure pareto`, `ranks`, `cd`, `strengths`, `curves`, `agreement`: a results folder in charts for papers."""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import typer

from leaderboard import record
from leaderboard.agreement import agreements
from leaderboard.charts.agreement import draw_agreement
from leaderboard.charts.curves import draw_curves
from leaderboard.charts.diagram import Over, diagrams
from leaderboard.charts.looks import looks
from leaderboard.charts.marks import shown
from leaderboard.charts.pareto import draw_pareto
from leaderboard.charts.ranks import draw_ranks
from leaderboard.charts.strengths import draw_strengths
from leaderboard.removal import removal_curves
from leaderboard.standings import Standings, standings
from leaderboard.strengths import by_strength
from leaderboard.table import leaderboard

from .console import Results, names, out, told
from .drawing import SIGNED, USUAL, Look, Out, SignedLook

RESULTS = Path("results")
Tasks = Annotated[str, typer.Option(help="Only these, comma-separated.")]
Families = Annotated[str, typer.Option("--family", help="Families of metrics, or overall, comma-separated.")]
Metrics = Annotated[str, typer.Option(help="Only these: names or * patterns, comma-separated.")]
Explainers = Annotated[str, typer.Option(help="Whom to draw, comma-separated; else the six best and the best control.")]


def pareto(
    out_file: Out,
    results: Results = RESULTS,
    tasks: Tasks = "",
    family: Families = "overall",
    look: Look = USUAL,
) -> None:
    """Draw quality against cost: mean ranks and times, and the front of those that none is cheaper and better than."""
    style = look.style()
    with told():
        _drawn(draw_pareto(standings(record.load(results), names(tasks)), names(family) or [], out_file, style))


def ranks(
    out_file: Out,
    results: Results = RESULTS,
    tasks: Tasks = "",
    family: Families = "",
    look: Look = USUAL,
) -> None:
    """Draw mean ranks with their intervals, a panel a family, and letters for who cannot be told apart."""
    style = look.style()
    with told():
        _drawn(draw_ranks(standings(record.load(results), names(tasks)), names(family) or [], out_file, style))


def cd(
    out_file: Out,
    results: Results = RESULTS,
    tasks: Tasks = "",
    family: Families = "",
    over: Annotated[
        Over, typer.Option(help="What the bars' tests count: samples of these tasks, or tasks.")
    ] = "samples",
    look: Look = USUAL,
) -> None:
    """Draw critical-difference diagrams of a results folder: mean ranks, and who cannot be told apart."""
    style = look.style()
    with told():
        _drawn(diagrams(standings(record.load(results), names(tasks)), names(family) or [], out_file, style, over))


def strengths(
    out_file: Out,
    results: Results = RESULTS,
    tasks: Tasks = "",
    metrics: Metrics = "",
    explainers: Explainers = "",
    look: Look = USUAL,
) -> None:
    """Draw robustness by strength, mild to strong, with bands: a panel a task and kind of change."""
    style = look.style()
    with told():
        records = record.load(results)
        found = standings(records, names(tasks))
        chosen = [one for one in by_strength(leaderboard(records, names(tasks))) if _matches(one.base, metrics)]
        appearance = {name: looks(found)[name] for name in shown(found, names(explainers))}
        _drawn(draw_strengths(chosen, appearance, found.explainers.controls, out_file, style))
    _tell_hidden(found, len(appearance), explainers)


def curves(
    out_file: Out,
    results: Results = RESULTS,
    tasks: Tasks = "",
    metrics: Metrics = "",
    explainers: Explainers = "",
    look: Look = USUAL,
) -> None:
    """Draw the curves of removal that --save-attributions kept, with bands: a panel a task and metric."""
    style = look.style()
    with told():
        records = record.load(results)
        found = standings(records, names(tasks))
        of_all = removal_curves(results, records.samples)
        kept = [one for one in of_all if one.task in found.tasks and _matches(one.metric, metrics)]
        appearance = {name: looks(found)[name] for name in shown(found, names(explainers))}
        _drawn(draw_curves(kept, appearance, found.explainers.controls, out_file, style))
    _tell_hidden(found, len(appearance), explainers)


def agreement(
    out_file: Out,
    results: Results = RESULTS,
    tasks: Tasks = "",
    family: Annotated[str, typer.Option(help="Only these families of metrics, comma-separated.")] = "",
    by_family: Annotated[bool, typer.Option("--by-family", help="A matrix a family, not one of all metrics.")] = False,
    look: SignedLook = SIGNED,
) -> None:
    """Draw how far metrics agree on the order of the explainers: Kendall's tau, the mean over the tasks."""
    style = look.style()
    with told():
        table = leaderboard(record.load(results), names(tasks), names(family))
        parts = table.groupby("category", sort=True, observed=True) if by_family else [("", table)]
        # The mean over the tasks comes first, if there are several.
        found = {str(category): agreements(rows)[:1] for category, rows in parts}
        matrices = {category or one.title: one.frame() for category, first in found.items() for one in first}
        _drawn(draw_agreement(matrices, out_file, style))


def _matches(name: str, patterns: str) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in names(patterns) or [])


def _drawn(path: Path) -> None:
    out.print(f"Drawn: {path}", soft_wrap=True)


def _tell_hidden(found: Standings, n_shown: int, explainers: str) -> None:
    n = len(found.explainers.names)
    if not explainers and n_shown < n:
        out.print(f"{n_shown} of {n} explainers are drawn: --explainers chooses others", soft_wrap=True)
