"""`bench table`, also called `bench leaderboard`: the summary of a results folder, and its tables."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from leaderboard import record
from leaderboard.record import Results as Records
from leaderboard.standings import Standings, standings
from leaderboard.summary import Summary, render_summary
from leaderboard.table import leaderboard, render, to_rich
from leaderboard.text.rendering import Format

from ..errors import UserError
from .console import Results, names, out, told

LOCALIZATION = "localization"
Weights = Annotated[str, typer.Option(help="Of families in the column overall: 'faithfulness=2,complexity=0'.")]


def table(
    results: Results = Path("results"),
    tasks: Annotated[str, typer.Option(help="Only these, comma-separated.")] = "",
    family: Annotated[str, typer.Option(help="Only these families of metrics, comma-separated.")] = "",
    outcome: Annotated[str, typer.Option(help="Only samples of this outcome: 'true positive', ….")] = "",
    strata: Annotated[
        Literal["mask-area"] | None,
        typer.Option(help="Only tables, for small, medium and large evidence; of localization, without --family."),
    ] = None,
    weights: Weights = "",
    by_task: Annotated[
        bool | None,
        typer.Option(
            "--by-task/--summary",
            help="With the tables of every task, or only the summary. Without either: text shows the tables where "
            "there is one task, Markdown and LaTeX always, CSV nothing else.",
        ),
    ] = None,
    format: Annotated[Format, typer.Option()] = "text",
) -> None:
    """Print the leaderboard of a results folder: a summary over all tasks, then the tables of each."""
    with told():
        records = record.load(results)
        cut = (names(tasks), names(family), names(outcome))
        if strata is not None:
            _show_strata(records, cut, strata, format)
            return
        whole = by_task is not False
        if format == "csv" and whole:
            typer.echo(render(leaderboard(records, *cut), "csv"), nl=False)
            return
        found = standings(records, *cut, weights_of(weights))
        if format == "text":
            show(found, records, cut, by_task)
        elif format == "csv":
            typer.echo(render_summary(found, "csv"), nl=False)
        else:
            tables = f"\n{render(leaderboard(records, *cut), format)}" if whole else ""
            typer.echo(f"{render_summary(found, format)}{tables}", nl=False)


Cut = tuple[list[str] | None, list[str] | None, list[str] | None]


def _show_strata(records: Records, cut: Cut, strata: Literal["mask-area"], format: Format) -> None:
    tasks, families, outcomes = cut
    rows = leaderboard(records, tasks, families or [LOCALIZATION], outcomes, strata)
    if format == "text":
        out.print(to_rich(rows))
    else:
        typer.echo(render(rows, format), nl=False)


def show(found: Standings, records: Records, cut: Cut, by_task: bool | None) -> None:
    """Print the summary, and the tables of the tasks: if they are asked for, or if there is but one task."""
    out.print(Summary(found))
    if by_task or (by_task is None and len(found.tasks) == 1):
        out.print()
        out.print(to_rich(leaderboard(records, *cut)))


def weights_of(text: str) -> dict[str, float]:
    """What `--weights` says.

    Raises:
        UserError: it is not of the form family=number,….
    """
    weights = {}
    for part in names(text) or []:
        family, _, number = part.partition("=")
        try:
            weights[family.strip()] = float(number)
        except ValueError as error:
            raise UserError(f"--weights {part}: say it like faithfulness=2,complexity=0") from error
    return weights
