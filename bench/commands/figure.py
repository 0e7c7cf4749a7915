"""`bench figure`: contact sheets of the images that tasks are about."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from leaderboard.sheets import Row, sheet

from ..catalog import catalog, select
from ..contact import LEGEND, no_samples, phantom_rows, sample_row
from ..errors import UserError
from .console import Data, Plugins, out, told, use_data

figure = typer.Typer(help="Draw contact sheets of images.", no_args_is_help=True)

Out = Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to draw it: .png, .pdf or .svg.")]
Columns = Annotated[int, typer.Option(min=1, help="Images in a row.")]
Masks = Annotated[bool, typer.Option("--masks/--no-masks", help="Outline evidence and shortcut.")]


@figure.command()
def samples(
    out_file: Out,
    tasks: Annotated[str, typer.Option(help="Names or * patterns, comma-separated.")] = "phantom*",
    columns: Columns = 8,
    masks: Masks = True,
    data: Data = None,
    plugins: Plugins = None,
) -> None:
    """Draw the first samples of tasks: a row a task, in the order in which they are explained."""
    use_data(data)
    rows = []
    for name, task in select(catalog(plugins or ()).tasks, tasks, "task").items():
        if reason := no_samples(task):
            out.print(f"Skipped {name}: {escape(reason)}", soft_wrap=True, highlight=False)
            continue
        with told():
            rows.append(sample_row(name, task, columns, masks))
    _draw(rows, out_file)


@figure.command()
def phantoms(
    out_file: Out,
    columns: Columns = 8,
    masks: Masks = True,
    data: Data = None,
    plugins: Plugins = None,
) -> None:
    """Draw every set of phantoms class by class, and beneath it the real images that it imitates, if they are here."""
    use_data(data)
    with told():
        rows = list(phantom_rows(catalog(plugins or ()).tasks, columns, masks))
    _draw(rows, out_file)


def _draw(rows: Sequence[Row], path: Path) -> None:
    if not rows:
        raise UserError("there is nothing to draw: no task that was chosen has samples here")
    if path.suffix not in (".png", ".pdf", ".svg"):
        raise UserError(f"--out {path}: give it the ending .png, .pdf or .svg")
    present = {colour for row in rows for tile in row.tiles for colour, mask in tile.outlines.items() if mask.any()}
    with told():
        sheet(rows, path, {colour: meaning for colour, meaning in LEGEND.items() if colour in present})
    out.print(f"Drawn: {path} ({len(rows)} rows)", soft_wrap=True)
