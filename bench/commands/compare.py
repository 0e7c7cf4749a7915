"""`bench compare`: explainers side by side, a verdict for each family of metrics first."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from leaderboard import record
from leaderboard.comparison import compare_explainers
from leaderboard.comparison_page import ComparisonPage, render_comparison
from leaderboard.disagreements import disagreement_sheet

from ..errors import UserError
from .console import Results, err, names, out, told


def compare(
    explainers: Annotated[list[str], typer.Argument(help="Two names or more, controls too.")],
    results: Results = Path("results"),
    tasks: Annotated[str, typer.Option(help="Only these, comma-separated.")] = "",
    family: Annotated[str, typer.Option(help="Only these families of metrics, comma-separated.")] = "",
    outcome: Annotated[str, typer.Option(help="Only samples of this outcome: 'true positive', ….")] = "",
    details: Annotated[bool, typer.Option("--details/--no-details", help="Every task and metric.")] = True,
    pictures: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the samples on which they disagree most: .png, .pdf or .svg."),
    ] = None,
    format: Annotated[Literal["text", "markdown", "csv", "latex"], typer.Option()] = "text",
) -> None:
    """Compare explainers in a results folder: which is better at what, and is that more than chance?"""
    if pictures is not None and pictures.suffix not in (".png", ".pdf", ".svg"):
        raise UserError(f"--pictures {pictures}: give it the ending .png, .pdf or .svg")
    with told():
        found = compare_explainers(record.load(results), explainers, names(tasks), names(family), names(outcome))
        if format == "text":
            out.print(ComparisonPage(found, details))
        else:
            typer.echo(render_comparison(found, format, details=details), nl=False)
        if pictures is not None:
            disagreement_sheet(results, found.disagreements, explainers, pictures)
            err.print(f"Drawn: {pictures} ({len(found.disagreements)} rows)", soft_wrap=True)
