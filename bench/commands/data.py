"""`bench data`: a phantom set in the published layout of the data set that it imitates."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from tasks.base import Task
from tasks.published import PublishedTask
from tasks.rendered import PhantomTask

from ..catalog import catalog, select
from ..errors import UserError
from .console import Plugins, out, progress_bar, told


def data(
    name: Annotated[str, typer.Argument(help="A phantom task, or a * pattern: whose images.")],
    folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="What `--data` then names.")],
    samples: Annotated[int, typer.Option(min=1, help="Images in all, rounded up to as many of each class.")] = 200,
    size: Annotated[int | None, typer.Option(min=32, help="Side of an image in pixels; default: the task's.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="0: the first images of each part of the task.")] = 0,
    plugins: Plugins = None,
) -> None:
    """Write phantoms as the data set that they imitate is published, so that its tasks read them with --data DIR.

    Of several chosen tasks that imitate one data set, the first is written.
    """
    found = catalog(plugins or ()).tasks
    for first, others in _by_folder(_phantom_tasks(found, name)).values():
        with told(), progress_bar() as bar:
            bar.add_task(first, total=None)
            written = _phantom_tasks(found, first)[first].publish(folder, samples, size, seed)
        out.print(escape(f"{first}: {written}"), soft_wrap=True, highlight=False)
        readers = [reader for reader, task in found.items() if _reads(task, written.name)]
        out.print(escape(f"  read by {', '.join(readers)} with --data {folder}"), soft_wrap=True, highlight=False)
        if others:
            out.print(f"  not written, as the folder is taken: {', '.join(others)}", soft_wrap=True, highlight=False)


def _phantom_tasks(found: dict[str, Task], patterns: str) -> dict[str, PhantomTask]:
    """The phantom tasks among the chosen ones."""
    chosen = select(found, patterns, "task")
    tasks = {name: task for name, task in chosen.items() if isinstance(task, PhantomTask)}
    if not tasks:
        near = ", ".join(name for name, task in found.items() if isinstance(task, PhantomTask))
        raise UserError(f"{', '.join(chosen)}: not rendered, so there is nothing to write; phantom tasks are {near}")
    return tasks


def _by_folder(tasks: dict[str, PhantomTask]) -> dict[str, tuple[str, list[str]]]:
    """For each folder of a data set the first task that imitates it, and the others."""
    folders: dict[str, tuple[str, list[str]]] = {}
    for name, task in tasks.items():
        layout = task.layout()
        folder = name if layout is None else layout.folder
        if folder in folders:
            folders[folder][1].append(name)
        else:
            folders[folder] = (name, [])
    return folders


def _reads(task: Task, folder: str) -> bool:
    return isinstance(task, PublishedTask) and task.folder == folder
