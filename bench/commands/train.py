"""`bench train`: fit a task's network."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import Progress

from tasks.learning.fitting import Progress as State
from tasks.learning.memory import Duplicate
from tasks.publishing import PARTS
from tasks.training import Trainable

from .. import environment
from ..catalog import catalog, select
from ..errors import UserError
from .console import Data, Device, Plugins, out, progress_bar, told, use_data
from .evaluate import evaluation_table
from .skipping import SkipUnreadable, skipped_lines, skipping


def train(
    name: Annotated[str, typer.Argument(help="The task whose network is to be trained.")],
    init: Annotated[Path | None, typer.Option(metavar="FILE", help="Weights to start from.")] = None,
    from_scratch: Annotated[bool, typer.Option(help="Start from random weights.")] = False,
    checkpoints: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Also keep the network after every epoch; for `bench study accuracy`."),
    ] = None,
    device: Device = "auto",
    data: Data = None,
    plugins: Plugins = None,
    skip_unreadable: SkipUnreadable = False,
) -> None:
    """Train a task's network, evaluate it on the held-out part, and keep the checkpoint.

    A training that was stopped goes on after its last whole epoch when the same command is given again.
    """
    use_data(data)
    task = next(iter(select(catalog(plugins or ()).tasks, name, "task").values()))
    if not isinstance(task, Trainable):
        raise UserError(f"{name} brings its own model: there is nothing to train")
    task = skipping(task, skip_unreadable)
    with told(), _report(name) as show:
        training = task.train(init, from_scratch, show, environment.device_of(device), checkpoints)
    out.print(evaluation_table(training.evaluation))
    for line in (*skipped_lines(name, task, PARTS), *_duplicate_lines(training.duplicates)):
        out.print(escape(line), soft_wrap=True, highlight=False)
    out.print(f"checkpoint: {task.checkpoint()}", soft_wrap=True)
    if checkpoints is not None:
        out.print(f"after every epoch: {checkpoints / f'{task.checkpoint().stem}-epoch-*.safetensors'}", soft_wrap=True)


@contextmanager
def _report(name: str) -> Iterator["TrainingReport"]:
    with progress_bar() as bar:
        yield TrainingReport(bar, name)


class TrainingReport:
    """Shows how training goes: a bar with the time left, a line an epoch."""

    def __init__(self, bar: Progress, name: str) -> None:
        self._bar = bar
        self._name = name
        self._stage = ""
        self._step = bar.add_task(name, total=None)

    def __call__(self, state: State) -> None:
        kind = state.stage.partition(" ")[0]
        if kind != self._stage.partition(" ")[0] or (kind == "reading" and state.stage != self._stage):
            self._bar.reset(self._step)  # another kind of work takes another time
        self._stage = state.stage
        self._bar.update(
            self._step, total=state.total, completed=state.done, description=f"{self._name}: {state.stage}"
        )
        if state.scores is not None:
            loss, score = state.scores.loss, state.scores.score
            self._bar.console.print(f"{state.stage}: loss {loss:.4f}, validation score {score:.3f}")


def _duplicate_lines(duplicates: list[Duplicate]) -> list[str]:
    """How many images were left out because a later part has them too, and the first three of each part."""
    lines = []
    for part in sorted({duplicate.part for duplicate in duplicates}):
        found = [duplicate for duplicate in duplicates if duplicate.part == part]
        named = ", ".join(f"{duplicate.dropped} = {duplicate.kept}" for duplicate in found[:3])
        more = ", …" if len(found) > 3 else ""
        lines.append(f"left out of training, {len(found)} images that are also in the part {part}: {named}{more}")
    return lines
