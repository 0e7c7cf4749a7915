"""`bench concepts`: which channels of a network its decisions for a class rest on, and what they look at."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table
from torch import nn

from explainers.base import InapplicableError
from leaderboard.pictures.concepts import concept_sheet
from tasks.base import Task

from .. import environment
from ..catalog import catalog, select
from ..concepts import (
    Concept,
    Decisions,
    check_network,
    class_index,
    decisions,
    drawn,
    layer_names,
    most_relevant,
    training_samples,
)
from ..errors import UserError
from .console import Data, Device, Plugins, names, out, progress_bar, told, use_data
from .drawing import SignedLook, checked
from .options import unfolded
from .skipping import SkipUnreadable, skipped_lines, skipping

COARSE = SignedLook(dpi=100)


@unfolded
def concepts(
    name: Annotated[str, typer.Argument(help="The task whose network is looked into.")],
    class_name: Annotated[
        str | None, typer.Option("--class", help="Whose decisions; default: the first that finds something.")
    ] = None,
    layers: Annotated[
        str, typer.Option(help="deep, middle, shallow, or names of convolutions; comma-separated.")
    ] = "deep,middle,shallow",
    n_concepts: Annotated[int, typer.Option("--concepts", min=1, help="Channels of each layer.")] = 5,
    n_patches: Annotated[int, typer.Option("--patches", min=1, help="Training patches of each channel.")] = 6,
    images: Annotated[int, typer.Option(min=1, help="Training images to look through.")] = 200,
    out_file: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", callback=checked, help="Where to draw them: .png, .pdf or .svg."),
    ] = None,
    device: Device = "auto",
    data: Data = None,
    plugins: Plugins = None,
    skip_unreadable: SkipUnreadable = False,
    look: SignedLook = COARSE,
) -> None:
    """List the concepts that decisions for a class rest on, and draw the training patches in which they are strongest.

    A concept is a channel of a layer; its relevance is what goes back through it (concept relevance propagation).
    """
    style = look.style()
    use_data(data)
    place = environment.device_of(device)
    task = skipping(_task(name, plugins), skip_unreadable)
    with told(), progress_bar() as bar:
        index = class_index(task, class_name)
        samples = training_samples(name, task)
        model = task.model().to(place)
        check_network(model)
        found = decisions(model, samples, task.classes(), index, images, _step(bar, "looking through images"))
        where = _layers(model, found, layers)
        rows = {layer: most_relevant(model, found, layer, n_concepts, n_patches, _step(bar, layer)) for layer in where}
        if out_file is not None:
            heads = {layer: f"{kind}: {layer}" if kind != layer else layer for layer, kind in where.items()}
            drawings = [drawn(model, found, concept, heads[layer]) for layer in rows for concept in rows[layer]]
            concept_sheet(drawings, _title(name, found), out_file, style)
    out.print(escape(_title(name, found)), soft_wrap=True, highlight=False)
    out.print(_table(rows, where, len(found.inputs)))
    for line in skipped_lines(name, task, ["train"]):
        out.print(escape(line), soft_wrap=True, highlight=False)
    if out_file is not None:
        out.print(escape(f"Drawn: {out_file}"), soft_wrap=True, highlight=False)


def _task(name: str, plugins: list[Path] | None) -> Task:
    found = select(catalog(plugins or ()).tasks, name, "task")
    if len(found) != 1:
        raise UserError(f"one task is looked into at a time, and {name} is {len(found)}: {', '.join(found)}")
    task = next(iter(found.values()))
    if reason := task.unavailable():
        raise UserError(f"{name}: {reason}")
    return task


def _layers(model: nn.Module, found: Decisions, wanted: str) -> dict[str, str]:
    chosen = names(wanted)
    if chosen is None:
        raise UserError("--layers names none: choose deep, middle, shallow or a convolution by its name")
    try:
        return layer_names(model, found.inputs, chosen)
    except InapplicableError as error:
        raise UserError(f"the network has no concepts to look for: {error}") from error


def _step(bar: Progress, what: str) -> Callable[[int, int], None]:
    step = bar.add_task(what, total=None)
    return lambda done, total: bar.update(step, completed=done, total=total)


def _title(name: str, found: Decisions) -> str:
    return f"{name}: {len(found.inputs)} decisions for {found.name!r} among {found.n_seen} training images"


def _table(rows: dict[str, list[Concept]], where: dict[str, str], n_decisions: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("layer", overflow="fold")
    table.add_column("", overflow="fold")
    n_top = max(concept.of_top for found in rows.values() for concept in found)
    for column in ("channel", "share", "speaks", f"in the top {n_top}"):
        table.add_column(column, justify="right", no_wrap=True)
    for layer, found in rows.items():
        table.add_section()
        for number, concept in enumerate(found):
            heads = (escape(where[layer]), escape(layer) if layer != where[layer] else "") if number == 0 else ("", "")
            speaks = "for" if concept.share > 0 else "against" if concept.share < 0 else "–"
            count = f"{concept.n_top} of {n_decisions}"
            table.add_row(*heads, str(concept.channel), f"{concept.share:.1%}", speaks, count)
    return table
