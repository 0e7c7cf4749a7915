"""`bench figure`: contact sheets of images and of heat maps; critical-difference diagrams of results."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from leaderboard import record
from leaderboard.diagram import diagrams
from leaderboard.sheets import Row, sheet
from leaderboard.standings import standings
from metrics.robustness import Augmentation

from .. import environment
from ..catalog import Catalog, catalog, select, select_standard
from ..contact import LEGEND, no_samples, phantom_rows, sample_row
from ..errors import UserError
from ..maps import map_rows
from ..runner import Settings
from .console import Data, Device, Patterns, Plugins, Results, err, names, out, progress_bar, told, use_data

figure = typer.Typer(help="Draw contact sheets of images and heat maps, and diagrams of ranks.", no_args_is_help=True)

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


@figure.command()
def grid(
    out_file: Out,
    tasks: Annotated[str, typer.Option(help="Names or * patterns, comma-separated.")],
    explainers: Patterns = "",
    augmentations: Annotated[
        str, typer.Option(help="Also the images as these robustness metrics change them: names or * patterns.")
    ] = "",
    samples: Annotated[int, typer.Option(min=1, help="Images of each task: the first ones.")] = 6,
    device: Device = "auto",
    dpi: Annotated[int, typer.Option(min=30, max=1200, help="Dots an inch, for .png.")] = 150,
    data: Data = None,
    plugins: Plugins = None,
) -> None:
    """Draw heat maps: a row an explainer, a column an image, task beneath task."""
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
                for made in map_rows(name, task, chosen, changes, settings):
                    rows.append(made.row)
                    failures += [f"Failed: {name}, {made.failure}"] if made.failure else []
                    bar.advance(step)
    _draw(rows, out_file, dpi=dpi, signed=True)
    for line in failures:
        err.print(escape(line), soft_wrap=True, highlight=False)
    raise typer.Exit(1 if failures else 0)


@figure.command()
def cd(
    out_file: Out,
    results: Results = Path("results"),
    tasks: Annotated[str, typer.Option(help="Only these, comma-separated.")] = "",
    family: Annotated[str, typer.Option(help="Families of metrics, or overall, comma-separated; empty: all.")] = "",
    dpi: Annotated[int, typer.Option(min=30, max=1200, help="Dots an inch, for .png.")] = 150,
) -> None:
    """Draw critical-difference diagrams of a results folder: mean ranks, and who cannot be told apart."""
    _check_suffix(out_file)
    with told():
        found = standings(record.load(results), names(tasks))
        diagrams(found, names(family) or [], out_file, dpi)
    out.print(f"Drawn: {out_file}", soft_wrap=True)


def _augmentations(found: Catalog, patterns: str) -> dict[str, Augmentation]:
    known = {name: metric for name, metric in found.metrics.items() if isinstance(metric, Augmentation)}
    chosen = select(found.metrics, patterns, "metric") if patterns else {}
    if others := chosen.keys() - known.keys():
        raise UserError(f"--augmentations {min(others)}: it changes no image; choose of {', '.join(known)}")
    return {name: known[name] for name in chosen}


def _draw(rows: Sequence[Row], path: Path, dpi: int = 100, signed: bool = False) -> None:
    if not rows:
        raise UserError("there is nothing to draw: no task that was chosen has samples here")
    _check_suffix(path)
    present = {colour for row in rows for tile in row.tiles for colour, mask in tile.outlines.items() if mask.any()}
    with told():
        sheet(
            rows, path, {colour: meaning for colour, meaning in LEGEND.items() if colour in present}, dpi, signed=signed
        )
    out.print(f"Drawn: {path} ({len(rows)} rows)", soft_wrap=True)


def _check_suffix(path: Path) -> None:
    if path.suffix not in (".png", ".pdf", ".svg"):
        raise UserError(f"--out {path}: give it the ending .png, .pdf or .svg")
