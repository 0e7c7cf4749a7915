"""`bench table`: the leaderboard of a results folder."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from leaderboard import record
from leaderboard.table import leaderboard, render, to_rich

from .console import Results, names, out, told

LOCALIZATION = "localization"


def table(
    results: Results = Path("results"),
    tasks: Annotated[str, typer.Option(help="Only these, comma-separated.")] = "",
    family: Annotated[str, typer.Option(help="Only these families of metrics, comma-separated.")] = "",
    outcome: Annotated[str, typer.Option(help="Only samples of this outcome: 'true positive', ….")] = "",
    strata: Annotated[
        Literal["mask-area"] | None,
        typer.Option(help="A table each for small, medium and large evidence; of localization, without --family."),
    ] = None,
    format: Annotated[Literal["text", "markdown", "csv", "latex"], typer.Option()] = "text",
) -> None:
    """Print the leaderboard of a results folder."""
    with told():
        families = names(family) or ([LOCALIZATION] if strata is not None else None)
        rows = leaderboard(record.load(results), names(tasks), families, names(outcome), strata)
        if format == "text":
            out.print(to_rich(rows))
        else:
            typer.echo(render(rows, format))
