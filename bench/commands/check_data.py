"""`bench check-data`: what a data set on this machine holds, what of it cannot be used, and what is there twice."""

from collections import Counter
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from tasks.published import PublishedTask
from tasks.survey import Place, Survey, survey

from ..catalog import catalog, select
from ..errors import UserError
from .console import Data, Plugins, listing, out, progress_bar, use_data

_NAMED = 5


def check_data(
    name: Annotated[str, typer.Argument(help="A task on published data, or a * pattern.")],
    data: Data = None,
    plugins: Plugins = None,
) -> None:
    """Read every picture and mask of a task's data. Exit status 1: something cannot be used."""
    use_data(data)
    chosen = select(catalog(plugins or ()).tasks, name, "task")
    tasks = {name: task for name, task in chosen.items() if isinstance(task, PublishedTask)}
    if not tasks:
        raise UserError(f"{', '.join(chosen)}: reads no published data, so there is nothing to check")
    bad = 0
    for task_name, task in tasks.items():
        if reason := task.missing_data():
            raise UserError(f"{task_name}: {reason}")
        found = _surveyed(task_name, task)
        out.print(_table(task_name, task, found))
        out.print(escape(f"folder: {task.data()}"), soft_wrap=True, highlight=False)
        for line in _lines(found):
            out.print(escape(line), soft_wrap=True, highlight=False)
        bad += len(found.absent) + sum(map(len, found.unreadable.values()))
    if bad:
        raise typer.Exit(1)


def _surveyed(name: str, task: PublishedTask) -> Survey:
    with progress_bar() as bar:
        step = bar.add_task(name, total=None)

        def report(part: str, done: int, total: int) -> None:
            bar.update(step, total=total, completed=done, description=f"{name}: {part}")

        return survey(task, report)


def _table(name: str, task: PublishedTask, found: Survey) -> Table:
    table = listing(name)
    table.columns[0].header = "class"
    for part in found.counts:
        table.add_column(part, justify="right")
    for index, label in enumerate(task.classes()):
        table.add_row(escape(label), *(str(counts[index]) for counts in found.counts.values()))
    table.add_section()
    table.add_row("cannot be used", *(str(len(pictures)) for pictures in found.unreadable.values()))
    return table


def _lines(found: Survey) -> Iterator[str]:
    yield f"modes: {_most_common(found.modes)}"
    yield f"sizes: {_most_common(Counter({f'{width} x {height}': n for (width, height), n in found.sizes.items()}))}"
    for part, reason in found.absent.items():
        yield f"no part {part}: {reason}"
    for part, pictures in found.unreadable.items():
        yield from (f"{part}: {reason}" for _, reason in pictures)
    across = found.duplicates()
    pairs = Counter(f"{one.part} and {other.part}" for one, other in across)
    yield f"in two parts: {_most_common(pairs)}{_named(across)}"
    within = [
        (group[at], other)
        for group in found.copies
        for at in range(len(group))
        for other in group[at + 1 : at + 2]
        if group[at].part == other.part
    ]
    yield f"twice in a part: {_most_common(Counter(one.part for one, _ in within))}{_named(within)}"
    if odd := [pair for pair in (*across, *within) if pair[0].label != pair[1].label]:
        yield f"the same picture with two labels: {len(odd)}{_named(odd)}"
    yield f"pictures of no part: {_most_common(found.unused)}"


def _most_common(counts: Counter[str]) -> str:
    shown = ", ".join(f"{name} ({n})" for name, n in counts.most_common(_NAMED))
    more = f", and {len(counts) - _NAMED} more" if len(counts) > _NAMED else ""
    return f"{shown}{more}" or "none"


def _named(pairs: list[tuple[Place, Place]]) -> str:
    """The first of them by name."""
    shown = "; ".join(f"{one.id} = {other.id}" for one, other in pairs[:_NAMED])
    return f": {shown}{'; …' if len(pairs) > _NAMED else ''}" if pairs else ""
