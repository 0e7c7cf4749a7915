"""`--skip-unreadable`: pictures that cannot be used are left out, counted and named."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, TypeVar

import typer

from tasks.base import Task
from tasks.published import PublishedTask

SkipUnreadable = Annotated[
    bool, typer.Option("--skip-unreadable", help="Leave out pictures that cannot be used, and count them.")
]
AnyTask = TypeVar("AnyTask", bound=Task)
_NAMED = 3


def skipping(task: AnyTask, skip: bool) -> AnyTask:
    """The task, or one that leaves out what it cannot use, if it reads pictures."""
    return replace(task, skip_unreadable=True) if skip and isinstance(task, PublishedTask) else task


def skipped_lines(name: str, task: Task, parts: Iterable[str] = ("heldout",)) -> list[str]:
    """How many pictures of the parts are left out, and the first of them: a line for each part that lacks some."""
    if not isinstance(task, PublishedTask):
        return []
    lines = []
    for part in parts:
        try:
            paths = [path for path, _ in task.skipped(part)]
        except (ValueError, OSError):
            continue  # the data set as a whole cannot be read: the work itself has failed of that, and says so
        if paths:
            count = f"{len(paths)} picture{'s' if len(paths) > 1 else ''}"
            more = ", …" if len(paths) > _NAMED else ""
            lines.append(
                f"{name}: left out {count} of the part {part}, which cannot be used: "
                f"{', '.join(paths[:_NAMED])}{more}; `bench check-data {name}` says why"
            )
    return lines
