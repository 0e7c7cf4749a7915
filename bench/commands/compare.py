"""`bench compare`: explainers side by side, a verdict for each family of metrics first."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from leaderboard import record
from leaderboard.comparison import compare_explainers
from leaderboard.comparison_page import ComparisonPage, render_comparison
from leaderboard.pictures.disagreements import disagreement_sheet
from leaderboard.report.comparison_html import comparison_html

from ..errors import UserError
from .console import Results, err, names, out, told
from .drawing import SignedLook, checked
from .options import unfolded

FORMATS: dict[str, Literal["text", "markdown", "csv", "latex", "html"]] = {
    ".txt": "text",
    ".md": "markdown",
    ".csv": "csv",
    ".tex": "latex",
    ".html": "html",
}

COARSE = SignedLook(dpi=110)


@unfolded
def compare(
    explainers: Annotated[list[str], typer.Argument(help="Two names or more, controls too.")],
    results: Results = Path("results"),
    tasks: Annotated[str, typer.Option(help="Only these, comma-separated.")] = "",
    family: Annotated[str, typer.Option(help="Only these families of metrics, comma-separated.")] = "",
    outcome: Annotated[str, typer.Option(help="Only samples of this outcome: 'true positive', ….")] = "",
    details: Annotated[bool, typer.Option("--details/--no-details", help="Every task and metric.")] = True,
    pictures: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", callback=checked, help="Draw the samples on which they disagree most: .png, .pdf or .svg."
        ),
    ] = None,
    format: Annotated[
        Literal["text", "markdown", "csv", "latex", "html"] | None,
        typer.Option(help="Without it what the ending of --out says, else text."),
    ] = None,
    out_file: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write it there: .txt, .md, .csv, .tex or .html.")
    ] = None,
    look: SignedLook = COARSE,
) -> None:
    """Compare explainers in a results folder: which is better at what, and is that more than chance?"""
    style = look.style()
    chosen = format or _format_of(out_file)
    if chosen == "html" and out_file is None:
        raise UserError("--format html: say where to write the page, --out FILE.html")
    with told():
        records = record.load(results)
        found = compare_explainers(records, explainers, names(tasks), names(family), names(outcome))
        if out_file is None and chosen == "text":
            out.print(ComparisonPage(found, details))
        else:
            if chosen == "html":
                text = comparison_html(found, results, records.samples, details)
            else:
                text = render_comparison(found, chosen, details=details)
            _give(text, out_file)
        if pictures is not None:
            disagreement_sheet(results, found.disagreements, explainers, pictures, style)
            err.print(f"Drawn: {pictures} ({len(found.disagreements)} rows)", soft_wrap=True)


def _format_of(path: Path | None) -> Literal["text", "markdown", "csv", "latex", "html"]:
    """
    Raises:
        UserError: no format has this ending.
    """
    if path is None:
        return "text"
    if path.suffix not in FORMATS:
        raise UserError(f"--out {path}: give it the ending {', '.join(FORMATS)}, or say --format")
    return FORMATS[path.suffix]


def _give(text: str, path: Path | None) -> None:
    if path is None:
        typer.echo(text, nl=False)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")
    err.print(f"Written: {path}", soft_wrap=True)
