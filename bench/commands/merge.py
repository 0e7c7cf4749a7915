"""`bench merge`: the results of several machines in one folder."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from leaderboard.exchange.merging import Merged, Prefer, merge, write_merged

from .console import err, out, told

_SHOWN = 40


def merge_results(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Results folders; they are only read.")],
    folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder for all of them together.")],
    prefer: Annotated[
        Prefer | None,
        typer.Option(help="What stays where folders contradict each other: of the first folder, or the newest record."),
    ] = None,
) -> None:
    """Join results folders: tasks, samples, explainers and metrics of all of them.

    Where they contradict each other (weights, data, settings, seed, versions, device, scores), each contradiction is
    told, and nothing is written unless --prefer says what stays.

    Exit status: 0 written; 1 not written, because of contradictions; 2 a folder or file cannot be used.
    """
    with told():
        merged = merge(folders, prefer or Prefer.FIRST)
        for conflict in merged.conflicts[:_SHOWN]:
            err.print(escape(f"Conflict: {conflict.line()}"), soft_wrap=True, highlight=False)
        if len(merged.conflicts) > _SHOWN:
            err.print(f"… and {len(merged.conflicts) - _SHOWN} more conflicts")
        for note in merged.notes:
            out.print(escape(f"Note: {note}"), soft_wrap=True, highlight=False)
        if merged.conflicts and prefer is None:
            n = len(merged.conflicts)
            raise _undecided(
                f"{n} conflict{'s' if n > 1 else ''}, so nothing is written; --prefer first or newest decides"
            )
        write_merged(merged, folder)
    out.print(escape(_summary(merged, len(folders), folder)), soft_wrap=True, highlight=False)


def _undecided(line: str) -> typer.Exit:
    err.print(f"[red]bench:[/red] {line}", soft_wrap=True, highlight=False)
    return typer.Exit(1)


def _summary(merged: Merged, n_folders: int, folder: Path) -> str:
    records = merged.records.values()
    n_tasks = len({record.task for record in records})
    n_cells = sum(len(record.cells) for record in records)
    return (
        f"Written: {folder}: {len(records)} records of {n_tasks} tasks from {n_folders} folders, {n_cells} cells, "
        f"{merged.n_twice} of them in more than one folder and equal; conflicts decided: {len(merged.conflicts)}"
    )
