"""`bench figure`: sheets of images and of heat maps; charts of results."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from leaderboard.pictures.sheets import Row, sheet
from leaderboard.style import Style
from metrics.robustness import RankCorrelation

from .. import environment
from ..catalog import Catalog, catalog, matching, select, select_standard
from ..contact import LEGEND, no_samples, phantom_rows, sample_row
from ..errors import UserError
from ..maps import map_rows
from ..runner import Settings
from . import charts
from .console import Data, Device, Patterns, Plugins, err, out, progress_bar, told, use_data
from .drawing import SIGNED, Look, Out, SignedLook
from .options import unfolded

figure = typer.Typer(
    help="Draw sheets of images and heat maps, and charts of results, for papers.", no_args_is_help=True
)

PIXEL_FOR_PIXEL = Look(dpi=100)
"""Phantoms are so in a sheet of the usual width."""

Columns = Annotated[int, typer.Option(min=1, help="Images in a row.")]
Masks = Annotated[bool, typer.Option("--masks/--no-masks", help="Outline evidence and shortcut.")]


@figure.command()
@unfolded
def samples(
    out_file: Out,
    tasks: Annotated[str, typer.Option(help="Names or * patterns, comma-separated.")] = "phantom*",
    columns: Columns = 8,
    masks: Masks = True,
    look: Look = PIXEL_FOR_PIXEL,
    data: Data = None,
    plugins: Plugins = None,
) -> None:
    """Draw the first samples of tasks: a row a task, in the order in which they are explained."""
    style = look.style()
    use_data(data)
    rows = []
    for name, task in select(catalog(plugins or ()).tasks, tasks, "task").items():
        if reason := no_samples(task):
            out.print(f"Skipped {name}: {escape(reason)}", soft_wrap=True, highlight=False)
            continue
        with told():
            rows.append(sample_row(name, task, columns, masks))
    _draw(rows, out_file, style)


@figure.command()
@unfolded
def phantoms(
    out_file: Out,
    columns: Columns = 8,
    masks: Masks = True,
    look: Look = PIXEL_FOR_PIXEL,
    data: Data = None,
    plugins: Plugins = None,
) -> None:
    """Draw every set of phantoms class by class, and beneath it the real images that it imitates, if they are here."""
    style = look.style()
    use_data(data)
    with told():
        rows = list(phantom_rows(catalog(plugins or ()).tasks, columns, masks))
    _draw(rows, out_file, style)


@figure.command()
@unfolded
def grid(
    out_file: Out,
    tasks: Annotated[str, typer.Option(help="Names or * patterns, comma-separated.")],
    explainers: Patterns = "",
    augmentations: Annotated[
        str, typer.Option(help="Also the images as metrics of robustness change them (blur, …): names or * patterns.")
    ] = "",
    samples: Annotated[int, typer.Option(min=1, help="Images of each task: the first ones.")] = 6,
    device: Device = "auto",
    look: SignedLook = SIGNED,
    data: Data = None,
    plugins: Plugins = None,
) -> None:
    """Draw heat maps: a row an explainer, a column an image, task beneath task."""
    style = look.style()
    use_data(data)
    environment.compute_exactly()
    found = catalog(plugins or ())
    settings = Settings(Path(), environment.device_of(device), n_samples=samples)
    chosen = select_standard(found.explainers, explainers, "explainer")
    changes = _augmentations(found, augmentations)
    rows, failures = [], []
    with progress_bar() as bar:
        for name, task in select(found.tasks, tasks, "task").items():
            if reason := task.unavailable():
                out.print(f"Skipped {name}: {escape(reason)}", soft_wrap=True, highlight=False)
                continue
            step = bar.add_task(name, total=(1 + len(changes)) * (1 + len(chosen)))
            with told():
                for made in map_rows(name, task, chosen, changes, settings, style.signed):
                    rows.append(made.row)
                    failures += [f"Failed: {name}, {made.failure}"] if made.failure else []
                    bar.advance(step)
    _draw(rows, out_file, style, signed=True)
    for line in failures:
        err.print(escape(line), soft_wrap=True, highlight=False)
    raise typer.Exit(1 if failures else 0)


for chart in (charts.cd, charts.pareto, charts.ranks, charts.strengths, charts.curves, charts.agreement):
    figure.command()(unfolded(chart))


def _augmentations(found: Catalog, patterns: str) -> dict[str, RankCorrelation]:
    """Those that names and patterns choose; a floor asks for no other image."""
    known = {name: metric for name, metric in found.metrics.items() if type(metric) is RankCorrelation}
    if not patterns:
        return {}
    chosen = matching(known, patterns, "augmentation", f"choose of {', '.join(known)}")
    return {name: metric for name, metric in known.items() if name in chosen}


def _draw(rows: Sequence[Row], path: Path, style: Style, signed: bool = False) -> None:
    if not rows:
        raise UserError("there is nothing to draw: no task that was chosen has samples here")
    present = {colour for row in rows for tile in row.tiles for colour, mask in tile.outlines.items() if mask.any()}
    with told():
        legend = {colour: meaning for colour, meaning in LEGEND.items() if colour in present}
        sheet(rows, path, legend, signed=signed, style=style)
    out.print(f"Drawn: {path} ({len(rows)} rows)", soft_wrap=True)
