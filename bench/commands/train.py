"""`bench train`: fit a task's network."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.progress import Progress
from rich.table import Table

from tasks.evaluation import Evaluation
from tasks.training import Progress as Epoch
from tasks.training import Trainable

from ..catalog import catalog, select
from ..errors import UserError
from .console import Data, Plugins, out, progress_bar, told, use_data


def train(
    name: Annotated[str, typer.Argument(help="The task whose network is to be trained.")],
    init: Annotated[Path | None, typer.Option(metavar="FILE", help="Weights to start from.")] = None,
    from_scratch: Annotated[bool, typer.Option(help="Start from random weights.")] = False,
    data: Data = None,
    plugins: Plugins = None,
) -> None:
    """Train a task's network, evaluate it on the held-out part, and keep the checkpoint."""
    use_data(data)
    task = next(iter(select(catalog(plugins or ()).tasks, name, "task").values()))
    if not isinstance(task, Trainable):
        raise UserError(f"{name} brings its own model: there is nothing to train")
    with told(), _epochs(name) as show:
        evaluation = task.train(init, from_scratch, show)
    out.print(_evaluation_table(evaluation))
    out.print(f"checkpoint: {task.checkpoint()}", soft_wrap=True)


@contextmanager
def _epochs(name: str) -> Iterator["EpochReport"]:
    with progress_bar() as bar:
        yield EpochReport(bar, name)


class EpochReport:
    """Shows how training goes."""

    def __init__(self, bar: Progress, name: str) -> None:
        self._bar = bar
        self._step = bar.add_task(f"training {name}", total=None)

    def __call__(self, epoch: Epoch) -> None:
        self._bar.update(self._step, total=epoch.n_epochs, completed=epoch.epoch)
        self._bar.console.print(
            f"epoch {epoch.epoch}/{epoch.n_epochs}: loss {epoch.loss:.4f}, validation accuracy {epoch.accuracy:.3f}"
        )


def _evaluation_table(evaluation: Evaluation) -> Table:
    title = f"Held-out accuracy {evaluation.accuracy:.3f}"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", caption="Columns → name: predicted as.")
    for column in ("class", "precision", "recall", "F1", "n", *(f"→ {name}" for name in evaluation.classes)):
        table.add_column(column, justify="left" if column == "class" else "right")
    for index, name in enumerate(evaluation.classes):
        scores = (evaluation.precision[index], evaluation.recall[index], evaluation.f1[index])
        counts = (evaluation.support[index], *evaluation.confusion[index])
        table.add_row(name, *(f"{score:.3f}" for score in scores), *(str(count) for count in counts))
    return table
