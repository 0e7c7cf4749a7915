"""`bench lungs`: fit the network that finds the lungs in chest X-rays, and say how well it does."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Annotated, NamedTuple

import typer
from rich import box
from rich.markup import escape
from rich.table import Table
from torch import nn

from tasks.base import data_folder
from tasks.lungs.evaluation import BOXES_FOLDER, MASKS_FOLDER, LungScore, score_boxes, score_masks, score_phantoms
from tasks.lungs.segmentation import CHECKPOINT, segmenter
from tasks.lungs.training import LungProgress, train_lungs

from .console import Data, out, progress_bar, told, use_data

lungs = typer.Typer(help="Find the lungs in chest X-rays: fit the network, say how well it does.", no_args_is_help=True)


@lungs.command()
def train() -> None:
    """Fit the network to phantoms, in about ten minutes on one core, and keep its weights."""
    with told(), progress_bar() as bar:
        steps = {"drawing": bar.add_task("lungs", total=None)}

        def show(state: LungProgress) -> None:
            kind = state.stage.partition(" ")[0]
            if kind not in steps:  # a bar for each kind of work: they take different times
                steps[kind] = bar.add_task("lungs")
            bar.update(steps[kind], total=state.total, completed=state.done, description=f"lungs: {state.stage}")
            if state.loss is not None:
                bar.console.print(f"{state.stage}: loss {state.loss:.4f}")

        train_lungs(progress=show)
    out.print(f"checkpoint: {CHECKPOINT}", soft_wrap=True)


@lungs.command()
def evaluate(
    data: Data = None,
    phantoms: Annotated[int, typer.Option(min=1, help="How many to draw.")] = 120,
    each: Annotated[bool, typer.Option("--each", help="Show every image too.")] = False,
) -> None:
    """Compare the lungs that are found with known ones: of phantoms and, where they are there, of real radiographs.

    Real ones are the lung masks of covid-qu-ex and the lung boxes of covid-chestxray-dataset, in the folder of the
    data sets.
    """
    use_data(data)
    with told():
        scores = list(_scores(segmenter(), phantoms, data_folder()))
    caption = "lost: images in which nothing was found."
    table = Table(title="Lungs found", caption=caption, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for column in ("images", "score", "mean", "median", "min", "n", "lost"):
        table.add_column(column, justify="left" if column in ("images", "score") else "right")
    for row in scores:
        numbers = (f"{number:.3f}" for number in (fmean(row.values), median(row.values), min(row.values)))
        table.add_row(row.images, row.score, *numbers, str(len(row.values)), str(row.lost))
    out.print(table)
    if len({row.images for row in scores}) == 1:
        out.print(f"no real radiographs: name the folder that holds {MASKS_FOLDER} or {BOXES_FOLDER} with `--data DIR`")
    for row in scores if each else ():
        for name, value in zip(row.names, row.values, strict=True):
            out.print(escape(f"{name}: {row.score} {value:.3f}"), soft_wrap=True, highlight=False)


class _Scores(NamedTuple):
    """One score of several images."""

    images: str
    score: str
    names: Sequence[str]
    values: Sequence[float]
    lost: int
    """In how many of them nothing was found."""


def _scores(network: nn.Module, n_phantoms: int, folder: Path | None) -> Iterator[_Scores]:
    yield from _of_masks("phantoms", score_phantoms(network, n_phantoms))
    if folder and (folder / MASKS_FOLDER).is_dir():
        yield from _of_masks(MASKS_FOLDER, score_masks(network, folder))
    if folder and (folder / BOXES_FOLDER).is_dir():
        boxes = score_boxes(network, folder)
        for side, values in (("right", [each.right for each in boxes]), ("left", [each.left for each in boxes])):
            names = [each.name for each in boxes]
            yield _Scores(BOXES_FOLDER, f"box IoU, {side}", names, values, values.count(0.0))


def _of_masks(images: str, scores: Sequence[LungScore]) -> Iterator[_Scores]:
    names, lost = [score.name for score in scores], sum(not score.found for score in scores)
    yield _Scores(images, "Dice", names, [score.dice for score in scores], lost)
    yield _Scores(images, "IoU", names, [score.iou for score in scores], lost)
